/* test_topology.c - the way of a message: media, links, latencies, rates over time. */
#include "sim/network/topology.h"

#include "lib/base/err.h"
#include "lib/format/events.h"
#include "sim/network/network.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/sim/linked.h"

#define US UNITS_PS_PER_US
#define MBIT INT64_C(1000000000) /* in millibits */

static struct arena *arena;
static struct err err;
static struct cluster *cluster;

static int set_up(void **state)
{
    (void)state;
    arena = arena_create();
    err = (struct err)ERR_INIT;
    cluster = linked_create(arena, 9);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_destroy(arena);
    return 0;
}

static const struct topology *build(const struct events *events, int from, int to)
{
    const struct network_pair pair = { from, to };

    cluster_index(arena, cluster);
    return topology_build(arena, cluster, events, true, &pair, 1, &err);
}

/* "lan/n0,ring/n1>n2|..." : links of the legs of a route, legs apart. */
static const char *path(int from, int to)
{
    const struct topology *topology = build(NULL, from, to);
    const char *text = "";

    assert_non_null(topology);
    for (int32_t l = 0; l < topology->leg_count; l++) {
        const struct topology_leg *leg = &topology->legs[l];

        text = arena_printf(arena, "%s%s", text, l > 0 ? "|" : "");
        for (int32_t s = 0; s < leg->step_count; s++)
            text = arena_printf(arena, "%s%s%s", text, s > 0 ? "," : "",
                                topology->links[topology->steps[leg->first_step + s].link].name);
    }
    return text;
}

static void a_switch_has_a_port_out_and_a_port_in(void **state)
{
    const struct topology *topology;

    (void)state;
    linked_medium(arena, cluster, "lan", CLUSTER_SWITCH, "*");
    assert_string_equal(path(0, 1), "lan/n0");
    topology = build(NULL, 0, 1);
    assert_string_equal(topology->links[topology->legs[0].in_link].name, "lan/n1/in");
    assert_string_equal(path(NETWORK_SOURCE, 1), "lan/source");
    assert_string_equal(path(3, 3), "");
}

static void a_ring_goes_the_shorter_way(void **state)
{
    (void)state;
    linked_medium(arena, cluster, "loop", CLUSTER_RING, "n0 n1 n2 n3 n4 n5");
    assert_string_equal(path(0, 2), "loop/n0>n1,loop/n1>n2");
    assert_string_equal(path(0, 4), "loop/n0>n5,loop/n5>n4");
    assert_string_equal(path(4, 1), "loop/n4>n5,loop/n5>n0,loop/n0>n1"); /* a tie: file order */
    assert_int_equal(build(NULL, 4, 1)->legs[0].latency_ps, 300 * US);
}

static void rows_stand_on_a_ring_in_order_of_the_file(void **state)
{
    (void)state;
    linked_medium(arena, cluster, "loop", CLUSTER_RING, "n5 * n2");
    assert_string_equal(path(5, 0), "loop/n5>n0");
    assert_string_equal(path(2, 5), "loop/n2>n5");
    assert_string_equal(path(NETWORK_SOURCE, 2), "loop/source>n2"); /* last of the others */
    assert_string_equal(path(4, 6), "loop/n4>n6");
}

static void a_ring_of_two_is_a_cable(void **state)
{
    (void)state;
    linked_medium(arena, cluster, "cable", CLUSTER_RING, "n0 n1");
    assert_string_equal(path(0, 1), "cable/n0>n1");
    assert_string_equal(path(1, 0), "cable/n1>n0");
}

static void a_mesh_goes_along_the_row_first(void **state)
{
    (void)state;
    linked_medium(arena, cluster, "grid", CLUSTER_MESH, "n0 n1 n2 n3 n4 n5 n6 n7")->mesh_columns =
        3;
    assert_string_equal(path(0, 5), "grid/n0>n1,grid/n1>n2,grid/n2>n5");
    assert_string_equal(path(5, 0), "grid/n5>n4,grid/n4>n3,grid/n3>n0");
    assert_string_equal(path(2, 6), "grid/n2>n1,grid/n1>n0,grid/n0>n3,grid/n3>n6");
    /* where the last row has no node below n2: up first */
    assert_string_equal(path(6, 2), "grid/n6>n3,grid/n3>n0,grid/n0>n1,grid/n1>n2");
    assert_string_equal(path(7, 6), "grid/n7>n6");
}

static void a_circuit_passes_the_fibres_of_its_mesh(void **state)
{
    struct cluster_medium *medium =
        linked_medium(arena, cluster, "light", CLUSTER_OPTICAL, "n0 n1 n2 n3 n4 n5");
    const struct topology *topology;

    (void)state;
    assert_string_equal(path(0, 5), "light/n0>n5");
    assert_int_equal(build(NULL, 0, 5)->legs[0].latency_ps, 100 * US);
    assert_int_equal(build(NULL, 0, 5)->circuits[0].hop_count, 1);
    medium->mesh_columns = 3;
    topology = build(NULL, 5, 0);
    assert_int_equal(topology->legs[0].latency_ps, 300 * US);
    assert_int_equal(topology->circuits[0].hop_count, 3);
    assert_int_equal(topology->fibre_count, 3);
}

static void the_route_of_fewest_media_is_taken(void **state)
{
    (void)state;
    linked_medium(arena, cluster, "a", CLUSTER_SWITCH, "n0 n1");
    linked_medium(arena, cluster, "b", CLUSTER_SWITCH, "n1 n2");
    linked_medium(arena, cluster, "c", CLUSTER_SWITCH, "n2 n3");
    linked_medium(arena, cluster, "air", CLUSTER_WIFI, "n0 n4");
    linked_medium(arena, cluster, "e", CLUSTER_SWITCH, "n4 n3");
    assert_string_equal(path(0, 1), "a/n0");
    assert_string_equal(path(0, 2), "a/n0|b/n1");
    assert_string_equal(path(0, 3), "air|e/n4");
    assert_string_equal(path(3, 0), "e/n3|air");
    assert_string_equal(path(1, 4), "a/n1|air");
}

static void ties_go_to_the_medium_and_the_gateway_that_stand_first(void **state)
{
    (void)state;
    linked_medium(arena, cluster, "z", CLUSTER_SWITCH, "n0 n2 n1");
    linked_medium(arena, cluster, "a", CLUSTER_SWITCH, "n0 n3");
    linked_medium(arena, cluster, "b", CLUSTER_SWITCH, "n1 n2 n3 n4");
    assert_string_equal(path(0, 4), "z/n0|b/n2");
    assert_string_equal(path(4, 0), "b/n4|z/n1");
}

static void nodes_without_a_route_are_named(void **state)
{
    (void)state;
    linked_medium(arena, cluster, "a", CLUSTER_SWITCH, "n0 n1");
    linked_medium(arena, cluster, "b", CLUSTER_SWITCH, "n2 n3");
    assert_null(build(NULL, 0, 3));
    assert_string_equal(err.text, "x/links.csv: no route over any media joins nodes 'n0' and 'n3'");
}

/* Not a clock but the memory: quadratic work here allocated, so it shows the same everywhere. */
static void thousands_of_nodes_take_memory_for_each_alone(void **state)
{
    enum { MANY = 5000 };
    struct network_pair *pairs = arena_array(arena, 2 * (size_t)MANY, sizeof *pairs);
    struct event list[] = { { .time_ps = 5, .kind = EVENT_DOWN, .target = EVENT_MEDIUM } };
    const struct events events = { "e.csv", 1, list };
    size_t before;

    (void)state;
    cluster = linked_create(arena, MANY);
    linked_medium(arena, cluster, "lan", CLUSTER_SWITCH, "*");
    linked_medium(arena, cluster, "pcie", CLUSTER_BUS, "*");
    linked_medium(arena, cluster, "far", CLUSTER_SWITCH, "n0 source");
    for (int32_t i = 0; i < MANY; i++) {
        pairs[2 * i] = (struct network_pair){ NETWORK_SOURCE, i };
        pairs[2 * i + 1] = (struct network_pair){ i, (i + 1) % MANY };
    }
    cluster_index(arena, cluster);
    before = arena_used_bytes(arena);
    assert_non_null(topology_build(arena, cluster, &events, true, pairs, 2 * MANY, &err));
    assert_in_range(arena_used_bytes(arena) - before, 1, 2 * MANY * 1500);
}

/* ---- rates over time ---- */

static const struct topology_rate *rates_of(const struct topology *topology, int32_t count)
{
    assert_int_equal(topology->legs[0].rate_count, count);
    return &topology->rates[topology->legs[0].first_rate];
}

static void the_slowest_node_of_the_way_sets_the_rate(void **state)
{
    struct cluster_medium *medium =
        linked_medium(arena, cluster, "loop", CLUSTER_RING, "n0 n1 n2 n3 n4 n5");

    (void)state;
    medium->attachments[1].bits_per_s = 4e6;
    medium->attachments[4].bits_per_s = 1e6;
    medium->attachments[2].efficiency_ratio = 0.25;
    assert_int_equal(rates_of(build(NULL, 0, 1), 1)->rate_millibits_per_s, 4 * MBIT);
    assert_int_equal(rates_of(build(NULL, 0, 2), 1)->rate_millibits_per_s, 2 * MBIT);
    assert_int_equal(rates_of(build(NULL, 0, 3), 1)->rate_millibits_per_s, 2 * MBIT);
    assert_int_equal(rates_of(build(NULL, 0, 5), 1)->rate_millibits_per_s, 8 * MBIT);
}

static void events_change_rates_from_then_on(void **state)
{
    struct event list[] = {
        { .time_ps = 1,
          .kind = EVENT_BITS_PER_S,
          .target = EVENT_PORT,
          .node = "n1",
          .value = 2e6 },
        { .time_ps = 2, .kind = EVENT_DOWN, .target = EVENT_MEDIUM },
        { .time_ps = 3, .kind = EVENT_BITS_PER_S, .target = EVENT_MEDIUM, .value = 3e6 },
        { .time_ps = 4, .kind = EVENT_DOWN, .target = EVENT_PORT, .node = "n0" },
        { .time_ps = 5, .kind = EVENT_UP, .target = EVENT_MEDIUM },
        { .time_ps = 6, .kind = EVENT_SPEED_RATIO, .target = EVENT_DEVICE, .value = 2 },
        { .time_ps = 7, .kind = EVENT_UP, .target = EVENT_PORT, .node = "n0" },
        { .time_ps = 8, .kind = EVENT_DOWN, .target = EVENT_PORT, .node = "n5" },
    };
    const struct events events = { "e.csv", 8, list };
    static const struct topology_rate expected[] = {
        { 0, 8 * MBIT }, { 1, 2 * MBIT }, { 2, 0 }, { 7, 3 * MBIT }
    };
    const struct topology_rate *rates;

    (void)state;
    linked_medium(arena, cluster, "lan", CLUSTER_SWITCH, "*");
    rates = rates_of(build(&events, 0, 1), 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(rates[i].time_ps, expected[i].time_ps);
        assert_int_equal(rates[i].rate_millibits_per_s, expected[i].rate_millibits_per_s);
    }
    (void)rates_of(build(&events, 2, 3), 3); /* 8, down, 3 */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_switch_has_a_port_out_and_a_port_in),
        TEST(a_ring_goes_the_shorter_way),
        TEST(rows_stand_on_a_ring_in_order_of_the_file),
        TEST(a_ring_of_two_is_a_cable),
        TEST(a_mesh_goes_along_the_row_first),
        TEST(a_circuit_passes_the_fibres_of_its_mesh),
        TEST(the_route_of_fewest_media_is_taken),
        TEST(ties_go_to_the_medium_and_the_gateway_that_stand_first),
        TEST(nodes_without_a_route_are_named),
        TEST(thousands_of_nodes_take_memory_for_each_alone),
        TEST(the_slowest_node_of_the_way_sets_the_rate),
        TEST(events_change_rates_from_then_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
