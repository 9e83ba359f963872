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

bool arrivals_are_plain(const struct arrivals *arrivals)
{
    const struct workload *workload = arrivals->workload;

    if (arrivals->source)
        return false;
    return workload ? !workload->batches && !workload->prompt_tokens
                    : stream_is_plain(arrivals->stream);
}

/* How many of the times lie before the end of the run. */
static size_t count_before(const int64_t *arrivals_ps, size_t count, int64_t until_ps)
{
    while (count > 0 && arrivals_ps[count - 1] >= until_ps)
        count--;
    return count;
}

/* The look-ahead stands first in room_ps; what the stream gives beyond it follows. */
static size_t stream_block(struct arrivals *arrivals, size_t room, int64_t *room_ps,
                           int32_t *services)
{
    size_t count = 1;

    room_ps[0] = arrivals->pending.arrival_ps;
    services[0] = arrivals->pending.service;
    if (room > 1)
        count += stream_fill(arrivals->stream, room_ps + 1, services + 1, room - 1);
    return count;
}

size_t arrivals_block(struct arrivals *arrivals, size_t room, int64_t *room_ps, int32_t *services,
                      const int64_t **arrivals_ps)
{
    size_t left = arrivals->most - arrivals->taken, count = room;

    assert(!arrivals->source);
    if (arrivals->next_ps == ARRIVALS_NEVER)
        return 0;
    if (left < count)
        count = left;
    if (arrivals->stream) {
        count = stream_block(arrivals, count, room_ps, services);
        *arrivals_ps = room_ps;
    } else {
        const struct workload *workload = arrivals->workload;

        if (workload->count - arrivals->next < count)
            count = workload->count - arrivals->next;
        *arrivals_ps = workload->arrivals_ps + arrivals->next;
        for (size_t i = 0; i < count; i++)
            services[i] = workload->service_ids ? workload->service_ids[arrivals->next + i] : 0;
    }
    count = count_before(*arrivals_ps, count, arrivals->until_ps);
    if (arrivals->taken == 0)
        arrivals->first_ps = (*arrivals_ps)[0];
    arrivals->last_ps = (*arrivals_ps)[count - 1];
    arrivals->next += count;
    arrivals->taken += count;
    look_ahead(arrivals);
    return count;
}

int64_t arrivals_slo_ps(const struct arrivals *arrivals)
{
    return arrivals->stream ? arrivals->pending.slo_ps : 0;
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
