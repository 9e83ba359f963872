/* compare.c - joins two request traces by id and measures the distance. */
#include "sim/report/compare.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/lines.h"
#include "lib/base/units.h"
#include "lib/format/trace.h"
#include <stdlib.h>
#include <string.h>

static bool range_parse(char *text, struct compare_range *range)
{
    char *dash = text[0] ? strchr(text + 1, '-') : NULL;
    bool ok;

    if (dash)
        *dash = '\0';
    ok = units_parse_int(text, &range->first);
    range->last = range->first;
    if (dash) {
        ok = ok && units_parse_int(dash + 1, &range->last);
        *dash = '-'; /* the error shows it whole */
    }
    return ok && range->first >= 0 && range->first <= range->last;
}

static bool excluded_line(struct arena *arena, char *line, bool is_first,
                          struct compare_excluded *excluded, size_t *capacity)
{
    struct compare_range range;

    line[strcspn(line, ",")] = '\0';
    if (line[0] == '\0' || line[0] == '#' || (is_first && strcmp(line, "request_id") == 0))
        return true;
    if (!range_parse(line, &range))
        return false;
    if (excluded->count == *capacity) {
        size_t wider = *capacity ? 2 * *capacity : 64;

        excluded->ranges =
            arena_grow(arena, excluded->ranges, *capacity, wider, sizeof(*excluded->ranges));
        *capacity = wider;
    }
    excluded->ranges[excluded->count++] = range;
    return true;
}

static int compare_ranges(const void *left, const void *right)
{
    const struct compare_range *a = left, *b = right;

    return (a->first > b->first) - (a->first < b->first);
}

/* In order and apart, so that is_excluded can search. */
static void merge_ranges(struct compare_excluded *excluded)
{
    struct compare_range *ranges = excluded->ranges;
    size_t used = 0;

    if (excluded->count > 0)
        qsort(ranges, excluded->count, sizeof(*ranges), compare_ranges);
    for (size_t i = 0; i < excluded->count; i++) {
        if (used == 0 || ranges[i].first - 1 > ranges[used - 1].last)
            ranges[used++] = ranges[i];
        else if (ranges[i].last > ranges[used - 1].last)
            ranges[used - 1].last = ranges[i].last;
    }
    excluded->count = used;
}

bool compare_load_excluded(struct arena *arena, const char *path, struct compare_excluded *excluded,
                           struct err *err)
{
    struct lines *lines = lines_open(arena, path, err);
    size_t capacity = 0;

    *excluded = (struct compare_excluded){ 0 };
    if (!lines)
        return false;
    for (char *line; (line = lines_next(lines, err));)
        if (!excluded_line(arena, line, lines_number(lines) == 1, excluded, &capacity)) {
            err_at(err, lines_path(lines), lines_number(lines), 1,
                   "request_id is '%.40s': expected an id, or FIRST-LAST", line);
            break;
        }
    lines_close(lines);
    merge_ranges(excluded);
    return err->kind == ERR_NONE;
}

static bool is_excluded(const struct compare_excluded *excluded, int64_t id)
{
    size_t low = 0, high = excluded ? excluded->count : 0;

    while (low < high) { /* the first range that does not end before id */
        size_t middle = low + (high - low) / 2;

        if (excluded->ranges[middle].last < id)
            low = middle + 1;
        else
            high = middle;
    }
    return excluded && low < excluded->count && excluded->ranges[low].first <= id;
}

static int compare_ids(const void *left, const void *right)
{
    const struct trace_request *const *a = left, *const *b = right;

    return ((*a)->request_id > (*b)->request_id) - ((*a)->request_id < (*b)->request_id);
}

/* The rows that are not excluded, by id. NULL when an id stands twice. */
static const struct trace_request **sorted(struct arena *arena, const struct trace_requests *trace,
                                           const struct compare_excluded *excluded,
                                           const char *name, size_t *count, struct err *err)
{
    const struct trace_request **rows = arena_array(arena, trace->count, sizeof(void *));
    size_t used = 0;

    for (size_t i = 0; i < trace->count; i++)
        if (!is_excluded(excluded, trace->requests[i].request_id))
            rows[used++] = &trace->requests[i];
    if (used > 0)
        qsort(rows, used, sizeof(void *), compare_ids);
    for (size_t i = 1; i < used; i++)
        if (rows[i]->request_id == rows[i - 1]->request_id) {
            err_set(err, ERR_INPUT, "the %s requests have the request_id %lld twice", name,
                    (long long)rows[i]->request_id);
            return NULL;
        }
    *count = used;
    return rows;
}

struct pairs { /* two columns of one metric */
    size_t count;
    int64_t *predicted, *real;
};

static void pairs_reserve(struct arena *arena, struct pairs *pairs, size_t count)
{
    pairs->count = 0;
    pairs->predicted = arena_array(arena, count, sizeof(int64_t));
    pairs->real = arena_array(arena, count, sizeof(int64_t));
}

/* A relative error needs a positive measured value. */
static void pairs_add(struct pairs *pairs, int64_t predicted, int64_t real)
{
    if (real <= 0)
        return;
    pairs->predicted[pairs->count] = predicted;
    pairs->real[pairs->count++] = real;
}

static double error_ratio(int64_t predicted, int64_t real)
{
    return ((double)predicted - (double)real) / (double)real;
}

static double magnitude(double x)
{
    return x < 0 ? -x : x;
}

static struct compare_metric metric_of(struct pairs *pairs)
{
    struct compare_metric metric = { .pairs = pairs->count };
    double sum = 0;

    if (pairs->count == 0)
        return metric;
    for (size_t i = 0; i < pairs->count; i++)
        sum += magnitude(error_ratio(pairs->predicted[i], pairs->real[i]));
    metric.mare = sum / (double)pairs->count;
    metric.predicted = stats_summarize(pairs->predicted, pairs->count);
    metric.real = stats_summarize(pairs->real, pairs->count);
    metric.mean_error_ratio = error_ratio(metric.predicted.mean, metric.real.mean);
    metric.p50_error_ratio = error_ratio(metric.predicted.p50, metric.real.p50);
    metric.p90_error_ratio = error_ratio(metric.predicted.p90, metric.real.p90);
    metric.p99_error_ratio = error_ratio(metric.predicted.p99, metric.real.p99);
    return metric;
}

/* Keeps the five largest, ties to the lower id (rows come by id). */
static void worst_add(struct compare *compare, int64_t id, int64_t predicted, int64_t real)
{
    struct compare_worst one = { id, predicted, real, error_ratio(predicted, real) };
    int i = compare->worst_count;

    while (i > 0 && magnitude(compare->worst[i - 1].error_ratio) < magnitude(one.error_ratio))
        i--;
    if (i == COMPARE_WORST)
        return;
    if (compare->worst_count < COMPARE_WORST)
        compare->worst_count++;
    for (int k = compare->worst_count - 1; k > i; k--)
        compare->worst[k] = compare->worst[k - 1];
    compare->worst[i] = one;
}

struct columns {
    struct pairs latency, ttft, tpot;
};

/* One id in both files must be one request; tokens that a file leaves out say nothing. */
static bool check_same(const struct trace_request *p, const struct trace_request *r,
                       struct err *err)
{
    const char *field = "prompt_tokens";
    int32_t predicted = p->prompt_tokens, real = r->prompt_tokens;

    if (predicted == real || predicted == 0 || real == 0) {
        field = "output_tokens";
        predicted = p->output_tokens;
        real = r->output_tokens;
    }
    if (predicted == real || predicted == 0 || real == 0)
        return true;
    return err_set(err, ERR_INPUT,
                   "request %lld has %s %d in the predicted and %d in the measured file: these are "
                   "runs of different workloads",
                   (long long)p->request_id, field, predicted, real);
}

static bool pair_add(struct compare *compare, struct columns *columns,
                     const struct trace_request *p, const struct trace_request *r, struct err *err)
{
    int64_t real_ps = r->finish_ps - r->arrival_ps, predicted_ps = p->finish_ps - p->arrival_ps;
    int32_t tokens = r->output_tokens > 0 ? r->output_tokens : p->output_tokens;

    if (real_ps <= 0)
        return err_set(err, ERR_INPUT,
                       "measured request %lld finishes when it arrives or before: its latency "
                       "cannot be compared (--exclude it)",
                       (long long)r->request_id);
    compare->pairs++;
    pairs_add(&columns->latency, predicted_ps, real_ps);
    worst_add(compare, r->request_id, predicted_ps, real_ps);
    if (p->first_token_ps == TRACE_NONE || r->first_token_ps == TRACE_NONE)
        return true;
    pairs_add(&columns->ttft, p->first_token_ps - p->arrival_ps, r->first_token_ps - r->arrival_ps);
    if (tokens > 1)
        pairs_add(&columns->tpot, units_mul_div(p->finish_ps - p->first_token_ps, 1, tokens - 1),
                  units_mul_div(r->finish_ps - r->first_token_ps, 1, tokens - 1));
    return true;
}

bool compare_run(struct arena *arena, const struct trace_requests *predicted,
                 const struct trace_requests *real, const struct compare_excluded *excluded,
                 struct compare *compare, struct err *err)
{
    size_t p_count = 0, r_count = 0, p = 0, r = 0;
    const struct trace_request **ps =
        sorted(arena, predicted, excluded, "predicted", &p_count, err);
    const struct trace_request **rs = sorted(arena, real, excluded, "measured", &r_count, err);
    struct columns columns;

    if (!ps || !rs)
        return false;
    *compare = (struct compare){ 0 };
    compare->excluded = (int64_t)(real->count - r_count);
    pairs_reserve(arena, &columns.latency, r_count);
    pairs_reserve(arena, &columns.ttft, r_count);
    pairs_reserve(arena, &columns.tpot, r_count);
    while (p < p_count && r < r_count) {
        if (ps[p]->request_id != rs[r]->request_id) {
            compare->missing++;
            *(ps[p]->request_id < rs[r]->request_id ? &p : &r) += 1;
            continue;
        }
        if (!check_same(ps[p], rs[r], err))
            return false;
        if (ps[p]->status != TRACE_OK || rs[r]->status != TRACE_OK)
            compare->not_ok++;
        else if (!pair_add(compare, &columns, ps[p], rs[r], err))
            return false;
        p++;
        r++;
    }
    compare->missing += (int64_t)(p_count - p + r_count - r);
    if (compare->pairs == 0)
        return err_set(err, ERR_INPUT, "no request is ok in both files: nothing to compare");
    compare->latency = metric_of(&columns.latency);
    compare->ttft = metric_of(&columns.ttft);
    compare->tpot = metric_of(&columns.tpot);
    return true;
}
