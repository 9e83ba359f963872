/* test_cluster.c - the rules of placements/README.md for devices.csv and links.csv. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "tests/unit/scratch.h"

#define DEVICES "device,type,node\na,pi,n0\nb,pi,n1\nc,nano,n1\n"
#define LINK_HEAD "medium,kind,node,bits_per_s,latency_s"

/* links NULL: no links.csv. */
static struct cluster *load(struct scratch *scratch, const char *devices, const char *links)
{
    char path[300];

    (void)scratch_write(scratch, "k/devices.csv", devices);
    (void)snprintf(path, sizeof path, "%s/k/links.csv", scratch->folder);
    (void)remove(path);
    if (links)
        (void)scratch_write(scratch, "k/links.csv", links);
    return cluster_load(scratch->arena, arena_printf(scratch->arena, "%s/k/", scratch->folder),
                        scratch_err(scratch));
}

static void expect_error(struct scratch *scratch, const char *devices, const char *links,
                         const char *begin)
{
    assert_null(load(scratch, devices, links));
    assert_int_equal(scratch->err.kind, ERR_INPUT);
    if (strncmp(scratch_message(scratch), begin, strlen(begin)) != 0)
        fail_msg("'%s' does not begin with '%s'", scratch_message(scratch), begin);
}

static void every_device_column_is_read(void **state)
{
    const struct cluster *k = load(
        *state,
        "flop_per_s,busy_w,idle_w,address,speed_ratio,threads,reserved_bytes,memory_bytes,node,"
        "type,device,x_room,decode_value_ns,encode_value_ns\n"
        "1e9,6.5,2.5,10.0.0.1:5555,0.5,4,100,1000,n0,pi,a,attic,0.25,1.5\n"
        ",,,,,,,,,nano,b,,0,\n",
        NULL);

    assert_non_null(k);
    assert_int_equal(k->device_count, 2);
    assert_string_equal(k->devices[0].name, "a");
    assert_string_equal(k->devices[0].type, "pi");
    assert_string_equal(k->devices[0].node, "n0");
    assert_int_equal(k->devices[0].memory_bytes, 1000);
    assert_int_equal(k->devices[0].reserved_bytes, 100);
    assert_int_equal(k->devices[0].threads, 4);
    assert_true(k->devices[0].speed_ratio == 0.5);
    assert_string_equal(k->devices[0].address, "10.0.0.1:5555");
    assert_true(k->devices[0].idle_w == 2.5 && k->devices[0].busy_w == 6.5);
    assert_true(k->devices[0].flop_per_s == 1e9);
    assert_int_equal(k->devices[0].encode_value_ps, 1500);
    assert_int_equal(k->devices[0].decode_value_ps, 250);
    assert_int_equal(k->devices[1].encode_value_ps, -1);
    assert_int_equal(k->devices[1].decode_value_ps, 0);
    assert_int_equal(k->devices[0].line, 2);
    assert_string_equal(k->devices[1].node, "b");
    assert_string_equal(k->devices[1].address, "");
    assert_int_equal(k->devices[1].memory_bytes, 0);
    assert_int_equal(k->devices[1].threads, 0);
    assert_true(k->devices[1].speed_ratio == 1 && k->devices[1].idle_w == -1);
    assert_false(k->has_links);
    assert_false(k->has_source);
    assert_int_equal(cluster_find_device(k, "b"), 1);
    assert_int_equal(cluster_find_device(k, "B"), -1);
}

static void bad_devices_are_named(void **state)
{
    static const struct {
        const char *column, *value;
    } bad[] = {
        { "memory_bytes", "0" },
        { "memory_bytes", "4GB" },
        { "reserved_bytes", "-1" },
        { "threads", "0" },
        { "threads", "two" },
        { "speed_ratio", "0" },
        { "speed_ratio", "nan" },
        { "speed_ratio", "1e999" },
        { "address", "10.0.0.1" },
        { "address", ":5555" },
        { "address", "pi:0" },
        { "address", "pi:65536" },
        { "idle_w", "-1" },
        { "busy_w", "inf" },
        { "flop_per_s", "0" },
        { "encode_value_ns", "-1" },
        { "decode_value_ns", "1000000.001" },
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[128], begin[128];

        (void)snprintf(text, sizeof text, "device,type,%s\na,pi,%s\n", bad[i].column, bad[i].value);
        (void)snprintf(begin, sizeof begin, "k/devices.csv:2:3: %s is '%s': ", bad[i].column,
                       bad[i].value);
        expect_error(*state, text, NULL, begin);
    }
    expect_error(*state, "device,type\n,pi\n", NULL, "k/devices.csv:2:1: device is ''");
    expect_error(*state, "device,type\na,\n", NULL, "k/devices.csv:2:2: type is ''");
    expect_error(*state, "device,type\na,pi\na,pi\n", NULL,
                 "k/devices.csv:3:1: device is 'a': this device is there twice");
    expect_error(*state, "device,type\nsource,pi\n", NULL, "k/devices.csv:2:1: device is 'source'");
    expect_error(*state, "device,type\n*,pi\n", NULL, "k/devices.csv:2:1: device is '*'");
    expect_error(*state, "device,type,node\na,pi,*\n", NULL, "k/devices.csv:2:3: node is '*'");
    expect_error(*state, "device,type,memory_bytes,reserved_bytes\na,pi,5,6\n", NULL,
                 "k/devices.csv:2:4: reserved_bytes is '6': expected at most memory_bytes");
    expect_error(*state, "device,type\n", NULL, "k/devices.csv: no devices");
    expect_error(*state, "device\na\n", NULL, "k/devices.csv:1: missing column 'type'");
}

static void a_cluster_without_devices_csv_is_a_system_error(void **state)
{
    struct scratch *scratch = *state;

    assert_null(cluster_load(scratch->arena, arena_printf(scratch->arena, "%s/n", scratch->folder),
                             scratch_err(scratch)));
    assert_int_equal(scratch->err.kind, ERR_SYSTEM);
    assert_string_equal(scratch_message(scratch), "n/devices.csv: No such file or directory");
}

static void rows_of_links_are_gathered_by_medium(void **state)
{
    const struct cluster *k =
        load(*state, DEVICES,
             LINK_HEAD ",per_message_s,efficiency_ratio,mesh_columns,ports,wavelengths,setup_s\n"
                       "lan,switch,n0,1e9,0.0001,0.00001,0.9,,,,\n"
                       "grid,mesh,n0,1000,0,,,2,,,\n"
                       "lan,switch,n1,1e8,0.0002,,,,,,\n"
                       "light,optical,n0,1e9,0,,,,4,8,0.001\n"
                       "grid,mesh,n1,1000,0,,,,,,\n");

    assert_non_null(k);
    assert_true(k->has_links);
    assert_false(k->has_source);
    assert_int_equal(k->medium_count, 3);
    assert_string_equal(k->media[0].name, "lan");
    assert_int_equal(k->media[0].kind, CLUSTER_SWITCH);
    assert_int_equal(k->media[0].attachment_count, 2);
    assert_string_equal(k->media[0].attachments[1].node, "n1");
    assert_true(k->media[0].attachments[0].bits_per_s == 1e9);
    assert_int_equal(k->media[0].attachments[0].latency_ps, 100 * UNITS_PS_PER_US);
    assert_int_equal(k->media[0].attachments[0].per_message_ps, 10 * UNITS_PS_PER_US);
    assert_true(k->media[0].attachments[0].efficiency_ratio == 0.9);
    assert_true(k->media[0].attachments[1].efficiency_ratio == 1);
    assert_int_equal(k->media[0].attachments[1].line, 4);
    assert_int_equal(k->media[1].mesh_columns, 2);
    assert_int_equal(k->media[2].ports, 4);
    assert_int_equal(k->media[2].wavelengths, 8);
    assert_int_equal(k->media[2].setup_ps, UNITS_PS_PER_MS);
}

static void bad_links_are_named(void **state)
{
    static const struct {
        const char *text, *begin;
    } bad[] = {
        { ",hub,n0,1,0\n", "k/links.csv:2:1: medium is ''" },
        { "l,hubb,n0,1,0\n", "k/links.csv:2:2: kind is 'hubb'" },
        { "l,hub,,1,0\n", "k/links.csv:2:3: node is ''" },
        { "l,hub,n2,1,0\n", "k/links.csv:2:3: node is 'n2': expected a node of devices.csv, source "
                            "or *; did you mean 'n0'?" },
        { "l,hub,n0,0,0\n", "k/links.csv:2:4: bits_per_s is '0'" },
        { "l,hub,n0,nan,0\n", "k/links.csv:2:4: bits_per_s is 'nan'" },
        { "l,hub,n0,1,-1\n", "k/links.csv:2:5: latency_s is '-1'" },
        { "l,mesh,n0,1,-1\n", "k/links.csv:2:5: latency_s is '-1'" },
        { "l,hub,n0,1,\n", "k/links.csv:2:5: latency_s is ''" },
        { "l,hub,n0,1,0\nl,wifi,n1,1,0\n",
          "k/links.csv:3:2: kind is 'wifi': a row above says hub" },
        { "l,hub,n0,1,0\nl,hub,n0,1,0\n",
          "k/links.csv:3:3: node is 'n0': attached to medium 'l' in line 2 already" },
        { "l,mesh,n0,1,0\n", "k/links.csv:2: medium 'l' is a mesh: expected its mesh_columns" },
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[256];

        (void)snprintf(text, sizeof text, LINK_HEAD "\n%s", bad[i].text);
        expect_error(*state, DEVICES, text, bad[i].begin);
    }
    expect_error(*state, DEVICES, LINK_HEAD ",efficiency_ratio\nl,hub,n0,1,0,1.5\n",
                 "k/links.csv:2:6: efficiency_ratio is '1.5'");
    expect_error(*state, DEVICES, LINK_HEAD ",per_message_s\nl,hub,n0,1,0,x\n",
                 "k/links.csv:2:6: per_message_s is 'x'");
    expect_error(*state, DEVICES, LINK_HEAD ",ports\nl,optical,n0,1,0,4\nl,optical,n1,1,0,5\n",
                 "k/links.csv:3:6: ports is '5': a row above says 4 for this medium");
    expect_error(*state, DEVICES, LINK_HEAD ",ports\nl,optical,n0,1,0,0\n",
                 "k/links.csv:2:6: ports is '0'");
    expect_error(*state, DEVICES, LINK_HEAD ",setup_s\nl,optical,n0,1,0,1\nl,optical,n1,1,0,2\n",
                 "k/links.csv:3:6: setup_s is '2': a row above says another time");
    expect_error(*state, DEVICES, LINK_HEAD ",setup_s\nl,optical,n0,1,0,-1\n",
                 "k/links.csv:2:6: setup_s is '-1'");
    expect_error(*state, DEVICES, LINK_HEAD ",speed\n", "k/links.csv:1:6: unknown column 'speed'");
}

static void the_source_is_there_when_a_link_attaches_it_or_every_node(void **state)
{
    const struct cluster *k = load(*state, DEVICES, LINK_HEAD "\nl,switch,n0,1,0\n");

    assert_false(k->has_source);
    k = load(*state, DEVICES, LINK_HEAD "\nl,switch,n0,1,0\nl,switch,source,1,0\n");
    assert_true(k->has_source);
    k = load(*state, DEVICES, LINK_HEAD "\nl,switch,*,1,0\n");
    assert_true(k->has_source);
}

static void the_first_common_medium_carries_and_a_nodes_own_row_counts(void **state)
{
    const struct cluster_attachment *from, *to;
    const struct cluster *k = load(*state, DEVICES,
                                   LINK_HEAD "\n"
                                             "p2p,switch,n0,100,0\n"
                                             "wlan,wifi,*,10,0\n"
                                             "wlan,wifi,n1,20,0\n"
                                             "pcie,bus,n1,1000,0\n"
                                             "p2p,switch,n1,200,0\n");

    assert_non_null(k);
    assert_string_equal(cluster_common_medium(k, "n0", "n1", &from, &to)->name, "p2p");
    assert_true(from->bits_per_s == 100 && to->bits_per_s == 200);
    assert_string_equal(cluster_common_medium(k, "source", "n1", &from, &to)->name, "wlan");
    assert_true(from->bits_per_s == 10 && to->bits_per_s == 20);
    /* Inside a node only its bus carries anything. */
    assert_string_equal(cluster_common_medium(k, "n1", "n1", &from, &to)->name, "pcie");
    assert_null(cluster_common_medium(k, "n0", "n0", &from, &to));
    k = load(*state, DEVICES, LINK_HEAD "\nl,switch,n0,1,0\n");
    assert_null(cluster_common_medium(k, "n0", "n1", &from, &to));
}

/* Both find by hash and lists: as a search from the first row to the last would. */
static void finding_is_that_of_a_plain_search(void **state)
{
    static const char *const nodes[] = { "n0", "n1", "source", "nowhere" };
    const struct cluster *k = load(*state, DEVICES,
                                   LINK_HEAD "\n"
                                             "x,switch,n1,1,0\n"
                                             "y,wifi,source,2,0\n"
                                             "z,bus,n0,3,0\n"
                                             "z,bus,*,4,0\n"
                                             "y,wifi,n0,5,0\n"
                                             "x,switch,source,6,0\n"
                                             "w,hub,*,7,0\n");

    assert_non_null(k);
    for (int f = 0; f < 4; f++)
        for (int t = 0; t < 4; t++) {
            const struct cluster_attachment *from = NULL, *to = NULL, *ends[2] = { NULL, NULL };
            const struct cluster_medium *expected = NULL;

            for (int m = 0; m < k->medium_count && !expected; m++) {
                const struct cluster_medium *medium = &k->media[m];

                for (int end = 0; end < 2; end++) {
                    const char *node = nodes[end == 0 ? f : t];

                    ends[end] = NULL;
                    for (int a = medium->attachment_count - 1; a >= 0; a--)
                        if (strcmp(medium->attachments[a].node, node) == 0 ||
                            (strcmp(medium->attachments[a].node, "*") == 0 &&
                             (!ends[end] || strcmp(ends[end]->node, node) != 0)))
                            ends[end] = &medium->attachments[a];
                }
                if (ends[0] && ends[1] && (f != t || medium->kind == CLUSTER_BUS))
                    expected = medium;
            }
            assert_ptr_equal(cluster_common_medium(k, nodes[f], nodes[t], &from, &to), expected);
            if (expected) {
                assert_ptr_equal(from, ends[0]);
                assert_ptr_equal(to, ends[1]);
            }
        }
}

/* Not a clock but the memory: quadratic work here allocated, so it shows the same everywhere. */
static void thousands_of_nodes_take_little_memory(void **state)
{
    enum { NODES = 6000 };
    struct scratch *scratch = *state;
    struct out *devices = out_open_memory(scratch->arena), *links = out_open_memory(scratch->arena);
    const struct cluster *k;
    size_t before;

    out_printf(devices, "device,type\n");
    out_printf(links, LINK_HEAD "\n");
    for (int i = 0; i < NODES; i++) {
        out_printf(devices, "device-%d,pi\n", i);
        out_printf(links, "lan,switch,device-%d,1e9,0.001\nbus-%d,bus,device-%d,1e10,0\n", i, i, i);
    }
    (void)scratch_write(scratch, "k/devices.csv", scratch_text(devices));
    (void)scratch_write(scratch, "k/links.csv", scratch_text(links));
    before = arena_used_bytes(scratch->arena);
    k = cluster_load(scratch->arena, arena_printf(scratch->arena, "%s/k", scratch->folder),
                     scratch_err(scratch));
    assert_non_null(k);
    assert_int_equal(k->medium_count, NODES + 1);
    assert_int_equal(k->media[0].attachment_count, NODES);
    assert_string_equal(k->media[0].attachments[NODES - 1].node, "device-5999");
    assert_string_equal(k->media[NODES].attachments[0].node, "device-5999");
    assert_true(arena_used_bytes(scratch->arena) - before < NODES * 4096);
    expect_error(
        scratch, scratch_text(devices),
        arena_printf(scratch->arena, "%slan,switch,device-17,1e9,0\n", scratch_text(links)),
        "k/links.csv:12002:3: node is 'device-17': attached to medium 'lan' in line 36 ");
    expect_error(scratch, scratch_text(devices), LINK_HEAD "\nlan,switch,devise-17,1e9,0\n",
                 "k/links.csv:2:3: node is 'devise-17': expected a node of devices.csv, source or "
                 "*; did you mean 'device-17'?");
}

static void an_implied_cluster_has_each_device_once(void **state)
{
    static const char *const names[] = { "b", "a", "b", "c", "a" };
    struct scratch *scratch = *state;
    const struct cluster *k = cluster_implied(scratch->arena, names, 5, "pi");

    assert_int_equal(k->device_count, 3);
    assert_string_equal(k->devices[0].name, "b");
    assert_string_equal(k->devices[1].name, "a");
    assert_string_equal(k->devices[2].node, "c");
    assert_string_equal(k->devices[2].type, "pi");
    assert_true(k->devices[2].speed_ratio == 1);
    assert_string_equal(k->path, "");
    assert_false(k->has_links || k->has_source);
    assert_int_equal(k->medium_count, 0);
}

static void what_is_written_reads_back_the_same(void **state)
{
    static const char devices[] =
        "# orrery: devices 1\n"
        "device,type,node,memory_bytes,reserved_bytes,threads,speed_ratio,address,idle_w,busy_w,"
        "flop_per_s\n"
        "a,pi,n0,1000,10,4,0.5,pi:5555,2.5,6.5,1e+15\n"
        "\"b,2\",nano,,,,,,,,,\n";
    static const char links[] =
        "# orrery: links 1\n"
        "# date: today\n" LINK_HEAD
        ",per_message_s,efficiency_ratio,mesh_columns,ports,wavelengths,setup_s\n"
        "lan,switch,*,1000,0.0001,0.00001,0.9,,,,\n"
        "lan,switch,n0,1000,0,0,1,,,,\n"
        "light,optical,n0,1000,0,0,1,,4,8,0.5\n";
    static const char *const meta[] = { "date", "today", NULL };
    struct scratch *scratch = *state;
    const struct cluster *k = load(scratch, devices, links);
    struct out *out = out_open_memory(scratch->arena);

    assert_non_null(k);
    cluster_write_devices(out, k->devices, k->device_count);
    assert_string_equal(scratch_text(out), devices);
    out = out_open_memory(scratch->arena);
    cluster_write_links(out, k->media, k->medium_count, meta);
    assert_string_equal(scratch_text(out), links);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(every_device_column_is_read),
        scratch_test(bad_devices_are_named),
        scratch_test(a_cluster_without_devices_csv_is_a_system_error),
        scratch_test(rows_of_links_are_gathered_by_medium),
        scratch_test(bad_links_are_named),
        scratch_test(the_source_is_there_when_a_link_attaches_it_or_every_node),
        scratch_test(the_first_common_medium_carries_and_a_nodes_own_row_counts),
        scratch_test(finding_is_that_of_a_plain_search),
        scratch_test(thousands_of_nodes_take_little_memory),
        scratch_test(an_implied_cluster_has_each_device_once),
        scratch_test(what_is_written_reads_back_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
