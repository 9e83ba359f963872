/* test_network.c - what messages cost on each kind of medium, who waits for whom, what is refused.
 */
#include "sim/network/network.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "sim/engine/engine.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define US UNITS_PS_PER_US

enum { A, B, C, D }; /* devices: c and d share a node */

static struct arena *arena;
static struct err err;
static struct engine *engine;
static struct cluster cluster;
static struct cluster_device devices[4];
static struct cluster_medium media[4];

static int set_up(void **state)
{
    static const char *const names[] = { "a", "b", "c", "d" };
    static const char *const nodes[] = { "na", "nb", "nc", "nc" };

    (void)state;
    arena = arena_create();
    err = (struct err)ERR_INIT;
    memset(media, 0, sizeof(media));
    memset(devices, 0, sizeof(devices));
    for (int i = 0; i < 4; i++) {
        devices[i].name = names[i];
        devices[i].node = nodes[i];
    }
    cluster = (struct cluster){ .path = "x",
                                .device_count = 4,
                                .devices = devices,
                                .media = media,
                                .has_links = true,
                                .has_source = true };
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_destroy(arena);
    return 0;
}

/* 8 Mbit/s = 1 byte a microsecond, latency 100 us. */
static void add_medium(const char *name, enum cluster_kind kind, const char *const *nodes,
                       int count)
{
    struct cluster_medium *medium = &media[cluster.medium_count++];

    medium->name = name;
    medium->kind = kind;
    medium->attachment_count = count;
    medium->attachments = arena_array(arena, (size_t)count, sizeof(*medium->attachments));
    for (int i = 0; i < count; i++)
        medium->attachments[i] = (struct cluster_attachment){ .node = nodes[i],
                                                              .bits_per_s = 8e6,
                                                              .latency_ps = 100 * US,
                                                              .efficiency_ratio = 1,
                                                              .line = i + 2 };
}

static const char *const everyone[] = { "na", "nb", "nc", CLUSTER_SOURCE };

static struct network *build(const struct network_pair *pairs, int count)
{
    const struct network_options options = { .model = NETWORK_FIFO };
    struct network *network;

    cluster_index(arena, &cluster);
    network = network_open(arena, &cluster, &options, pairs, count, &err);
    if (!network)
        return NULL;
    engine = engine_create(arena, 10 + network_slot_count(network));
    network_attach(network, engine, 10);
    return network;
}

static struct network_sent send(struct network *network, int from, int to, int64_t bytes,
                                int32_t message)
{
    return network_send(network, network_route(network, from, to), bytes, message);
}

static void assert_next(struct network *network, int64_t at_us, int32_t message)
{
    int slot = engine_next(engine);

    assert_true(slot >= 10);
    assert_int_equal(engine_now_ps(engine), at_us * US);
    assert_int_equal(network_receive(network, slot), message);
}

static const struct network_pair pairs[] = {
    { A, B }, { A, C }, { B, A }, { NETWORK_SOURCE, A }, { A, NETWORK_SOURCE },
    { A, A }, { C, D }, { A, B }
};
#define PAIRS ((int)(sizeof(pairs) / sizeof(pairs[0])))

static void a_message_takes_overhead_and_bytes_and_latency(void **state)
{
    struct network *network;
    struct network_sent sent;

    (void)state;
    add_medium("lan", CLUSTER_SWITCH, everyone, 4);
    media[0].attachments[0].per_message_ps = 30 * US;
    media[0].attachments[1].per_message_ps = 999 * US; /* of the receiver: does not count */
    network = build(pairs, PAIRS);
    sent = send(network, A, B, 50, 7);
    assert_false(sent.is_free);
    assert_int_equal(sent.begin_ps, 0);
    assert_int_equal(sent.end_ps, 80 * US);
    assert_int_equal(sent.arrival_ps, 180 * US);
    assert_int_equal(network_in_flight(network), 1);
    assert_next(network, 180, 7);
    assert_int_equal(network_in_flight(network), 0);
    assert_int_equal(network_link_busy_ps(network, sent.link), 80 * US);
    assert_int_equal(network_link_bytes(network, sent.link), 50);
    assert_string_equal(network_link_name(network, sent.link), "lan/na");
    assert_string_equal(network_link_medium(network, sent.link), "lan");
}

static void the_lower_rate_and_the_larger_latency_count(void **state)
{
    struct network *network;

    (void)state;
    add_medium("lan", CLUSTER_SWITCH, everyone, 4);
    media[0].attachments[1].bits_per_s = 4e6;
    media[0].attachments[1].latency_ps = 300 * US;
    network = build(pairs, PAIRS);
    assert_int_equal(send(network, A, B, 50, 1).arrival_ps, 400 * US);
    media[0].attachments[1].efficiency_ratio = 0.5;
    network = build(pairs, PAIRS);
    assert_int_equal(send(network, A, B, 50, 1).arrival_ps, 500 * US);
}

static void a_switch_port_serves_its_node_in_order(void **state)
{
    struct network *network;

    (void)state;
    add_medium("lan", CLUSTER_SWITCH, everyone, 4);
    network = build(pairs, PAIRS);
    send(network, A, B, 50, 1);
    assert_int_equal(send(network, A, C, 10, 2).begin_ps, 50 * US);
    assert_int_equal(send(network, B, A, 10, 3).begin_ps, 0); /* another node's port */
    assert_int_equal(send(network, A, B, 5, 4).begin_ps, 60 * US);
    assert_next(network, 110, 3);
    assert_next(network, 150, 1);
    assert_next(network, 160, 2);
    assert_next(network, 165, 4);
    assert_int_equal(engine_next(engine), -1);
    assert_int_equal(network_link_count(network), 4 - 1); /* na, nb, source: nc sends to nobody */
}

static void a_shared_medium_serves_all_nodes_in_order(void **state)
{
    static const enum cluster_kind kinds[] = { CLUSTER_WIFI, CLUSTER_HUB, CLUSTER_BUS };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct network *network;

        cluster.medium_count = 0;
        memset(media, 0, sizeof(media));
        add_medium("air", kinds[i], everyone, 3);
        network = build(pairs, 3);
        send(network, A, B, 50, 1);
        assert_int_equal(send(network, B, A, 10, 2).begin_ps, 50 * US);
        assert_int_equal(network_link_count(network), 1);
        assert_string_equal(network_link_name(network, 0), "air");
    }
}

static void many_messages_of_a_route_arrive_in_order(void **state)
{
    struct network *network;

    (void)state;
    add_medium("lan", CLUSTER_SWITCH, everyone, 4);
    network = build(pairs, PAIRS);
    for (int32_t round = 0; round < 3; round++) { /* the ring grows and wraps */
        for (int32_t i = 0; i < 20 + 10 * round; i++)
            send(network, A, B, 1, i);
        for (int32_t i = 0; i < 20 + 10 * round; i++) {
            int slot = engine_next(engine);

            assert_int_equal(network_receive(network, slot), i);
        }
    }
    assert_int_equal(network_in_flight(network), 0);
}

static void messages_inside_a_device_or_a_node_are_free(void **state)
{
    struct network *network;

    (void)state;
    add_medium("lan", CLUSTER_SWITCH, everyone, 4);
    network = build(pairs, PAIRS);
    assert_true(send(network, A, A, 1000, 1).is_free);
    assert_true(send(network, C, D, 1000, 1).is_free);
    assert_int_equal(network_in_flight(network), 0);
    assert_int_equal(engine_next(engine), -1);
}

static void devices_of_a_node_use_its_bus(void **state)
{
    static const char *const own[] = { "nc" };
    struct network *network;
    struct network_sent sent;

    (void)state;
    add_medium("lan", CLUSTER_SWITCH, everyone, 4);
    add_medium("pcie", CLUSTER_BUS, own, 1);
    network = build(pairs, PAIRS);
    sent = send(network, C, D, 1000, 1);
    assert_int_equal(sent.arrival_ps, 1100 * US);
    assert_string_equal(network_link_name(network, sent.link), "pcie");
}

static void the_own_row_of_a_node_counts_before_that_of_all(void **state)
{
    static const char *const both[] = { "*", "nc" };
    struct network *network;

    (void)state;
    add_medium("pcie", CLUSTER_BUS, both, 2);
    media[0].attachments[0].bits_per_s = 8e9;
    network = build(pairs, PAIRS);
    assert_int_equal(send(network, C, D, 1000, 1).arrival_ps, 1100 * US);
}

static void without_links_everything_is_free(void **state)
{
    struct network *network;

    (void)state;
    cluster.has_links = cluster.has_source = false;
    network = build(pairs, PAIRS);
    assert_true(send(network, A, B, 1000, 1).is_free);
    assert_true(send(network, NETWORK_SOURCE, A, 1000, 1).is_free);
    assert_int_equal(network_link_count(network), 0);
}

static void an_unattached_source_is_free(void **state)
{
    struct network *network;

    (void)state;
    cluster.has_source = false;
    add_medium("lan", CLUSTER_SWITCH, everyone, 3);
    network = build(pairs, PAIRS);
    assert_true(send(network, NETWORK_SOURCE, A, 1000, 1).is_free);
    assert_false(send(network, A, B, 1000, 1).is_free);
}

static void the_first_common_medium_of_the_file_is_taken(void **state)
{
    static const char *const two[] = { "na", "nb" };
    struct network *network;

    (void)state;
    add_medium("cable", CLUSTER_SWITCH, two, 2);
    add_medium("air", CLUSTER_WIFI, everyone, 4);
    network = build(pairs, PAIRS);
    assert_string_equal(network_link_medium(network, send(network, A, B, 1, 1).link), "cable");
    assert_string_equal(network_link_medium(network, send(network, A, C, 1, 1).link), "air");
}

static void nodes_without_a_route_are_refused(void **state)
{
    (void)state;
    add_medium("lan", CLUSTER_SWITCH, everyone, 1);
    assert_null(build(pairs, 1));
    assert_non_null(
        strstr(err.text, "x/links.csv: no route over any media joins nodes 'na' and 'nb'"));
}

static void a_hopeless_rate_saturates(void **state)
{
    struct network *network;

    (void)state;
    add_medium("lan", CLUSTER_SWITCH, everyone, 4);
    media[0].attachments[0].bits_per_s = 1e-9;
    network = build(pairs, PAIRS);
    assert_true(send(network, A, B, INT64_MAX / 16, 1).arrival_ps == ENGINE_LAST_PS);
    assert_true(send(network, A, B, 1, 2).arrival_ps == ENGINE_LAST_PS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_takes_overhead_and_bytes_and_latency),
        TEST(the_lower_rate_and_the_larger_latency_count),
        TEST(a_switch_port_serves_its_node_in_order),
        TEST(a_shared_medium_serves_all_nodes_in_order),
        TEST(many_messages_of_a_route_arrive_in_order),
        TEST(messages_inside_a_device_or_a_node_are_free),
        TEST(devices_of_a_node_use_its_bus),
        TEST(the_own_row_of_a_node_counts_before_that_of_all),
        TEST(without_links_everything_is_free),
        TEST(an_unattached_source_is_free),
        TEST(the_first_common_medium_of_the_file_is_taken),
        TEST(nodes_without_a_route_are_refused),
        TEST(a_hopeless_rate_saturates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
