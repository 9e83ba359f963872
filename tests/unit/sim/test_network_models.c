/* test_network_models.c - messages under both models of the network, FIFO ports and flows: alone
 * they take the same; together they wait or share. */
#include "tests/unit/sim/messages.h"

/* ---- alone ---- */

static void alone_a_message_takes_the_closed_form(void **state)
{
    static const int64_t sizes[] = { 0, 1, 4, 1500, 8192, 1000003, 123456789012 };
    int seen = 0;

    (void)state;
    for (int kind = 0; kind < CLUSTER_KIND_COUNT; kind++)
        for (int model = 0; model < NETWORK_MODEL_COUNT; model++)
            for (uint64_t seed = 1; seed <= 3; seed++) {
                struct rng rng = rng_stream(seed, RNG_TEST, (uint64_t)kind);

                cluster = linked_create(arena, NODES);
                draw_medium(&rng, (enum cluster_kind)kind);
                build((enum network_model)model, NULL);
                for (int32_t i = 0; i < 60; i++) {
                    int from = (int)rng_below(&rng, NODES + 1) - 1;
                    int to = (int)rng_below(&rng, NODES + 1) - 1;
                    int64_t begin_ps = engine_now_ps(engine);
                    int64_t bytes = sizes[rng_below(&rng, 7)];

                    if (from == to)
                        continue;
                    (void)send(from, to, bytes, i);
                    run();
                    assert_near(arrival_ps[i] - begin_ps,
                                network_alone_ps(network, network_route(network, from, to), bytes),
                                model == NETWORK_FLOWS);
                    seen++;
                }
            }
    assert_in_range(seen, 2000, 2520);
}

static void alone_over_several_media_each_leg_takes_its_closed_form(void **state)
{
    (void)state;
    for (int model = 0; model < NETWORK_MODEL_COUNT; model++) {
        cluster = linked_create(arena, NODES);
        linked_medium(arena, cluster, "a", CLUSTER_SWITCH, "n0 n1")->attachments[0].per_message_ps =
            10 * US;
        linked_medium(arena, cluster, "loop", CLUSTER_RING, "n1 n2 n3 n4 n5 n6 n7")
            ->attachments[0]
            .per_message_ps = 7 * US;
        linked_medium(arena, cluster, "air", CLUSTER_WIFI, "n3 n8");
        linked_medium(arena, cluster, "all", CLUSTER_BUS, "n0 n4 n5 n6 n7 n2 n8");
        cluster->media[3].attachments[0].latency_ps = 0;
        build((enum network_model)model, NULL);
        (void)send(0, 3, 1000, 1); /* a, loop: n1 to n3 */
        run();
        assert_near(arrival_ps[1], (10 + 1000 + 100 + 7 + 1000 + 200) * US, 2 * model);
        assert_int_equal(network_alone_ps(network, network_route(network, 0, 3), 1000),
                         (10 + 1000 + 100 + 7 + 1000 + 200) * US);
        assert_int_equal(network_received(network).message, 1);
        assert_int_equal(network_received(network).send_ps, 0);
        assert_int_equal(network_received(network).begin_ps, 0);
        assert_int_equal(network_received(network).arrival_ps, arrival_ps[1]);
        assert_int_equal(network_received(network).bytes, 1000);
        assert_string_equal(network_link_name(network, network_received(network).link), "a/n0");
        assert_int_equal(network_link_bytes(network, link_named("loop/n1>n2")), 1000);
        assert_int_equal(network_link_bytes(network, link_named("loop/n2>n3")), 1000);
    }
}

/* ---- flows ---- */

static void flows_into_one_node_share_its_port(void **state)
{
    (void)state;
    linked_medium(arena, cluster, "lan", CLUSTER_SWITCH, "*");
    build(NETWORK_FLOWS, NULL);
    (void)send(0, 3, 1000, 0);
    (void)send(1, 3, 1000, 1);
    (void)send(2, 4, 1000, 2);
    run();
    assert_int_equal(arrival_ps[0], 2100 * US);
    assert_int_equal(arrival_ps[1], 2100 * US);
    assert_int_equal(arrival_ps[2], 1100 * US);
    assert_int_equal(arrived[1], 0); /* at one instant in order of sending */
    assert_int_equal(network_link_busy_ps(network, link_named("lan/n3/in")), 2000 * US);
    assert_int_equal(network_link_busy_ps(network, link_named("lan/n0")), 1000 * US);
    assert_int_equal(network_link_bytes(network, link_named("lan/n3/in")), 2000);
}

static void the_two_directions_of_a_switch_port_are_apart(void **state)
{
    (void)state;
    linked_medium(arena, cluster, "lan", CLUSTER_SWITCH, "*");
    build(NETWORK_FLOWS, NULL);
    (void)send(0, 1, 1000, 0);
    (void)send(1, 0, 1000, 1);
    run();
    assert_int_equal(arrival_ps[0], 1100 * US);
    assert_int_equal(arrival_ps[1], 1100 * US);
}

static void what_one_receiver_cannot_take_others_get(void **state)
{
    (void)state;
    cluster = linked_create(arena, 3);
    linked_medium(arena, cluster, "lan", CLUSTER_SWITCH, "n0 n1 n2")->attachments[1].bits_per_s =
        2e6;
    build(NETWORK_FLOWS, NULL); /* n1 takes 1/4, n2 gets 3/4 of n0's port */
    (void)send(0, 1, 250, 0);
    (void)send(0, 2, 750, 1);
    run();
    assert_int_equal(arrival_ps[0], 1100 * US);
    assert_int_equal(arrival_ps[1], 1100 * US);
}

static void a_slow_station_takes_the_air_from_all(void **state)
{
    (void)state;
    cluster = linked_create(arena, 4);
    linked_medium(arena, cluster, "air", CLUSTER_WIFI, "n0 n1 n2 n3")->attachments[3].bits_per_s =
        1e6; /* an eighth */
    build(NETWORK_FLOWS, NULL);
    (void)send(0, 1, 1000, 0);
    (void)send(2, 3, 1000, 1); /* both at 1/9 of a byte a us: 1 / (1 + 8) */
    run();
    assert_near(arrival_ps[0], 9100 * US, 1);
    assert_near(arrival_ps[1], 9100 * US, 1);
    assert_near(network_link_busy_ps(network, link_named("air")), 9000 * US, 1);
}

static void a_hub_is_shared_by_both_directions(void **state)
{
    (void)state;
    cluster = linked_create(arena, 3);
    linked_medium(arena, cluster, "hub", CLUSTER_HUB, "n0 n1 n2");
    build(NETWORK_FLOWS, NULL);
    (void)send(0, 1, 1000, 0);
    (void)send(1, 0, 1000, 1);
    run();
    assert_int_equal(arrival_ps[0], 2100 * US);
    assert_int_equal(arrival_ps[1], 2100 * US);
}

static void a_sender_pays_for_one_message_after_the_other(void **state)
{
    struct cluster_medium *lan = linked_medium(arena, cluster, "lan", CLUSTER_SWITCH, "*");

    (void)state;
    lan->attachments[0].per_message_ps = 50 * US;
    build(NETWORK_FLOWS, NULL);
    for (int32_t i = 0; i < 8; i++)
        (void)send(0, 1 + i, 0, i);
    run();
    for (int32_t i = 0; i < 8; i++)
        assert_near(arrival_ps[i], (50 * (i + 1) + 100) * US, 4);
}

/* While it pays for the second message, the bytes of the first one have half of the port. */
static void what_a_message_costs_is_taken_from_the_port(void **state)
{
    struct cluster_medium *lan = linked_medium(arena, cluster, "lan", CLUSTER_SWITCH, "*");

    (void)state;
    lan->attachments[0].per_message_ps = 100 * US;
    lan->attachments[0].latency_ps = 0;
    build(NETWORK_FLOWS, NULL);
    (void)send(0, 1, 1000, 0);
    (void)send(0, 2, 0, 1);
    run();
    assert_int_equal(arrival_ps[1], 300 * US); /* 100, then 100 at half the port */
    assert_int_equal(arrival_ps[0], 1200 * US);
    assert_int_equal(network_link_busy_ps(network, link_named("lan/n0")), 1200 * US);
}

static void without_latency_a_burst_is_solved_as_one(void **state)
{
    struct cluster_medium *lan = linked_medium(arena, cluster, "lan", CLUSTER_SWITCH, "*");

    (void)state;
    lan->attachments[0].latency_ps = 0;
    build(NETWORK_FLOWS, NULL);
    for (int32_t i = 0; i < 8; i++)
        (void)send(0, 1 + i, 100, i);
    assert_int_equal(engine_peek_ps(engine), 0); /* rates are found when all have been sent */
    run();
    for (int32_t i = 0; i < 8; i++) {
        assert_int_equal(arrival_ps[i], 800 * US);
        assert_int_equal(arrived[i], i);
    }
}

static void messages_of_one_stream_follow_each_other(void **state)
{
    (void)state;
    linked_medium(arena, cluster, "lan", CLUSTER_SWITCH, "*");
    build(NETWORK_FLOWS, NULL);
    (void)send(0, 1, 1000, 0);
    (void)send(0, 1, 500, 1);
    (void)send(0, 2, 1000, 2); /* with the stream to n1 half the port each, 500 of it at 1000 */
    run();
    assert_int_equal(arrival_ps[0], 2100 * US);
    assert_int_equal(arrival_ps[2], 2100 * US);
    assert_int_equal(arrival_ps[1], 2600 * US);
    assert_int_equal(network_link_busy_ps(network, link_named("lan/n0")), 2500 * US);
}

/* ---- ports in place of flows ---- */

/* Sends the same messages over routes that share nothing. */
static void send_apart(bool has_shortcut, bool has_slow_node)
{
    static const struct network_pair pairs[] = { { 0, 1 }, { 1, 2 }, { 2, 0 }, { 4, 3 }, { 8, 8 } };
    const struct network_options options = { .model = NETWORK_FLOWS, .has_shortcut = has_shortcut };
    struct cluster_medium *lan;
    struct rng rng = rng_stream(11, RNG_TEST, 3);

    cluster = linked_create(arena, NODES);
    lan = linked_medium(arena, cluster, "lan", CLUSTER_SWITCH, "n0 n1 n2 n3 n4");
    for (int i = 0; i < 5; i++) {
        lan->attachments[i].bits_per_s = has_slow_node && i == 3 ? 7e5 : 9.41e7;
        lan->attachments[i].latency_ps = (i + 1) * 12345678;
        lan->attachments[i].per_message_ps = i < 3 ? 7654321 : 0;
    }
    build_pairs(&options, pairs, 5);
    assert_int_equal(network_is_bookable(network), has_shortcut && !has_slow_node);
    for (int32_t i = 0; i < 900; i++) {
        const struct network_pair *pair = &pairs[rng_below(&rng, 4)];

        (void)send(pair->from, pair->to, (int64_t)rng_below(&rng, 20000), i);
        run_until(engine_now_ps(engine) + (int64_t)rng_below(&rng, 900) * US);
    }
    run();
}

static void ports_stand_for_flows_where_nothing_meets(void **state)
{
    int64_t by_flows_ps[900], busy_ps[64], bytes[64], moved_bytes;

    (void)state;
    for (int slow = 0; slow < 2; slow++) {
        send_apart(false, slow == 1);
        memcpy(by_flows_ps, arrival_ps, sizeof by_flows_ps);
        moved_bytes = network_moved_bytes(network);
        for (int i = 0; i < network_link_count(network); i++) {
            busy_ps[i] = network_link_busy_ps(network, i);
            bytes[i] = network_link_bytes(network, i);
        }
        send_apart(true, slow == 1);
        for (int i = 0; i < 900; i++) /* a stream's roundings add up until it is idle */
            assert_near(arrival_ps[i], by_flows_ps[i], 20);
        assert_int_equal(network_moved_bytes(network), moved_bytes);
        for (int i = 0; i < network_link_count(network); i++) {
            assert_near(network_link_busy_ps(network, i), busy_ps[i], 1000);
            assert_int_equal(network_link_bytes(network, i), bytes[i]);
        }
    }
}

static void what_shares_a_port_is_no_port(void **state)
{
    static const struct network_pair pairs[] = { { 0, 1 }, { 2, 1 }, { 3, 4 } };
    const struct network_options options = { .model = NETWORK_FLOWS, .has_shortcut = true };

    (void)state;
    linked_medium(arena, cluster, "lan", CLUSTER_SWITCH, "*");
    build_pairs(&options, pairs, 3);
    assert_int_equal(send(0, 1, 1000, 0).arrival_ps, NETWORK_LATER);
    assert_int_equal(send(3, 4, 1000, 1).arrival_ps, 1100 * US);
    assert_int_equal(send(3, 4, 1000, 2).arrival_ps, 2100 * US);
    (void)send(2, 1, 1000, 3);
    run();
    assert_int_equal(arrival_ps[0], 2100 * US);
    assert_int_equal(arrival_ps[3], 2100 * US);
    assert_int_equal(network_moved_bytes(network), 4000);
    assert_int_equal(network_link_busy_ps(network, link_named("lan/n4/in")), 2000 * US);
    assert_int_equal(network_link_busy_ps(network, link_named("lan/n1/in")), 2000 * US);
    assert_int_equal(network_link_busy_ps(network, link_named("lan/n2")), 1000 * US);
}

static void empty_messages_meet_nobody(void **state)
{
    static const struct network_pair pairs[] = { { 0, 1 }, { 0, 2 }, { 3, 1 },
                                                 { 4, 5 }, { 4, 6 }, { 7, 6 } };
    static const bool are_empty[] = { true, true, true, false, true, true };
    const struct network_options options = { .model = NETWORK_FLOWS,
                                             .has_shortcut = true,
                                             .are_empty = are_empty };

    (void)state;
    linked_medium(arena, cluster, "lan", CLUSTER_SWITCH, "*");
    build_pairs(&options, pairs, 6);
    assert_int_equal(send(0, 1, 0, 0).arrival_ps, 100 * US);
    assert_int_equal(send(0, 2, 0, 1).arrival_ps, 100 * US);
    assert_int_equal(send(3, 1, 0, 2).arrival_ps, 100 * US);
    assert_int_equal(send(4, 5, 1000, 3).arrival_ps, 1100 * US);
    assert_int_equal(send(4, 6, 0, 4).arrival_ps, NETWORK_LATER); /* not behind the one to n5 */
    assert_int_equal(send(7, 6, 0, 5).arrival_ps, 100 * US);
    run();
    assert_int_equal(arrival_ps[4], 100 * US);
    assert_int_equal(network_moved_bytes(network), 1000);
    assert_int_equal(network_link_busy_ps(network, link_named("lan/n4")), 1000 * US);
    assert_int_equal(network_link_busy_ps(network, link_named("lan/n5/in")), 1000 * US);
    assert_int_equal(network_link_busy_ps(network, link_named("lan/n6/in")), 0);
}

/* A node pays for its messages one after the other, over whatever link they go. */
static void a_sender_that_pays_for_two_routes_is_no_port(void **state)
{
    static const struct network_pair pairs[] = { { 0, 1 }, { 0, 8 }, { 4, 5 } };
    const struct network_options options = { .model = NETWORK_FLOWS, .has_shortcut = true };
    struct cluster_medium *loop =
        linked_medium(arena, cluster, "loop", CLUSTER_RING, "n0 n1 n2 n3 n4 n5 n6 n7 n8");

    (void)state;
    for (int i = 0; i < 9; i++)
        loop->attachments[i].per_message_ps = 50 * US;
    build_pairs(&options, pairs, 3);
    (void)send(0, 1, 1000, 0);
    (void)send(0, 8, 1000, 1);
    (void)send(4, 5, 1000, 2);
    run();
    assert_int_equal(arrival_ps[0], 1150 * US);
    assert_int_equal(arrival_ps[1], 1200 * US);
    assert_int_equal(arrival_ps[2], 1150 * US);
    assert_false(network_is_bookable(network));
}

/* ---- FIFO over several links ---- */

static void a_ring_link_serves_messages_in_the_order_in_which_they_come(void **state)
{
    (void)state;
    cluster = linked_create(arena, 7);
    linked_medium(arena, cluster, "loop", CLUSTER_RING, "n0 n1 n2 n3 n4 n5 n6");
    build(NETWORK_FIFO, NULL);
    (void)send(0, 2, 1000, 0); /* n0>n1 until 1000; its head is at n1 at 100 */
    (void)send(1, 2, 50, 1);   /* n1>n2 until 50 */
    (void)send(0, 1, 10, 2);   /* waits until 1000 */
    run_until(120 * US);
    (void)send(1, 2, 50, 3); /* n1>n2 is taken from 100 to 1100 */
    run();
    assert_int_equal(arrival_ps[1], 150 * US);
    assert_int_equal(arrival_ps[0], 1200 * US);
    assert_int_equal(arrival_ps[2], 1110 * US);
    assert_int_equal(arrival_ps[3], 1250 * US);
    assert_int_equal(network_link_busy_ps(network, link_named("loop/n1>n2")), 1100 * US);
}

static void a_gateway_forwards_what_it_has_received(void **state)
{
    (void)state;
    cluster = linked_create(arena, 3);
    linked_medium(arena, cluster, "a", CLUSTER_SWITCH, "n0 n1");
    linked_medium(arena, cluster, "b", CLUSTER_SWITCH, "n1 n2");
    build(NETWORK_FIFO, NULL);
    (void)send(0, 2, 100, 0); /* at n1 at 200, forwarded until 300 */
    run_until(150 * US);
    (void)send(1, 2, 100, 1); /* has the port until 250 */
    run();
    assert_int_equal(arrival_ps[1], 350 * US);
    assert_int_equal(arrival_ps[0], 450 * US);
    assert_false(network_is_bookable(network));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(alone_a_message_takes_the_closed_form),
        TEST(alone_over_several_media_each_leg_takes_its_closed_form),
        TEST(flows_into_one_node_share_its_port),
        TEST(the_two_directions_of_a_switch_port_are_apart),
        TEST(what_one_receiver_cannot_take_others_get),
        TEST(a_slow_station_takes_the_air_from_all),
        TEST(a_hub_is_shared_by_both_directions),
        TEST(a_sender_pays_for_one_message_after_the_other),
        TEST(what_a_message_costs_is_taken_from_the_port),
        TEST(without_latency_a_burst_is_solved_as_one),
        TEST(messages_of_one_stream_follow_each_other),
        TEST(ports_stand_for_flows_where_nothing_meets),
        TEST(what_shares_a_port_is_no_port),
        TEST(empty_messages_meet_nobody),
        TEST(a_sender_that_pays_for_two_routes_is_no_port),
        TEST(a_ring_link_serves_messages_in_the_order_in_which_they_come),
        TEST(a_gateway_forwards_what_it_has_received),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
