/* network.c - ports that are FIFO servers, and for each route a ring of the messages under way.
 *
 * A port's occupation is known when a message is sent, so a message costs one event: its arrival.
 * Latency is constant on a route and ports are FIFO, so messages of a route arrive in the order of
 * sending and only the head of the ring needs the route's engine slot. Routes that are more than
 * one such port, and under flows all that may meet others, are left to journey.c. */
#include "sim/network/network.h"

#include "lib/base/arena.h"
#include "lib/base/hash.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "sim/engine/engine.h"
#include "sim/network/apart.h"
#include "sim/network/journey.h"
#include "sim/network/leg.h"
#include "sim/network/network_internal.h"
#include "sim/network/topology.h"
#include <assert.h>
#include <stddef.h>

const char *const network_model_names[NETWORK_MODEL_COUNT] = {
    [NETWORK_FIFO] = "fifo",
    [NETWORK_FLOWS] = "flows",
};

/* ---- pairs ---- */

/* Where the pair stands in the table, or would. */
static uint32_t table_slot(const struct network *network, int32_t from, int32_t to)
{
    const int32_t key[2] = { from, to };
    uint32_t slot = (uint32_t)hash_bytes(HASH_START, key, sizeof(key)) & network->table_mask;

    while (network->table[slot] >= 0 && (network->pairs[network->table[slot]].from != from ||
                                         network->pairs[network->table[slot]].to != to))
        slot = (slot + 1) & network->table_mask;
    return slot;
}

int network_route(const struct network *network, int32_t from, int32_t to)
{
    return network->table[table_slot(network, from, to)];
}

/* Each pair once, in order of first appearance. */
static void pairs_keep(struct network *network, const struct network_pair *pairs, int pair_count)
{
    struct arena *arena = network->arena;

    network->routes = arena_array(arena, (size_t)pair_count, sizeof(*network->routes));
    network->pairs = arena_array(arena, (size_t)pair_count, sizeof(*network->pairs));
    network->table_mask = 15;
    while (network->table_mask < 2 * (uint32_t)pair_count)
        network->table_mask = 2 * network->table_mask + 1;
    network->table = arena_array(arena, (size_t)network->table_mask + 1, sizeof(*network->table));
    for (uint32_t i = 0; i <= network->table_mask; i++)
        network->table[i] = -1;
    for (int i = 0; i < pair_count; i++) {
        uint32_t slot = table_slot(network, pairs[i].from, pairs[i].to);

        if (network->table[slot] >= 0)
            continue;
        network->pairs[network->route_count] = pairs[i];
        network->table[slot] = network->route_count++;
    }
}

/* ---- creation ---- */

/* By route: whether it may be a FIFO port under flows, where messages of one route follow each
 * other. A route is empty when all its pairs are. NULL: none may. */
static bool *shortcuts_find(const struct network *network, const struct network_options *options,
                            const struct network_pair *pairs, int pair_count)
{
    bool *are_empty;

    if (options->model != NETWORK_FLOWS || !options->has_shortcut)
        return NULL;
    are_empty = arena_array(network->arena, (size_t)network->route_count, sizeof(*are_empty));
    for (int i = 0; i < network->route_count; i++)
        are_empty[i] = options->are_empty != NULL;
    for (int i = 0; options->are_empty && i < pair_count; i++)
        if (!options->are_empty[i])
            are_empty[network_route(network, pairs[i].from, pairs[i].to)] = false;
    return apart_find(network->arena, network->topology, are_empty);
}

/* Of a route that is not free. */
static enum route_kind kind_of(const struct network *network, const bool *are_apart, int index)
{
    const struct topology *topology = network->topology;
    const struct topology_leg *leg = &topology->legs[topology->routes[index].first_leg];

    if (network->model == NETWORK_FLOWS)
        return are_apart && are_apart[index] ? ROUTE_PORT : ROUTE_JOURNEY;
    if (topology->routes[index].leg_count > 1 || leg->step_count > 1 || leg->circuit >= 0)
        return ROUTE_JOURNEY;
    return leg->rate_count > 1 ? ROUTE_CHANGING : ROUTE_PORT;
}

static void route_fill(struct network *network, const bool *are_apart, int index)
{
    const struct topology *topology = network->topology;
    struct route *route = &network->routes[index];
    const struct topology_leg *leg;

    route->link = -1;
    if (topology->routes[index].leg_count == 0)
        return;
    leg = &topology->legs[topology->routes[index].first_leg];
    route->link = topology->steps[leg->first_step].link;
    route->leg = leg;
    route->per_message_ps = leg->per_message_ps;
    route->latency_ps = leg->latency_ps;
    route->rate_millibits_per_s = topology->rates[leg->first_rate].rate_millibits_per_s;
    route->kind = kind_of(network, are_apart, index);
    if (route->kind == ROUTE_JOURNEY) {
        network->has_journeys = true;
        return;
    }
    network->route_slots = network->route_count;
    network->links[route->link].port_route = index;
    if (leg->in_link >= 0)
        network->links[leg->in_link].port_route = index;
}

static void links_fill(struct network *network)
{
    const struct topology *topology = network->topology;

    network->link_count = topology->link_count;
    network->links =
        arena_array(network->arena, (size_t)network->link_count, sizeof(*network->links));
    for (int i = 0; i < network->link_count; i++) {
        network->links[i].name = topology->links[i].name;
        network->links[i].medium = network->cluster->media[topology->links[i].medium].name;
        network->links[i].port_route = -1;
    }
}

struct network *network_open(struct arena *arena, const struct cluster *cluster,
                             const struct network_options *options,
                             const struct network_pair *pairs, int pair_count, struct err *err)
{
    struct network *network = arena_alloc(arena, sizeof(*network));
    const bool *are_apart;

    network->arena = arena;
    network->cluster = cluster;
    network->model = options->model;
    pairs_keep(network, pairs, pair_count);
    network->topology =
        topology_build(arena, cluster, options->events, options->model == NETWORK_FLOWS,
                       network->pairs, network->route_count, err);
    if (!network->topology)
        return NULL;
    links_fill(network);
    are_apart = shortcuts_find(network, options, pairs, pair_count);
    for (int i = 0; i < network->route_count; i++)
        route_fill(network, are_apart, i);
    if (network->has_journeys)
        network->journeys = journeys_create(arena, network->topology, options->model,
                                            options->events, network->links);
    return network;
}

int network_slot_count(const struct network *network)
{
    return network->route_slots + (network->journeys ? 1 : 0);
}

void network_attach(struct network *network, struct engine *engine, int first_slot)
{
    network->engine = engine;
    network->first_slot = first_slot;
    if (network->journeys)
        journeys_attach(network->journeys, engine, first_slot + network->route_slots);
}

/* ---- routes ---- */

bool network_route_is_free(const struct network *network, int route)
{
    return network->routes[route].kind == ROUTE_FREE;
}

int network_route_link(const struct network *network, int route)
{
    return network->routes[route].link;
}

bool network_is_bookable(const struct network *network)
{
    for (int i = 0; i < network->route_count; i++)
        if (network->routes[i].kind > ROUTE_PORT)
            return false;
    return true;
}

/* Leg after leg, at the rates before the first event. */
static struct network_hop route_alone(const struct network *network, int index, int64_t bytes)
{
    const struct topology *topology = network->topology;
    const struct topology_route *route = &topology->routes[index];
    struct network_hop alone = { network->routes[index].link, 0, 0 };

    for (int32_t i = route->first_leg; i < route->first_leg + route->leg_count; i++) {
        const struct topology_leg *leg = &topology->legs[i];
        int64_t rate = topology->rates[leg->first_rate].rate_millibits_per_s;

        alone.occupy_ps = engine_after_ps(alone.occupy_ps, leg->per_message_ps);
        alone.occupy_ps =
            engine_after_ps(alone.occupy_ps, units_mul_div(bytes, 8 * UNITS_PS_PER_S * 1000, rate));
        alone.latency_ps = engine_after_ps(alone.latency_ps, leg->latency_ps);
    }
    return alone;
}

int64_t network_alone_ps(const struct network *network, int index, int64_t bytes)
{
    struct network_hop alone = route_alone(network, index, bytes);

    return engine_after_ps(alone.occupy_ps, alone.latency_ps);
}

/* ---- messages over one port ---- */

static void ring_widen(struct network *network, struct route *route)
{
    uint32_t capacity = (uint32_t)arena_wider((int32_t)route->capacity, 8);
    struct message *ring = arena_array(network->arena, capacity, sizeof(*ring));

    for (uint32_t i = 0; i < route->count; i++)
        ring[i] = route->ring[(route->head + i) & (route->capacity - 1)];
    route->ring = ring;
    route->capacity = capacity;
    route->head = 0;
}

static int64_t wire_ps(struct route *route, int64_t bytes)
{
    if (bytes != route->last_bytes) {
        route->last_bytes = bytes;
        route->last_wire_ps =
            units_mul_div(bytes, 8 * UNITS_PS_PER_S * 1000, route->rate_millibits_per_s);
    }
    return route->last_wire_ps;
}

struct network_hop network_hop(struct network *network, int index, int64_t bytes)
{
    struct route *route = &network->routes[index];

    if (route->kind != ROUTE_PORT)
        return route_alone(network, index, bytes);
    return (struct network_hop){ route->link,
                                 engine_after_ps(route->per_message_ps, wire_ps(route, bytes)),
                                 route->latency_ps };
}

static inline void traffic_add(struct network_traffic *traffic, int64_t count, int64_t bytes)
{
    traffic->count += count;
    traffic->bytes = network_add_bytes(traffic->bytes, network_times_bytes(count, bytes));
}

void network_account(struct network *network, int index, int64_t count, int64_t occupy_ps,
                     int64_t bytes)
{
    struct network_link *link = &network->links[network->routes[index].link];

    traffic_add(&network->routes[index].sent, count, bytes);
    link->busy_ps += count * occupy_ps;
    link->bytes = network_add_bytes(link->bytes, network_times_bytes(count, bytes));
}

void network_beside(struct network *network, int index, int64_t count, int64_t bytes)
{
    if (!network->beside)
        network->beside =
            arena_array(network->arena, (size_t)network->route_count, sizeof(*network->beside));
    traffic_add(&network->beside[index], count, bytes);
}

void network_carry(struct network *network, int index, int64_t count, int64_t bytes)
{
    if (!network->carried)
        network->carried =
            arena_array(network->arena, (size_t)network->route_count, sizeof(*network->carried));
    network->carried[index].count += count;
    network->carried[index].bytes += count * bytes;
}

/* Occupies the route's port; returns when the message is there. */
static inline int64_t port_book(struct route *route, struct network_link *link, int64_t at_ps,
                                int64_t bytes, int64_t *begin_ps)
{
    int64_t end_ps;

    *begin_ps = link->free_ps > at_ps ? link->free_ps : at_ps;
    end_ps =
        engine_after_ps(engine_after_ps(*begin_ps, route->per_message_ps), wire_ps(route, bytes));
    link->busy_ps += end_ps - *begin_ps;
    link->free_ps = end_ps;
    link->bytes = network_add_bytes(link->bytes, bytes);
    route->sent.count++;
    route->sent.bytes = network_add_bytes(route->sent.bytes, bytes);
    return engine_after_ps(end_ps, route->latency_ps);
}

/* The same where the rate changes; ENGINE_NEVER when the port stays down. */
static int64_t changing_book(struct network *network, int index, int64_t at_ps, int64_t bytes,
                             int64_t *begin_ps)
{
    const struct route *route = &network->routes[index];
    struct network_link *link = &network->links[route->link];
    int64_t paid_ps, end_ps;

    *begin_ps = link->free_ps > at_ps ? link->free_ps : at_ps;
    paid_ps = *begin_ps == ENGINE_NEVER ? ENGINE_NEVER
                                        : engine_after_ps(*begin_ps, route->per_message_ps);
    end_ps = leg_end_ps(network->topology, route->leg, paid_ps, bytes);
    link->free_ps = end_ps;
    if (end_ps == ENGINE_NEVER)
        return ENGINE_NEVER;
    network_account(network, index, 1, end_ps - *begin_ps, bytes);
    return engine_after_ps(end_ps, route->latency_ps);
}

struct network_sent network_book(struct network *network, int index, int64_t at_ps, int64_t bytes)
{
    struct route *route = &network->routes[index];
    struct network_link *link = &network->links[route->link];
    struct network_sent sent = { .is_free = false, .link = route->link };

    assert(route->kind == ROUTE_PORT || route->kind == ROUTE_CHANGING);
    sent.arrival_ps = route->kind == ROUTE_PORT
                          ? port_book(route, link, at_ps, bytes, &sent.begin_ps)
                          : changing_book(network, index, at_ps, bytes, &sent.begin_ps);
    sent.end_ps = link->free_ps;
    sent.in_link = route->leg->in_link;
    sent.flow_ps = engine_after_ps(sent.begin_ps, route->per_message_ps);
    return sent;
}

/* A message that never arrives, since its port stays down, is under way for ever. */
static inline void message_send(struct network *network, int index, struct message message)
{
    struct route *route = &network->routes[index];

    if (route->count == route->capacity)
        ring_widen(network, route);
    route->ring[(route->head + route->count) & (route->capacity - 1)] = message;
    network->in_flight++;
    network->balance_bytes += message.bytes;
    if (route->count++ == 0 && message.arrival_ps != ENGINE_NEVER)
        engine_set(network->engine, network->first_slot + index, message.arrival_ps,
                   ENGINE_LINK_ARRIVAL);
}

/* ---- messages ---- */

void network_post(struct network *network, int index, int64_t bytes, int32_t number)
{
    struct route *route = &network->routes[index];
    struct message message = { .number = number, .bytes = (uint32_t)bytes };
    int64_t begin_ps;

    if (route->kind != ROUTE_PORT) {
        (void)network_send(network, index, bytes, number);
        return;
    }
    message.arrival_ps = port_book(route, &network->links[route->link],
                                   engine_now_ps(network->engine), bytes, &begin_ps);
    message_send(network, index, message);
}

struct network_sent network_send(struct network *network, int index, int64_t bytes, int32_t number)
{
    struct route *route = &network->routes[index];
    int64_t now_ps = engine_now_ps(network->engine);
    struct network_sent sent = { true, -1, -1, now_ps, now_ps, now_ps, now_ps };

    if (route->kind == ROUTE_FREE)
        return sent;
    if (route->kind == ROUTE_JOURNEY) {
        network->in_flight++;
        traffic_add(&route->sent, 1, bytes);
        journeys_send(network->journeys, index, bytes, number);
        return (struct network_sent){ .link = route->link,
                                      .in_link = -1,
                                      .begin_ps = NETWORK_LATER,
                                      .flow_ps = NETWORK_LATER,
                                      .end_ps = NETWORK_LATER,
                                      .arrival_ps = NETWORK_LATER };
    }
    sent = network_book(network, index, now_ps, bytes);
    message_send(network, index, (struct message){ sent.arrival_ps, number, (uint32_t)bytes });
    return sent;
}

static int32_t journey_receive(struct network *network)
{
    if (!journeys_receive(network->journeys, &network->received))
        return NETWORK_NOTHING;
    network->received.link = network->routes[network->received.route].link;
    network->in_flight--;
    return network->received.message;
}

bool network_slot_is_late(const struct network *network, int slot)
{
    return slot - network->first_slot == network->route_slots;
}

int32_t network_receive(struct network *network, int slot)
{
    int index = slot - network->first_slot;
    struct route *route;
    int64_t next_ps;
    int32_t number;

    if (index == network->route_slots)
        return journey_receive(network);
    route = &network->routes[index];
    number = route->ring[route->head].number;
    network->balance_bytes -= route->ring[route->head].bytes;
    assert(route->count > 0 &&
           route->ring[route->head].arrival_ps == engine_now_ps(network->engine));
    route->head = (route->head + 1) & (route->capacity - 1);
    route->count--;
    network->in_flight--;
    next_ps = route->ring[route->head].arrival_ps;
    if (route->count > 0 && next_ps != ENGINE_NEVER)
        engine_set(network->engine, slot, next_ps, ENGINE_LINK_ARRIVAL);
    return number;
}

struct network_received network_received(const struct network *network)
{
    return network->received;
}

void network_watch(struct network *network, const struct network_watcher *watcher)
{
    if (network->journeys)
        journeys_watch(network->journeys, watcher);
}
