/* journey_flow.c - messages as flows over the links of their legs, at rates that events change. */
#include "sim/network/journey_internal.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/format/events.h"
#include "sim/engine/engine.h"
#include "sim/network/flow.h"
#include <assert.h>
#include <stddef.h>

#define MILLIBITS_A_BYTE 8000.0
#define PS_PER_S 1e12

static bool is_shared(const struct topology_link *link)
{
    return link->ports[0] < 0;
}

static double bytes_per_s(int64_t rate_millibits_per_s)
{
    return (double)rate_millibits_per_s / MILLIBITS_A_BYTE;
}

/* ---- creation ---- */

/* What a message takes of a link that all share grows as its rate falls below the highest. */
static double weight_of(const struct journeys *journeys, int32_t link, int64_t rate)
{
    return journeys->nominal[link] / bytes_per_s(rate);
}

/* The pipe of a port of a medium that all share: stops its flows while it is down. */
static int32_t pipe_of(struct journeys *journeys, int32_t port)
{
    if (journeys->pipes[port] < 0)
        journeys->pipes[port] = flow_add_resource(
            journeys->net, bytes_per_s(topology_state_rate(journeys->state, port)), FLOW_FAT_PIPE);
    return journeys->pipes[port];
}

static void leg_create(struct journeys *journeys, int32_t index)
{
    const struct topology *topology = journeys->topology;
    const struct topology_leg *leg = &topology->legs[index];
    int32_t first = topology->steps[leg->first_step].link;
    struct flow_use *uses =
        arena_array(journeys->arena, (size_t)leg->step_count + 3, sizeof(*uses));
    int count = 0;

    for (int32_t i = 0; i < leg->step_count; i++)
        uses[count++] = (struct flow_use){ topology->steps[leg->first_step + i].link, 1 };
    if (leg->in_link >= 0)
        uses[count++] = (struct flow_use){ leg->in_link, 1 };
    if (is_shared(&topology->links[first]))
        uses[0].weight =
            weight_of(journeys, first, topology->rates[leg->first_rate].rate_millibits_per_s);
    if (is_shared(&topology->links[first]) && leg->rate_count > 1) {
        uses[count++] = (struct flow_use){ pipe_of(journeys, leg->from), 1 };
        if (leg->to != leg->from)
            uses[count++] = (struct flow_use){ pipe_of(journeys, leg->to), 1 };
        journeys->legs[index].route =
            flow_add_own_route(journeys->net, uses, count, FLOW_UNBOUNDED, 1);
    } else {
        journeys->legs[index].route = flow_add_route(journeys->net, uses, count, FLOW_UNBOUNDED, 1);
    }
    uses[0] = (struct flow_use){ first, 1 };
    journeys->legs[index].payment = flow_add_route(journeys->net, uses, 1, FLOW_UNBOUNDED, 1);
}

void journeys_flow_create(struct journeys *journeys)
{
    const struct topology *topology = journeys->topology;
    size_t port_count = (size_t)topology->port_count;

    journeys->net = flow_create(journeys->arena);
    journeys->state = topology_state_create(journeys->arena, topology);
    journeys->nominal =
        arena_array(journeys->arena, (size_t)topology->link_count, sizeof(*journeys->nominal));
    journeys->pipes = arena_array(journeys->arena, port_count, sizeof(*journeys->pipes));
    for (size_t i = 0; i < port_count; i++)
        journeys->pipes[i] = -1;
    for (int32_t i = 0; i < topology->link_count; i++) {
        journeys->nominal[i] =
            bytes_per_s(topology_state_link_rate(journeys->state, &topology->links[i]));
        (void)flow_add_resource(journeys->net, journeys->nominal[i], FLOW_SHARED);
    }
    journeys->legs =
        arena_array(journeys->arena, (size_t)topology->leg_count, sizeof(*journeys->legs));
    for (int32_t i = 0; i < topology->leg_count; i++)
        leg_create(journeys, i);
    journeys->senders = arena_array(journeys->arena, port_count, sizeof(*journeys->senders));
    journeys->streams =
        arena_array(journeys->arena, (size_t)topology->leg_count, sizeof(*journeys->streams));
}

/* ---- a message on its leg ---- */

/* Its bytes begin to flow. */
static void bytes_begin(struct journeys *journeys, int32_t index)
{
    struct message *message = &journeys->messages[index];
    int64_t now_ps = engine_now_ps(journeys->engine);

    message->flow_ps = now_ps;
    if (message->begin_ps == NETWORK_LATER)
        message->begin_ps = now_ps;
    flow_start(journeys->net, journeys->legs[message->leg].route, (double)message->bytes, index);
}

/* The sender pays for a message: per_message_ps of its port, whatever the rate of the port is now.
 */
static void payment_begin(struct journeys *journeys, int32_t index)
{
    struct message *message = &journeys->messages[index];
    const struct topology_leg *leg = journeys_leg(journeys, index);
    int32_t link = journeys->topology->steps[leg->first_step].link;
    double rate = flow_capacity(journeys->net, link);

    message->is_paying = true;
    if (message->begin_ps == NETWORK_LATER)
        message->begin_ps = engine_now_ps(journeys->engine);
    if (!(rate > 0))
        rate = journeys->nominal[link];
    flow_start(journeys->net, journeys->legs[message->leg].payment,
               (double)leg->per_message_ps / PS_PER_S * rate, index);
}

/* Takes the line, or waits in it: then false. */
static bool line_join(struct journeys *journeys, struct line *line, int32_t index)
{
    if (line->is_busy)
        ring_push(&line->waiting, journeys->arena, index);
    else
        line->is_busy = true;
    return line->waiting.count == 0;
}

/* Leaves the line; returns who takes it next, -1 = nobody. */
static int32_t line_leave(struct line *line)
{
    line->is_busy = line->waiting.count > 0;
    return line->is_busy ? ring_take(&line->waiting) : -1;
}

/* It is first in its stream. */
static void stream_go(struct journeys *journeys, int32_t index)
{
    const struct topology_leg *leg = journeys_leg(journeys, index);

    if (leg->per_message_ps == 0)
        bytes_begin(journeys, index);
    else if (line_join(journeys, &journeys->senders[leg->from], index))
        payment_begin(journeys, index);
}

void journeys_flow_go(struct journeys *journeys, int32_t index)
{
    if (line_join(journeys, &journeys->streams[journeys->messages[index].leg], index))
        stream_go(journeys, index);
}

static void payment_end(struct journeys *journeys, int32_t index)
{
    int32_t next = line_leave(&journeys->senders[journeys_leg(journeys, index)->from]);

    journeys->messages[index].is_paying = false;
    if (next >= 0)
        payment_begin(journeys, next);
    bytes_begin(journeys, index);
}

/* Its last byte has left: the next one of its stream goes, and it is there one latency later. */
static void bytes_end(struct journeys *journeys, int32_t index)
{
    const struct topology_leg *leg = journeys_leg(journeys, index);
    int64_t begin_ps = journeys->messages[index].flow_ps;
    int64_t now_ps = engine_now_ps(journeys->engine);
    int32_t next = line_leave(&journeys->streams[journeys->messages[index].leg]);

    for (int32_t i = 0; i < leg->step_count; i++)
        journeys_use(journeys, index, journeys->topology->steps[leg->first_step + i].link, begin_ps,
                     now_ps);
    if (leg->in_link >= 0)
        journeys_use(journeys, index, leg->in_link, begin_ps, now_ps);
    if (next >= 0)
        stream_go(journeys, next);
    if (leg->circuit >= 0)
        circuit_release(journeys->circuits, leg->circuit);
    if (leg->latency_ps > 0)
        journeys_timer(journeys, engine_after_ps(now_ps, leg->latency_ps), TIMER_LEG, index);
    else
        journeys_leg_end(journeys, index);
}

/* ---- time ---- */

static void rates_change(struct journeys *journeys, const struct event *event)
{
    const struct topology *topology = journeys->topology;

    topology_state_apply(journeys->state, event);
    for (int32_t i = 0; i < topology->link_count; i++) {
        double rate;

        if (topology->links[i].medium != event->medium)
            continue;
        rate = bytes_per_s(topology_state_link_rate(journeys->state, &topology->links[i]));
        if (is_shared(&topology->links[i]) && rate > 0)
            rate = journeys->nominal[i]; /* weights say how fast its nodes are */
        if (rate < flow_capacity(journeys->net, i) || rate > flow_capacity(journeys->net, i))
            flow_set_capacity(journeys->net, i, rate);
    }
    for (int32_t i = 0; i < topology->port_count; i++)
        if (topology->ports[i].medium == event->medium && journeys->pipes[i] >= 0)
            flow_set_capacity(journeys->net, journeys->pipes[i],
                              bytes_per_s(topology_state_rate(journeys->state, i)));
    for (int32_t i = 0; i < topology->leg_count; i++) {
        const struct topology_leg *leg = &topology->legs[i];
        int32_t link = topology->steps[leg->first_step].link;
        int64_t rate;

        if (leg->medium != event->medium || leg->rate_count == 1 ||
            !is_shared(&topology->links[link]))
            continue;
        rate = topology_state_leg_rate(journeys->state, leg);
        if (rate > 0)
            flow_set_weight(journeys->net, journeys->legs[i].route, link,
                            weight_of(journeys, link, rate));
    }
}

static int64_t event_ps(const struct journeys *journeys)
{
    return journeys->events && journeys->next_event < journeys->events->count
               ? journeys->events->events[journeys->next_event].time_ps
               : ENGINE_NEVER;
}

/* Tells of links that were in use since the last change. */
static void busy_tell(struct journeys *journeys, int64_t time_ps)
{
    int64_t begin_ps = flow_now_ps(journeys->net);
    size_t count = (size_t)journeys->topology->link_count;

    if (!journeys->busy_ps) {
        journeys->busy_ps = arena_array(journeys->arena, count, sizeof(*journeys->busy_ps));
        journeys->told_ps = arena_array(journeys->arena, count, sizeof(*journeys->told_ps));
    }
    for (int32_t i = 0; i < journeys->topology->link_count; i++) {
        double ratio = flow_used_ratio(journeys->net, i);
        int64_t busy_ps;

        if (!(ratio > 0))
            continue;
        journeys->busy_ps[i] += ratio * (double)(time_ps - begin_ps);
        busy_ps = (int64_t)(journeys->busy_ps[i] + 0.5) - journeys->told_ps[i];
        busy_ps = busy_ps < time_ps - begin_ps ? busy_ps : time_ps - begin_ps;
        journeys->told_ps[i] += busy_ps;
        journeys->watcher.on_busy(journeys->watcher.arg, i, begin_ps, time_ps, busy_ps);
    }
}

static void flows_advance(struct journeys *journeys, int64_t time_ps)
{
    int ended;

    if (journeys->watcher.on_busy && time_ps > flow_now_ps(journeys->net))
        busy_tell(journeys, time_ps);
    ended = flow_advance(journeys->net, time_ps);

    for (int i = 0; i < ended; i++) {
        int32_t index = flow_ended(journeys->net, i);

        if (journeys->messages[index].is_paying)
            payment_end(journeys, index);
        else
            bytes_end(journeys, index);
    }
}

/* Events of the past are those of times without flows: nobody was waiting for them. */
void journeys_flow_sync(struct journeys *journeys)
{
    int64_t now_ps = engine_now_ps(journeys->engine);

    for (; event_ps(journeys) <= now_ps; journeys->next_event++) {
        const struct event *event = &journeys->events->events[journeys->next_event];

        flows_advance(journeys, event->time_ps);
        if (event->target != EVENT_DEVICE)
            rates_change(journeys, event);
    }
    flows_advance(journeys, now_ps);
}

int64_t journeys_flow_next_ps(struct journeys *journeys)
{
    int64_t next_ps, change_ps;

    if (flow_count(journeys->net) == 0)
        return ENGINE_NEVER;
    next_ps = flow_next_ps(journeys->net);
    if (next_ps == FLOW_NEVER && flow_is_any_moving(journeys->net))
        next_ps = ENGINE_LAST_PS; /* slow, and not blocked */
    change_ps = event_ps(journeys);
    return change_ps < next_ps ? change_ps : next_ps;
}

int64_t journeys_busy_ps(const struct journeys *journeys, int32_t link)
{
    return flow_busy_ps(journeys->net, link);
}
