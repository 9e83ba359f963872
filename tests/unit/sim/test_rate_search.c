/* test_rate_search.c - the highest rate that is met, against thresholds that are known. */
#include "sim/judge/rate_search.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"

#define FLOOR 1e-3
#define FLOOD 1e9

struct world {                 /* what is met: */
    double most_per_s;         /* up to this rate */
    double hole_from, hole_to; /* but for these */
    double served_per_s;       /* when all come at once */
    int count, fails_at;       /* probe number that cannot be tried; -1: none */
};

static bool probe(void *arg, struct rate_probe *probe, struct err *err)
{
    struct world *world = arg;

    if (world->count++ == world->fails_at)
        return err_set(err, ERR_INPUT, "no such rate");
    probe->is_met = probe->rate_per_s <= world->most_per_s &&
                    !(probe->rate_per_s > world->hole_from && probe->rate_per_s < world->hole_to);
    probe->served_per_s = probe->rate_per_s >= FLOOD ? world->served_per_s : 0;
    return true;
}

static struct rate_answer find(struct arena *arena, struct world *world, double resolution)
{
    const struct rate_ask ask = { .probe = probe,
                                  .arg = world,
                                  .resolution_ratio = resolution,
                                  .floor_per_s = FLOOR,
                                  .flood_per_s = FLOOD };
    struct rate_answer answer;
    struct err err = ERR_INIT;

    assert_true(rate_search(arena, &ask, &answer, &err));
    assert_int_equal(answer.probe_count, world->count);
    for (int i = 1; i < answer.probe_count; i++)
        assert_true(answer.probes[i - 1].rate_per_s <= answer.probes[i].rate_per_s);
    return answer;
}

/* Whatever the first guess, from far below to far above. */
static void a_threshold_is_found(void **state)
{
    struct rng rng = rng_stream(3, RNG_TEST, 0);

    (void)state;
    for (int round = 0; round < 300; round++) {
        double resolution = round % 3 == 0 ? 0.5 : round % 3 == 1 ? 0.01 : 1e-6;
        double most_per_s = exp(20 * rng_uniform(&rng) - 6);
        double guess_per_s = exp(20 * rng_uniform(&rng) - 6);
        struct world world = { .most_per_s = most_per_s,
                               .served_per_s = round % 2 ? guess_per_s : 0,
                               .fails_at = -1 };
        struct arena *arena = arena_create();
        struct rate_answer answer = find(arena, &world, resolution);

        assert_int_equal(answer.outcome, RATE_FOUND);
        assert_true(answer.rate_per_s <= world.most_per_s && answer.next_per_s > world.most_per_s);
        assert_true(answer.next_per_s <= answer.rate_per_s * (1 + resolution));
        assert_true(answer.is_monotone);
        arena_destroy(arena);
    }
}

static void a_good_guess_saves_simulations(void **state)
{
    struct arena *arena = arena_create();
    struct world near = { .most_per_s = 70000, .served_per_s = 100000, .fails_at = -1 };
    struct world far = { .most_per_s = 70000, .served_per_s = 0, .fails_at = -1 };

    (void)state;
    (void)find(arena, &near, 0.01);
    (void)find(arena, &far, 0.01);
    assert_true(near.count + 10 <= far.count);
    assert_in_range(near.count, 8, 24);
    arena_destroy(arena);
}

static void nothing_and_everything(void **state)
{
    struct arena *arena = arena_create();
    struct world never = { .most_per_s = FLOOR / 2, .fails_at = -1 };
    struct world always = { .most_per_s = INFINITY, .served_per_s = 12, .fails_at = -1 };
    struct rate_answer answer = find(arena, &never, 0.01);

    (void)state;
    assert_int_equal(answer.outcome, RATE_NEVER);
    assert_true(answer.probes[0].rate_per_s >= FLOOR && answer.probes[0].rate_per_s < 2 * FLOOR);
    answer = find(arena, &always, 0.01);
    assert_int_equal(answer.outcome, RATE_UNLIMITED);
    assert_true(answer.is_monotone);
    assert_true(answer.probe_count > 1);
    arena_destroy(arena);
}

static void rates_that_do_not_agree_are_told(void **state)
{
    struct arena *arena = arena_create();
    struct world below = {
        .most_per_s = 100, .hole_from = 40, .hole_to = 60, .served_per_s = 80, .fails_at = -1
    };
    struct world flood = {
        .most_per_s = INFINITY, .hole_from = 5, .hole_to = 9, .served_per_s = 8, .fails_at = -1
    };

    (void)state;
    assert_false(find(arena, &below, 0.01).is_monotone);
    assert_false(find(arena, &flood, 0.01).is_monotone);
    arena_destroy(arena);
}

static void what_cannot_be_tried_ends_it(void **state)
{
    (void)state;
    for (int at = 0; at < 12; at++) {
        struct arena *arena = arena_create();
        struct world world = { .most_per_s = 37, .served_per_s = 20, .fails_at = at };
        const struct rate_ask ask = { .probe = probe,
                                      .arg = &world,
                                      .resolution_ratio = 0.01,
                                      .floor_per_s = FLOOR,
                                      .flood_per_s = FLOOD };
        struct rate_answer answer;
        struct err err = ERR_INIT;

        assert_false(rate_search(arena, &ask, &answer, &err));
        assert_string_equal(err.text, "no such rate");
        arena_destroy(arena);
    }
}

/* All rates but the flood are met: it is the next that is not. */
static void only_the_flood_may_miss(void **state)
{
    struct arena *arena = arena_create();
    struct world world = { .most_per_s = 2 * FLOOD,
                           .hole_from = FLOOD - 1,
                           .hole_to = FLOOD + 1,
                           .served_per_s = 3,
                           .fails_at = -1 };
    struct rate_answer answer = find(arena, &world, 0.01);

    (void)state;
    assert_int_equal(answer.outcome, RATE_FOUND);
    assert_true(answer.rate_per_s < FLOOD && answer.rate_per_s > 0.98 * FLOOD);
    assert_true(answer.next_per_s <= FLOOD && answer.next_per_s >= FLOOD);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_threshold_is_found),
        cmocka_unit_test(a_good_guess_saves_simulations),
        cmocka_unit_test(nothing_and_everything),
        cmocka_unit_test(rates_that_do_not_agree_are_told),
        cmocka_unit_test(what_cannot_be_tried_ends_it),
        cmocka_unit_test(only_the_flood_may_miss),
    };

    return cmocka_run_group_tests_name("rate search", tests, NULL, NULL);
}
