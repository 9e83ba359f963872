/* topology_path.c - the links, fibres and latencies of one leg, by kind of medium. */
#include "sim/network/topology_internal.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/format/names.h"
#include "sim/engine/engine.h"
#include <assert.h>

#define ALL (-1)    /* in a key: everybody on the medium */
#define INTO (-2)   /* in a key: a port in */
#define OUT_OF (-3) /* in a key: a port out */

/* ---- ports ---- */

static int32_t port_find(struct builder *builder, int32_t medium, int32_t node)
{
    struct topology *topology = builder->topology;
    int32_t port = topology_key(builder->port_names, medium, node, 0);
    int32_t place;

    if (port < topology->port_count)
        return port;
    place = topology_place(builder, medium, node);
    TOPOLOGY_MAKE_ROOM(builder->arena, topology->ports, topology->port_count, builder->port_room);
    topology->ports[topology->port_count++] =
        (struct topology_port){ medium, node, builder->members[medium].rows[place] };
    return port;
}

static int64_t larger_latency(const struct topology *topology, int32_t a, int32_t b)
{
    int64_t left_ps = topology->ports[a].attachment->latency_ps;
    int64_t right_ps = topology->ports[b].attachment->latency_ps;

    return left_ps > right_ps ? left_ps : right_ps;
}

/* ---- links ---- */

/* a, b: ports, or what kind of link it is. */
static const char *link_name(const struct builder *builder, int32_t medium, int32_t a, int32_t b)
{
    const struct topology *topology = builder->topology;
    const char *name = topology->cluster->media[medium].name, *node;

    if (a == ALL)
        return name;
    node = topology->nodes[topology->ports[a].node];
    if (b == OUT_OF)
        return arena_printf(builder->arena, "%s/%s", name, node);
    if (b == INTO)
        return arena_printf(builder->arena, "%s/%s/in", name, node);
    return arena_printf(builder->arena, "%s/%s>%s", name, node,
                        topology->nodes[topology->ports[b].node]);
}

/* The link of that key, made when it is the first use. */
static int32_t link_find(struct builder *builder, int32_t medium, int32_t a, int32_t b)
{
    struct topology *topology = builder->topology;
    int32_t link = topology_key(builder->link_names, medium, a, b);

    if (link < topology->link_count)
        return link;
    TOPOLOGY_MAKE_ROOM(builder->arena, topology->links, topology->link_count, builder->link_room);
    topology->links[topology->link_count++] = (struct topology_link){
        .name = link_name(builder, medium, a, b), .medium = medium, .ports = { a, b >= 0 ? b : -1 }
    };
    return link;
}

static void step_add(struct builder *builder, struct topology_leg *leg, int32_t link,
                     int64_t latency_ps)
{
    struct topology *topology = builder->topology;

    TOPOLOGY_MAKE_ROOM(builder->arena, topology->steps, topology->step_count, builder->step_room);
    topology->steps[topology->step_count++] = (struct topology_step){ link, latency_ps };
    leg->step_count++;
    leg->latency_ps = engine_after_ps(leg->latency_ps, latency_ps);
}

static void hop_add(struct builder *builder, struct topology_circuit *circuit, int32_t a, int32_t b)
{
    struct topology *topology = builder->topology;

    TOPOLOGY_MAKE_ROOM(builder->arena, topology->hops, topology->hop_count, builder->hop_room);
    topology->hops[topology->hop_count++] =
        topology_key(builder->fibre_names, circuit->medium, a < b ? a : b, a < b ? b : a);
    topology->fibre_count = names_count(builder->fibre_names);
    circuit->hop_count++;
}

/* ---- ring and mesh ---- */

/* The position after `at` on the way to `to`. */
static int32_t ring_next(int32_t count, int32_t from, int32_t to, int32_t at)
{
    int32_t forward = (to - from + count) % count;

    return (at + (2 * forward <= count ? 1 : count - 1)) % count;
}

/* Along the row first. Only the last row may end early: then a message from it goes up first. */
static int32_t mesh_next(int32_t count, int32_t columns, int32_t from, int32_t to, int32_t at)
{
    bool has_corner = from / columns * columns + to % columns < count;
    int32_t sideways = at % columns < to % columns ? 1 : -1;
    int32_t along = at / columns < to / columns ? columns : -columns;

    if (has_corner)
        return at % columns != to % columns ? at + sideways : at + along;
    return at / columns != to / columns ? at + along : at + sideways;
}

static int32_t place_next(const struct builder *builder, int32_t medium, int32_t from, int32_t to,
                          int32_t at)
{
    const struct cluster_medium *kind = &builder->topology->cluster->media[medium];
    int32_t count = builder->members[medium].count;

    return kind->kind == CLUSTER_RING ? ring_next(count, from, to, at)
                                      : mesh_next(count, kind->mesh_columns, from, to, at);
}

static void neighbours_pass(struct builder *builder, struct topology_leg *leg, int32_t from,
                            int32_t to)
{
    const struct members *members = &builder->members[leg->medium];
    int32_t next, a, b;

    for (int32_t at = from; at != to; at = next) {
        next = place_next(builder, leg->medium, from, to, at);
        a = port_find(builder, leg->medium, members->nodes[at]);
        b = port_find(builder, leg->medium, members->nodes[next]);
        step_add(builder, leg, link_find(builder, leg->medium, a, b),
                 larger_latency(builder->topology, a, b));
    }
}

/* ---- optical ---- */

/* Fibres are those of the mesh that the nodes stand in, or one that all circuits share. */
static int32_t circuit_find(struct builder *builder, int32_t medium, int32_t a, int32_t b)
{
    const struct members *members = &builder->members[medium];
    struct topology *topology = builder->topology;
    int32_t low = a < b ? a : b, high = a < b ? b : a, next;
    int32_t index = topology_key(builder->circuit_names, medium, low, high), from, to;
    struct topology_circuit circuit = { medium, { low, high }, topology->hop_count, 0 };

    if (index < topology->circuit_count)
        return index;
    if (topology->cluster->media[medium].mesh_columns == 0) {
        hop_add(builder, &circuit, ALL, ALL);
    } else {
        from = topology_place(builder, medium, topology->ports[low].node);
        to = topology_place(builder, medium, topology->ports[high].node);
        for (int32_t at = from; at != to; at = next) {
            next = place_next(builder, medium, from, to, at);
            hop_add(builder, &circuit, members->nodes[at], members->nodes[next]);
        }
    }
    TOPOLOGY_MAKE_ROOM(builder->arena, topology->circuits, topology->circuit_count,
                       builder->circuit_room);
    topology->circuits[topology->circuit_count++] = circuit;
    return index;
}

static void circuit_pass(struct builder *builder, struct topology_leg *leg)
{
    struct topology *topology = builder->topology;
    int64_t hop_ps = larger_latency(topology, leg->from, leg->to), latency_ps = 0;

    leg->circuit = circuit_find(builder, leg->medium, leg->from, leg->to);
    for (int32_t i = 0; i < topology->circuits[leg->circuit].hop_count; i++)
        latency_ps = engine_after_ps(latency_ps, hop_ps);
    step_add(builder, leg, link_find(builder, leg->medium, leg->from, leg->to), latency_ps);
}

/* ---- a leg ---- */

void topology_leg_add(struct builder *builder, int32_t medium, int32_t from, int32_t to)
{
    struct topology *topology = builder->topology;
    struct topology_leg leg = { .medium = medium,
                                .from = port_find(builder, medium, from),
                                .to = port_find(builder, medium, to),
                                .first_step = topology->step_count,
                                .in_link = -1,
                                .circuit = -1 };
    int64_t latency_ps = larger_latency(topology, leg.from, leg.to);

    leg.per_message_ps = topology->ports[leg.from].attachment->per_message_ps;
    switch (topology->cluster->media[medium].kind) {
    case CLUSTER_SWITCH:
        step_add(builder, &leg, link_find(builder, medium, leg.from, OUT_OF), latency_ps);
        if (builder->has_in_ports)
            leg.in_link = link_find(builder, medium, leg.to, INTO);
        break;
    case CLUSTER_WIFI:
    case CLUSTER_HUB:
    case CLUSTER_BUS:
        step_add(builder, &leg, link_find(builder, medium, ALL, ALL), latency_ps);
        break;
    case CLUSTER_RING:
    case CLUSTER_MESH:
        neighbours_pass(builder, &leg, topology_place(builder, medium, from),
                        topology_place(builder, medium, to));
        break;
    case CLUSTER_OPTICAL:
        circuit_pass(builder, &leg);
        break;
    case CLUSTER_KIND_COUNT:
        assert(false);
    }
    TOPOLOGY_MAKE_ROOM(builder->arena, topology->legs, topology->leg_count, builder->leg_room);
    topology->legs[topology->leg_count++] = leg;
}
