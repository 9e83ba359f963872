/* test_grid.c - which points are measured, for which models and ranges. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/model.h"
#include "profiler/measure/grid.h"
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

static struct grid_points build(struct arena *arena, const char *name, struct grid grid,
                                int32_t period)
{
    const struct model *model = find(arena, name);
    struct grid_points points;
    struct err err = ERR_INIT;

    if (!grid_cut(model, &grid, &err))
        fail_msg("%s", err.text);
    grid_build(model, &grid, period, &points);
    return points;
}

static bool has(const struct grid_points *points, enum op_phase phase, int m, int kv, int batch)
{
    return grid_find(points, &(struct point){ phase, m, kv, batch }) >= 0;
}

static int count_sizes(const struct grid_points *points)
{
    int count = 0;

    for (int i = 0; i < points->count; i++)
        count += points->items[i].phase == OP_PREFILL && points->items[i].kv == points->items[i].m;
    return count;
}

static const struct grid full = { { 1, 512, true }, { 1, 2048, true }, { 1, 8, true }, false };
static const struct grid quick = { { 1, 512, true }, { 1, 2048, true }, { 1, 8, true }, true };

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

static void a_full_grid_shows_the_tiles_and_stays_small(void **state)
{
    static const int32_t periods[] = { 1, 2, 4, 8 };
    struct arena *arena = arena_create();

    (void)state;
    for (size_t i = 0; i < sizeof(periods) / sizeof(periods[0]); i++) {
        struct grid_points points = build(arena, "gpt2", full, periods[i]);

        assert_true(count_sizes(&points) <= GRID_MAX_SIZES);
        assert_true(has(&points, OP_PREFILL, 1, 1, 1));
        assert_true(has(&points, OP_PREFILL, 512, 512, 1));
        int base = periods[i] == 8 ? 16 : 12;

        for (int r = 1; r < periods[i]; r *= 2) /* each residue that others are made of */
            assert_true(has(&points, OP_PREFILL, base + r, base + r, 1));
        assert_true(has(&points, OP_DECODE, 1, 2, 1));
        assert_true(has(&points, OP_DECODE, 1, 768, 1));
        assert_true(has(&points, OP_DECODE, 1, 1024, 1)); /* the context */
        /* one token without a past is a prefill, never a decode */
        assert_false(has(&points, OP_DECODE, 1, 1, 1));
        for (int b = 2; b <= 8; b *= 2)
            assert_true(has(&points, OP_DECODE, b, 256, b));
        assert_true(has(&points, OP_DECODE, 8, 1024, 8));
        assert_false(has(&points, OP_DECODE, 7, 256, 7));
    }
    arena_destroy(arena);
}

static void chunks_have_sizes_that_are_measured_whole_too(void **state)
{
    struct arena *arena = arena_create();
    struct grid_points points = build(arena, "gpt2", full, 4);
    int chunks = 0;

    (void)state;
    for (int i = 0; i < points.count; i++) {
        const struct point *at = &points.items[i];

        if (at->phase != OP_PREFILL || at->kv == at->m)
            continue;
        assert_true(has(&points, OP_PREFILL, at->m, at->m, 1));
        chunks++;
    }
    assert_true(chunks >= 4);
    arena_destroy(arena);
}

static void a_quick_grid_is_sparser_and_keeps_the_ends(void **state)
{
    struct arena *arena = arena_create();
    struct grid narrow = { { 3, 100, false }, { 5, 700, false }, { 1, 3, false }, true };
    struct grid_points sparse = build(arena, "gpt2", narrow, 4), dense;

    (void)state;
    narrow.is_quick = false;
    dense = build(arena, "gpt2", narrow, 4);
    assert_true(sparse.count < dense.count);
    assert_true(has(&sparse, OP_PREFILL, 3, 3, 1));
    assert_true(has(&sparse, OP_PREFILL, 100, 100, 1));
    assert_true(has(&sparse, OP_DECODE, 1, 5, 1));
    assert_true(has(&sparse, OP_DECODE, 1, 700, 1));
    assert_true(has(&sparse, OP_DECODE, 3, 256, 3));
    for (int i = 0; i < sparse.count; i++) /* no chunks */
        assert_true(sparse.items[i].phase == OP_DECODE || sparse.items[i].kv == sparse.items[i].m);
    arena_destroy(arena);
}

static void a_batch_alone_is_possible(void **state)
{
    struct arena *arena = arena_create();
    struct grid grid = { { 1, 1, false }, { 256, 256, false }, { 4, 4, false }, false };
    struct grid_points points = build(arena, "gpt2", grid, 4);

    (void)state;
    assert_true(has(&points, OP_DECODE, 4, 256, 4));
    assert_int_equal(count_sizes(&points), 1);
    arena_destroy(arena);
}

static void the_default_is_cut_to_the_context_and_a_wish_beyond_it_is_refused(void **state)
{
    struct arena *arena = arena_create();
    const struct model *gpt2 = find(arena, "gpt2");
    struct grid grid = quick;
    struct err err = ERR_INIT;

    (void)state;
    assert_true(grid_cut(gpt2, &grid, &err));
    assert_int_equal(grid.kv.last, 1024);
    grid.kv = (struct grid_range){ 1, 2048, false };
    assert_false(grid_cut(gpt2, &grid, &err));
    assert_non_null(strstr(err.text, "--kv is '1:2048': gpt2 holds at most 1024 tokens"));
    err = (struct err)ERR_INIT;
    grid = quick;
    grid.batch.last = 100000;
    assert_false(grid_cut(gpt2, &grid, &err));
    assert_non_null(strstr(err.text, "--batch is '1:100000'"));
    arena_destroy(arena);
}

static void encoders_have_no_decode(void **state)
{
    struct arena *arena = arena_create();
    struct grid grid = quick;
    struct grid_points points = build(arena, "vit-base", quick, 4);
    struct err err = ERR_INIT;
    struct point anchor;

    (void)state;
    for (int i = 0; i < points.count; i++)
        assert_int_equal(points.items[i].phase, OP_PREFILL);
    assert_true(has(&points, OP_PREFILL, 197, 197, 1));
    assert_true(grid_cut(find(arena, "vit-base"), &grid, &err));
    assert_false(grid_anchor(&grid, OP_DECODE, &anchor));
    arena_destroy(arena);
}

static void the_anchor_is_usual_work_or_what_the_ranges_hold_of_it(void **state)
{
    const struct grid narrow = { { 1, 64, false }, { 300, 400, false }, { 1, 1, false }, false };
    struct point anchor;

    (void)state;
    assert_true(grid_anchor(&full, OP_PREFILL, &anchor));
    assert_int_equal(anchor.m, 128);
    assert_true(grid_anchor(&full, OP_DECODE, &anchor));
    assert_int_equal(anchor.kv, 256);
    assert_int_equal(anchor.m, 1);
    assert_true(grid_anchor(&narrow, OP_PREFILL, &anchor));
    assert_int_equal(anchor.m, 64);
    assert_true(grid_anchor(&narrow, OP_DECODE, &anchor));
    assert_int_equal(anchor.kv, 300);
}

static void shapes_are_listed_by_phase_and_size(void **state)
{
    struct arena *arena = arena_create();
    struct grid_points points = { .count = 0 };
    struct err err = ERR_INIT;

    (void)state;
    assert_true(grid_parse_points("--anchor", "prefill:128,decode:256,decode:256x4,prefill:128",
                                  find(arena, "gpt2"), &points, &err));
    assert_int_equal(points.count, 3); /* once each */
    assert_true(has(&points, OP_PREFILL, 128, 128, 1));
    assert_true(has(&points, OP_DECODE, 1, 256, 1));
    assert_true(has(&points, OP_DECODE, 4, 256, 4));
    arena_destroy(arena);
}

static void bad_shapes_name_the_option(void **state)
{
    static const char *const bad[] = { "",
                                       ",",
                                       "prefill",
                                       "prefill:",
                                       "prefill:0",
                                       "prefill:4x2",
                                       "decode:1",
                                       "decode:8x",
                                       "decode:x8",
                                       "decode:8x0",
                                       "decode:8x9999",
                                       "train:4",
                                       "prefill:4,",
                                       "prefill:1025",
                                       "prefill:nan",
                                       "decode:-5" };
    struct arena *arena = arena_create();

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct grid_points points = { .count = 0 };
        struct err err = ERR_INIT;

        if (grid_parse_points("--anchor", bad[i], find(arena, "gpt2"), &points, &err))
            fail_msg("'%s' was taken", bad[i]);
        assert_int_equal(err.kind, ERR_USAGE);
        assert_non_null(strstr(err.text, "--anchor "));
    }
    struct grid_points points = { .count = 0 };
    struct err err = ERR_INIT;
    assert_false(
        grid_parse_points("--anchor", "decode:64", find(arena, "bert-base"), &points, &err));
    assert_non_null(strstr(err.text, "bert-base has none"));
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_first_colon_last_or_one_number),
        cmocka_unit_test(a_bad_range_names_the_option),
        cmocka_unit_test(a_full_grid_shows_the_tiles_and_stays_small),
        cmocka_unit_test(chunks_have_sizes_that_are_measured_whole_too),
        cmocka_unit_test(a_quick_grid_is_sparser_and_keeps_the_ends),
        cmocka_unit_test(a_batch_alone_is_possible),
        cmocka_unit_test(the_default_is_cut_to_the_context_and_a_wish_beyond_it_is_refused),
        cmocka_unit_test(encoders_have_no_decode),
        cmocka_unit_test(the_anchor_is_usual_work_or_what_the_ranges_hold_of_it),
        cmocka_unit_test(shapes_are_listed_by_phase_and_size),
        cmocka_unit_test(bad_shapes_name_the_option),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
