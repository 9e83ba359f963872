/* dlsim_stalls.c - requests of a real trace that a stall of the host hit, for `check --exclude`.
 *
 * A stage that takes much longer than the same stage does otherwise, and what waited for it to end,
 * is no error of a prediction: no model can know when a host stands still. */
#include "sim/import/dlsim.h"

#include "lib/base/arena.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_RECORDS 5 /* fewer have no usual time */

struct span {
    const struct dlsim_request *request;
    size_t index; /* of the request */
    int stage;
    int64_t length_ps, ready_ps;
};

static bool is_same_group(const struct span *a, const struct span *b)
{
    return a->request->model == b->request->model && a->request->replica == b->request->replica &&
           a->stage == b->stage;
}

static int compare_spans(const void *left, const void *right)
{
    const struct span *a = left, *b = right;

    if (a->request->model != b->request->model)
        return a->request->model < b->request->model ? -1 : 1;
    if (a->request->replica != b->request->replica)
        return a->request->replica < b->request->replica ? -1 : 1;
    if (a->stage != b->stage)
        return a->stage < b->stage ? -1 : 1;
    if (a->length_ps != b->length_ps)
        return a->length_ps < b->length_ps ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

static struct span *spans_of(struct arena *arena, const struct dlsim_trace *trace, size_t *count)
{
    struct span *spans;

    *count = 0;
    for (size_t i = 0; i < trace->count; i++)
        *count += (size_t)trace->models[trace->requests[i].model].stage_count;
    spans = arena_array(arena, *count, sizeof *spans);
    *count = 0;
    for (size_t i = 0; i < trace->count; i++) {
        const struct dlsim_request *request = &trace->requests[i];

        for (int k = 0; k < trace->models[request->model].stage_count; k++) {
            const struct dlsim_record *record = &request->stages[k];

            spans[(*count)++] =
                (struct span){ request, i, k, record->finish_ps - record->start_ps,
                               k == 0 ? request->arrival_ps : request->stages[k - 1].finish_ps };
        }
    }
    qsort(spans, *count, sizeof *spans, compare_spans);
    return spans;
}

static bool shares_device(const struct dlsim_mesh *a, const struct dlsim_mesh *b)
{
    if (a == b)
        return true;
    for (int i = 0; i < a->count; i++)
        for (int j = 0; j < b->count; j++)
            if (strcmp(a->devices[i], b->devices[j]) == 0)
                return true;
    return false;
}

/* Those that were ready before the stall was over and started once it was. */
static void mark_waiting(struct arena *arena, const struct span *stalled, const struct span *spans,
                         size_t count, const char **why)
{
    const struct dlsim_record *stall = &stalled->request->stages[stalled->stage];

    for (size_t i = 0; i < count; i++) {
        const struct dlsim_record *record = &spans[i].request->stages[spans[i].stage];

        if (why[spans[i].index] || spans[i].ready_ps >= stall->finish_ps ||
            record->start_ps < stall->finish_ps || !shares_device(record->mesh, stall->mesh))
            continue;
        why[spans[i].index] = arena_printf(arena, "stage %d waited while %" PRId64 " stalled",
                                           spans[i].stage, stalled->request->id);
    }
}

int64_t dlsim_stalls_put(struct arena *arena, const struct dlsim_trace *trace, double ratio,
                         struct out *out)
{
    const char **why = arena_array(arena, trace->count, sizeof *why);
    char text[UNITS_TEXT_BYTES];
    int64_t listed = 0;
    size_t count, end;
    const struct span *spans = spans_of(arena, trace, &count);

    for (int pass = 0; pass < 2; pass++)
        for (size_t begin = 0; begin < count; begin = end) {
            int64_t median_ps;

            for (end = begin; end < count && is_same_group(&spans[begin], &spans[end]);)
                end++;
            median_ps = spans[begin + (end - begin - 1) / 2].length_ps;
            for (size_t i = begin; end - begin >= LEAST_RECORDS && i < end; i++) {
                double times = (double)spans[i].length_ps / (double)(median_ps > 0 ? median_ps : 1);

                if (times <= ratio || spans[i].length_ps <= 0)
                    continue;
                if (pass == 1)
                    mark_waiting(arena, &spans[i], spans, count, why);
                else if (!why[spans[i].index])
                    why[spans[i].index] = arena_printf(
                        arena, "stage %d took %s s; its median is %s s", spans[i].stage,
                        units_format_seconds(spans[i].length_ps, text),
                        units_format_seconds(median_ps, (char[UNITS_TEXT_BYTES]){ "" }));
            }
        }
    out_text(out, "request_id,what\n");
    for (size_t i = 0; i < trace->count; i++)
        if (why[i]) {
            out_printf(out, "%" PRId64 ",%s\n", trace->requests[i].id, why[i]);
            listed++;
        }
    return listed;
}
