/* describe.c - the figures: exact where they are counts, doubles in file order where they are
 * ratios. */
#include "sim/workload/describe.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include <math.h>

#define MOST_BINS 64 /* and one more, since the first begins at a round time */
#define MAX_WINDOWS 1000
#define WINDOW_REQUESTS 10

static double seconds(int64_t time_ps)
{
    return (double)time_ps / (double)UNITS_PS_PER_S;
}

static void count_arrival(struct describe_arrivals *arrivals, int64_t arrival_ps)
{
    arrivals->rows++;
    if (arrival_ps == WORKLOAD_CLOSED)
        return;
    if (arrivals->arrivals++ == 0)
        arrivals->first_ps = arrival_ps;
    arrivals->last_ps = arrival_ps;
}

static double mean_gap_s(const struct describe_arrivals *arrivals)
{
    return seconds(arrivals->last_ps - arrivals->first_ps) / (double)(arrivals->arrivals - 1);
}

/* Twice over the rows: squares around a mean that is known lose no digits. */
static void fill_arrivals(struct arena *arena, struct describe *describe)
{
    const struct workload *workload = describe->workload;
    size_t count = (size_t)workload->service_count + 1; /* the last stands for all */
    double *squares = arena_array(arena, count, sizeof(*squares));
    int64_t *last_ps = arena_array(arena, count, sizeof(*last_ps));
    struct describe_arrivals *list = arena_array(arena, count, sizeof(*list));

    for (size_t i = 0; i < workload->count; i++) {
        count_arrival(&list[workload->service_ids ? workload->service_ids[i] : 0],
                      workload->arrivals_ps[i]);
        count_arrival(&list[count - 1], workload->arrivals_ps[i]);
    }
    for (size_t s = 0; s < count; s++)
        last_ps[s] = -1; /* none yet */
    for (size_t i = 0; i < workload->count; i++) {
        const size_t both[] = { workload->service_ids ? (size_t)workload->service_ids[i] : 0,
                                count - 1 };

        for (int k = 0; k < 2 && workload->arrivals_ps[i] != WORKLOAD_CLOSED; k++) {
            struct describe_arrivals *one = &list[both[k]];
            double gap_s = seconds(workload->arrivals_ps[i] - last_ps[both[k]]);

            if (last_ps[both[k]] >= 0)
                squares[both[k]] += (gap_s - mean_gap_s(one)) * (gap_s - mean_gap_s(one));
            last_ps[both[k]] = workload->arrivals_ps[i];
        }
    }
    for (size_t s = 0; s < count; s++) {
        bool has_rate = list[s].arrivals > 1 && list[s].last_ps > list[s].first_ps;
        double mean_s = has_rate ? mean_gap_s(&list[s]) : 1;
        double gaps = (double)list[s].arrivals - 1;

        list[s].rate_per_s = has_rate ? 1 / mean_s : (double)NAN;
        list[s].gap_cv = has_rate ? dmath_sqrt(squares[s] / gaps) / mean_s : (double)NAN;
    }
    describe->all = list[count - 1];
    describe->services = list;
}

static void fill_dispersion(struct arena *arena, struct describe *describe)
{
    const struct workload *workload = describe->workload;
    const struct describe_arrivals *all = &describe->all;
    int64_t span_ps = all->last_ps - all->first_ps;
    int64_t windows = MAX_WINDOWS;
    double mean, sum = 0;
    size_t *counts;

    describe->dispersion = (double)NAN;
    if (all->arrivals < (size_t)MAX_WINDOWS * WINDOW_REQUESTS)
        windows = (int64_t)(all->arrivals / WINDOW_REQUESTS);
    if (windows < 2 || span_ps < windows)
        return;
    counts = arena_array(arena, (size_t)windows, sizeof(*counts));
    for (size_t i = 0; i < workload->count; i++) {
        int64_t at_ps = workload->arrivals_ps[i], window;

        if (at_ps == WORKLOAD_CLOSED)
            continue;
        window = (int64_t)(seconds(at_ps - all->first_ps) / seconds(span_ps) * (double)windows);
        counts[window < windows ? window : windows - 1]++;
    }
    mean = (double)all->arrivals / (double)windows;
    for (int64_t w = 0; w < windows; w++)
        sum += ((double)counts[w] - mean) * ((double)counts[w] - mean);
    describe->dispersion = sum / (double)(windows - 1) / mean;
    describe->window_ps = span_ps / windows;
}

/* 1, 2 or 5 times a power of ten; above a minute what clocks show. */
static int64_t round_bin(int64_t least_ps)
{
    static const int64_t clock_s[] = { 60,   120,   300,   600,   1200,  1800,  3600,
                                       7200, 14400, 21600, 43200, 86400, 172800 };
    int64_t bin_ps = 1;

    for (int k = 0; bin_ps < least_ps && bin_ps < 60 * UNITS_PS_PER_S; k++)
        bin_ps = k % 3 == 1 ? bin_ps / 2 * 5 : bin_ps * 2;
    if (bin_ps >= least_ps && bin_ps < 60 * UNITS_PS_PER_S)
        return bin_ps;
    for (size_t i = 0; i < sizeof(clock_s) / sizeof(clock_s[0]); i++)
        if (clock_s[i] * UNITS_PS_PER_S >= least_ps)
            return clock_s[i] * UNITS_PS_PER_S;
    return least_ps;
}

static void fill_bins(struct describe *describe)
{
    const struct workload *workload = describe->workload;
    const struct describe_arrivals *all = &describe->all;
    int64_t span_ps = all->last_ps - all->first_ps;
    size_t most = 0;

    if (!(all->rate_per_s > 0))
        return;
    describe->bin_ps = round_bin(span_ps / MOST_BINS + 1);
    describe->bins_from_ps = all->first_ps / describe->bin_ps * describe->bin_ps;
    for (size_t i = 0; i < workload->count; i++) {
        int64_t at_ps = workload->arrivals_ps[i];
        size_t *bin;

        if (at_ps == WORKLOAD_CLOSED)
            continue;
        bin = &describe->bins[(at_ps - describe->bins_from_ps) / describe->bin_ps];
        if (++*bin > most)
            most = *bin;
    }
    describe->bin_count = (int)((all->last_ps - describe->bins_from_ps) / describe->bin_ps) + 1;
    describe->peak_per_s = (double)most / seconds(describe->bin_ps);
}

/* ---- columns ---- */

static struct describe_column summarize(int64_t *values, size_t count)
{
    struct describe_column column = { .mean = (double)NAN };
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += (double)values[i];
    if (count > 0)
        column.mean = sum / (double)count;
    column.summary = stats_summarize(values, count);
    return column;
}

/* Values above `none`, which stands for an empty field. */
static struct describe_column summarize32(const int32_t *column, size_t count, int32_t none,
                                          int64_t *room)
{
    size_t given = 0;

    for (size_t i = 0; column && i < count; i++)
        if (column[i] > none)
            room[given++] = column[i];
    return summarize(room, given);
}

static struct describe_column summarize64(const int64_t *column, size_t count, int64_t *room)
{
    size_t given = 0;

    for (size_t i = 0; column && i < count; i++)
        if (column[i] > 0)
            room[given++] = column[i];
    return summarize(room, given);
}

/* Pauses of the rows that wait for another: 0 is one, too. */
static struct describe_column summarize_thinks(const struct workload *workload, int64_t *room)
{
    size_t given = 0;

    for (size_t i = 0; i < workload->count; i++) {
        bool is_given = workload->thinks_ps && workload->thinks_ps[i] > 0;

        if (is_given || workload->arrivals_ps[i] == WORKLOAD_CLOSED)
            room[given++] = is_given ? workload->thinks_ps[i] : 0;
    }
    return summarize(room, given);
}

/* Rows of each name. */
static struct describe_column summarize_names(struct arena *arena, const int32_t *ids, size_t count,
                                              int name_count)
{
    int64_t *rows = arena_array(arena, (size_t)name_count, sizeof(*rows));

    for (size_t i = 0; ids && i < count; i++)
        if (ids[i] >= 0)
            rows[ids[i]]++;
    return summarize(rows, (size_t)name_count);
}

void describe_fill(struct arena *arena, struct describe *describe, const struct workload *workload)
{
    size_t count = workload->count;
    int64_t *room = arena_array(arena, count, sizeof(*room));
    double cv;

    *describe = (struct describe){ .workload = workload };
    fill_arrivals(arena, describe);
    cv = describe->all.gap_cv;
    describe->burstiness = (cv - 1) / (cv + 1);
    fill_dispersion(arena, describe);
    fill_bins(describe);
    describe->prompt = summarize32(workload->prompt_tokens, count, 0, room);
    describe->output = summarize32(workload->output_tokens, count, 0, room);
    describe->prefix = summarize32(workload->prefix_tokens, count, 0, room);
    describe->batch = summarize32(workload->batches, count, 0, room);
    describe->slo = summarize64(workload->slos_ps, count, room);
    describe->think = summarize_thinks(workload, room);
    describe->client_requests =
        summarize_names(arena, workload->client_ids, count, workload->client_count);
    describe->session_turns =
        summarize_names(arena, workload->session_ids, count, workload->session_count);
}
