/* arrivals.c - one element of look-ahead over a workload's columns, a source or a stream. */
#include "sim/serve/arrivals.h"

#include "lib/base/arena.h"
#include "sim/generate/stream.h"
#include "sim/serve/serve.h"
#include <assert.h>

static void look_ahead(struct arrivals *arrivals)
{
    int64_t next_ps;

    if (arrivals->source)
        next_ps = source_peek_ps(arrivals->source);
    else if (arrivals->stream)
        next_ps = stream_next(arrivals->stream, &arrivals->pending) ? arrivals->pending.arrival_ps
                                                                    : ARRIVALS_NEVER;
    else
        next_ps = arrivals->next < arrivals->workload->count
                      ? arrivals->workload->arrivals_ps[arrivals->next]
                      : ARRIVALS_NEVER;
    if (arrivals->taken >= arrivals->most || next_ps >= arrivals->until_ps)
        next_ps = ARRIVALS_NEVER;
    arrivals->next_ps = next_ps;
}

void arrivals_begin(struct arrivals *arrivals, struct arena *arena, const struct serve_input *input,
                    const struct serve_options *options)
{
    const struct workload *workload = input->workload;

    *arrivals = (struct arrivals){ .workload = workload,
                                   .stream = workload ? NULL : input->stream,
                                   .most = options->max_requests,
                                   .until_ps = options->until_ps };
    if (workload && (workload->client_count > 0 || workload->session_count > 0))
        arrivals->source = source_create(arena, workload);
    look_ahead(arrivals);
}

void arrivals_take(struct arrivals *arrivals, struct arrival *arrival)
{
    assert(arrivals->next_ps != ARRIVALS_NEVER);
    arrival->arrival_ps = arrivals->next_ps;
    if (arrivals->source) {
        arrival->index = source_take(arrivals->source, &arrival->arrival_ps);
        arrival->request = workload_at(arrivals->workload, arrival->index);
    } else {
        arrival->index = arrivals->next++;
        arrival->request =
            arrivals->stream ? arrivals->pending : workload_at(arrivals->workload, arrival->index);
    }
    if (arrivals->taken++ == 0)
        arrivals->first_ps = arrival->arrival_ps;
    arrivals->last_ps = arrival->arrival_ps;
    look_ahead(arrivals);
}

void arrivals_ended(struct arrivals *arrivals, size_t index, int64_t now_ps)
{
    if (!arrivals->source)
        return;
    source_ended(arrivals->source, index, now_ps);
    look_ahead(arrivals);
}

size_t arrivals_left(const struct arrivals *arrivals)
{
    if (arrivals->taken >= arrivals->most)
        return 0;
    if (arrivals->source)
        return source_left(arrivals->source);
    if (arrivals->stream)
        return arrivals->next_ps != ARRIVALS_NEVER;
    return arrivals->workload->count - arrivals->next;
}
