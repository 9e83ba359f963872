/* bench_quantiles.c - what the statistics of latencies cost: samples_summarize (mean, min, max and
 * five quantiles in all) against sorting by qsort.
 *
 *     bench_quantiles [VALUES]     (default 10000000)
 *
 * Latencies are those of an M/D/1 queue at load 0.7. Times are of the thread's processor, the best
 * of three (of qsort: one). Prints one line
 * values,summarize_ns,add_ns,histogram_summarize_ns,histogram_add_ns,qsort_ns of ns a value, where
 * add is keeping or counting the values one by one, and exits with 1 when a figure differs from
 * that of the sorted values. */
#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include "lib/base/samples.h"
#include "lib/base/units.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPEATS 3
#define SERVICE_PS (10 * UNITS_PS_PER_MS)
#define LOAD 0.7

static double cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

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

/* One repeat of one kind of set; the best times so far are kept. */
static struct stats_summary measure(const int64_t *latencies_ps, size_t count,
                                    enum samples_kind kind, double *add_ns, double *summarize_ns)
{
    struct arena *arena = arena_create();
    struct samples *samples = samples_create(arena, kind);
    struct stats_summary summary;
    double began = cpu_ns(), added, ended;

    for (size_t i = 0; i < count; i++)
        samples_add(samples, latencies_ps[i]);
    added = cpu_ns();
    summary = samples_summarize(&samples, 1);
    ended = cpu_ns();
    if (added - began < *add_ns)
        *add_ns = added - began;
    if (ended - added < *summarize_ns)
        *summarize_ns = ended - added;
    arena_destroy(arena);
    return summary;
}

static bool bench(size_t count)
{
    int64_t *latencies_ps = malloc(count * sizeof *latencies_ps);
    int64_t *sorted = malloc(count * sizeof *sorted);
    double add_ns = 1e300, summarize_ns = 1e300, hist_add_ns = 1e300, hist_ns = 1e300, sort_ns;
    bool is_exact = latencies_ps && sorted;

    if (is_exact) {
        fill(latencies_ps, count);
        memcpy(sorted, latencies_ps, count * sizeof *sorted);
        sort_ns = cpu_ns();
        qsort(sorted, count, sizeof *sorted, compare);
        sort_ns = cpu_ns() - sort_ns;
        for (int i = 0; i < REPEATS; i++) {
            struct stats_summary summary =
                measure(latencies_ps, count, SAMPLES_EXACT, &add_ns, &summarize_ns);

            is_exact = is_exact && is_same(&summary, sorted, count);
            (void)measure(latencies_ps, count, SAMPLES_HISTOGRAM, &hist_add_ns, &hist_ns);
        }
        printf("values,summarize_ns,add_ns,histogram_summarize_ns,histogram_add_ns,qsort_ns\n"
               "%zu,%.2f,%.2f,%.2f,%.2f,%.2f\n",
               count, summarize_ns / (double)count, add_ns / (double)count, hist_ns / (double)count,
               hist_add_ns / (double)count, sort_ns / (double)count);
    }
    free(latencies_ps);
    free(sorted);
    return is_exact;
}

int main(int argc, char **argv)
{
    int64_t count = 10000000;

    if (argc > 2 || (argc == 2 && (!units_parse_int(argv[1], &count) || count < 1))) {
        fprintf(stderr, "usage: bench_quantiles [VALUES]\n");
        return 2;
    }
    if (!bench((size_t)count)) {
        fprintf(stderr, "bench_quantiles: a summary differs from that of the sorted values\n");
        return 1;
    }
    return 0;
}
