/* test_stats.c - order statistics equal the naive definition; the histogram keeps its bound. */
#include "lib/base/stats.h"

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

static int make_arena(void **state)
{
    *state = arena_create();
    return 0;
}

static int end_arena(void **state)
{
    arena_destroy(*state);
    return 0;
}

static int compare(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* count values of up to `bits` bits, both signs unless `is_positive`. */
static int64_t *draw_values(struct arena *arena, struct rng *rng, size_t count, int bits,
                            bool is_positive)
{
    int64_t *values = arena_array(arena, count, sizeof *values);

    for (size_t i = 0; i < count; i++) {
        uint64_t value = rng_next(rng) >> (64 - bits);

        values[i] = (int64_t)(is_positive || rng_next(rng) % 2 == 0 ? value : 0 - value);
    }
    return values;
}

static void sorting_equals_the_standard_sort(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 1);
    static const size_t counts[] = { 0, 1, 2, 47, 48, 49, 1000, 30000 };

    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
        for (int bits = 1; bits <= 64; bits += 9) {
            int64_t *values = draw_values(*state, &rng, counts[c], bits, false);
            int64_t *expected = arena_grow(*state, values, counts[c], counts[c], sizeof *values);

            qsort(expected, counts[c], sizeof *expected, compare);
            stats_sort(values, counts[c]);
            assert_memory_equal(values, expected, counts[c] * sizeof *values);
        }
}

static void sorting_takes_sorted_reversed_and_equal_values(void **state)
{
    int64_t *values = arena_array(*state, 1000, sizeof *values);

    for (int i = 0; i < 1000; i++)
        values[i] = 500 - i;
    for (int round = 0; round < 2; round++) { /* reversed, then sorted */
        stats_sort(values, 1000);
        for (int i = 0; i < 1000; i++)
            assert_int_equal(values[i], i - 499);
    }
    for (int i = 0; i < 1000; i++)
        values[i] = i % 2 == 0 ? INT64_MIN : INT64_MAX;
    stats_sort(values, 1000);
    for (int i = 0; i < 1000; i++)
        assert_true(values[i] == (i < 500 ? INT64_MIN : INT64_MAX));
}

/* Position q*(n-1) between neighbours, as one fraction over den; the values are small enough. */
static int64_t naive_quantile(const int64_t *sorted, size_t count, int64_t num, int64_t den)
{
    int64_t scaled = num * (int64_t)(count - 1);
    size_t index = (size_t)(scaled / den);
    int64_t top = sorted[index] * den, low;

    if (scaled % den != 0)
        top += (sorted[index + 1] - sorted[index]) * (scaled % den);
    low = top / den;
    while (low * den > top)
        low--;
    if (2 * (top - low * den) > den || (2 * (top - low * den) == den && low % 2 != 0))
        low++;
    return low;
}

static void quantiles_equal_sort_and_interpolate(void **state)
{
    static const int64_t fractions[][2] = { { 0, 1 },    { 1, 2 },      { 9, 10 }, { 19, 20 },
                                            { 99, 100 }, { 999, 1000 }, { 1, 3 },  { 1, 1 } };
    struct rng rng = rng_stream(1, RNG_TEST, 2);

    for (size_t count = 1; count < 200; count++) {
        int64_t *values = draw_values(*state, &rng, count, 4 + (int)count % 30, false);

        stats_sort(values, count);
        for (size_t f = 0; f < sizeof fractions / sizeof fractions[0]; f++)
            assert_int_equal(stats_quantile(values, count, fractions[f][0], fractions[f][1]),
                             naive_quantile(values, count, fractions[f][0], fractions[f][1]));
    }
}

static void quantiles_round_half_to_even_and_never_overflow(void **state)
{
    static const int64_t even[] = { 1, 2 }, odd[] = { 2, 3 }, below[] = { -2, -1 };
    static const int64_t wide[] = { INT64_MIN, INT64_MAX };

    (void)state;
    assert_int_equal(stats_quantile(even, 2, 1, 2), 2);
    assert_int_equal(stats_quantile(odd, 2, 1, 2), 2);
    assert_int_equal(stats_quantile(below, 2, 1, 2), -2);
    assert_int_equal(stats_quantile(wide, 2, 1, 2), 0);
    assert_true(stats_quantile(wide, 2, 0, 1) == INT64_MIN);
    assert_true(stats_quantile(wide, 2, 1, 1) == INT64_MAX);
    assert_int_equal(stats_quantile(wide, 1, 999, 1000), INT64_MIN);
}

static void means_are_exact_even_of_huge_values(void **state)
{
    static const int64_t most[] = { INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX - 4 };
    static const int64_t least[] = { INT64_MIN, INT64_MIN, INT64_MIN };
    static const int64_t both[] = { INT64_MIN, INT64_MAX };
    static const int64_t half[] = { 1, 2 }, odd[] = { 2, 3 }, negative[] = { -1, -2 };
    static const int64_t third[] = { 0, 0, 2 };

    (void)state;
    assert_true(stats_mean(most, 4) == INT64_MAX - 1);
    assert_true(stats_mean(least, 3) == INT64_MIN);
    assert_int_equal(stats_mean(both, 2), 0);
    assert_int_equal(stats_mean(half, 2), 2);
    assert_int_equal(stats_mean(odd, 2), 2);
    assert_int_equal(stats_mean(negative, 2), -2);
    assert_int_equal(stats_mean(third, 3), 1);
    assert_int_equal(stats_mean(third, 1), 0);
}

static void a_summary_names_the_order_statistics(void **state)
{
    int64_t *values = arena_array(*state, 1001, sizeof *values);
    struct stats_summary summary, empty = stats_summarize(values, 0);

    for (int i = 0; i < 1001; i++)
        values[i] = (int64_t)(i * 8 % 1001) * 1000;
    summary = stats_summarize(values, 1001);
    assert_int_equal(summary.count, 1001);
    assert_int_equal(summary.min, 0);
    assert_int_equal(summary.mean, 500000);
    assert_int_equal(summary.p50, 500000);
    assert_int_equal(summary.p90, 900000);
    assert_int_equal(summary.p95, 950000);
    assert_int_equal(summary.p99, 990000);
    assert_int_equal(summary.p999, 999000);
    assert_int_equal(summary.max, 1000000);
    assert_int_equal(empty.count, 0);
    assert_true(empty.mean == 0 && empty.max == 0 && empty.p999 == 0);
}

static void moments_of_doubles_are_the_textbooks(void **state)
{
    static const double values[] = { 2, 4, 4, 4, 5, 5, 7, 9 };

    (void)state;
    assert_true(stats_mean_double(values, 8) == 5);
    assert_true(fabs(stats_sd(values, 8) - sqrt(32.0 / 7)) < 1e-15);
    assert_true(stats_sd(values, 1) == 0 && stats_sd(values, 0) == 0);
    assert_true(stats_mean_double(values, 0) == 0);
}

static void t_factors_are_the_tables(void **state)
{
    static const struct {
        size_t degrees;
        double factor;
    } table[] = { { 1, 12.706 }, { 2, 4.303 },  { 5, 2.571 },  { 10, 2.228 },  { 20, 2.086 },
                  { 21, 2.080 }, { 30, 2.042 }, { 60, 2.000 }, { 120, 1.980 }, { 1000000, 1.960 } };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        assert_true(fabs(stats_t95(table[i].degrees) - table[i].factor) < 0.0006);
    for (size_t n = 1; n < 200; n++)
        assert_true(stats_t95(n + 1) < stats_t95(n));
}

static void totals_of_parts_are_those_of_the_whole(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 5);
    int64_t *values = draw_values(*state, &rng, 1000, 64, false);
    struct stats_totals whole = { 0 }, empty = { 0 };

    stats_totals_add(&whole, values, 1000);
    for (size_t cut = 0; cut <= 1000; cut += 125) {
        struct stats_totals first = { 0 }, second = { 0 };

        stats_totals_add(&first, values, cut);
        stats_totals_add(&second, values + cut, 1000 - cut);
        stats_totals_merge(&first, &second);
        stats_totals_merge(&first, &empty);
        assert_true(first.count == 1000 && first.min == whole.min && first.max == whole.max);
        assert_true(stats_totals_mean(&first) == stats_mean(values, 1000));
    }
}

static void a_histogram_keeps_its_error_bound(void **state)
{
    static const int64_t fractions[][2] = { { 0, 1 },    { 1, 100 },    { 1, 2 }, { 9, 10 },
                                            { 99, 100 }, { 999, 1000 }, { 1, 1 } };
    struct rng rng = rng_stream(1, RNG_TEST, 3);

    for (int bits = 1; bits <= 14; bits++) {
        int64_t *values = draw_values(*state, &rng, 5000, 63, true);
        struct hist *hist = hist_create(*state, bits);

        for (int i = 0; i < 5000; i++) {
            values[i] >>= i % 63; /* every octave */
            if (bits % 2 == 0)
                values[i] = -values[i];
        }
        hist_add(hist, values, 5000);
        stats_sort(values, 5000);
        for (size_t f = 0; f < sizeof fractions / sizeof fractions[0]; f++) {
            int64_t exact = stats_quantile(values, 5000, fractions[f][0], fractions[f][1]);
            int64_t found = hist_quantile(hist, fractions[f][0], fractions[f][1]);

            if (fabs((double)found - (double)exact) > ldexp(fabs((double)exact), -(bits + 1)) + 0.5)
                fail_msg("%d bits: %g is not near %g", bits, (double)found, (double)exact);
        }
    }
}

static void small_values_of_a_histogram_are_exact(void **state)
{
    struct hist *hist = hist_create(*state, 7);
    int64_t values[511];

    assert_int_equal(hist_quantile(hist, 1, 2), 0); /* empty */
    for (int i = 0; i < 511; i++)
        values[i] = i - 255; /* below 2^8, and above -2^8 */
    hist_add(hist, values, 511);
    for (int i = 0; i < 511; i++)
        assert_int_equal(hist_quantile(hist, i, 510), values[i]);
    assert_int_equal(hist_quantile(hist, 1, 1020), -254); /* -254.5: half to even */
    assert_int_equal(hist_quantile(hist, 3, 1020), -254);
}

static void a_histogram_takes_the_extremes(void **state)
{
    static const int64_t least = INT64_MIN, most = INT64_MAX, zero = 0;

    for (int bits = 1; bits <= 14; bits++) {
        struct hist *hist = hist_create(*state, bits);
        double bound = ldexp((double)INT64_MAX, -(bits + 1));

        hist_add(hist, &least, 1);
        hist_add(hist, &zero, 1);
        hist_add(hist, &most, 1);
        assert_true(fabs((double)hist_quantile(hist, 0, 1) - (double)INT64_MIN) <= bound);
        assert_int_equal(hist_quantile(hist, 1, 2), 0);
        assert_true(fabs((double)hist_quantile(hist, 1, 1) - (double)INT64_MAX) <= bound);
    }
}

static void merging_is_adding_in_any_order(void **state)
{
    static const int64_t fractions[][2] = {
        { 0, 1 }, { 1, 2 }, { 9, 10 }, { 999, 1000 }, { 1, 1 }
    };
    struct rng rng = rng_stream(1, RNG_TEST, 4);
    int64_t *values = draw_values(*state, &rng, 3000, 40, false);
    struct hist *whole = hist_create(*state, 9), *forth = hist_create(*state, 9);
    struct hist *back = hist_create(*state, 9), *parts[3];

    for (int p = 0; p < 3; p++)
        parts[p] = hist_create(*state, 9);
    hist_add(whole, values, 3000);
    for (int i = 0; i < 3000; i++)
        hist_add(parts[i % 3], &values[i], 1);
    for (int p = 0; p < 3; p++) {
        hist_merge(forth, parts[p]);
        hist_merge(back, parts[2 - p]);
    }
    for (size_t f = 0; f < 5; f++) {
        int64_t expected = hist_quantile(whole, fractions[f][0], fractions[f][1]);

        assert_int_equal(hist_quantile(forth, fractions[f][0], fractions[f][1]), expected);
        assert_int_equal(hist_quantile(back, fractions[f][0], fractions[f][1]), expected);
    }
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, make_arena, end_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(sorting_equals_the_standard_sort),
        RULE(sorting_takes_sorted_reversed_and_equal_values),
        RULE(quantiles_equal_sort_and_interpolate),
        RULE(quantiles_round_half_to_even_and_never_overflow),
        RULE(means_are_exact_even_of_huge_values),
        RULE(a_summary_names_the_order_statistics),
        RULE(moments_of_doubles_are_the_textbooks),
        RULE(t_factors_are_the_tables),
        RULE(totals_of_parts_are_those_of_the_whole),
        RULE(a_histogram_keeps_its_error_bound),
        RULE(small_values_of_a_histogram_are_exact),
        RULE(a_histogram_takes_the_extremes),
        RULE(merging_is_adding_in_any_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
