/* samples.c - clean mean, outliers, and an interval from process x round-block means. */
#include "profiler/measure/samples.h"
#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/stats.h"
#include <string.h>

/* Resolution of the clock: a median deviation below it would make outliers of ordinary values. */
static const int64_t MIN_MAD_NS = 10;

void samples_add(struct arena *arena, struct samples *samples, struct sample sample)
{
    if (samples->count == samples->room) {
        int room = samples->room ? 2 * samples->room : 32;

        samples->items =
            arena_grow(arena, samples->items, (size_t)samples->count, (size_t)room, sizeof(sample));
        samples->room = room;
    }
    samples->items[samples->count++] = sample;
}

void samples_disturb(struct samples *samples, int32_t proc, int32_t round)
{
    for (int i = 0; i < samples->count; i++)
        if (samples->items[i].proc == proc && samples->items[i].round == round)
            samples->items[i].is_disturbed = true;
}

struct kept { /* the samples that count, in ps, with the process of each */
    int64_t *ps;
    int32_t *proc;
    int count;
};

static bool is_clean(const struct sample *sample)
{
    return !sample->is_dirty && !sample->is_disturbed;
}

static void keep_clean(struct kept *kept, const struct samples *samples,
                       struct samples_summary *summary)
{
    int clean = 0, undisturbed = 0;

    for (int i = 0; i < samples->count; i++) {
        const struct sample *s = &samples->items[i];

        summary->n_dirty += s->is_dirty;
        summary->n_disturbed += s->is_disturbed && !s->is_dirty;
        clean += !s->is_dirty;
        undisturbed += is_clean(s);
    }
    summary->has_disturbed = undisturbed < SAMPLES_MIN_CLEAN && undisturbed < clean;
    summary->is_fallback = clean < SAMPLES_MIN_CLEAN && clean < samples->count;
    for (int i = 0; i < samples->count; i++) {
        const struct sample *s = &samples->items[i];
        bool is_kept = summary->is_fallback     ? true
                       : summary->has_disturbed ? !s->is_dirty
                                                : is_clean(s);

        if (!is_kept)
            continue;
        kept->ps[kept->count] = 1000 * (s->is_dirty && s->cpu_ns > 0 ? s->cpu_ns : s->ns);
        kept->proc[kept->count++] = s->proc;
    }
}

/* Median absolute deviation from the median; sorted is scratch. */
static int64_t deviation(const int64_t *values, size_t count, int64_t *sorted, int64_t *median)
{
    memcpy(sorted, values, count * sizeof(*sorted));
    stats_sort(sorted, count);
    *median = stats_quantile(sorted, count, 1, 2);
    for (size_t i = 0; i < count; i++)
        sorted[i] = values[i] > *median ? values[i] - *median : *median - values[i];
    stats_sort(sorted, count);
    return stats_quantile(sorted, count, 1, 2);
}

/* Process by process: one that is slow throughout (they exist) is no outlier, but part of the
 * truth. */
static void drop_outliers(struct arena *scratch, struct kept *kept, struct samples_summary *summary)
{
    int64_t *sorted = arena_array(scratch, (size_t)kept->count, sizeof(*sorted));
    int before = kept->count, left = 0;
    int64_t median;

    for (int start = 0, end = 0; start < before; start = end) {
        int32_t proc = kept->proc[start];

        while (end < before && kept->proc[end] == proc)
            end++;
        int64_t mad = deviation(kept->ps + start, (size_t)(end - start), sorted, &median);
        if (mad < 1000 * MIN_MAD_NS)
            mad = 1000 * MIN_MAD_NS;
        for (int i = start; i < end; i++) {
            if (kept->ps[i] > median + SAMPLES_OUTLIER_MADS * mad)
                continue;
            kept->ps[left] = kept->ps[i];
            kept->proc[left++] = proc;
        }
    }
    summary->n_outlier = before - left;
    kept->count = left;
    summary->mad_ps = deviation(kept->ps, (size_t)left, sorted, &median);
}

/* Means of processes, and of blocks inside each: enough blocks that there are 8 in all. The mean of
 * all gives every process the same weight, however long it measured: processes differ. */
static void block_statistics(struct arena *scratch, const struct kept *kept,
                             struct samples_summary *summary)
{
    double *means = arena_array(scratch, (size_t)kept->count, sizeof(*means));
    double weights = 0.0, sum = 0.0;
    int blocks = 0;

    for (int i = 0; i < kept->count; i++)
        summary->n_proc += i == 0 || kept->proc[i] != kept->proc[i - 1];
    int64_t per_process = (SAMPLES_MIN_BLOCKS + summary->n_proc - 1) / summary->n_proc;
    if (per_process < 2)
        per_process = 2;
    for (int start = 0, end = 0; start < kept->count; start = end) {
        while (end < kept->count && kept->proc[end] == kept->proc[start])
            end++;
        int64_t n = end - start, parts = n < per_process ? n : per_process;
        int64_t mean = stats_mean(kept->ps + start, (size_t)n);
        double weight = n < SAMPLES_MIN_CLEAN ? (double)n / SAMPLES_MIN_CLEAN : 1.0;

        sum += weight * (double)mean;
        weights += weight;
        if (start == 0 || mean < summary->proc_min_ps)
            summary->proc_min_ps = mean;
        if (start == 0 || mean > summary->proc_max_ps)
            summary->proc_max_ps = mean;
        for (int64_t b = 0; b < parts; b++) {
            int64_t from = start + n * b / parts, to = start + n * (b + 1) / parts;

            means[blocks++] = (double)stats_mean(kept->ps + from, (size_t)(to - from));
        }
    }
    summary->mean_ps = dmath_round(sum / weights);
    summary->half_ps = -1;
    if (blocks >= 2)
        summary->half_ps = dmath_round(stats_t95((size_t)blocks - 1) *
                                       stats_sd(means, (size_t)blocks) / dmath_sqrt(blocks));
}

bool samples_summarize(struct arena *scratch, const struct samples *samples,
                       struct samples_summary *summary)
{
    struct kept kept = { NULL, NULL, 0 };

    *summary = (struct samples_summary){ .half_ps = -1 };
    if (samples->count == 0)
        return false;
    kept.ps = arena_array(scratch, (size_t)samples->count, sizeof(*kept.ps));
    kept.proc = arena_array(scratch, (size_t)samples->count, sizeof(*kept.proc));
    summary->n_samples = samples->count;
    keep_clean(&kept, samples, summary);
    drop_outliers(scratch, &kept, summary);
    block_statistics(scratch, &kept, summary);
    summary->n = kept.count;
    stats_sort(kept.ps, (size_t)kept.count);
    summary->min_ps = kept.ps[0];
    summary->median_ps = stats_quantile(kept.ps, (size_t)kept.count, 1, 2);
    summary->p95_ps = stats_quantile(kept.ps, (size_t)kept.count, 95, 100);
    return true;
}

double samples_half_ratio(const struct samples_summary *summary)
{
    if (summary->half_ps < 0 || summary->mean_ps <= 0)
        return 1.0;
    return (double)summary->half_ps / (double)summary->mean_ps;
}

double samples_inside_ratio(const struct sample *items, int count)
{
    double sum = 0.0, squares = 0.0;
    int n = 0;

    for (int i = 0; i < count; i++)
        if (is_clean(&items[i])) {
            sum += (double)items[i].ns;
            n++;
        }
    if (n < 2 || sum <= 0.0)
        return 1.0;
    double mean = sum / n;
    for (int i = 0; i < count; i++)
        if (is_clean(&items[i]))
            squares += ((double)items[i].ns - mean) * ((double)items[i].ns - mean);
    return stats_t95((size_t)n - 1) * dmath_sqrt(squares / (n - 1) / n) / mean;
}
