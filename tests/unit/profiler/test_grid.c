/* test_grid.c - which points are measured, for which models and ranges. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/model.h"
#include "profiler/grid.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct model *find(struct arena *arena, const char *name)
{
    struct err err = ERR_INIT;
    struct model_catalogue *catalogue = model_catalogue_load(arena, NULL, &err);
    const struct model *model = catalogue ? model_find(catalogue, name, &err) : NULL;

    assert_non_null(model);
    return model;
}

static bool has(const struct point *points, int count, enum op_phase phase, int m, int kv)
{
    for (int i = 0; i < count; i++)
        if (points[i].phase == phase && points[i].m == m && points[i].kv == kv)
            return true;
    return false;
}

static void a_range_is_first_colon_last_or_one_number(void **state)
{
    struct grid_range range = { 0, 0, true };
    struct err err = ERR_INIT;

    (void)state;
    assert_true(grid_parse_range("--kv", "1:2048", &range, &err));
    assert_int_equal(range.first, 1);
    assert_int_equal(range.last, 2048);
    assert_false(range.is_default);
    assert_true(grid_parse_range("--kv", "64", &range, &err));
    assert_int_equal(range.first, 64);
    assert_int_equal(range.last, 64);
}

static void a_bad_range_names_the_option(void **state)
{
    static const char *const bad[] = { "",      "0:4",       "5:4",
                                       "1:",    ":3",        "a:b",
                                       "1:2:3", "-1:4",      "1.5",
                                       "1:1e9", "1:2097152", "11111111111111111111111111111:2" };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct grid_range range = { 7, 7, true };
        struct err err = ERR_INIT;

        assert_false(grid_parse_range("--tokens", bad[i], &range, &err));
        assert_int_equal(err.kind, ERR_USAGE);
        assert_non_null(strstr(err.text, "--tokens is '"));
        assert_int_equal(range.first, 7);
    }
}

static void a_full_grid_shows_tile_periods_up_to_16(void **state)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct point *points;
    int count;

    (void)state;
    assert_true(grid_build(arena, find(arena, "gpt2"), (struct grid_range){ 1, 512, false },
                           (struct grid_range){ 1, 1024, false }, false, &points, &count, &err));
    for (int m = 1; m <= 17; m++)
        assert_true(has(points, count, OP_PREFILL, m, m));
    assert_false(has(points, count, OP_PREFILL, 18, 18));
    assert_true(has(points, count, OP_PREFILL, 24, 24));
    assert_true(has(points, count, OP_PREFILL, 384, 384));
    assert_true(has(points, count, OP_PREFILL, 512, 512));
    assert_true(has(points, count, OP_DECODE, 1, 2));
    assert_true(has(points, count, OP_DECODE, 1, 768));
    assert_true(has(points, count, OP_DECODE, 1, 1024));
    /* one token without a past is a prefill, never a decode */
    assert_false(has(points, count, OP_DECODE, 1, 1));
    for (int i = 1; i < count; i++)
        assert_true(points[i].phase != points[i - 1].phase || points[i].kv > points[i - 1].kv);
    arena_destroy(arena);
}

static void a_quick_grid_is_sparser_and_keeps_the_ends(void **state)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct point *points;
    int count, full;

    (void)state;
    assert_true(grid_build(arena, find(arena, "gpt2"), (struct grid_range){ 3, 100, false },
                           (struct grid_range){ 5, 700, false }, false, &points, &full, &err));
    assert_true(grid_build(arena, find(arena, "gpt2"), (struct grid_range){ 3, 100, false },
                           (struct grid_range){ 5, 700, false }, true, &points, &count, &err));
    assert_true(count < full);
    assert_true(has(points, count, OP_PREFILL, 3, 3));
    assert_true(has(points, count, OP_PREFILL, 7, 7));
    assert_true(has(points, count, OP_PREFILL, 100, 100));
    assert_true(has(points, count, OP_DECODE, 1, 5));
    assert_true(has(points, count, OP_DECODE, 1, 64));
    assert_true(has(points, count, OP_DECODE, 1, 700));
    arena_destroy(arena);
}

static void the_default_is_cut_to_the_context_and_a_wish_beyond_it_is_refused(void **state)
{
    struct arena *arena = arena_create();
    const struct model *gpt2 = find(arena, "gpt2");
    struct err err = ERR_INIT;
    struct point *points;
    int count;

    (void)state;
    assert_true(grid_build(arena, gpt2, (struct grid_range){ 1, 512, true },
                           (struct grid_range){ 1, 2048, true }, true, &points, &count, &err));
    assert_int_equal(points[count - 1].kv, 1024);
    assert_false(grid_build(arena, gpt2, (struct grid_range){ 1, 512, true },
                            (struct grid_range){ 1, 2048, false }, true, &points, &count, &err));
    assert_non_null(strstr(err.text, "--kv is '1:2048': gpt2 holds at most 1024 tokens"));
    arena_destroy(arena);
}

static void encoders_have_no_decode(void **state)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct point *points;
    int count;

    (void)state;
    assert_true(grid_build(arena, find(arena, "vit-base"), (struct grid_range){ 1, 512, true },
                           (struct grid_range){ 1, 2048, true }, true, &points, &count, &err));
    for (int i = 0; i < count; i++)
        assert_int_equal(points[i].phase, OP_PREFILL);
    assert_int_equal(points[count - 1].m, 197);
    assert_int_equal(grid_middle(points, count, OP_DECODE), -1);
    arena_destroy(arena);
}

static void the_middle_is_geometric(void **state)
{
    const struct point points[] = { { OP_PREFILL, 1, 1 },   { OP_PREFILL, 8, 8 },
                                    { OP_PREFILL, 64, 64 }, { OP_DECODE, 1, 2 },
                                    { OP_DECODE, 1, 16 },   { OP_DECODE, 1, 1024 } };

    (void)state;
    assert_int_equal(grid_middle(points, 6, OP_PREFILL), 1);
    assert_int_equal(grid_middle(points, 6, OP_DECODE), 4);
    assert_int_equal(grid_middle(points, 1, OP_PREFILL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_first_colon_last_or_one_number),
        cmocka_unit_test(a_bad_range_names_the_option),
        cmocka_unit_test(a_full_grid_shows_tile_periods_up_to_16),
        cmocka_unit_test(a_quick_grid_is_sparser_and_keeps_the_ends),
        cmocka_unit_test(the_default_is_cut_to_the_context_and_a_wish_beyond_it_is_refused),
        cmocka_unit_test(encoders_have_no_decode),
        cmocka_unit_test(the_middle_is_geometric),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
