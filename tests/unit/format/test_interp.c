/* test_interp.c - costs between measured points: lines, tiles, power laws, and their ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/format/interp.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

static enum interp_origin origin; /* of the last prediction */

static int64_t linear(const int32_t *x, const int64_t *y_ps, int count, int32_t at)
{
    return interp_predict(x, y_ps, count, INTERP_LINEAR, NULL, at, &origin);
}

static int64_t power(const int32_t *x, const int64_t *y_ps, int count, int32_t at)
{
    return interp_predict(x, y_ps, count, INTERP_LOGLOG, NULL, at, &origin);
}

static void measured_points_are_exact(void **state)
{
    const int32_t x[] = { 1, 2, 4, 8 };
    const int64_t y_ps[] = { 100, 7, 1000, 999 };
    struct interp_tiles tiles = { .period = 2, .adder_ps = { 0, 50 } };

    (void)state;
    for (int i = 0; i < COUNT(x); i++) {
        assert_int_equal(linear(x, y_ps, 4, x[i]), y_ps[i]);
        assert_int_equal(origin, INTERP_MEASURED);
        assert_int_equal(power(x, y_ps, 4, x[i]), y_ps[i]);
        assert_int_equal(interp_predict(x, y_ps, 4, INTERP_LINEAR, &tiles, x[i], &origin), y_ps[i]);
    }
}

static void a_line_runs_between_neighbours(void **state)
{
    const int32_t x[] = { 10, 20, 40 };
    const int64_t y_ps[] = { 100, 300, 301 };

    (void)state;
    assert_int_equal(linear(x, y_ps, 3, 15), 200);
    assert_int_equal(origin, INTERP_INTERPOLATED);
    assert_int_equal(linear(x, y_ps, 3, 30), 300); /* 300.5 to even */
    assert_int_equal(linear(x, y_ps, 3, 31), 301);
}

static void beyond_the_ends_the_outermost_line_goes_on(void **state)
{
    const int32_t x[] = { 10, 20, 40 };
    const int64_t y_ps[] = { 100, 300, 500 };

    (void)state;
    assert_int_equal(linear(x, y_ps, 3, 60), 700);
    assert_int_equal(origin, INTERP_EXTRAPOLATED);
    assert_int_equal(linear(x, y_ps, 3, 6), 20);
    assert_int_equal(origin, INTERP_EXTRAPOLATED);
    assert_int_equal(linear(x, y_ps, 3, 1), 0); /* never below 0 */
}

static void a_single_point_is_proportional(void **state)
{
    const int32_t x[] = { 10 };
    const int64_t y_ps[] = { 100 };

    (void)state;
    assert_int_equal(linear(x, y_ps, 1, 10), 100);
    assert_int_equal(origin, INTERP_MEASURED);
    assert_int_equal(linear(x, y_ps, 1, 5), 50);
    assert_int_equal(origin, INTERP_EXTRAPOLATED);
    assert_int_equal(linear(x, y_ps, 1, 30), 300);
    assert_int_equal(power(x, y_ps, 1, 30), 300);
}

static void huge_values_stop_at_the_longest_time(void **state)
{
    const int32_t x[] = { 1, 2 };
    const int64_t y_ps[] = { 1, UNITS_MAX_PS };
    const int64_t falling_ps[] = { UNITS_MAX_PS, 1 };

    (void)state;
    assert_int_equal(linear(x, y_ps, 2, INT32_MAX), UNITS_MAX_PS);
    assert_int_equal(power(x, y_ps, 2, INT32_MAX), UNITS_MAX_PS);
    assert_int_equal(linear(x, falling_ps, 2, INT32_MAX), 0);
    assert_int_equal(power(x, falling_ps, 2, INT32_MAX), 0);
    assert_int_equal(linear(x, y_ps, 1, INT32_MAX), INT32_MAX);
}

static void a_power_law_is_exact_on_squares(void **state)
{
    const int32_t x[] = { 16, 64, 256 };
    const int64_t y_ps[] = { 16 * 16 * 1000, 64 * 64 * 1000, 256 * 256 * 1000 };

    (void)state;
    assert_int_equal(power(x, y_ps, 3, 32), 32 * 32 * 1000);
    assert_int_equal(origin, INTERP_INTERPOLATED);
    assert_int_equal(power(x, y_ps, 3, 100), 100 * 100 * 1000);
    assert_int_equal(power(x, y_ps, 3, 512), 512 * 512 * 1000);
    assert_int_equal(origin, INTERP_EXTRAPOLATED);
    assert_int_equal(power(x, y_ps, 3, 1), 1000);
    const int64_t with_zero_ps[] = { 0, 100, 200 }; /* no logarithm: the line */
    assert_int_equal(power(x, with_zero_ps, 3, 40), 50);
}

/* OpenBLAS's saw-tooth of reference/profiling.md, section 1: a base of 140 a token in steps of 4,
 * and 220, 240 and 457 on top for the residues. */
static int64_t saw_tooth(int32_t m)
{
    static const int64_t adder[4] = { 0, 220, 240, 457 };

    return m < 4 ? 500 + 100 * m : 140 * (m / 4 * 4) + adder[m % 4];
}

static const int32_t grid[] = { 1,  2,  3,  4,  5,  6,  7,  8,  9,   10,  11,
                                12, 13, 14, 15, 16, 17, 32, 64, 128, 256, 512 };

static void the_period_of_a_saw_tooth_is_found(void **state)
{
    struct arena *arena = arena_create();
    int64_t y_ps[COUNT(grid)];

    (void)state;
    for (int i = 0; i < COUNT(grid); i++)
        y_ps[i] = 1000 * saw_tooth(grid[i]);
    struct interp_tiles tiles = interp_fit(arena, grid, y_ps, COUNT(grid));
    assert_int_equal(tiles.period, 4);
    assert_int_equal(tiles.adder_ps[0], 0);
    assert_int_equal(tiles.adder_ps[1], 220000);
    assert_int_equal(tiles.adder_ps[2], 240000);
    assert_int_equal(tiles.adder_ps[3], 457000);
    assert_true(tiles.loo_median_ratio >= 0 && tiles.loo_median_ratio < 0.001);
    for (int32_t m = 4; m <= 600; m++) {
        assert_int_equal(interp_predict(grid, y_ps, COUNT(grid), INTERP_LINEAR, &tiles, m, &origin),
                         1000 * saw_tooth(m));
    }
    assert_int_equal(origin, INTERP_EXTRAPOLATED);
    arena_destroy(arena);
}

static void a_straight_line_has_no_tiles(void **state)
{
    struct arena *arena = arena_create();
    int64_t y_ps[COUNT(grid)];

    (void)state;
    for (int i = 0; i < COUNT(grid); i++)
        y_ps[i] = 5000 + 140 * (int64_t)grid[i];
    struct interp_tiles tiles = interp_fit(arena, grid, y_ps, COUNT(grid));
    assert_int_equal(tiles.period, 1);
    assert_true(tiles.loo_max_ratio >= 0 && tiles.loo_max_ratio < 1e-3);
    arena_destroy(arena);
}

static void tiles_are_not_guessed_from_few_or_unfit_points(void **state)
{
    struct arena *arena = arena_create();
    const int32_t few[] = { 4, 5, 6, 7, 8 }, powers[] = { 1, 2, 4, 8, 16, 32, 64 };
    int64_t y_ps[8];

    (void)state;
    for (int i = 0; i < 5; i++)
        y_ps[i] = saw_tooth(few[i]);
    assert_int_equal(interp_fit(arena, few, y_ps, 5).period, 1);
    assert_true(interp_fit(arena, few, y_ps, 5).loo_max_ratio > 0);
    for (int i = 0; i < 7; i++)
        y_ps[i] = saw_tooth(powers[i]);
    assert_int_equal(interp_fit(arena, powers, y_ps, 7).period, 1); /* no residue was measured */
    assert_int_equal(interp_fit(arena, few, y_ps, 2).period, 1);
    assert_true(interp_fit(arena, few, y_ps, 2).loo_max_ratio < 0); /* unknown */
    y_ps[1] = 0;
    assert_true(interp_fit(arena, few, y_ps, 3).loo_max_ratio < 0);
    arena_destroy(arena);
}

static void below_the_first_tile_the_points_are_joined(void **state)
{
    const int32_t x[] = { 1, 3, 4, 8 };
    const int64_t y_ps[] = { 100, 300, 1000, 2000 };
    struct interp_tiles tiles = { .period = 4, .adder_ps = { 0, 10, 20, 30 } };

    (void)state;
    assert_int_equal(interp_predict(x, y_ps, 4, INTERP_LINEAR, &tiles, 2, &origin), 200);
    assert_int_equal(interp_predict(x, y_ps, 4, INTERP_LINEAR, &tiles, 6, &origin), 1020);
    assert_int_equal(origin, INTERP_INTERPOLATED);
    assert_int_equal(interp_predict(x, y_ps, 4, INTERP_LINEAR, &tiles, 15, &origin), 3030);
}

static void without_two_multiples_of_the_period_the_points_are_joined(void **state)
{
    const int32_t x[] = { 5, 7, 8 };
    const int64_t y_ps[] = { 500, 700, 1000 };
    struct interp_tiles tiles = { .period = 8, .adder_ps = { 0, 1, 2, 3, 4, 5, 6, 7 } };

    (void)state;
    assert_int_equal(interp_predict(x, y_ps, 3, INTERP_LINEAR, &tiles, 6, &origin), 600);
    assert_int_equal(interp_predict(x, y_ps, 3, INTERP_LINEAR, &tiles, 9, &origin), 1001);
    assert_int_equal(interp_predict(x, y_ps, 3, INTERP_LINEAR, &tiles, 17, &origin), 2500);
}

static void tiles_between_points_need_a_multiple_on_either_side(void **state)
{
    const int32_t low[] = { 1, 3, 32, 48 },
                  high[] = { 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 48, 64, 96, 128, 192, 256, 300 };
    const int64_t low_ps[] = { 100, 300, 3200, 9000 };
    int64_t high_ps[COUNT(high)];
    struct interp_tiles tiles = { .period = 16, .adder_ps = { 0, 7000 } };

    (void)state;
    tiles.adder_ps[11] = tiles.adder_ps[15] = 7000;
    assert_int_equal(interp_predict(low, low_ps, 4, INTERP_LINEAR, &tiles, 17, &origin), 1700);
    assert_int_equal(origin, INTERP_INTERPOLATED);
    assert_int_equal(interp_predict(low, low_ps, 4, INTERP_LINEAR, &tiles, 31, &origin), 3100);
    assert_int_equal(origin, INTERP_INTERPOLATED);
    assert_int_equal(interp_predict(low, low_ps, 4, INTERP_LINEAR, &tiles, 33, &origin), 10200);
    assert_int_equal(origin, INTERP_INTERPOLATED);
    for (int i = 0; i < COUNT(high); i++)
        high_ps[i] = 10 * (int64_t)high[i];
    high_ps[COUNT(high) - 1] = 25600; /* 300: what 288 costs, as residue 12 adds nothing */
    assert_int_equal(
        interp_predict(high, high_ps, COUNT(high), INTERP_LINEAR, &tiles, 299, &origin), 32600);
    assert_int_equal(origin, INTERP_INTERPOLATED);
    assert_int_equal(/* beyond the end the tiles go on: from 192 over 288 to 304, and 11 */
                     interp_predict(high, high_ps, COUNT(high), INTERP_LINEAR, &tiles, 315,
                                    &origin),
                     36547);
    assert_int_equal(origin, INTERP_EXTRAPOLATED);
}

static void before_the_first_point_the_tiles_go_on(void **state)
{
    const int32_t x[] = { 20, 32, 48 };
    const int64_t y_ps[] = { 2500, 3200, 4800 };
    struct interp_tiles tiles = { .period = 16, .adder_ps = { 0, 50 } };

    (void)state;
    assert_int_equal(interp_predict(x, y_ps, 3, INTERP_LINEAR, &tiles, 17, &origin), 2550);
    assert_int_equal(origin, INTERP_EXTRAPOLATED);
}

static void adders_are_not_fitted_on_bases_that_nobody_measured(void **state)
{
    struct arena *arena = arena_create();
    const int32_t x[] = { 3, 4, 6, 8, 10, 12, 15 }; /* period 2: only 3 and 15 have residue 1 */
    int64_t y_ps[COUNT(x)];

    (void)state;
    for (int i = 0; i < COUNT(x); i++)
        y_ps[i] = 1000 * (x[i] / 2 * 2) + (x[i] % 2 ? 77000 : 0);
    assert_int_equal(interp_fit(arena, x, y_ps, COUNT(x)).period, 1);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measured_points_are_exact),
        cmocka_unit_test(a_line_runs_between_neighbours),
        cmocka_unit_test(beyond_the_ends_the_outermost_line_goes_on),
        cmocka_unit_test(a_single_point_is_proportional),
        cmocka_unit_test(huge_values_stop_at_the_longest_time),
        cmocka_unit_test(a_power_law_is_exact_on_squares),
        cmocka_unit_test(the_period_of_a_saw_tooth_is_found),
        cmocka_unit_test(a_straight_line_has_no_tiles),
        cmocka_unit_test(tiles_are_not_guessed_from_few_or_unfit_points),
        cmocka_unit_test(below_the_first_tile_the_points_are_joined),
        cmocka_unit_test(without_two_multiples_of_the_period_the_points_are_joined),
        cmocka_unit_test(tiles_between_points_need_a_multiple_on_either_side),
        cmocka_unit_test(before_the_first_point_the_tiles_go_on),
        cmocka_unit_test(adders_are_not_fitted_on_bases_that_nobody_measured),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
