/* moment.c - see moment.h. */
#include "sim/place/moment.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/format/events.h"
#include <string.h>

#define NO_ROOM_BYTES 1 /* 0 would be a memory that nobody has stated */
#define DOWN_BITS_PER_S 1000

struct state { /* of a medium and its attachments */
    double *bits_per_s;
    bool is_down, *are_down;
};

/* The row of a node's own; where that of every node attaches it, one more. */
static int32_t port_of(struct arena *arena, struct cluster_medium *medium,
                       const struct event *event)
{
    int32_t count = medium->attachment_count;

    for (int32_t i = 0; i < count; i++)
        if (strcmp(medium->attachments[i].node, event->node) == 0)
            return i;
    medium->attachments = arena_grow(arena, medium->attachments, (size_t)count, (size_t)count + 1,
                                     sizeof *medium->attachments);
    medium->attachments[count] = medium->attachments[event->attachment];
    medium->attachments[count].node = event->node;
    return medium->attachment_count++;
}

static void media_copy(struct arena *arena, struct cluster *moment)
{
    const struct cluster_medium *from = moment->media;

    moment->media = arena_array(arena, (size_t)moment->medium_count, sizeof *moment->media);
    for (int m = 0; m < moment->medium_count; m++) {
        size_t count = (size_t)from[m].attachment_count;

        moment->media[m] = from[m];
        moment->media[m].attachments =
            arena_array(arena, count, sizeof *moment->media[m].attachments);
        memcpy(moment->media[m].attachments, from[m].attachments,
               count * sizeof *from[m].attachments);
    }
}

static void state_begin(struct arena *arena, const struct cluster_medium *medium,
                        struct state *state)
{
    size_t count = (size_t)medium->attachment_count;

    state->bits_per_s = arena_array(arena, count, sizeof(double));
    state->are_down = arena_array(arena, count, sizeof(bool));
    for (size_t i = 0; i < count; i++)
        state->bits_per_s[i] = medium->attachments[i].bits_per_s;
}

/* first: of the attachments that the event is about; count: so many. */
static void link_event(const struct event *event, struct state *state, int32_t first, int32_t count)
{
    for (int32_t i = first; i < first + count; i++) {
        if (event->kind == EVENT_BITS_PER_S)
            state->bits_per_s[i] = event->value;
        else if (event->target == EVENT_PORT)
            state->are_down[i] = event->kind == EVENT_DOWN;
    }
    if (event->target == EVENT_MEDIUM && event->kind != EVENT_BITS_PER_S)
        state->is_down = event->kind == EVENT_DOWN;
}

static void links_change(struct arena *arena, const struct events *events, int64_t time_ps,
                         struct cluster *moment)
{
    struct state *states = arena_array(arena, (size_t)moment->medium_count, sizeof *states);

    for (size_t i = 0; i < events->count; i++) /* rows first: states have one for each */
        if (events->events[i].target == EVENT_PORT)
            (void)port_of(arena, &moment->media[events->events[i].medium], &events->events[i]);
    for (int m = 0; m < moment->medium_count; m++)
        state_begin(arena, &moment->media[m], &states[m]);
    for (size_t i = 0; i < events->count && events->events[i].time_ps <= time_ps; i++) {
        const struct event *event = &events->events[i];

        if (event->target == EVENT_MEDIUM)
            link_event(event, &states[event->medium], 0,
                       moment->media[event->medium].attachment_count);
        else if (event->target == EVENT_PORT)
            link_event(event, &states[event->medium],
                       port_of(arena, &moment->media[event->medium], event), 1);
    }
    for (int m = 0; m < moment->medium_count; m++)
        for (int i = 0; i < moment->media[m].attachment_count; i++)
            moment->media[m].attachments[i].bits_per_s = states[m].is_down || states[m].are_down[i]
                                                             ? DOWN_BITS_PER_S
                                                             : states[m].bits_per_s[i];
}

const bool *moment_down(struct arena *arena, const struct cluster *cluster,
                        const struct events *events, int64_t time_ps)
{
    bool *are_down = arena_array(arena, (size_t)cluster->device_count, sizeof *are_down);

    for (size_t i = 0; events && i < events->count && events->events[i].time_ps <= time_ps; i++) {
        const struct event *event = &events->events[i];

        if (event->target == EVENT_DEVICE && (event->kind == EVENT_DOWN || event->kind == EVENT_UP))
            are_down[event->device] = event->kind == EVENT_DOWN;
    }
    return are_down;
}

const struct cluster *moment_cluster(struct arena *arena, const struct cluster *cluster,
                                     const struct events *events, int64_t time_ps)
{
    struct cluster *moment = arena_alloc(arena, sizeof *moment);
    const bool *are_down = moment_down(arena, cluster, events, time_ps);
    size_t count = (size_t)cluster->device_count;

    *moment = *cluster;
    moment->devices = arena_array(arena, count, sizeof *moment->devices);
    memcpy(moment->devices, cluster->devices, count * sizeof *cluster->devices);
    for (size_t i = 0; events && i < events->count && events->events[i].time_ps <= time_ps; i++)
        if (events->events[i].kind == EVENT_SPEED_RATIO)
            moment->devices[events->events[i].device].speed_ratio = events->events[i].value;
    for (size_t d = 0; d < count; d++)
        if (are_down[d]) {
            moment->devices[d].memory_bytes = NO_ROOM_BYTES;
            moment->devices[d].reserved_bytes = 0;
        }
    media_copy(arena, moment);
    if (events)
        links_change(arena, events, time_ps, moment);
    cluster_index(arena, moment);
    return moment;
}
