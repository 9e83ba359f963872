/* journey.c - the heap of what is planned, messages from leg to leg, and ports that are FIFO. */
#include "sim/network/journey.h"

#include "lib/base/arena.h"
#include "sim/engine/engine.h"
#include "sim/network/flow.h"
#include "sim/network/journey_internal.h"
#include "sim/network/leg.h"
#include <assert.h>
#include <stddef.h>

/* ---- what is planned ---- */

static bool timer_before(const struct timer *a, const struct timer *b)
{
    return a->time_ps < b->time_ps || (a->time_ps == b->time_ps && a->seq < b->seq);
}

void journeys_timer(struct journeys *journeys, int64_t time_ps, enum timer_kind kind, int32_t index)
{
    struct timer timer = { time_ps, journeys->next_seq++, kind, index };
    int32_t at;

    if (time_ps == ENGINE_NEVER)
        return; /* who waits for it shows as being under way for ever */
    if (journeys->timer_count == journeys->timer_room) {
        int32_t larger = arena_wider(journeys->timer_room, 64);

        journeys->timers =
            arena_grow(journeys->arena, journeys->timers, (size_t)journeys->timer_room,
                       (size_t)larger, sizeof(*journeys->timers));
        journeys->timer_room = larger;
    }
    for (at = journeys->timer_count++;
         at > 0 && timer_before(&timer, &journeys->timers[(at - 1) / 2]); at = (at - 1) / 2)
        journeys->timers[at] = journeys->timers[(at - 1) / 2];
    journeys->timers[at] = timer;
}

static struct timer timer_take(struct journeys *journeys)
{
    struct timer *timers = journeys->timers, first = timers[0];
    struct timer moved = timers[--journeys->timer_count];
    int32_t at = 0;

    for (int32_t child = 1; child < journeys->timer_count; child = 2 * at + 1) {
        if (child + 1 < journeys->timer_count && timer_before(&timers[child + 1], &timers[child]))
            child++;
        if (!timer_before(&timers[child], &moved))
            break;
        timers[at] = timers[child];
        at = child;
    }
    timers[at] = moved;
    return first;
}

/* ---- creation ---- */

static void on_setup(void *arg, int32_t circuit, int64_t setup_ps)
{
    struct journeys *journeys = arg;

    journeys_timer(journeys, engine_after_ps(engine_now_ps(journeys->engine), setup_ps),
                   TIMER_CIRCUIT, circuit);
}

struct journeys *journeys_create(struct arena *arena, const struct topology *topology,
                                 enum network_model model, const struct events *events,
                                 struct network_link *links)
{
    struct journeys *journeys = arena_alloc(arena, sizeof(*journeys));

    journeys->arena = arena;
    journeys->topology = topology;
    journeys->model = model;
    journeys->links = links;
    journeys->events = events;
    journeys->free_message = -1;
    journeys->circuits = circuits_create(arena, topology, on_setup, journeys);
    if (model == NETWORK_FLOWS)
        journeys_flow_create(journeys);
    return journeys;
}

void journeys_attach(struct journeys *journeys, struct engine *engine, int slot)
{
    journeys->engine = engine;
    journeys->slot = slot;
}

void journeys_watch(struct journeys *journeys, const struct network_watcher *watcher)
{
    journeys->watcher = *watcher;
}

/* ---- messages ---- */

static int32_t message_create(struct journeys *journeys)
{
    int32_t index = journeys->free_message;

    if (index >= 0) {
        journeys->free_message = journeys->messages[index].next_free;
        return index;
    }
    if (journeys->message_count == journeys->message_room) {
        int32_t larger = arena_wider(journeys->message_room, 64);

        journeys->messages =
            arena_grow(journeys->arena, journeys->messages, (size_t)journeys->message_room,
                       (size_t)larger, sizeof(*journeys->messages));
        journeys->message_room = larger;
    }
    return journeys->message_count++;
}

const struct topology_leg *journeys_leg(const struct journeys *journeys, int32_t index)
{
    return &journeys->topology->legs[journeys->messages[index].leg];
}

void journeys_use(struct journeys *journeys, int32_t index, int32_t link, int64_t begin_ps,
                  int64_t end_ps)
{
    struct message *message = &journeys->messages[index];

    journeys->link_bytes = network_add_bytes(journeys->link_bytes, message->bytes);
    journeys->links[link].bytes = network_add_bytes(journeys->links[link].bytes, message->bytes);
    if (journeys->watcher.on_use)
        journeys->watcher.on_use(journeys->watcher.arg, link, message->number, message->bytes,
                                 begin_ps, end_ps);
}

/* ---- FIFO ---- */

/* The message's head is at a link: it takes the link as soon as that is free. The link is taken for
 * as long as the bytes need at the lowest rate of the leg. */
static void step_book(struct journeys *journeys, int32_t index)
{
    struct message *message = &journeys->messages[index];
    const struct topology_leg *leg = journeys_leg(journeys, index);
    const struct topology_step *step = &journeys->topology->steps[leg->first_step + message->step];
    struct network_link *link = &journeys->links[step->link];
    int64_t now_ps = engine_now_ps(journeys->engine);
    int64_t begin_ps = link->free_ps > now_ps ? link->free_ps : now_ps, head_ps, end_ps;

    head_ps = begin_ps;
    if (message->step == 0 && begin_ps != ENGINE_NEVER)
        head_ps = engine_after_ps(begin_ps, leg->per_message_ps);
    end_ps = leg_end_ps(journeys->topology, leg, head_ps, message->bytes);
    link->free_ps = end_ps;
    if (end_ps == ENGINE_NEVER)
        return;
    link->busy_ps += end_ps - begin_ps;
    if (message->begin_ps == NETWORK_LATER)
        message->begin_ps = begin_ps;
    journeys_use(journeys, index, step->link, begin_ps, end_ps);
    if (journeys->watcher.on_busy)
        journeys->watcher.on_busy(journeys->watcher.arg, step->link, begin_ps, end_ps,
                                  end_ps - begin_ps);
    if (++message->step < leg->step_count) {
        head_ps = leg_up_ps(journeys->topology, leg, head_ps);
        journeys_timer(journeys, engine_after_ps(head_ps, step->latency_ps), TIMER_STEP, index);
        return;
    }
    if (leg->circuit >= 0)
        journeys_timer(journeys, end_ps, TIMER_RELEASE, leg->circuit);
    journeys_timer(journeys, engine_after_ps(end_ps, step->latency_ps), TIMER_LEG, index);
}

/* ---- legs ---- */

/* On its circuit, if the leg needs one. */
static void leg_go(struct journeys *journeys, int32_t index)
{
    if (journeys->model == NETWORK_FLOWS)
        journeys_flow_go(journeys, index);
    else
        step_book(journeys, index);
}

static void leg_begin(struct journeys *journeys, int32_t index)
{
    const struct topology_leg *leg = journeys_leg(journeys, index);

    journeys->messages[index].step = 0;
    if (leg->circuit < 0 || circuit_acquire(journeys->circuits, leg->circuit, index))
        leg_go(journeys, index);
}

void journeys_leg_end(struct journeys *journeys, int32_t index)
{
    struct message *message = &journeys->messages[index];
    const struct topology_route *route = &journeys->topology->routes[message->route];

    if (++message->leg < route->first_leg + route->leg_count)
        leg_begin(journeys, index);
    else
        ring_push(&journeys->arrived, journeys->arena, index);
}

static void circuit_begin(struct journeys *journeys, int32_t circuit)
{
    int32_t message;

    circuit_up(journeys->circuits, circuit);
    while ((message = circuit_waiting(journeys->circuits, circuit)) >= 0)
        leg_go(journeys, message);
}

/* ---- events ---- */

static void timer_fire(struct journeys *journeys, const struct timer *timer)
{
    switch (timer->kind) {
    case TIMER_STEP:
        step_book(journeys, timer->index);
        break;
    case TIMER_LEG:
        journeys_leg_end(journeys, timer->index);
        break;
    case TIMER_CIRCUIT:
        circuit_begin(journeys, timer->index);
        break;
    case TIMER_RELEASE:
        circuit_release(journeys->circuits, timer->index);
        break;
    }
}

/* Sets the slot's event. is_last: nothing else is known to happen at this instant, so that rates
 * may be found now; otherwise an event at this instant sees to them. */
static void next_plan(struct journeys *journeys, bool is_last)
{
    int64_t next_ps = journeys->timer_count > 0 ? journeys->timers[0].time_ps : ENGINE_NEVER;
    int64_t now_ps = engine_now_ps(journeys->engine), flow_ps;

    if (journeys->arrived.count > 0) {
        next_ps = now_ps;
    } else if (journeys->model == NETWORK_FLOWS) {
        flow_ps =
            !is_last && flow_is_unsettled(journeys->net) ? now_ps : journeys_flow_next_ps(journeys);
        next_ps = flow_ps < next_ps ? flow_ps : next_ps;
    }
    if (next_ps == ENGINE_NEVER)
        engine_clear(journeys->engine, journeys->slot);
    else
        engine_set(journeys->engine, journeys->slot, next_ps, ENGINE_LINK_ARRIVAL);
}

void journeys_send(struct journeys *journeys, int32_t route, int64_t bytes, int32_t number)
{
    int32_t index = message_create(journeys);

    assert(number >= 0);
    if (journeys->model == NETWORK_FLOWS)
        journeys_flow_sync(journeys);
    journeys->messages[index] = (struct message){
        .number = number,
        .route = route,
        .leg = journeys->topology->routes[route].first_leg,
        .bytes = bytes,
        .send_ps = engine_now_ps(journeys->engine),
        .begin_ps = NETWORK_LATER,
    };
    journeys->sent_bytes = network_add_bytes(journeys->sent_bytes, bytes);
    leg_begin(journeys, index);
    next_plan(journeys, false);
}

bool journeys_receive(struct journeys *journeys, struct network_received *received)
{
    int64_t now_ps = engine_now_ps(journeys->engine);
    const struct message *message;
    int32_t index;

    if (journeys->arrived.count == 0) {
        if (journeys->model == NETWORK_FLOWS)
            journeys_flow_sync(journeys);
        while (journeys->timer_count > 0 && journeys->timers[0].time_ps <= now_ps) {
            struct timer timer = timer_take(journeys);

            timer_fire(journeys, &timer);
        }
    }
    if (journeys->arrived.count == 0) {
        next_plan(journeys, true);
        return false;
    }
    index = ring_take(&journeys->arrived);
    message = &journeys->messages[index];
    *received = (struct network_received){
        .message = message->number,
        .link = -1,
        .bytes = message->bytes,
        .send_ps = message->send_ps,
        .begin_ps = message->begin_ps,
        .arrival_ps = now_ps,
        .route = message->route,
    };
    journeys->received_bytes = network_add_bytes(journeys->received_bytes, message->bytes);
    journeys->messages[index].number = -1;
    journeys->messages[index].next_free = journeys->free_message;
    journeys->free_message = index;
    next_plan(journeys, false);
    return true;
}

int32_t journeys_where(const struct journeys *journeys, int32_t number)
{
    for (int32_t i = 0; i < journeys->message_count; i++)
        if (journeys->messages[i].number == number)
            return journeys->topology->steps[journeys_leg(journeys, i)->first_step].link;
    return -1;
}

int64_t journeys_sent_bytes(const struct journeys *journeys)
{
    return journeys->sent_bytes;
}

int64_t journeys_received_bytes(const struct journeys *journeys)
{
    return journeys->received_bytes;
}

int64_t journeys_link_bytes(const struct journeys *journeys)
{
    return journeys->link_bytes;
}

bool journeys_have_circuits(const struct journeys *journeys)
{
    return journeys->circuits != NULL;
}

struct network_circuits journeys_circuits(const struct journeys *journeys)
{
    return journeys->circuits ? circuits_count(journeys->circuits)
                              : (struct network_circuits){ 0, 0, 0 };
}
