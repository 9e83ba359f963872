/* delays.c - latencies of software that a request waits for and no device is busy for.
 *
 * Each delay is drawn by request and place alone, so several may be pending in any order: a heap by
 * (time, order of holding) behind one slot of the engine. */
#include "sim/serve/internal.h"

#include "lib/format/overhead.h"

struct delay {
    int64_t time_ps;
    uint64_t order;
    enum delay_kind kind;
    int32_t flight;
};

struct delays {
    struct delay *heap;
    int32_t count, room;
    uint64_t next_order;
};

static bool is_before(const struct delay *a, const struct delay *b)
{
    return a->time_ps < b->time_ps || (a->time_ps == b->time_ps && a->order < b->order);
}

static void heap_push(struct serve *serve, struct delay delay)
{
    struct delays *delays = serve->delays;
    int32_t at = delays->count;

    if (delays->count == delays->room) {
        int32_t room = arena_wider(delays->room, 64);

        delays->heap = arena_grow(serve->arena, delays->heap, (size_t)delays->room, (size_t)room,
                                  sizeof(*delays->heap));
        delays->room = room;
    }
    delays->count++;
    for (; at > 0 && is_before(&delay, &delays->heap[(at - 1) / 2]); at = (at - 1) / 2)
        delays->heap[at] = delays->heap[(at - 1) / 2];
    delays->heap[at] = delay;
}

static struct delay heap_pop(struct delays *delays)
{
    struct delay first = delays->heap[0], last = delays->heap[--delays->count];
    int32_t at = 0, child;

    while ((child = 2 * at + 1) < delays->count) {
        if (child + 1 < delays->count && is_before(&delays->heap[child + 1], &delays->heap[child]))
            child++;
        if (!is_before(&delays->heap[child], &last))
            break;
        delays->heap[at] = delays->heap[child];
        at = child;
    }
    delays->heap[at] = last;
    return first;
}

static void first_plan(struct serve *serve)
{
    if (serve->delays->count > 0)
        engine_set(serve->engine, serve->delay_slot, serve->delays->heap[0].time_ps,
                   ENGINE_LINK_ARRIVAL);
}

void delays_begin(struct serve *serve)
{
    const struct overheads *overheads = serve->input->overheads;

    if (overheads &&
        (overheads->at[OVERHEAD_SUBMIT].is_given || overheads->at[OVERHEAD_DISPATCH].is_given ||
         overheads->at[OVERHEAD_WORKER].is_given))
        serve->delays = arena_alloc(serve->arena, sizeof(*serve->delays));
}

/* A draw of its own for each place that the request passes. */
static int64_t draw_ps(const struct serve *serve, enum delay_kind kind, int32_t index)
{
    static const enum overhead_where places[] = { [DELAY_SUBMIT] = OVERHEAD_SUBMIT,
                                                  [DELAY_DISPATCH] = OVERHEAD_DISPATCH,
                                                  [DELAY_WORKER] = OVERHEAD_WORKER };
    const struct flight *flight = &serve->flights[index];
    uint64_t stage = 0;

    if (kind == DELAY_WORKER) {
        const struct lane *lane = &serve->lanes[flight->site->replica];
        uint64_t step = flight->site->is_model ? (uint64_t)serve->decodes[index].step : 0;

        stage = step * (uint64_t)(lane->decode_count > lane->stage_count ? lane->decode_count
                                                                         : lane->stage_count) +
                (uint64_t)flight->site->stage->number;
    }
    return overhead_draw(&serve->input->overheads->at[places[kind]], serve->options->seed,
                         places[kind], (uint64_t)arrivals_id(&serve->arrivals, flight->request),
                         stage);
}

bool delays_hold(struct serve *serve, enum delay_kind kind, int32_t index)
{
    int64_t delay_ps = draw_ps(serve, kind, index);
    struct delay delay = { engine_after_ps(engine_now_ps(serve->engine), delay_ps),
                           serve->delays->next_order++, kind, index };

    if (delay_ps == 0)
        return false;
    for (int32_t i = index; i != NO_FLIGHT; i = serve->flights[i].mate)
        serve->delay_ps += (double)delay_ps;
    heap_push(serve, delay);
    if (serve->delays->heap[0].order == delay.order)
        first_plan(serve);
    return true;
}

bool delays_event(struct serve *serve, struct err *err)
{
    struct delay delay = heap_pop(serve->delays);

    first_plan(serve);
    switch (delay.kind) {
    case DELAY_SUBMIT:
        return serve_dispatch(serve, delay.flight, err);
    case DELAY_DISPATCH:
        return flight_launch(serve, delay.flight, err);
    case DELAY_WORKER:
        return station_push(serve, delay.flight, err);
    }
    return false;
}

int64_t delays_response_ps(const struct serve *serve, uint64_t request)
{
    return overhead_draw(&serve->input->overheads->at[OVERHEAD_RESPONSE], serve->options->seed,
                         OVERHEAD_RESPONSE, request, 0);
}
