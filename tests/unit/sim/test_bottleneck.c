/* test_bottleneck.c - the sentence that says what limits a run, of results filled by hand. */
#include "sim/report/bottleneck.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "sim/serve/serve.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#define MS UNITS_PS_PER_MS
#define S UNITS_PS_PER_S

static struct cluster_device devices[] = { { .name = "pi0" }, { .name = "pi1" } };
static struct cluster_medium media[] = { { .name = "lan", .kind = CLUSTER_SWITCH },
                                         { .name = "air", .kind = CLUSTER_WIFI } };
static struct cluster cluster = {
    .device_count = 2, .medium_count = 2, .devices = devices, .media = media
};
static struct serve_device done[2];
static struct serve_link links[3];
static struct share passed[2];
static struct serve_result result;

static int set_up(void **state)
{
    *state = arena_create();
    memset(done, 0, sizeof done);
    memset(passed, 0, sizeof passed);
    memset(&result, 0, sizeof result);
    links[0] = (struct serve_link){ .name = "lan/pi0", .medium = 0 };
    links[1] = (struct serve_link){ .name = "lan/pi1", .medium = 0 };
    links[2] = (struct serve_link){ .name = "air", .medium = 1 };
    result.devices = done;
    result.links = links;
    result.link_count = 3;
    result.end_ps = 100 * S;
    result.parts = (struct serve_parts){ .is_known = true, .active_ps = 100 * S, .media = passed };
    return 0;
}

static int tear_down(void **state)
{
    arena_destroy(*state);
    return 0;
}

static struct bottleneck find(void **state, int64_t requests, int64_t tokens)
{
    return bottleneck_find(*state, NULL, &cluster, &result, requests, tokens);
}

static void near(double actual, double expected)
{
    assert_true(actual - expected < 1e-12 && expected - actual < 1e-12);
}

static void a_device_limits_and_a_link_is_next(void **state)
{
    struct bottleneck found;

    done[1].busy_ps = 90 * S;
    done[1].gap_ps = 3 * S;
    links[0].busy_ps = 62 * S;
    found = find(state, 10, 0);
    assert_true(found.is_limit);
    near(found.busy_ratio, 0.93);
    near(found.next_busy_ratio, 0.62);
    near(found.rise_ratio, 1.5);
    assert_string_equal(found.text,
                        "device pi1 limits: busy 93 % of the time, 3.2 % of it gaps; next is "
                        "switch lan (pi0's port), busy 62 %; without pi1's work the rate could "
                        "rise 1.5x");
}

static void of_equals_the_first_counts(void **state)
{
    done[0].busy_ps = done[1].busy_ps = links[2].busy_ps = 95 * S;
    assert_string_equal(find(state, 1, 0).text,
                        "device pi0 limits: busy 95 % of the time; next is device pi1, busy 95 %: "
                        "without pi0's work the rate could hardly rise");
}

static void alone_there_is_no_next(void **state)
{
    done[0].busy_ps = 100 * S;
    assert_string_equal(find(state, 1, 0).text, "device pi0 limits: busy 100 % of the time; "
                                                "nothing else is busy");
    near(find(state, 1, 0).rise_ratio, 0);
}

/* 100 tokens, 700 messages of 1.2 ms each and 10.5 s of bytes. */
static void a_link_says_what_its_messages_are_made_of(void **state)
{
    done[0].busy_ps = 40 * S;
    links[0].busy_ps = 94500 * MS;
    links[0].share = (struct share){ 70000, 84e12, 7e12, 10.5e12 };
    assert_string_equal(find(state, 10, 10000).text,
                        "switch lan (pi0's port) limits: busy 94 % of the time, 89 % of it the "
                        "per-message cost (7 messages of 1.20 ms a token) and 11 % bytes; next is "
                        "device pi0, busy 40 %; without its messages the rate could rise 2.4x");
    links[0].share = (struct share){ 5, 10.5e12, 0, 84e12 };
    assert_string_equal(find(state, 10, 0).text,
                        "switch lan (pi0's port) limits: busy 94 % of the time, 89 % of it bytes "
                        "(0.5 messages of 16.8 s a request) and 11 % the per-message cost; next "
                        "is device pi0, busy 40 %; without its messages the rate could rise 2.4x");
}

/* In all 50 s in the system: 20 compute, 24 of messages, 1 overheads, 5 waiting. */
static void at_low_load_latency_is_told_apart(void **state)
{
    struct bottleneck found;

    done[0].busy_ps = 15 * S;
    done[1].busy_ps = 5 * S;
    links[1].busy_ps = 8 * S;
    result.parts.active_ps = 50 * S;
    result.parts.all_ps = 50e12;
    result.parts.compute_ps = 20e12;
    result.parts.delay_ps = 1e12;
    passed[0] = (struct share){ 7000, 14e12, 2e12, 3e12 };
    passed[1] = (struct share){ 1000, 0, 4e12, 1e12 };
    found = find(state, 100, 1000);
    assert_false(found.is_limit);
    near(found.parts.compute, 0.4);
    near(found.parts.per_message, 0.28);
    near(found.parts.latency, 0.12);
    near(found.parts.bytes, 0.08);
    near(found.parts.overhead, 0.02);
    near(found.parts.waiting, 0.1);
    assert_string_equal(found.text,
                        "nothing limits: device pi0 is busy 15 % of the time, next switch lan "
                        "(pi1's port), 8.0 %; latency is 40 % compute, 48 % transfers, 10 % "
                        "queueing, 2.0 % overheads; the largest part is the per-message cost of "
                        "switch lan, 28 % (7 messages of 2.00 ms a token)");
    passed[0] = (struct share){ 7000, 1e12, 20e12, 3e12 };
    passed[1] = (struct share){ 0 };
    assert_non_null(strstr(find(state, 100, 0).text,
                           "the latency of switch lan, 40 % (70 messages of 2.86 ms a request)"));
    result.parts.compute_ps = 25e12;
    passed[0] = (struct share){ 0 };
    assert_non_null(strstr(find(state, 100, 0).text,
                           "the largest part is compute, on device pi0 above all (60 % of all "
                           "compute)"));
}

/* Always busy when somebody is there, and nobody waits: it is the requests that are few. */
static void a_device_that_nobody_waits_for_does_not_limit(void **state)
{
    done[0].busy_ps = 10 * S;
    result.parts.active_ps = 10 * S;
    result.parts.all_ps = 10e12;
    result.parts.compute_ps = 10e12;
    assert_false(find(state, 1, 0).is_limit);
    result.parts.all_ps = 20e12; /* in bursts: half of the time is waiting */
    assert_true(find(state, 1, 0).is_limit);
    result.parts.all_ps = 19e12;
    assert_false(find(state, 1, 0).is_limit);
}

static void waiting_may_be_the_largest_part(void **state)
{
    done[0].busy_ps = 10 * S;
    result.parts.all_ps = 50e12;
    result.parts.compute_ps = 10e12;
    assert_non_null(strstr(find(state, 1, 0).text, "80 % queueing; the largest part is queueing"));
    result.parts.delay_ps = 39e12;
    assert_non_null(strstr(find(state, 1, 0).text,
                           "78 % overheads; the largest part is overheads of software"));
}

static void what_is_not_known_is_not_said(void **state)
{
    result.parts.is_known = false;
    assert_string_equal(find(state, 0, 0).text,
                        "nothing limits: no device or link had anything to do");
    done[0].busy_ps = 50 * S;
    assert_string_equal(find(state, 1, 0).text,
                        "nothing limits: device pi0 is busy 50 % of the time");
    assert_false(find(state, 1, 0).has_parts);
    result.end_ps = 0;
    near(find(state, 1, 0).busy_ratio, 0);
}

static void links_have_names_of_their_kind(void **state)
{
    links[0].name = "lan/pi0/in";
    links[0].busy_ps = 99 * S;
    assert_string_equal(find(state, 1, 0).name, "switch lan (port into pi0)");
    links[2].busy_ps = 100 * S;
    assert_string_equal(find(state, 1, 0).name, "wifi air");
    media[1].kind = CLUSTER_RING;
    links[2].name = "air/a>b";
    assert_string_equal(find(state, 1, 0).name, "ring air (a>b)");
    media[1].kind = CLUSTER_WIFI;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_device_limits_and_a_link_is_next),
        TEST(of_equals_the_first_counts),
        TEST(alone_there_is_no_next),
        TEST(a_link_says_what_its_messages_are_made_of),
        TEST(at_low_load_latency_is_told_apart),
        TEST(a_device_that_nobody_waits_for_does_not_limit),
        TEST(waiting_may_be_the_largest_part),
        TEST(what_is_not_known_is_not_said),
        TEST(links_have_names_of_their_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
