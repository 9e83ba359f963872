/* test_network_changes.c - circuits that have to be set up, ports that fail and change, and that
 * nothing is lost, under both models of the network. */
#include "tests/unit/sim/messages.h"

/* ---- circuits ---- */

static struct cluster_medium *add_light(int ports, int wavelengths)
{
    struct cluster_medium *light =
        linked_medium(arena, cluster, "light", CLUSTER_OPTICAL, "n0 n1 n2 n3");

    light->ports = ports;
    light->wavelengths = wavelengths;
    light->setup_ps = 5000 * US;
    return light;
}

static void a_circuit_is_set_up_once_for_both_directions(void **state)
{
    (void)state;
    for (int model = 0; model < NETWORK_MODEL_COUNT; model++) {
        cluster = linked_create(arena, 4);
        (void)add_light(0, 0);
        build((enum network_model)model, NULL);
        (void)send(0, 1, 1000, 0);
        (void)send(1, 0, 500, 1);
        (void)send(2, 1, 1000, 2);
        run();
        assert_int_equal(arrival_ps[0], 6100 * US);
        assert_int_equal(arrival_ps[1], 5600 * US);
        assert_int_equal(arrival_ps[2], 6100 * US);
        (void)send(0, 1, 1000, 3);
        run();
        assert_int_equal(arrival_ps[3], 7200 * US);
        assert_int_equal(network_circuits(network).setups, 2);
        assert_int_equal(network_circuits(network).evictions, 0);
        assert_int_equal(network_circuits(network).waits, 3);
    }
}

static void without_a_free_port_the_circuit_that_was_idle_longest_goes(void **state)
{
    (void)state;
    for (int model = 0; model < NETWORK_MODEL_COUNT; model++) {
        cluster = linked_create(arena, 4);
        (void)add_light(2, 0);
        build((enum network_model)model, NULL);
        (void)send(0, 1, 900, 0); /* up at 5000, idle from 5900 */
        (void)send(0, 2, 100, 1); /* up at 5000, idle from 5100 */
        (void)send(0, 3, 100, 2); /* waits for n0's port until n2's circuit is idle */
        run();
        assert_int_equal(arrival_ps[0], 6000 * US);
        assert_int_equal(arrival_ps[1], 5200 * US);
        assert_int_equal(arrival_ps[2], 10300 * US);
        (void)send(0, 3, 100, 3); /* up still */
        run();
        assert_int_equal(arrival_ps[3] - arrival_ps[2], 200 * US);
        (void)send(0, 2, 100, 4); /* n1's circuit has been idle longest */
        (void)send(0, 3, 100, 5);
        run();
        assert_int_equal(arrival_ps[5] - arrival_ps[3], 200 * US);
        assert_int_equal(arrival_ps[4] - arrival_ps[3], 5200 * US);
        assert_int_equal(network_circuits(network).evictions, 2);
    }
}

static void a_busy_circuit_lets_those_go_first_who_have_waited_longer(void **state)
{
    (void)state;
    for (int model = 0; model < NETWORK_MODEL_COUNT; model++) {
        cluster = linked_create(arena, 4);
        (void)add_light(1, 0);
        build((enum network_model)model, NULL);
        (void)send(0, 1, 900, 0); /* up at 5000, until 5900 */
        run_until(5100 * US);
        (void)send(0, 2, 100, 1); /* set up from 5900 on */
        run_until(5200 * US);
        (void)send(0, 1, 900, 2); /* the circuit is up, and not for it */
        (void)send(3, 1, 100, 3); /* n1 is claimed, too */
        run();
        assert_int_equal(arrival_ps[0], 6000 * US);
        assert_int_equal(arrival_ps[1], 11100 * US);
        assert_int_equal(arrival_ps[2], 17000 * US);
        assert_int_equal(arrival_ps[3], 22100 * US);
        assert_int_equal(network_circuits(network).setups, 4);
        assert_int_equal(network_circuits(network).evictions, 3);
    }
}

static void a_circuit_that_let_others_go_first_goes_on_without_a_set_up(void **state)
{
    (void)state;
    for (int model = 0; model < NETWORK_MODEL_COUNT; model++) {
        cluster = linked_create(arena, 4);
        (void)add_light(2, 0);
        build((enum network_model)model, NULL);
        (void)send(0, 1, 900, 0); /* until 5900 */
        (void)send(0, 3, 300, 1); /* until 5300: then n2 gets its port */
        run_until(5100 * US);
        (void)send(0, 2, 100, 2);
        (void)send(0, 1, 100, 3); /* waits until then */
        run();
        assert_int_equal(arrival_ps[2], 10500 * US);
        assert_int_equal(arrival_ps[3], 6100 * US);
        assert_int_equal(network_circuits(network).setups, 3);
    }
}

static void wavelengths_are_taken_on_every_fibre_of_the_way(void **state)
{
    (void)state;
    cluster = linked_create(arena, 4);
    add_light(0, 1)->mesh_columns = 4; /* a row: n0 - n1 - n2 - n3 */
    build(NETWORK_FIFO, NULL);
    (void)send(0, 2, 100, 0); /* takes both fibres until 5100 */
    (void)send(2, 3, 100, 1); /* the third */
    (void)send(1, 2, 100, 2); /* waits, and takes the one of n0 and n2 away */
    run();
    assert_int_equal(arrival_ps[0], 5300 * US);
    assert_int_equal(arrival_ps[1], 5200 * US);
    assert_int_equal(arrival_ps[2], 10300 * US);
    assert_int_equal(network_circuits(network).evictions, 1);
}

static void one_fibre_carries_as_many_circuits_as_wavelengths(void **state)
{
    (void)state;
    cluster = linked_create(arena, 4);
    (void)add_light(0, 2);
    build(NETWORK_FIFO, NULL);
    (void)send(0, 1, 100, 0);
    (void)send(1, 2, 300, 1);
    (void)send(2, 3, 100, 2); /* the first circuit is idle at 5100 */
    (void)send(0, 3, 100, 3); /* then the second one at 5300 */
    run();
    assert_int_equal(arrival_ps[2], 10300 * US);
    assert_int_equal(arrival_ps[3], 10500 * US);
}

/* ---- events ---- */

static void a_port_that_is_down_holds_messages_up(void **state)
{
    static struct event list[] = {
        { .time_ps = 300 * US, .kind = EVENT_DOWN, .target = EVENT_PORT, .node = "n1" },
        { .time_ps = 1300 * US, .kind = EVENT_UP, .target = EVENT_PORT, .node = "n1" },
    };
    const struct events events = { "e.csv", 2, list };
    static const enum cluster_kind kinds[] = { CLUSTER_SWITCH, CLUSTER_WIFI, CLUSTER_RING };

    (void)state;
    for (int model = 0; model < NETWORK_MODEL_COUNT; model++)
        for (int i = 0; i < 3; i++) {
            cluster = linked_create(arena, NODES);
            linked_medium(arena, cluster, "m", kinds[i], "n0 n1 n2 n3 n4 n5 n6 n7 n8");
            for (int a = 0; a < 3; a++)
                cluster->media[0].attachments[a].latency_ps = 0;
            build((enum network_model)model, &events);
            (void)send(0, 1, 500, 0); /* 300 before, 200 after */
            run_until(350 * US);
            (void)send(2, 1, 100, 1);
            run();
            if (model == NETWORK_FIFO || kinds[i] == CLUSTER_RING) {
                assert_int_equal(arrival_ps[0], 1500 * US);
                assert_int_equal(arrival_ps[1], (kinds[i] == CLUSTER_WIFI ? 1600 : 1400) * US);
            } else { /* 100 of each by 1500, then the rest alone */
                assert_near(arrival_ps[1], 1500 * US, 1);
                assert_near(arrival_ps[0], 1600 * US, 1);
            }
        }
}

static void rates_that_change_count_from_then_on(void **state)
{
    static struct event list[] = {
        { .time_ps = 100 * US,
          .kind = EVENT_BITS_PER_S,
          .target = EVENT_PORT,
          .node = "n1",
          .value = 2e6 },
        { .time_ps = 500 * US, .kind = EVENT_BITS_PER_S, .target = EVENT_MEDIUM, .value = 16e6 },
        { .time_ps = 9000 * US, .kind = EVENT_DOWN, .target = EVENT_MEDIUM },
        { .time_ps = 9500 * US, .kind = EVENT_UP, .target = EVENT_MEDIUM },
    };
    const struct events events = { "e.csv", 4, list };

    (void)state;
    for (int model = 0; model < NETWORK_MODEL_COUNT; model++)
        for (int kind = 0; kind < CLUSTER_KIND_COUNT; kind++) {
            cluster = linked_create(arena, NODES);
            linked_medium(arena, cluster, "m", (enum cluster_kind)kind,
                          "n0 n1 n2 n3 n4 n5 n6 n7 n8");
            cluster->media[0].mesh_columns = 3;
            for (int a = 0; a < 3; a++)
                cluster->media[0].attachments[a].latency_ps = 0;
            build((enum network_model)model, &events);
            (void)send(0, 1, 400, 0); /* 100 at 1, 100 at 1/4, 200 at 2 bytes a us */
            run_until(8950 * US);
            (void)send(0, 1, 200, 1); /* 100, then down, then 100 */
            run();
            assert_near(arrival_ps[0], 600 * US, model);
            assert_near(arrival_ps[1], 9550 * US, model);
        }
}

static void what_never_comes_up_again_stays_under_way(void **state)
{
    static struct event list[] = {
        { .time_ps = 50 * US, .kind = EVENT_DOWN, .target = EVENT_PORT, .node = "n1" },
    };
    const struct events events = { "e.csv", 1, list };

    (void)state;
    for (int model = 0; model < NETWORK_MODEL_COUNT; model++)
        for (int kind = 0; kind < CLUSTER_KIND_COUNT; kind++) {
            cluster = linked_create(arena, NODES);
            linked_medium(arena, cluster, "m", (enum cluster_kind)kind,
                          "n0 n1 n2 n3 n4 n5 n6 n7 n8");
            cluster->media[0].mesh_columns = 3;
            build((enum network_model)model, &events);
            (void)send(0, 1, 400, 0);
            (void)send(0, 1, 400, 1);
            run_until(ENGINE_NEVER);
            assert_int_equal(arrived_count, 0);
            assert_int_equal(network_in_flight(network), 2);
        }
}

/* ---- conservation ---- */

static void whatever_is_sent_arrives_and_is_counted(void **state)
{
    (void)state;
    for (int model = 0; model < NETWORK_MODEL_COUNT; model++)
        for (int kind = 0; kind < CLUSTER_KIND_COUNT; kind++) {
            struct rng rng = rng_stream(7, RNG_TEST, (uint64_t)kind);
            int64_t hop_bytes = 0, link_bytes = 0;

            cluster = linked_create(arena, NODES);
            draw_medium(&rng, (enum cluster_kind)kind);
            cluster->media[0].ports = 2;
            cluster->media[0].setup_ps = 1000 * US;
            build((enum network_model)model, NULL);
            for (int32_t i = 0; i < 1000; i++) {
                int from = (int)rng_below(&rng, NODES), to = (int)rng_below(&rng, NODES);

                if (rng_below(&rng, 3) == 0)
                    run_until(engine_now_ps(engine) + (int64_t)rng_below(&rng, 200) * US);
                (void)send(from, to == from ? NETWORK_SOURCE : to, 10000, i);
            }
            run();
            assert_int_equal(arrived_count, 1000);
            for (int i = 0; i < network_link_count(network); i++) {
                int64_t busy_ps = network_link_busy_ps(network, i);

                assert_in_range(busy_ps, 0, engine_now_ps(engine));
                link_bytes += network_link_bytes(network, i);
            }
            hop_bytes =
                1000 * INT64_C(10000) * (kind == CLUSTER_SWITCH && model == NETWORK_FLOWS ? 2 : 1);
            if (kind == CLUSTER_RING || kind == CLUSTER_MESH)
                assert_in_range(link_bytes, 3 * hop_bytes / 2, 4 * hop_bytes);
            else
                assert_int_equal(link_bytes, hop_bytes);
        }
}

static void two_runs_are_the_same_to_the_picosecond(void **state)
{
    int64_t before_ps[ROOM];

    (void)state;
    for (int round = 0; round < 2; round++) {
        struct rng rng = rng_stream(3, RNG_TEST, 1);

        cluster = linked_create(arena, NODES);
        draw_medium(&rng, CLUSTER_MESH);
        build(NETWORK_FLOWS, NULL);
        for (int32_t i = 0; i < 500; i++) {
            int from = (int)rng_below(&rng, NODES), to = (int)rng_below(&rng, NODES - 1);

            (void)send(from, to < from ? to : to + 1, (int64_t)rng_below(&rng, 100000), i);
            run_until(engine_now_ps(engine) + (int64_t)rng_below(&rng, 100) * US);
        }
        run();
        if (round == 1)
            assert_memory_equal(before_ps, arrival_ps, sizeof before_ps);
        memcpy(before_ps, arrival_ps, sizeof before_ps);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_circuit_is_set_up_once_for_both_directions),
        TEST(without_a_free_port_the_circuit_that_was_idle_longest_goes),
        TEST(a_busy_circuit_lets_those_go_first_who_have_waited_longer),
        TEST(a_circuit_that_let_others_go_first_goes_on_without_a_set_up),
        TEST(wavelengths_are_taken_on_every_fibre_of_the_way),
        TEST(one_fibre_carries_as_many_circuits_as_wavelengths),
        TEST(a_port_that_is_down_holds_messages_up),
        TEST(rates_that_change_count_from_then_on),
        TEST(what_never_comes_up_again_stays_under_way),
        TEST(whatever_is_sent_arrives_and_is_counted),
        TEST(two_runs_are_the_same_to_the_picosecond),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
