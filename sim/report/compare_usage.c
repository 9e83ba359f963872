/* compare_usage.c - how busy devices were, predicted and measured, over the time that both traces
 * tell of. */
#include "lib/base/arena.h"
#include "lib/format/names.h"
#include "lib/format/trace.h"
#include "sim/report/compare_stages.h"
#include <stdlib.h>

struct busy { /* a row, after the arrival that sets the clock */
    int32_t device;
    int64_t start_ps, finish_ps;
};

struct usage { /* of one trace */
    size_t count;
    struct busy *rows; /* by device, then start */
    int64_t first_ps, last_ps;
};

static int compare_busy(const void *left, const void *right)
{
    const struct busy *a = left, *b = right;

    if (a->device != b->device)
        return a->device < b->device ? -1 : 1;
    if (a->start_ps != b->start_ps)
        return a->start_ps < b->start_ps ? -1 : 1;
    return (a->finish_ps > b->finish_ps) - (a->finish_ps < b->finish_ps);
}

static struct usage read_usage(struct arena *arena, const struct trace_stages *trace,
                               int64_t zero_ps, const struct compare_excluded *excluded,
                               struct names *devices)
{
    struct usage usage = { .rows = arena_array(arena, trace->count, sizeof *usage.rows) };

    for (size_t i = 0; i < trace->count; i++) {
        const struct trace_stage *row = &trace->stages[i];
        struct busy *busy = &usage.rows[usage.count];

        if (compare_is_excluded(excluded, row->request_id))
            continue;
        busy->device = names_put(devices, row->device);
        busy->start_ps = compare_minus(row->start_ps, zero_ps);
        busy->finish_ps = compare_minus(row->finish_ps, zero_ps);
        if (usage.count == 0 || busy->start_ps < usage.first_ps)
            usage.first_ps = busy->start_ps;
        if (usage.count == 0 || busy->finish_ps > usage.last_ps)
            usage.last_ps = busy->finish_ps;
        usage.count++;
    }
    if (usage.count > 0)
        qsort(usage.rows, usage.count, sizeof *usage.rows, compare_busy);
    return usage;
}

/* Time of each device within [low, high) with at least one row: those of a batch lie on each
 * other. */
static void add_busy(const struct usage *usage, int64_t low_ps, int64_t high_ps,
                     struct compare_device *devices, bool is_real)
{
    int64_t until_ps = low_ps; /* of the present device, what is counted already */

    for (size_t i = 0; i < usage->count; i++) {
        const struct busy *busy = &usage->rows[i];
        struct compare_device *device = &devices[busy->device];
        int64_t from_ps, to_ps = busy->finish_ps < high_ps ? busy->finish_ps : high_ps;

        if (i == 0 || busy->device != busy[-1].device)
            until_ps = low_ps;
        *(is_real ? &device->is_real : &device->is_predicted) = true;
        from_ps = busy->start_ps > until_ps ? busy->start_ps : until_ps;
        if (from_ps >= to_ps)
            continue;
        *(is_real ? &device->real_busy_ps : &device->predicted_busy_ps) +=
            compare_minus(to_ps, from_ps);
        until_ps = to_ps;
    }
}

struct compare_usage compare_usage_of(struct arena *arena, const struct trace_stages *predicted,
                                      const struct trace_stages *real,
                                      const struct compare_match *first,
                                      const struct compare_excluded *excluded)
{
    struct names *names = names_create(arena);
    struct usage r = read_usage(arena, real, first->real->arrival_ps, excluded, names);
    struct usage p = read_usage(arena, predicted, first->predicted->arrival_ps, excluded, names);
    int64_t low_ps = p.first_ps > r.first_ps ? p.first_ps : r.first_ps;
    int64_t high_ps = p.last_ps < r.last_ps ? p.last_ps : r.last_ps;
    struct compare_usage usage = { .count = (size_t)names_count(names) };

    if (high_ps > low_ps)
        usage.span_ps = compare_minus(high_ps, low_ps);
    usage.devices = arena_array(arena, usage.count, sizeof *usage.devices);
    for (size_t i = 0; i < usage.count; i++)
        usage.devices[i].device = names_list(names)[i];
    add_busy(&r, low_ps, high_ps, usage.devices, true);
    add_busy(&p, low_ps, high_ps, usage.devices, false);
    return usage;
}
