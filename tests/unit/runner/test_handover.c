/* test_handover.c - KV caches go from workers that have computed prompts to workers that decode
 * behind them: over real sockets, however layers and heads are cut on either side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

#include "tests/unit/runner/handover_world.h"

/* ---- tokens ---- */

#define STEPS 8

static void decode(struct world *world, int32_t prompts, int32_t rest, bool is_split, int receivers,
                   int32_t *made)
{
    const int32_t prompt[PROMPT] = { 5, 250, 17, 3, 3, 99, 140, 8, 201 };

    made[0] = step(world, prompts, 0, prompt, PROMPT, 0);
    if (is_split) {
        move(world, REQUEST, PROMPT, 20);
        await_complete(world, receivers);
    }
    for (int32_t i = 1; i < STEPS; i++)
        made[i] = step(world, rest, i, &made[i - 1], 1, PROMPT + i - 1);
}

static void undivided(int32_t *made)
{
    const struct model model = tiny_model();
    struct world world;

    create(&world, &model, 12);
    place(&world, 0, SETUP_BOTH, 0, 0, model.layers);
    open_world(&world);
    decode(&world, 0, 0, false, 0, made);
    close_world(&world);
}

/* Prompts on one or two workers, decoding on one or two, which may be the same ones. */
static void tokens_are_those_of_an_undivided_placement(void **state)
{
    static const struct {
        int32_t prompts[2], rest[2]; /* workers; -1: there is no second stage */
        int32_t prompt_cut, rest_cut;
        int receivers;
    } cases[] = {
        { { 0, -1 }, { 1, -1 }, 4, 4, 1 }, { { 0, -1 }, { 1, 2 }, 4, 2, 2 },
        { { 0, 1 }, { 2, 3 }, 1, 3, 2 },   { { 0, 1 }, { 2, 3 }, 3, 1, 2 },
        { { 0, 1 }, { 1, 0 }, 2, 2, 2 },   { { 0, 1 }, { 0, 1 }, 3, 2, 2 },
        { { 0, -1 }, { 0, -1 }, 4, 4, 1 }, { { 0, 0 }, { 1, 0 }, 2, 3, 2 },
    };
    int32_t expected[STEPS], made[STEPS];

    (void)state;
    undivided(expected);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct model model = tiny_model();
        struct world world;

        create(&world, &model, 12);
        place(&world, cases[i].prompts[0], SETUP_PROMPTS, 0, 0, cases[i].prompt_cut);
        if (cases[i].prompts[1] >= 0)
            place(&world, cases[i].prompts[1], SETUP_PROMPTS, 1, cases[i].prompt_cut, 4);
        place(&world, cases[i].rest[0], SETUP_DECODING, 10, 0, cases[i].rest_cut);
        if (cases[i].rest[1] >= 0)
            place(&world, cases[i].rest[1], SETUP_DECODING, 11, cases[i].rest_cut, 4);
        open_world(&world);
        decode(&world, 0, 10, true, cases[i].receivers, made);
        assert_memory_equal(made, expected, sizeof made);
        /* the whole cache went once, and nothing of it is left where it came from */
        assert_int_equal(world.moved_bytes, INT64_C(2) * 4 * 4 * 4 * 16 * PROMPT);
        for (int w = 0; w < WORKERS; w++)
            for (int k = 0; k < world.setups[w].stage_count; k++)
                assert_true((kv_pool_find(shard_caches(world.workers[w].shard, k), REQUEST) !=
                             NULL) == (world.setups[w].stages[k].phase == SETUP_DECODING));
        close_world(&world);
    }
}

/* A stage of both phases has its weights once, whole or in parts. */
static void rows_of_both_phases_hold_weights_once(void **state)
{
    const struct model model = tiny_model();
    const int32_t workers[] = { 1, 2 }, heads[] = { 0, 2, 4 };
    int32_t expected[STEPS], made[STEPS];
    struct world world;
    int64_t once;

    (void)state;
    undivided(expected);
    create(&world, &model, 12);
    place(&world, 0, SETUP_PROMPTS, 0, 0, 4);
    once = shard_weight_bytes(&world.setups[0]);
    place(&world, 0, SETUP_DECODING, 10, 0, 4)->twin = 0;
    assert_int_equal(shard_weight_bytes(&world.setups[0]), once);
    open_world(&world);
    decode(&world, 0, 10, true, 1, made);
    assert_memory_equal(made, expected, sizeof made);
    close_world(&world);

    create(&world, &model, 12);
    place_parts(&world, workers, heads, 2, SETUP_PROMPTS, 0);
    once = shard_weight_bytes(&world.setups[1]);
    place_parts(&world, workers, heads, 2, SETUP_DECODING, 10);
    world.setups[1].stages[1].twin = world.setups[2].stages[1].twin = 0;
    assert_int_equal(shard_weight_bytes(&world.setups[1]), once);
    open_world(&world);
    close_world(&world);
}

/* ---- heads ---- */

static void heads_go_to_who_reads_them(void **state)
{
    static const struct {
        int32_t prompts[4], rest[4]; /* heads up to which each position has them */
        int32_t rest_workers[3];
        int32_t rest_count;
        int receivers;
    } cases[] = {
        { { 0, 2, 4 }, { 0, 1, 2, 4 }, { 2, 1, 3 }, 3, 3 },
        { { 0, 1, 4 }, { 0, 3, 4, 4 }, { 1, 0, 2 }, 2, 2 },
        { { 0, 3, 4 }, { 0, 0, 1, 4 }, { 3, 2, 1 }, 3, 2 }, /* the first has none */
        { { 0, 4, 4 }, { 0, 4, 4, 4 }, { 0, 1, 2 }, 2, 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct model model = tiny_model();
        const int32_t workers[] = { 0, 1 };
        struct world world;

        create(&world, &model, 12);
        place_parts(&world, workers, cases[i].prompts, 2, SETUP_PROMPTS, 0);
        place_parts(&world, cases[i].rest_workers, cases[i].rest, cases[i].rest_count,
                    SETUP_DECODING, 10);
        open_world(&world);
        each_head(&world, SETUP_PROMPTS, PROMPT, true);
        move(&world, REQUEST, PROMPT, 20);
        await_complete(&world, cases[i].receivers);
        each_head(&world, SETUP_DECODING, PROMPT, false);
        close_world(&world);
    }
}

/* A layer of 600 tokens is more than a piece. */
static void long_caches_go_in_pieces(void **state)
{
    struct model model = tiny_model();
    const int32_t workers[] = { 1, 2 }, heads[] = { 0, 1, 4 };
    struct world world;

    (void)state;
    model.heads = model.kv_heads = 4;
    model.head_dim = 80;
    model.max_context = 2048;
    create(&world, &model, 600);
    place(&world, 0, SETUP_PROMPTS, 0, 0, 4);
    place_parts(&world, workers, heads, 2, SETUP_DECODING, 10);
    open_world(&world);
    assert_true(INT64_C(8) * 80 * 600 * 4 > handover_message_bytes(&world.setups[0].models[0]));
    each_head(&world, SETUP_PROMPTS, 600, true);
    move(&world, REQUEST, 600, 700);
    await_complete(&world, 2);
    each_head(&world, SETUP_DECODING, 600, false);
    assert_int_equal(world.moved_count, 2);
    assert_int_equal(world.moved_bytes, INT64_C(8) * 80 * 600 * 4 * 4);
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_those_of_an_undivided_placement),
        cmocka_unit_test(rows_of_both_phases_hold_weights_once),
        cmocka_unit_test(heads_go_to_who_reads_them),
        cmocka_unit_test(long_caches_go_in_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
