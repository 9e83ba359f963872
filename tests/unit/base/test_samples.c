/* test_samples.c - summaries of sets equal those of the sorted values, whatever the values are. */
#include "lib/base/samples.h"

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include "lib/base/select.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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

/* ---- values to be hard on a radix select ---- */

typedef int64_t value_fn(struct rng *rng, size_t index, size_t count);

static int64_t latency(struct rng *rng, size_t index, size_t count)
{
    (void)index;
    (void)count;
    return (int64_t)rng_exponential(rng, 1e11) + 10000000000;
}

static int64_t all_equal(struct rng *rng, size_t index, size_t count)
{
    (void)rng;
    (void)index;
    (void)count;
    return 73000000001;
}

static int64_t two_values(struct rng *rng, size_t index, size_t count)
{
    (void)rng;
    (void)count;
    return index % 3 == 0 ? 73000000001 : 145000000003;
}

static int64_t sorted(struct rng *rng, size_t index, size_t count)
{
    (void)rng;
    (void)count;
    return (int64_t)index * 1000003;
}

static int64_t reversed(struct rng *rng, size_t index, size_t count)
{
    (void)rng;
    return (int64_t)(count - index) * 1000003;
}

static int64_t huge_range(struct rng *rng, size_t index, size_t count)
{
    (void)count;
    return (int64_t)(rng_next(rng) >> (1 + index % 62));
}

static int64_t any_bits(struct rng *rng, size_t index, size_t count)
{
    (void)index;
    (void)count;
    return (int64_t)rng_next(rng);
}

static int64_t small_and_negative(struct rng *rng, size_t index, size_t count)
{
    (void)index;
    (void)count;
    return (int64_t)rng_below(rng, 7) - 5;
}

static int64_t extremes(struct rng *rng, size_t index, size_t count)
{
    static const int64_t values[] = {
        INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX
    };

    (void)index;
    (void)count;
    return values[rng_below(rng, sizeof values / sizeof values[0])];
}

/* Nearly all values within a picosecond of each other, far from the least one. */
static int64_t crowded(struct rng *rng, size_t index, size_t count)
{
    (void)count;
    return index == 0 ? 1 : (INT64_C(1) << 60) + (int64_t)rng_below(rng, 2);
}

/* Crowds in crowds: neighbours differ at every scale. */
static int64_t fractal(struct rng *rng, size_t index, size_t count)
{
    int64_t value = 0;

    (void)index;
    (void)count;
    for (int scale = 0; scale < 60 && rng_below(rng, 4) > 0; scale += 10)
        value += (int64_t)rng_below(rng, 2) << (60 - scale);
    return value;
}

/* The values that the window is chosen by lie above, or below, all others. */
static int64_t sample_misleads(struct rng *rng, size_t index, size_t count)
{
    (void)count;
    if (index % 4096 < 64 || (index - 64) % 4096 == 0)
        return 500000000000 + (int64_t)rng_below(rng, 1000);
    return index % 2 == 0 ? (int64_t)rng_below(rng, 1000000000) : INT64_MAX - (int64_t)(index % 5);
}

static const struct {
    const char *name;
    value_fn *value;
} kinds[] = {
    { "latencies", latency },     { "all equal", all_equal },
    { "two values", two_values }, { "sorted", sorted },
    { "reversed", reversed },     { "a huge range", huge_range },
    { "any bits", any_bits },     { "small and negative", small_and_negative },
    { "extremes", extremes },     { "crowded", crowded },
    { "fractal", fractal },       { "a sample that misleads", sample_misleads },
};

static const size_t counts[] = { 1, 2, 3, 10, 1000, 8192, 8193, 20000, 150000 };

static void assert_same(const struct stats_summary *seen, const struct stats_summary *expected,
                        const char *name)
{
    if (memcmp(seen, expected, sizeof *seen) != 0)
        fail_msg("%s, %zu values: a summary is wrong", name, expected->count);
}

static void exact_summaries_equal_sorting(void **state)
{
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            struct rng rng = rng_stream(1, RNG_TEST, k);
            struct samples *samples = samples_create(*state, SAMPLES_EXACT);
            int64_t *values = arena_array(*state, counts[c], sizeof *values);
            struct stats_summary seen, again, expected;

            for (size_t i = 0; i < counts[c]; i++) {
                values[i] = kinds[k].value(&rng, i, counts[c]);
                samples_add(samples, values[i]);
            }
            assert_int_equal(samples_count(samples), counts[c]);
            seen = samples_summarize(&samples, 1);
            again = samples_summarize(&samples, 1);
            expected = stats_summarize(values, counts[c]);
            assert_same(&seen, &expected, kinds[k].name);
            assert_same(&again, &expected, kinds[k].name);
        }
}

static void the_union_of_sets_is_summarized_as_one(void **state)
{
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        struct rng rng = rng_stream(2, RNG_TEST, k);
        struct samples *forth[4], *back[4];
        int64_t *values = arena_array(*state, 30000, sizeof *values);
        struct stats_summary seen, reversed_sets, expected;

        for (int s = 0; s < 4; s++) {
            forth[s] = samples_create(*state, SAMPLES_EXACT);
            back[3 - s] = forth[s];
        }
        for (size_t i = 0; i < 30000; i++) { /* the last set stays empty */
            values[i] = kinds[k].value(&rng, i, 30000);
            samples_add(forth[i % 7 == 0 ? 0 : i % 7 == 1 ? 1 : 2], values[i]);
        }
        seen = samples_summarize(forth, 4);
        reversed_sets = samples_summarize(back, 4);
        expected = stats_summarize(values, 30000);
        assert_same(&seen, &expected, kinds[k].name);
        assert_same(&reversed_sets, &expected, kinds[k].name);
    }
}

static void sets_may_grow_after_a_summary(void **state)
{
    for (int kind = 0; kind < SAMPLES_KIND_COUNT; kind++) {
        struct samples *samples = samples_create(*state, (enum samples_kind)kind);
        int64_t values[6000];

        for (int i = 0; i < 6000; i++) {
            struct stats_summary seen, expected;

            values[i] = i * 7919 % 2000; /* small: the histogram is exact, too */
            samples_add(samples, values[i]);
            if (i % 100 != 99)
                continue;
            seen = samples_summarize(&samples, 1);
            expected = stats_summarize(values, (size_t)i + 1);
            for (int v = 0; v <= i; v++)
                values[v] = v * 7919 % 2000;
            assert_same(&seen, &expected, samples_kind_names[kind]);
        }
    }
}

static void no_values_are_all_zeros(void **state)
{
    for (int kind = 0; kind < SAMPLES_KIND_COUNT; kind++) {
        struct samples *sets[2] = { samples_create(*state, (enum samples_kind)kind),
                                    samples_create(*state, (enum samples_kind)kind) };
        struct stats_summary seen = samples_summarize(sets, 2), none = samples_summarize(sets, 0);
        struct stats_summary zeros = { 0 };

        assert_same(&seen, &zeros, "nothing");
        assert_same(&none, &zeros, "no set");
    }
}

static void assert_near(int64_t seen, int64_t exact, const char *name, const char *what)
{
    double off = fabs((double)seen - (double)exact);

    if (off > SAMPLES_ERROR_RATIO * fabs((double)exact) * (1 + 1e-9) + 1) /* doubles round */
        fail_msg("%s: %s is %g, not %g", name, what, (double)seen, (double)exact);
}

/* Of values of one sign: between opposite signs the bound is of the larger magnitude. */
static void histograms_keep_the_bound_and_exact_ends(void **state)
{
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            struct rng rng = rng_stream(3, RNG_TEST, k);
            struct samples *sets[2] = { samples_create(*state, SAMPLES_HISTOGRAM),
                                        samples_create(*state, SAMPLES_HISTOGRAM) };
            int64_t *values = arena_array(*state, counts[c], sizeof *values);
            struct stats_summary seen, exact;

            for (size_t i = 0; i < counts[c]; i++) {
                values[i] = kinds[k].value(&rng, i, counts[c]);
                if (kinds[k].value == any_bits || kinds[k].value == extremes)
                    values[i] |= INT64_MIN;
                samples_add(sets[i % 3 == 0], values[i]);
            }
            seen = samples_summarize(sets, 2);
            exact = stats_summarize(values, counts[c]);
            assert_true(seen.count == exact.count && seen.mean == exact.mean);
            assert_true(seen.min == exact.min && seen.max == exact.max);
            assert_near(seen.p50, exact.p50, kinds[k].name, "p50");
            assert_near(seen.p90, exact.p90, kinds[k].name, "p90");
            assert_near(seen.p95, exact.p95, kinds[k].name, "p95");
            assert_near(seen.p99, exact.p99, kinds[k].name, "p99");
            assert_near(seen.p999, exact.p999, kinds[k].name, "p999");
            assert_true(seen.p50 >= seen.min && seen.p999 <= seen.max);
        }
}

static void memory_is_eight_bytes_a_value_or_constant(void **state)
{
    struct samples *exact = samples_create(*state, SAMPLES_EXACT);
    struct samples *histogram = samples_create(*state, SAMPLES_HISTOGRAM);
    size_t before = arena_used_bytes(*state), first, last;

    for (int i = 0; i < 1000000; i++)
        samples_add(exact, i);
    assert_true(arena_used_bytes(*state) - before < 8 * 1000000 + 8 * 65536 + 4096);
    for (int64_t i = 0; i < 200000; i++)
        samples_add(histogram, i * i);
    first = arena_used_bytes(*state);
    for (int64_t i = 0; i < 1000000; i++)
        samples_add(histogram, i % 200000 * (i % 200000));
    (void)samples_summarize(&histogram, 1);
    last = arena_used_bytes(*state);
    assert_int_equal(last, first);
}

/* Thousands of services have a set each: few values, or values of few octaves. */
static void small_histograms_are_exact_and_take_what_they_need(void **state)
{
    struct samples *small = samples_create(*state, SAMPLES_HISTOGRAM);
    struct samples *large = samples_create(*state, SAMPLES_HISTOGRAM), *sets[2] = { small, large };
    int64_t values[SAMPLES_HISTOGRAM_FROM];
    size_t before = arena_used_bytes(*state);
    struct stats_summary seen, expected;

    for (size_t i = 0; i < SAMPLES_HISTOGRAM_FROM; i++) {
        values[i] = INT64_C(1000000000) + (int64_t)(i * 7919 % 4099);
        samples_add(small, values[i]);
    }
    seen = samples_summarize(&small, 1);
    expected = stats_summarize(values, SAMPLES_HISTOGRAM_FROM);
    assert_same(&seen, &expected, "small");
    assert_true(arena_used_bytes(*state) - before < 8 * SAMPLES_HISTOGRAM_FROM + 1024);
    before = arena_used_bytes(*state);
    for (int i = 0; i < 100000; i++)
        samples_add(large, INT64_C(1) << 40 | i);
    assert_true(arena_used_bytes(*state) - before <
                8 * SAMPLES_HISTOGRAM_FROM + 8 * (1 << SAMPLES_HISTOGRAM_BITS) + 4096);
    /* A small set beside a large one is counted with it. */
    seen = samples_summarize(sets, 2);
    assert_int_equal(seen.count, SAMPLES_HISTOGRAM_FROM + 100000);
    assert_int_equal(seen.min, expected.min);
    assert_int_equal(samples_summarize(&small, 1).p50, expected.p50);
}

static void any_ranks_are_found(void **state)
{
    struct rng rng = rng_stream(4, RNG_TEST, 0);

    for (int round = 0; round < 300; round++) {
        size_t count = 1 + rng_below(&rng, 40000), k = rng_below(&rng, 12), used = 0;
        int64_t *values = arena_array(*state, count, sizeof *values);
        struct select_span spans[9];
        uint64_t ranks[SELECT_MAX_RANKS];
        int64_t found[SELECT_MAX_RANKS];
        int rank_count = 1 + (int)rng_below(&rng, SELECT_MAX_RANKS);
        struct stats_totals totals;
        struct arena *scratch = arena_create();

        for (size_t i = 0; i < count; i++)
            values[i] = kinds[k].value(&rng, i, count);
        for (int s = 0; s < 9; s++) {
            size_t size = s < 8 ? rng_below(&rng, count - used + 1) : count - used;

            spans[s] = (struct select_span){ values + used, size };
            used += size;
        }
        for (int r = 0; r < rank_count; r++) { /* ascending, some twice */
            ranks[r] = rng_below(&rng, count);
            for (int i = r; i > 0 && ranks[i - 1] > ranks[i]; i--) {
                uint64_t other = ranks[i];

                ranks[i] = ranks[i - 1];
                ranks[i - 1] = other;
            }
        }
        select_ranks(scratch, spans, 9, ranks, rank_count, found, &totals);
        stats_sort(values, count);
        for (int r = 0; r < rank_count; r++)
            if (found[r] != values[ranks[r]])
                fail_msg("%s: rank %zu of %zu is wrong", kinds[k].name, (size_t)ranks[r], count);
        assert_true(totals.count == count && totals.min == values[0] &&
                    totals.max == values[count - 1] &&
                    stats_totals_mean(&totals) == stats_mean(values, count));
        arena_destroy(scratch);
    }
}

/* Lines of values, added at once and one by one: the same, below the first bucket and above. */
static void lines_are_as_their_values(void **state)
{
    struct rng rng = rng_stream(5, RNG_TEST, 0);

    for (int round = 0; round < 200; round++) {
        enum samples_kind kind = round % 8 == 0 ? SAMPLES_EXACT : SAMPLES_HISTOGRAM;
        struct samples *lines = samples_create(*state, kind),
                       *values = samples_create(*state, kind);
        int count = (int)rng_below(&rng, 12) + 1;
        struct stats_summary a, b;

        for (int l = 0; l < count; l++) {
            int64_t steps = (int64_t)rng_below(&rng, round % 2 ? 12 : 900) + 1;
            int64_t times = (int64_t)rng_below(&rng, 9) + 1;
            int64_t slope = (int64_t)rng_below(&rng, 1 << rng_below(&rng, 24)) -
                            (rng_below(&rng, 3) == 0 ? 1000000 : 0);
            int64_t first = (int64_t)rng_below(&rng, INT64_C(1) << rng_below(&rng, 45));

            if (first + slope * (steps - 1) < 0)
                first -= slope * (steps - 1);
            samples_add_line(lines, first, slope, steps, times);
            for (int64_t k = 0; k < steps * times; k++)
                samples_add(values, first + slope * (k / times));
        }
        a = samples_summarize(&lines, 1);
        b = samples_summarize(&values, 1);
        assert_memory_equal(&a, &b, sizeof a);
    }
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, make_arena, end_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(exact_summaries_equal_sorting),
        RULE(the_union_of_sets_is_summarized_as_one),
        RULE(sets_may_grow_after_a_summary),
        RULE(no_values_are_all_zeros),
        RULE(histograms_keep_the_bound_and_exact_ends),
        RULE(memory_is_eight_bytes_a_value_or_constant),
        RULE(small_histograms_are_exact_and_take_what_they_need),
        RULE(any_ranks_are_found),
        RULE(lines_are_as_their_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
