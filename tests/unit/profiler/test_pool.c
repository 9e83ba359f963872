/* test_pool.c - what the cursor hands out is always cold, and the pool fits the memory. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/kernels/forward.h"
#include "profiler/measure/grid.h"
#include "profiler/measure/pool.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define MIB (INT64_C(1) << 20)

static const struct forward_shape GPT2 = { .hidden = 768,
                                           .heads = 12,
                                           .kv_heads = 12,
                                           .head_dim = 64,
                                           .ffn_hidden = 3072,
                                           .vocab = 50257,
                                           .max_context = 1024 };

static void the_cursor_goes_on_and_starts_again_before_the_end(void **state)
{
    char memory[1024];
    struct pool pool = { memory, 1024, 0 };

    (void)state;
    assert_ptr_equal(pool_take(&pool, 400), memory);
    assert_ptr_equal(pool_take(&pool, 4), memory + 448); /* 64-byte steps */
    assert_ptr_equal(pool_take(&pool, 512), memory + 512);
    assert_ptr_equal(pool_take(&pool, 4), memory);    /* at the end */
    assert_ptr_equal(pool_take(&pool, 1000), memory); /* does not fit behind */
    assert_ptr_equal(pool_take(&pool, 1024), memory);
}

static void far_memory_lies_half_a_pool_away_and_moves_nothing(void **state)
{
    char memory[1024];
    struct pool pool = { memory, 1024, 64 };

    (void)state;
    assert_ptr_equal(pool_far(&pool, 40), memory + 576);
    assert_ptr_equal(pool_far(&pool, 800), memory); /* does not fit there */
    assert_int_equal(pool.at, 64);
}

/* Cyclic visits of a forward: between two uses of any byte lie at least 4 caches. */
static void nothing_is_handed_out_again_before_four_caches(void **state)
{
    struct pool_plan plan;
    struct err err = ERR_INIT;
    struct pool pool = { NULL, 0, 0 };
    int64_t last_end = 0, wrapped = 0, used = 0, smallest = INT64_MAX;

    (void)state;
    assert_true(
        pool_plan(&GPT2, 4, &(struct point){ OP_ANY, 1, 512, 1 }, 32 * MIB, 0, &plan, &err));
    pool.bytes = plan.size_bytes;
    /* Addresses alone: nothing is read or written. */
    pool.memory = mmap(NULL, (size_t)plan.size_bytes, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(pool.memory != MAP_FAILED);
    for (int i = 0; i < 2000; i++) {
        int64_t bytes = i % 5 == 0   ? forward_lm_head_bytes(&GPT2)
                        : i % 5 == 1 ? forward_qkv_bytes(&GPT2)
                                     : forward_ffn_up_bytes(&GPT2);
        int64_t at = (char *)pool_take(&pool, bytes) - pool.memory;

        if (at < last_end) { /* a new turn: what lies here was used a whole turn ago */
            smallest = wrapped++ && used < smallest ? used : smallest;
            used = 0;
        }
        used += bytes;
        last_end = at + bytes;
    }
    assert_true(wrapped > 100);
    assert_true(smallest >= 4 * 32 * MIB);
    munmap(pool.memory, (size_t)plan.size_bytes);
}

static void the_pool_holds_a_whole_forward_and_its_largest_matrix_again(void **state)
{
    struct pool_plan plan;
    struct err err = ERR_INIT;
    int64_t lm_head = forward_lm_head_bytes(&GPT2);

    (void)state;
    assert_true(
        pool_plan(&GPT2, 12, &(struct point){ OP_ANY, 1, 1024, 1 }, 1 * MIB, 0, &plan, &err));
    assert_int_equal(plan.anchor_layers, 12);
    assert_false(plan.is_llc_assumed);
    assert_true(plan.size_bytes > 12 * 28 * INT64_C(1000000) + 2 * lm_head);
    assert_true(plan.size_bytes < 12 * 40 * INT64_C(1000000) + 2 * lm_head);
}

static void little_memory_means_fewer_layers_and_then_an_error(void **state)
{
    struct pool_plan plan;
    struct err err = ERR_INIT;

    (void)state;
    assert_true(pool_plan(&GPT2, 12, &(struct point){ OP_ANY, 1, 1024, 1 }, 1 * MIB, 1200 * MIB,
                          &plan, &err));
    assert_true(plan.anchor_layers >= 1 && plan.anchor_layers < 12);
    assert_true(plan.size_bytes <= 480 * MIB);
    assert_false(pool_plan(&GPT2, 12, &(struct point){ OP_ANY, 1, 1024, 1 }, 1 * MIB, 400 * MIB,
                           &plan, &err));
    assert_int_equal(err.kind, ERR_SYSTEM);
    assert_non_null(strstr(err.text, "40 %"));
}

/* 20000 tokens on as many keys: 1.6 GB of scores alone. */
static void activations_and_scores_count_as_memory(void **state)
{
    struct pool_plan plan, small;
    struct err err = ERR_INIT;

    (void)state;
    assert_true(pool_plan(&GPT2, 1, &(struct point){ OP_ANY, 1, 64, 1 }, 1 * MIB, 0, &small, &err));
    assert_true(
        pool_plan(&GPT2, 1, &(struct point){ OP_ANY, 20000, 20000, 1 }, 1 * MIB, 0, &plan, &err));
    assert_true(plan.work_bytes >= INT64_C(20000) * 20000 * 4);
    assert_true(small.work_bytes < 1 * MIB);
    assert_true(pool_plan(&GPT2, 1, &(struct point){ OP_ANY, 1, 64, 1 }, 1 * MIB, 2000 * MIB,
                          &small, &err));
    assert_false(pool_plan(&GPT2, 1, &(struct point){ OP_ANY, 20000, 64, 1 }, 1 * MIB, 2000 * MIB,
                           &plan, &err));
    assert_non_null(strstr(err.text, "--tokens"));
}

static void an_unknown_cache_is_assumed_and_said(void **state)
{
    struct pool_plan plan;
    struct err err = ERR_INIT;

    (void)state;
    assert_true(pool_plan(&GPT2, 1, &(struct point){ OP_ANY, 1, 64, 1 }, 0, 0, &plan, &err));
    assert_true(plan.is_llc_assumed);
    assert_int_equal(plan.llc_bytes, 32 * MIB);
    assert_true(plan.size_bytes >= 4 * 32 * MIB);
}

/* 4 caches of half a GiB would be as long to fill as a profile takes. */
static void a_turn_over_a_huge_cache_is_twice_its_size(void **state)
{
    struct pool_plan plan;
    struct err err = ERR_INIT;
    const struct point one = { OP_ANY, 1, 64, 1 };

    (void)state;
    assert_true(pool_plan(&GPT2, 1, &one, 100 * MIB, 0, &plan, &err));
    assert_true(plan.size_bytes >= 400 * MIB);
    assert_true(pool_plan(&GPT2, 1, &one, 480 * MIB, 0, &plan, &err));
    assert_true(plan.size_bytes >= 960 * MIB && plan.size_bytes < 1200 * MIB);
    assert_true(pool_plan(&GPT2, 1, &one, 200 * MIB, 0, &plan, &err));
    assert_true(plan.size_bytes >= 512 * MIB);
}

/* Eight sequences have eight caches. */
static void every_sequence_has_its_cache_in_the_pool(void **state)
{
    struct pool_plan one, eight;
    struct err err = ERR_INIT;

    (void)state;
    assert_true(pool_plan(&GPT2, 12, &(struct point){ OP_ANY, 8, 1024, 1 }, MIB, 0, &one, &err));
    assert_true(pool_plan(&GPT2, 12, &(struct point){ OP_ANY, 8, 1024, 8 }, MIB, 0, &eight, &err));
    assert_int_equal(eight.size_bytes - one.size_bytes, INT64_C(12) * 7 * 2 * 4 * 12 * 1024 * 64);
}

static void a_pool_is_filled_and_an_impossible_one_is_an_error(void **state)
{
    struct arena *arena = arena_create();
    struct pool_plan plan = { .size_bytes = 1 * MIB }, huge = { .size_bytes = INT64_MAX };
    struct err err = ERR_INIT;
    struct pool pool;
    int zeros = 0;

    (void)state;
    assert_true(pool_create(arena, &plan, 3, &pool, &err));
    for (int64_t i = 0; i < pool.bytes / 4; i++)
        zeros += ((const float *)(const void *)pool.memory)[i] == 0.0f;
    assert_true(zeros < 10);
    assert_false(pool_create(arena, &huge, 3, &pool, &err));
    assert_int_equal(err.kind, ERR_SYSTEM);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cursor_goes_on_and_starts_again_before_the_end),
        cmocka_unit_test(far_memory_lies_half_a_pool_away_and_moves_nothing),
        cmocka_unit_test(nothing_is_handed_out_again_before_four_caches),
        cmocka_unit_test(the_pool_holds_a_whole_forward_and_its_largest_matrix_again),
        cmocka_unit_test(little_memory_means_fewer_layers_and_then_an_error),
        cmocka_unit_test(activations_and_scores_count_as_memory),
        cmocka_unit_test(an_unknown_cache_is_assumed_and_said),
        cmocka_unit_test(a_turn_over_a_huge_cache_is_twice_its_size),
        cmocka_unit_test(every_sequence_has_its_cache_in_the_pool),
        cmocka_unit_test(a_pool_is_filled_and_an_impossible_one_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
