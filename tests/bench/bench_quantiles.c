/* bench_quantiles.c - what the statistics of latencies cost: samples_summarize (mean, min, max and
 * five quantiles in all) against sorting by qsort.
 *
 *     bench_quantiles [VALUES [REPEATS]]     (default 10000000 values, 3 repeats)
 *
 * Latencies are those of an M/D/1 queue at load 0.7. Rows (bench.h): `quantiles`, ns a value of
 * samples_summarize against qsort, which is timed once; notes tell of adding the values one by one,
 * and of the histogram. Exits with 1 when a figure differs from that of the sorted values. */
#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include "lib/base/samples.h"
#include "lib/base/units.h"
#include "tests/bench/bench.h"
#include <stdlib.h>
#include <string.h>

#define SERVICE_PS (10 * UNITS_PS_PER_MS)
#define LOAD 0.7

static int compare(const void *left, const void *right)
{
    const int64_t *a = left, *b = right;

    return (*a > *b) - (*a < *b);
}

static void fill(int64_t *latencies_ps, size_t count)
{
    struct rng rng = rng_stream(1, RNG_TEST, 0);
    int64_t wait_ps = 0;

    for (size_t i = 0; i < count; i++) {
        latencies_ps[i] = wait_ps + SERVICE_PS;
        wait_ps = latencies_ps[i] - (int64_t)rng_exponential(&rng, (double)SERVICE_PS / LOAD);
        wait_ps = wait_ps > 0 ? wait_ps : 0;
    }
}

static bool is_same(const struct stats_summary *summary, const int64_t *sorted, size_t count)
{
    return summary->count == count && summary->mean == stats_mean(sorted, count) &&
           summary->min == sorted[0] && summary->max == sorted[count - 1] &&
           summary->p50 == stats_quantile(sorted, count, 1, 2) &&
           summary->p90 == stats_quantile(sorted, count, 9, 10) &&
           summary->p95 == stats_quantile(sorted, count, 19, 20) &&
           summary->p99 == stats_quantile(sorted, count, 99, 100) &&
           summary->p999 == stats_quantile(sorted, count, 999, 1000);
}

enum { ADD, SUMMARIZE, STEP_COUNT };

/* One repeat of one kind of set; the best times so far are kept beside those of this repeat. */
static struct stats_summary measure(const int64_t *latencies_ps, size_t count,
                                    enum samples_kind kind, double ns[STEP_COUNT],
                                    double best_ns[STEP_COUNT])
{
    struct arena *arena = arena_create();
    struct samples *samples = samples_create(arena, kind);
    struct stats_summary summary;
    double began_ns = bench_thread_ns(), added_ns;

    for (size_t i = 0; i < count; i++)
        samples_add(samples, latencies_ps[i]);
    added_ns = bench_thread_ns();
    summary = samples_summarize(&samples, 1);
    ns[ADD] = (added_ns - began_ns) / (double)count;
    ns[SUMMARIZE] = (bench_thread_ns() - added_ns) / (double)count;
    for (int i = 0; i < STEP_COUNT; i++)
        best_ns[i] = ns[i] < best_ns[i] ? ns[i] : best_ns[i];
    arena_destroy(arena);
    return summary;
}

static double sort_ns(int64_t *values, size_t count)
{
    double began_ns = bench_thread_ns();

    qsort(values, count, sizeof *values, compare);
    return (bench_thread_ns() - began_ns) / (double)count;
}

static bool bench(size_t count, int repeats)
{
    int64_t *latencies_ps = malloc(count * sizeof *latencies_ps);
    int64_t *sorted = malloc(count * sizeof *sorted);
    double exact_ns[STEP_COUNT] = { 1e300, 1e300 }, hist_ns[STEP_COUNT] = { 1e300, 1e300 };
    double ns[STEP_COUNT], yardstick_ns;
    bool is_exact = latencies_ps && sorted;

    if (is_exact) {
        fill(latencies_ps, count);
        memcpy(sorted, latencies_ps, count * sizeof *sorted);
        yardstick_ns = sort_ns(sorted, count);
        bench_head();
        for (int repeat = 1; repeat <= repeats; repeat++) {
            struct stats_summary summary;

            (void)measure(latencies_ps, count, SAMPLES_HISTOGRAM, ns, hist_ns);
            summary = measure(latencies_ps, count, SAMPLES_EXACT, ns, exact_ns);
            is_exact = is_exact && is_same(&summary, sorted, count);
            bench_row("quantiles", repeat, ns[SUMMARIZE], yardstick_ns, "ns");
        }
        printf("# quantiles: keeping a value %.2f ns; histogram: adding %.2f ns, quantiles %.2f ns "
               "a value\n",
               exact_ns[ADD], hist_ns[ADD], hist_ns[SUMMARIZE]);
    }
    free(latencies_ps);
    free(sorted);
    return is_exact;
}

int main(int argc, char **argv)
{
    int64_t count = 10000000, repeats = 3;

    if (argc > 3 || (argc > 1 && !units_parse_int(argv[1], &count)) || count < 1 ||
        (argc > 2 && !units_parse_int(argv[2], &repeats)) || repeats < 1 || repeats > 99) {
        fprintf(stderr, "usage: bench_quantiles [VALUES [REPEATS]]\n");
        return 2;
    }
    if (!bench((size_t)count, (int)repeats)) {
        fprintf(stderr, "bench_quantiles: a summary differs from that of the sorted values\n");
        return 1;
    }
    return 0;
}
