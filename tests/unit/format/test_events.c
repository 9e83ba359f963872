/* test_events.c - the rules of placements/README.md for events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/events.h"
#include "tests/unit/scratch.h"

#define HEAD "time_s,target,event,value\n"
#define S UNITS_PS_PER_S

/* Devices and media whose names meet: `x` is both, `pcie/box` too, and so is `n/a/b`, in two ways.
 */
static const struct cluster *cluster_of(struct scratch *scratch)
{
    const struct cluster *cluster;

    (void)scratch_write(scratch, "k/devices.csv",
                        "device,type,node\npi0,rpi4,\npi1,rpi4,\ngpu0,jetson,box\ngpu1,jetson,box\n"
                        "x,rpi4,\npcie/box,rpi4,\nb,rpi4,b\nab,rpi4,a/b\n");
    (void)scratch_write(scratch, "k/links.csv",
                        "medium,kind,node,bits_per_s,latency_s\nlan,switch,source,1e9,0\n"
                        "lan,switch,pi0,1e9,0\nlan,switch,pi1,1e9,0\nair,wifi,pi0,1e8,0\n"
                        "air,wifi,*,5e7,0\npcie,bus,box,1e10,0\nx,hub,pi0,1e7,0\n"
                        "n,switch,a/b,1e9,0\nn/a,switch,b,1e9,0\n");
    cluster = cluster_load(scratch->arena, arena_printf(scratch->arena, "%s/k", scratch->folder),
                           scratch_err(scratch));
    assert_non_null(cluster);
    return cluster;
}

static const struct events *load(struct scratch *scratch, const char *rows)
{
    const struct cluster *cluster = cluster_of(scratch);
    const char *text = arena_printf(scratch->arena, HEAD "%s", rows);

    return events_load(scratch->arena, scratch_write(scratch, "e.csv", text), cluster,
                       scratch_err(scratch));
}

static const struct events *must_load(struct scratch *scratch, const char *rows)
{
    const struct events *events = load(scratch, rows);

    if (!events)
        fail_msg("%s", scratch->err.text);
    return events;
}

static void devices_media_and_ports_are_found(void **state)
{
    const struct events *events = must_load(*state, "0,pi1,down,\n12.5,lan,bits_per_s,1e7\n"
                                                    "12.5,lan/pi1,down,\n13,gpu1,speed_ratio,0.5\n"
                                                    "13,lan/source,bits_per_s,2e6\n20,pi1,up,\n");
    const struct event *event = events->events;

    assert_int_equal(events->count, 6);
    assert_int_equal(event[0].target, EVENT_DEVICE);
    assert_int_equal(event[0].kind, EVENT_DOWN);
    assert_int_equal(event[0].device, 1);
    assert_int_equal(event[0].medium, -1);
    assert_int_equal(event[0].attachment, -1);
    assert_null(event[0].node);
    assert_int_equal(event[0].line, 2);
    assert_int_equal(event[1].target, EVENT_MEDIUM);
    assert_int_equal(event[1].kind, EVENT_BITS_PER_S);
    assert_int_equal(event[1].time_ps, 12 * S + S / 2);
    assert_int_equal(event[1].device, -1);
    assert_int_equal(event[1].medium, 0);
    assert_true(event[1].value == 1e7);
    assert_int_equal(event[2].target, EVENT_PORT);
    assert_int_equal(event[2].medium, 0);
    assert_int_equal(event[2].attachment, 2);
    assert_string_equal(event[2].node, "pi1");
    assert_int_equal(event[3].kind, EVENT_SPEED_RATIO);
    assert_int_equal(event[3].device, 3);
    assert_true(event[3].value == 0.5);
    assert_string_equal(event[4].node, "source");
    assert_int_equal(event[4].attachment, 0);
    assert_int_equal(event[5].kind, EVENT_UP);
    assert_string_equal(event[5].name, "pi1");
    assert_true(event[5].value == 0);
}

static void a_node_that_the_star_attaches_has_a_port(void **state)
{
    const struct events *events =
        must_load(*state, "0,air/box,down,\n0,air/source,down,\n0,air/pi0,down,\n");

    assert_int_equal(events->events[0].attachment, 1);
    assert_string_equal(events->events[0].node, "box");
    assert_int_equal(events->events[1].attachment, 1);
    assert_int_equal(events->events[2].attachment, 0); /* its own row goes before the star */
    assert_null(load(*state, "0,air/*,down,\n"));
    assert_null(load(*state, "0,air/gpu0,down,\n")); /* a device, but its node is box */
}

static void names_may_hold_slashes(void **state)
{
    const struct events *events = must_load(*state, "0,n/a,down,\n0,ab,down,\n");

    assert_int_equal(events->events[0].target, EVENT_MEDIUM);
    assert_int_equal(events->events[0].medium, 5);
}

static void events_of_one_instant_stay_in_file_order(void **state)
{
    const struct events *events =
        must_load(*state, "5,pi1,down,\n5,pi0,down,\n5,pi1,up,\n5,lan,down,\n");

    assert_int_equal(events->events[0].device, 1);
    assert_int_equal(events->events[1].device, 0);
    assert_int_equal(events->events[2].kind, EVENT_UP);
    assert_int_equal(events->events[3].medium, 0);
}

static void a_medium_and_its_ports_go_down_apart(void **state)
{
    assert_non_null(load(*state, "0,lan,down,\n1,lan/pi0,down,\n2,lan,up,\n3,lan/pi0,up,\n"));
}

static void a_table_may_be_empty(void **state)
{
    assert_int_equal(must_load(*state, "")->count, 0);
}

static void an_implied_cluster_has_devices_alone(void **state)
{
    struct scratch *scratch = *state;
    static const char *const names[] = { "a", "b" };
    const struct cluster *cluster = cluster_implied(scratch->arena, names, 2, "t");
    const char *path = scratch_write(scratch, "e.csv", HEAD "1,b,down,\n1,c/d,down,\n");

    assert_null(events_load(scratch->arena, path, cluster, scratch_err(scratch)));
    assert_string_equal(scratch_message(scratch),
                        "e.csv:3:2: target is 'c/d': expected a device, a medium or medium/node");
}

static void bad_events_are_located(void **state)
{
    static const struct {
        const char *rows, *error;
    } cases[] = {
        { "-1,pi0,down,\n", "2:1: time_s is '-1': expected at least 0 seconds" },
        { "x,pi0,down,\n", "2:1: time_s is 'x': expected decimal seconds" },
        { ",pi0,down,\n", "2:1: time_s is '': must not be empty" },
        { "9000001,pi0,down,\n", "2:1: time_s is '9000001': expected at most 9000000 seconds" },
        { "2,pi0,down,\n1,pi0,up,\n", "3:1: time_s is '1': earlier than line 2" },
        { "1,,down,\n", "2:2: target is '': expected a device" },
        { "1,x,down,\n", "2:2: target is 'x': more than one device, medium or medium/node" },
        { "1,pcie/box,down,\n", "2:2: target is 'pcie/box': more than one" },
        { "1,n/a/b,down,\n", "2:2: target is 'n/a/b': more than one" },
        { "1,pi0,crash,\n", "2:3: event is 'crash': expected down, up, bits_per_s or speed_ratio" },
        { "1,pi0,Up,\n", "2:3: event is 'Up': expected down, up, bits_per_s or speed_ratio; did" },
        { "1,pi0,bits_per_s,5\n", "2:3: event is 'bits_per_s': the target is a device" },
        { "1,lan,speed_ratio,2\n", "2:3: event is 'speed_ratio': the target is a medium: exp" },
        { "1,lan/pi0,speed_ratio,2\n", "2:3: event is 'speed_ratio': the target is a medium/node" },
        { "1,pi0,down,3\n", "2:4: value is '3': 'down' has no value" },
        { "1,pi0,down,\n1,pi0,up,0\n", "3:4: value is '0': 'up' has no value" },
        { "1,lan,bits_per_s,\n", "2:4: value is '': must not be empty" },
        { "1,lan,bits_per_s,0\n", "2:4: value is '0': expected a number of at least 1" },
        { "1,lan,bits_per_s,nan\n", "2:4: value is 'nan': not a finite decimal number" },
        { "1,pi0,speed_ratio,-2\n", "2:4: value is '-2': expected a number of at least" },
        { "1,pi0,speed_ratio,1e999\n", "2:4: value is '1e999': not a finite decimal number" },
        { "1,pi0,down,\n1,pi1,down,\n3,pi0,down,\n",
          "4:3: event is 'down': the target is down since line 2" },
        { "1,pi0,up,\n", "2:3: event is 'up': the target is not down" },
        { "1,lan,down,\n2,lan,up,\n3,lan,up,\n", "4:3: event is 'up': the target is not down" },
        { "1,pi0,speed_ratio,2\n1,pi0,speed_ratio,3\n",
          "3:3: event is 'speed_ratio': line 2 has it for the same target and time" },
        { "1,pi0,down,\n1,pi0,up,\n1,pi0,down,\n", "4:3: event is 'down': line 2 has it" },
        { "1,pi0,down\n", "2: 3 fields, but the header names 4" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scratch *scratch = *state;
        const char *message;

        assert_null(load(scratch, cases[i].rows));
        assert_int_equal(scratch->err.kind, ERR_INPUT);
        message = scratch_message(scratch);
        if (strncmp(message, "e.csv:", 6) != 0 ||
            strncmp(message + 6, cases[i].error, strlen(cases[i].error)) != 0)
            fail_msg("case %zu: '%s' does not begin with 'e.csv:%s'", i, message, cases[i].error);
    }
}

static void a_misspelt_target_is_guessed(void **state)
{
    static const struct {
        const char *target, *guess;
    } cases[] = { { "p1", "'pi1'?" },
                  { "lam", "'lan'?" },
                  { "lan/pi", "'lan/pi0'?" },
                  { "air/bx", "'air/box'?" },
                  { "lan/sauce", "'lan/source'?" } };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scratch *scratch = *state;

        assert_null(load(scratch, arena_printf(scratch->arena, "1,%s,down,\n", cases[i].target)));
        if (!strstr(scratch->err.text, cases[i].guess))
            fail_msg("'%s' does not guess %s", scratch->err.text, cases[i].guess);
    }
}

static void a_missing_file_or_column_is_an_error(void **state)
{
    struct scratch *scratch = *state;
    const struct cluster *cluster = cluster_of(scratch);

    assert_null(events_load(scratch->arena,
                            arena_printf(scratch->arena, "%s/none.csv", scratch->folder), cluster,
                            scratch_err(scratch)));
    assert_int_equal(scratch->err.kind, ERR_SYSTEM);
    assert_null(events_load(scratch->arena, scratch_write(scratch, "e.csv", "time_s,event\n"),
                            cluster, scratch_err(scratch)));
    assert_string_equal(scratch_message(scratch), "e.csv:1: missing column 'target'");
    assert_non_null(events_load(
        scratch->arena, scratch_write(scratch, "e.csv", "event,target,time_s\ndown,pi0,1\n"),
        cluster, scratch_err(scratch)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(devices_media_and_ports_are_found),
        scratch_test(a_node_that_the_star_attaches_has_a_port),
        scratch_test(names_may_hold_slashes),
        scratch_test(events_of_one_instant_stay_in_file_order),
        scratch_test(a_medium_and_its_ports_go_down_apart),
        scratch_test(a_table_may_be_empty),
        scratch_test(an_implied_cluster_has_devices_alone),
        scratch_test(bad_events_are_located),
        scratch_test(a_misspelt_target_is_guessed),
        scratch_test(a_missing_file_or_column_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
