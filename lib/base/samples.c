/* samples.c - chunks of values that are kept (exact), or that are emptied into a histogram as soon
 * as they are many: from then on the last of them, again and again. */
#include "lib/base/samples.h"

#include "lib/base/arena.h"
#include "lib/base/select.h"
#include <assert.h>
#include <string.h>

/* Chunks double up to 64 Ki values: small sets stay small, and large ones waste one chunk. The
 * chunk that a histogram goes on with is smaller; SAMPLES_HISTOGRAM_FROM is the sum up to it. */
#define FIRST_CHUNK 64
#define LARGEST_CHUNK 65536
#define HISTOGRAM_CHUNK 2048
_Static_assert(2 * HISTOGRAM_CHUNK - FIRST_CHUNK == SAMPLES_HISTOGRAM_FROM,
               "64 + 128 + ... + 2048");
/* Fewer values than this are sorted: tables of buckets would cost more. */
#define SORTED 8192

const char *const samples_kind_names[SAMPLES_KIND_COUNT] = { "exact", "histogram" };

struct samples_chunk {
    struct samples_chunk *previous;
    size_t capacity;
    int64_t *values;
};

static const int64_t quantiles[][2] = {
    { 1, 2 }, { 9, 10 }, { 19, 20 }, { 99, 100 }, { 999, 1000 }
};
#define QUANTILES (sizeof quantiles / sizeof quantiles[0])

struct samples *samples_create(struct arena *arena, enum samples_kind kind)
{
    struct samples *samples = arena_alloc(arena, sizeof *samples);

    samples->kind = kind;
    samples->arena = arena;
    return samples;
}

static size_t used(const struct samples *samples)
{
    return samples->last ? (size_t)(samples->next - samples->last->values) : 0;
}

size_t samples_count(const struct samples *samples)
{
    return samples->full_count + used(samples);
}

static void chunk_append(struct samples *samples)
{
    struct samples_chunk *chunk = arena_alloc(samples->arena, sizeof *chunk);

    chunk->previous = samples->last;
    chunk->capacity = chunk->previous ? 2 * chunk->previous->capacity : FIRST_CHUNK;
    if (chunk->capacity > LARGEST_CHUNK)
        chunk->capacity = LARGEST_CHUNK;
    chunk->values = arena_array(samples->arena, chunk->capacity, sizeof *chunk->values);
    samples->full_count += used(samples);
    samples->last = chunk;
    samples->next = chunk->values;
    samples->end = chunk->values + chunk->capacity;
}

static size_t chunk_count(const struct samples *samples, const struct samples_chunk *chunk)
{
    return chunk == samples->last ? used(samples) : chunk->capacity;
}

/* What the chunks hold, into a histogram and its totals. */
static void chunks_count(const struct samples *samples, struct hist *hist,
                         struct stats_totals *totals)
{
    for (const struct samples_chunk *c = samples->last; c; c = c->previous) {
        hist_add(hist, c->values, chunk_count(samples, c));
        stats_totals_add(totals, c->values, chunk_count(samples, c));
    }
}

/* Empties the chunks into the histogram; the last one is filled again. */
static void flush(struct samples *samples)
{
    if (!samples->hist)
        samples->hist = hist_create(samples->arena, SAMPLES_HISTOGRAM_BITS);
    chunks_count(samples, samples->hist, &samples->totals);
    samples->full_count = samples_count(samples);
    samples->last->previous = NULL;
    samples->next = samples->last->values;
}

void samples_make_room(struct samples *samples)
{
    if (samples->kind == SAMPLES_HISTOGRAM && samples->last &&
        samples->last->capacity == HISTOGRAM_CHUNK)
        flush(samples);
    else
        chunk_append(samples);
}

void samples_add_line(struct samples *samples, int64_t first, int64_t slope, int64_t count,
                      int64_t times)
{
    if (samples->kind == SAMPLES_HISTOGRAM &&
        (samples->hist || count > SAMPLES_HISTOGRAM_FROM || times > SAMPLES_HISTOGRAM_FROM ||
         samples_count(samples) + (size_t)(count * times) > SAMPLES_HISTOGRAM_FROM)) {
        if (!samples->hist)
            samples->hist = hist_create(samples->arena, SAMPLES_HISTOGRAM_BITS);
        hist_add_line(samples->hist, first, slope, count, times);
        stats_totals_add_line(&samples->totals, first, slope, count, times);
        samples->full_count += (size_t)(count * times);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < times; k++)
            samples_add(samples, first + slope * i);
}

static void quantiles_put(struct stats_summary *summary, const int64_t values[QUANTILES])
{
    summary->p50 = values[0];
    summary->p90 = values[1];
    summary->p95 = values[2];
    summary->p99 = values[3];
    summary->p999 = values[4];
}

static void totals_put(struct stats_summary *summary, const struct stats_totals *totals)
{
    summary->mean = stats_totals_mean(totals);
    summary->min = totals->min;
    summary->max = totals->max;
}

/* ---- histograms ---- */

/* A bucket's middle may lie beyond the values in it. */
static int64_t clamp(int64_t value, const struct stats_totals *totals)
{
    return value < totals->min ? totals->min : value > totals->max ? totals->max : value;
}

static void summarize_histograms(struct arena *scratch, struct samples *const *sets, int count,
                                 struct stats_summary *summary)
{
    struct stats_totals totals = { 0 };
    struct hist *all = hist_create(scratch, SAMPLES_HISTOGRAM_BITS);
    int64_t values[QUANTILES];

    for (int i = 0; i < count; i++) {
        chunks_count(sets[i], all, &totals);
        if (sets[i]->hist)
            hist_merge(all, sets[i]->hist);
        stats_totals_merge(&totals, &sets[i]->totals);
    }
    for (size_t q = 0; q < QUANTILES; q++)
        values[q] = clamp(hist_quantile(all, quantiles[q][0], quantiles[q][1]), &totals);
    quantiles_put(summary, values);
    totals_put(summary, &totals);
}

/* ---- exact ---- */

static void summarize_few(struct arena *scratch, const struct select_span *spans, size_t span_count,
                          struct stats_summary *summary)
{
    int64_t *values = arena_array(scratch, summary->count, sizeof *values);
    size_t copied = 0;

    for (size_t s = 0; s < span_count; s++) {
        memcpy(values + copied, spans[s].values, spans[s].count * sizeof *values);
        copied += spans[s].count;
    }
    *summary = stats_summarize(values, copied);
}

static void summarize_many(struct arena *scratch, const struct select_span *spans,
                           size_t span_count, struct stats_summary *summary)
{
    struct stats_totals totals;
    uint64_t ranks[2 * QUANTILES], rests[QUANTILES];
    int64_t found[2 * QUANTILES], values[QUANTILES];

    for (size_t q = 0; q < QUANTILES; q++) { /* two neighbours each; the last may be its own */
        ranks[2 * q] = stats_position(summary->count, quantiles[q][0], quantiles[q][1], &rests[q]);
        ranks[2 * q + 1] = ranks[2 * q] + (rests[q] > 0);
    }
    select_ranks(scratch, spans, span_count, ranks, 2 * QUANTILES, found, &totals);
    for (size_t q = 0; q < QUANTILES; q++)
        values[q] =
            stats_interpolate(found[2 * q], found[2 * q + 1], rests[q], (uint64_t)quantiles[q][1]);
    quantiles_put(summary, values);
    totals_put(summary, &totals);
}

static void summarize_exact(struct arena *scratch, struct samples *const *sets, int count,
                            struct stats_summary *summary)
{
    size_t span_count = 0;
    struct select_span *spans;

    for (int i = 0; i < count; i++)
        for (const struct samples_chunk *c = sets[i]->last; c; c = c->previous)
            span_count++;
    spans = arena_array(scratch, span_count, sizeof *spans);
    span_count = 0;
    for (int i = 0; i < count; i++)
        for (const struct samples_chunk *c = sets[i]->last; c; c = c->previous)
            spans[span_count++] = (struct select_span){ c->values, chunk_count(sets[i], c) };
    if (summary->count <= SORTED)
        summarize_few(scratch, spans, span_count, summary);
    else
        summarize_many(scratch, spans, span_count, summary);
}

struct stats_summary samples_summarize(struct samples *const *sets, int count)
{
    struct stats_summary summary = { 0 };
    struct arena *scratch;
    bool has_histogram = false;

    for (int i = 0; i < count; i++) {
        assert(sets[i]->kind == sets[0]->kind);
        summary.count += samples_count(sets[i]);
        has_histogram = has_histogram || sets[i]->hist;
    }
    if (summary.count == 0)
        return summary;
    scratch = arena_create();
    if (has_histogram)
        summarize_histograms(scratch, sets, count, &summary);
    else
        summarize_exact(scratch, sets, count, &summary);
    arena_destroy(scratch);
    return summary;
}
