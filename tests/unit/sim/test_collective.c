/* test_collective.c - collectives do what their names say, in the time of their closed forms. */
#include "lib/policy/collective.h"

#include "lib/base/err.h"
#include "sim/engine/engine.h"
#include "sim/network/network.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/sim/linked.h"

#define US UNITS_PS_PER_US
#define MOST 17

static struct arena *arena;

static int set_up(void **state)
{
    (void)state;
    arena = arena_create();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_destroy(arena);
    return 0;
}

static const enum collective_kind kinds[] = { COLLECTIVE_BROADCAST,  COLLECTIVE_SCATTER,
                                              COLLECTIVE_GATHER,     COLLECTIVE_REDUCE,
                                              COLLECTIVE_ALL_GATHER, COLLECTIVE_REDUCE_SCATTER,
                                              COLLECTIVE_ALL_REDUCE };
#define KINDS ((int)(sizeof kinds / sizeof kinds[0]))

static bool begins_with_sums(enum collective_kind kind)
{
    return kind == COLLECTIVE_REDUCE || kind == COLLECTIVE_REDUCE_SCATTER ||
           kind == COLLECTIVE_ALL_REDUCE;
}

/* ---- what they do ---- */

/* Whose contribution to each part a participant has, a bit each. */
struct holding {
    uint32_t parts[MOST][MOST];
};

static void holding_begin(struct holding *have, const struct collective *collective)
{
    bool from_root =
        collective->kind == COLLECTIVE_BROADCAST || collective->kind == COLLECTIVE_SCATTER;

    memset(have, 0, sizeof *have);
    for (int32_t p = 0; p < collective->participants; p++)
        for (int32_t part = 0; part < collective->participants; part++)
            if (begins_with_sums(collective->kind) || (from_root && p == collective->root) ||
                (!from_root && p == part))
                have->parts[p][part] = UINT32_C(1) << p;
}

/* A step sends what the sender had at the end of the slot before. */
static void slot_run(struct holding *have, const struct collective *collective, int32_t slot)
{
    const struct holding before = *have;

    for (int32_t i = 0; i < collective->step_count; i++) {
        const struct collective_step *step = &collective->steps[i];

        for (int32_t k = 0; step->slot == slot && k < step->part_count; k++) {
            int32_t part = (step->first_part + k) % collective->participants;
            uint32_t sent = before.parts[step->from][part], *got = &have->parts[step->to][part];

            assert_int_not_equal(sent, 0);
            if (step->is_sum)
                assert_int_equal(sent & *got, 0); /* nothing is added twice */
            *got = step->is_sum ? *got | sent : sent;
        }
    }
}

static void holding_check(const struct holding *have, const struct collective *collective)
{
    uint32_t all = (UINT32_C(1) << collective->participants) - 1;

    for (int32_t p = 0; p < collective->participants; p++)
        for (int32_t part = 0; part < collective->participants; part++) {
            uint32_t root = UINT32_C(1) << collective->root, own = UINT32_C(1) << part;
            bool is_root = p == collective->root;
            uint32_t has = have->parts[p][part];

            switch (collective->kind) {
            case COLLECTIVE_SEND:
            case COLLECTIVE_BROADCAST:
                assert_int_equal(has, root);
                break;
            case COLLECTIVE_SCATTER:
                assert_true(p != part || has == root);
                break;
            case COLLECTIVE_GATHER:
                assert_true(!is_root || has == own);
                break;
            case COLLECTIVE_REDUCE:
                assert_true(!is_root || has == all);
                break;
            case COLLECTIVE_ALL_GATHER:
                assert_int_equal(has, own);
                break;
            case COLLECTIVE_REDUCE_SCATTER:
                assert_true(p != part || has == all);
                break;
            case COLLECTIVE_ALL_REDUCE:
                assert_int_equal(has, all);
                break;
            case COLLECTIVE_KIND_COUNT:
                fail();
            }
        }
}

static void everybody_ends_with_what_the_operation_promises(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++)
        for (int a = 0; a < COLLECTIVE_ALGORITHM_COUNT; a++)
            for (int32_t n = 1; n <= MOST; n++)
                for (int32_t root = 0; root < n; root += 1 + n / 3) {
                    int64_t parts[MOST];
                    struct collective *collective;
                    struct holding have;

                    for (int32_t i = 0; i < n; i++)
                        parts[i] = 100 + i;
                    collective = collective_steps_of(arena, kinds[k], (enum collective_algorithm)a,
                                                     n, parts, root);
                    holding_begin(&have, collective);
                    for (int32_t slot = 0; slot < collective->slot_count; slot++)
                        slot_run(&have, collective, slot);
                    holding_check(&have, collective);
                }
}

static void dependencies_are_of_earlier_slots_and_bytes_those_of_the_parts(void **state)
{
    static const int64_t parts[] = { 5, 0, 70, 3, 11, 13 };

    (void)state;
    for (int k = 0; k < KINDS; k++)
        for (int a = 0; a < COLLECTIVE_ALGORITHM_COUNT; a++) {
            const struct collective *collective =
                collective_steps_of(arena, kinds[k], (enum collective_algorithm)a, 6, parts, 2);

            for (int32_t i = 0; i < collective->step_count; i++) {
                const struct collective_step *step = &collective->steps[i];
                int64_t bytes = 0;

                for (int32_t p = 0; p < step->part_count; p++)
                    bytes += parts[(step->first_part + p) % 6];
                assert_int_equal(step->bytes, bytes);
                assert_true(step->slot == 0 || step->dep_count > 0 || a == COLLECTIVE_RING ||
                            a == COLLECTIVE_TREE);
                for (int32_t d = 0; d < step->dep_count; d++)
                    assert_true(collective->steps[collective->deps[step->first_dep + d]].slot <
                                step->slot);
            }
        }
}

static void parts_are_as_even_as_can_be(void **state)
{
    const struct collective *collective =
        collective_steps(arena, COLLECTIVE_SCATTER, COLLECTIVE_STAR, 4, 10);

    (void)state; /* 0-2, 2-5, 5-7, 7-10 */
    assert_int_equal(collective->step_count, 3);
    assert_int_equal(collective->steps[0].bytes, 3);
    assert_int_equal(collective->steps[1].bytes, 2);
    assert_int_equal(collective->steps[2].bytes, 3);
}

/* ---- how long they take ---- */

/* Sends each step when all that it depends on has arrived. */
static int64_t run(const struct collective *collective, struct cluster *cluster,
                   enum network_model model)
{
    const struct network_options options = { .model = model };
    size_t count = (size_t)collective->step_count;
    struct network_pair *pairs = arena_array(arena, count, sizeof *pairs);
    int32_t *waits = arena_array(arena, count, sizeof *waits), arrived = 0;
    struct err err = ERR_INIT;
    struct network *network;
    struct engine *engine;

    for (int32_t i = 0; i < collective->step_count; i++)
        pairs[i] = (struct network_pair){ collective->steps[i].from, collective->steps[i].to };
    cluster_index(arena, cluster);
    network = network_open(arena, cluster, &options, pairs, collective->step_count, &err);
    assert_non_null(network);
    engine = engine_create(arena, network_slot_count(network));
    network_attach(network, engine, 0);
    for (int32_t done = -1; done != -2;) { /* -1: at the start */
        for (int32_t i = 0; i < collective->step_count; i++) {
            const struct collective_step *step = &collective->steps[i];
            bool is_ready = done == -1 && step->dep_count == 0;

            if (done == -1)
                waits[i] = step->dep_count;
            for (int32_t d = 0; done >= 0 && d < step->dep_count; d++)
                if (collective->deps[step->first_dep + d] == done && --waits[i] == 0)
                    is_ready = true;
            if (is_ready)
                (void)network_send(network, network_route(network, step->from, step->to),
                                   step->bytes, i);
        }
        do {
            int slot = engine_next(engine);

            done = slot < 0 ? -2 : network_receive(network, slot);
        } while (done == NETWORK_NOTHING);
        arrived += done >= 0;
    }
    assert_int_equal(arrived, collective->step_count);
    return engine_now_ps(engine);
}

static struct cluster *participants(int32_t n, enum cluster_kind kind, int64_t per_message_ps)
{
    struct cluster *cluster = linked_create(arena, n);
    struct cluster_medium *medium = linked_medium(arena, cluster, "m", kind, "*");

    medium->attachments[0].per_message_ps = per_message_ps;
    return cluster;
}

/* 840 is divided by 2 to 8; a byte takes 1 us. */
static void alone_they_take_the_closed_form(void **state)
{
    struct collective_link link = { 0, 100 * US, 8000 * INT64_C(1000000), false };

    (void)state;
    for (int k = 0; k < KINDS; k++)
        for (int a = 0; a < COLLECTIVE_ALGORITHM_COUNT; a++)
            for (int32_t n = 2; n <= 8; n++)
                for (int shared = 0; shared < 2; shared++)
                    for (int costs = 0; costs < 2; costs++) {
                        const struct collective *collective =
                            collective_steps(arena, kinds[k], (enum collective_algorithm)a, n, 840);
                        int64_t took_ps, alone_ps;
                        bool is_exact;

                        link.is_shared = shared;
                        link.per_message_ps = costs * 30 * US;
                        took_ps = run(collective,
                                      participants(n, shared ? CLUSTER_HUB : CLUSTER_SWITCH,
                                                   link.per_message_ps),
                                      NETWORK_FLOWS);
                        alone_ps = collective_alone_ps(kinds[k], (enum collective_algorithm)a, n,
                                                       840, &link);
                        is_exact = a == COLLECTIVE_RING || (a == COLLECTIVE_STAR && costs == 0) ||
                                   (a == COLLECTIVE_TREE && (!shared || (n & (n - 1)) == 0));
                        if (took_ps > alone_ps + 2 * collective->slot_count ||
                            (is_exact && took_ps < alone_ps - 2 * collective->slot_count))
                            fail_msg("kind %d by %s of %d, shared %d, costs %d: %lld, not %lld ps",
                                     k, collective_algorithm_names[a], n, shared, costs,
                                     (long long)took_ps, (long long)alone_ps);
                    }
}

static void uneven_parts_take_no_longer_than_the_closed_form(void **state)
{
    const struct collective_link link = { 30 * US, 100 * US, 8000 * INT64_C(1000000), false };

    (void)state;
    for (int k = 0; k < KINDS; k++)
        for (int a = 0; a < COLLECTIVE_ALGORITHM_COUNT; a++)
            for (int32_t n = 2; n <= 9; n++) {
                const struct collective *collective =
                    collective_steps(arena, kinds[k], (enum collective_algorithm)a, n, 1001);
                int64_t took_ps =
                    run(collective, participants(n, CLUSTER_SWITCH, 30 * US), NETWORK_FLOWS);

                assert_true(took_ps <= collective_alone_ps(kinds[k], (enum collective_algorithm)a,
                                                           n, 1001, &link) +
                                           2 * collective->slot_count);
            }
}

/* Ports of the FIFO model do not meet at the receiver: rings and trees are the same. */
static void rings_and_trees_take_as_long_over_fifo_ports(void **state)
{
    const struct collective_link link = { 30 * US, 100 * US, 8000 * INT64_C(1000000), false };

    (void)state;
    for (int k = 0; k < KINDS; k++)
        for (int32_t n = 2; n <= 8; n++) {
            for (int a = 0; a < COLLECTIVE_ALGORITHM_COUNT; a += 2)
                assert_int_equal(
                    run(collective_steps(arena, kinds[k], (enum collective_algorithm)a, n, 840),
                        participants(n, CLUSTER_SWITCH, 30 * US), NETWORK_FIFO),
                    collective_alone_ps(kinds[k], (enum collective_algorithm)a, n, 840, &link));
        }
}

static void formulas_are_those_of_the_textbook(void **state)
{
    const struct collective_link link = { 0, 100 * US, 8000 * INT64_C(1000000), false };
    const struct collective_link air = { 0, 100 * US, 8000 * INT64_C(1000000), true };

    (void)state; /* S = 800, N = 8: S / N = 100 us */
    assert_int_equal(collective_alone_ps(COLLECTIVE_ALL_REDUCE, COLLECTIVE_RING, 8, 800, &link),
                     2 * 7 * 200 * US);
    assert_int_equal(collective_alone_ps(COLLECTIVE_ALL_GATHER, COLLECTIVE_RING, 8, 800, &link),
                     7 * 200 * US);
    assert_int_equal(collective_alone_ps(COLLECTIVE_ALL_REDUCE, COLLECTIVE_TREE, 8, 800, &link),
                     2 * 3 * 900 * US);
    assert_int_equal(collective_alone_ps(COLLECTIVE_GATHER, COLLECTIVE_TREE, 8, 800, &link),
                     (3 * 100 + 700) * US);
    assert_int_equal(collective_alone_ps(COLLECTIVE_GATHER, COLLECTIVE_STAR, 8, 800, &link),
                     (100 + 700) * US);
    assert_int_equal(collective_alone_ps(COLLECTIVE_ALL_REDUCE, COLLECTIVE_STAR, 8, 800, &link),
                     2 * (100 + 5600) * US);
    assert_int_equal(collective_alone_ps(COLLECTIVE_ALL_REDUCE, COLLECTIVE_RING, 8, 800, &air),
                     2 * 7 * (100 + 800) * US);
    assert_int_equal(collective_alone_ps(COLLECTIVE_SEND, COLLECTIVE_RING, 2, 800, &link),
                     900 * US);
    assert_int_equal(collective_alone_ps(COLLECTIVE_ALL_REDUCE, COLLECTIVE_RING, 1, 800, &link), 0);
    assert_true(collective_alone_ps(COLLECTIVE_ALL_REDUCE, COLLECTIVE_STAR, 1000, INT64_MAX / 2,
                                    &link) == INT64_MAX);
}

/* TrioSim, data parallel: an all-reduce of the 532 191 392 bytes of gradients of VGG13. Its links
 * run at bandwidth x 2 (N - 1) / N, so that a ring takes bytes / bandwidth for any N. */
static void a_ring_of_any_size_takes_the_time_of_triosim(void **state)
{
    (void)state;
    for (int32_t n = 2; n <= 32; n *= 2) {
        const struct collective_link link = {
            0, 0, units_mul_div(INT64_C(65000000000) * 8000, 2 * (n - 1), n), false
        };
        int64_t alone_ps =
            collective_alone_ps(COLLECTIVE_ALL_REDUCE, COLLECTIVE_RING, n, 532191392, &link);

        assert_in_range(alone_ps, INT64_C(8187559877) - n, INT64_C(8187559877) + 100 * n);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(everybody_ends_with_what_the_operation_promises),
        TEST(dependencies_are_of_earlier_slots_and_bytes_those_of_the_parts),
        TEST(parts_are_as_even_as_can_be),
        TEST(alone_they_take_the_closed_form),
        TEST(uneven_parts_take_no_longer_than_the_closed_form),
        TEST(rings_and_trees_take_as_long_over_fifo_ports),
        TEST(formulas_are_those_of_the_textbook),
        TEST(a_ring_of_any_size_takes_the_time_of_triosim),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
