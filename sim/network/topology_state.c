/* topology_state.c - what ports reach while events change it. */
#include "sim/network/topology.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/format/cluster.h"
#include "lib/format/events.h"
#include "sim/network/topology_internal.h"
#include <assert.h>
#include <string.h>

struct topology_state {
    const struct topology *topology;
    double *bits_per_s; /* by port */
    bool *is_port_down;
    bool *is_medium_down;
};

struct topology_state *topology_state_create(struct arena *arena, const struct topology *topology)
{
    struct topology_state *state = arena_alloc(arena, sizeof(*state));
    size_t media = (size_t)topology->cluster->medium_count, ports = (size_t)topology->port_count;

    state->topology = topology;
    state->bits_per_s = arena_array(arena, ports, sizeof(*state->bits_per_s));
    state->is_port_down = arena_array(arena, ports, sizeof(*state->is_port_down));
    state->is_medium_down = arena_array(arena, media, sizeof(*state->is_medium_down));
    for (size_t i = 0; i < ports; i++)
        state->bits_per_s[i] = topology->ports[i].attachment->bits_per_s;
    return state;
}

/* Whether the event is of that port, or of its whole medium. */
static bool is_of(const struct topology *topology, const struct event *event, int32_t index)
{
    const struct topology_port *port = &topology->ports[index];

    return port->medium == event->medium &&
           (event->target == EVENT_MEDIUM || strcmp(topology->nodes[port->node], event->node) == 0);
}

void topology_state_apply(struct topology_state *state, const struct event *event)
{
    const struct topology *topology = state->topology;

    if (event->target == EVENT_DEVICE)
        return;
    if (event->target == EVENT_MEDIUM && event->kind != EVENT_BITS_PER_S) {
        state->is_medium_down[event->medium] = event->kind == EVENT_DOWN;
        return;
    }
    for (int32_t i = 0; i < topology->port_count; i++) {
        if (!is_of(topology, event, i))
            continue;
        if (event->kind == EVENT_BITS_PER_S)
            state->bits_per_s[i] = event->value;
        else
            state->is_port_down[i] = event->kind == EVENT_DOWN;
    }
}

int64_t topology_state_rate(const struct topology_state *state, int32_t index)
{
    const struct topology_port *port = &state->topology->ports[index];
    int64_t rate;

    if (state->is_medium_down[port->medium] || state->is_port_down[index])
        return 0;
    /* An integer: bytes then divide exactly, everywhere. */
    rate = dmath_round(port->attachment->efficiency_ratio * state->bits_per_s[index] * 1000);
    return rate < 1 ? 1 : rate;
}

int64_t topology_state_link_rate(const struct topology_state *state,
                                 const struct topology_link *link)
{
    const struct topology *topology = state->topology;
    int64_t lowest = INT64_MAX, highest = 0, rate;

    for (int i = 0; i < 2 && link->ports[i] >= 0; i++) {
        rate = topology_state_rate(state, link->ports[i]);
        lowest = rate < lowest ? rate : lowest;
    }
    if (link->ports[0] >= 0)
        return lowest;
    for (int32_t i = 0; i < topology->port_count; i++)
        if (topology->ports[i].medium == link->medium) {
            rate = topology_state_rate(state, i);
            highest = rate > highest ? rate : highest;
        }
    return highest;
}

/* Also of the nodes that the message only passes. */
int64_t topology_state_leg_rate(const struct topology_state *state, const struct topology_leg *leg)
{
    int64_t from = topology_state_rate(state, leg->from);
    int64_t to = topology_state_rate(state, leg->to);
    int64_t lowest = from < to ? from : to;

    for (int32_t i = 0; i < leg->step_count; i++) {
        const struct topology_link *link =
            &state->topology->links[state->topology->steps[leg->first_step + i].link];
        int64_t rate = link->ports[1] >= 0 ? topology_state_link_rate(state, link) : lowest;

        lowest = rate < lowest ? rate : lowest;
    }
    return lowest;
}

/* ---- the rates of legs over time ---- */

struct change { /* of one leg's rate */
    int64_t time_ps, rate;
    int32_t next; /* of the same leg, -1 = none */
};

struct history {
    struct arena *arena;
    struct change *changes;
    int32_t count, room;
    int32_t *first, *last; /* by leg */
};

/* A second change at one instant takes the place of the first. */
static void change_add(struct history *history, int32_t leg, int64_t time_ps, int64_t rate)
{
    int32_t last = history->last[leg];

    if (last >= 0 && history->changes[last].rate == rate)
        return;
    if (last >= 0 && history->changes[last].time_ps == time_ps) {
        history->changes[last].rate = rate;
        return;
    }
    TOPOLOGY_MAKE_ROOM(history->arena, history->changes, history->count, history->room);
    history->changes[history->count] = (struct change){ time_ps, rate, -1 };
    if (last >= 0)
        history->changes[last].next = history->count;
    else
        history->first[leg] = history->count;
    history->last[leg] = history->count++;
}

void topology_rates_find(struct arena *arena, struct topology *topology,
                         const struct events *events)
{
    struct topology_state *state = topology_state_create(arena, topology);
    size_t legs = (size_t)topology->leg_count;
    struct history history = { .arena = arena,
                               .first = arena_array(arena, legs, sizeof(*history.first)),
                               .last = arena_array(arena, legs, sizeof(*history.last)) };

    for (int32_t i = 0; i < topology->leg_count; i++) {
        history.last[i] = -1;
        change_add(&history, i, 0, topology_state_leg_rate(state, &topology->legs[i]));
    }
    for (size_t e = 0; events && e < events->count; e++) {
        const struct event *event = &events->events[e];

        topology_state_apply(state, event);
        for (int32_t i = 0; event->target != EVENT_DEVICE && i < topology->leg_count; i++)
            if (topology->legs[i].medium == event->medium)
                change_add(&history, i, event->time_ps,
                           topology_state_leg_rate(state, &topology->legs[i]));
    }
    topology->rates = arena_array(arena, (size_t)history.count, sizeof(*topology->rates));
    for (int32_t i = 0; i < topology->leg_count; i++) {
        topology->legs[i].first_rate = topology->rate_count;
        for (int32_t at = history.first[i]; at >= 0; at = history.changes[at].next)
            topology->rates[topology->rate_count++] =
                (struct topology_rate){ history.changes[at].time_ps, history.changes[at].rate };
        topology->legs[i].rate_count = topology->rate_count - topology->legs[i].first_rate;
    }
}
