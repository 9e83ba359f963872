/* network.c - ports that are FIFO servers, and for each route a ring of the messages under way.
 *
 * A port's occupation is known when a message is sent, so a message costs one event: its arrival.
 * Latency is constant on a route and ports are FIFO, so messages of a route arrive in the order of
 * sending and only the head of the ring needs the route's engine slot. */
#include "sim/network/network.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/names.h"
#include "sim/engine/engine.h"
#include <assert.h>
#include <stddef.h>
#include <string.h>

struct link { /* a port: what one sender occupies */
    const struct cluster_medium *medium;
    const char *name;
    int64_t free_ps, busy_ps, bytes;
};

struct message {
    int64_t arrival_ps;
    int32_t number;
};

struct route {
    int32_t from, to;
    int link; /* -1 = free */
    int64_t per_message_ps, latency_ps;
    int64_t rate_millibits_per_s;
    int64_t last_bytes, last_wire_ps; /* most messages of a route are as long as the one before */
    struct message *ring;             /* capacity is a power of two or 0 */
    uint32_t capacity, head, count;
};

struct network {
    struct arena *arena;
    const struct cluster *cluster;
    struct engine *engine;
    int first_slot;
    int link_count, route_count;
    struct link *links;
    struct names *ports; /* of medium and, on a switch, node: numbered as links */
    struct route *routes;
    int32_t *table; /* hash of (from, to) to route, -1 = empty */
    uint32_t table_mask;
    int64_t in_flight;
};

static const char *node_of(const struct cluster *cluster, int32_t end)
{
    return end == NETWORK_SOURCE ? CLUSTER_SOURCE : cluster->devices[end].node;
}

/* NULL when the kind is simulated, else its name. */
static const char *unsupported(enum cluster_kind kind)
{
    switch (kind) {
    case CLUSTER_SWITCH:
    case CLUSTER_WIFI:
    case CLUSTER_HUB:
    case CLUSTER_BUS:
        return NULL;
    case CLUSTER_RING:
        return "ring";
    case CLUSTER_MESH:
        return "mesh";
    case CLUSTER_OPTICAL:
        return "optical";
    case CLUSTER_KIND_COUNT:
        break;
    }
    return "unknown";
}

/* The port of a medium that a node sends through: its own on a switch, else everybody's. */
static int port_of(struct network *network, const struct cluster_medium *medium, const char *node)
{
    int index = (int)(medium - network->cluster->media), port;
    struct link *link;

    if (medium->kind != CLUSTER_SWITCH)
        node = NULL;
    port =
        names_put(network->ports, arena_printf(network->arena, "%d %s", index, node ? node : ""));
    if (port < network->link_count)
        return port;
    link = &network->links[port];
    link->medium = medium;
    link->name = node ? arena_printf(network->arena, "%s/%s", medium->name, node) : medium->name;
    return network->link_count++;
}

/* The lower of what the two sides reach, as an integer: rates then divide exactly everywhere. */
static int64_t pair_rate(const struct cluster_attachment *from, const struct cluster_attachment *to)
{
    double a = from->efficiency_ratio * from->bits_per_s;
    double b = to->efficiency_ratio * to->bits_per_s;
    int64_t rate = dmath_round((a < b ? a : b) * 1000);

    return rate < 1 ? 1 : rate;
}

static bool route_find(struct network *network, struct route *route, struct err *err)
{
    const struct cluster *cluster = network->cluster;
    const struct cluster_attachment *from = NULL, *to = NULL;
    const struct cluster_medium *medium;
    const char *from_node, *to_node;
    bool at_source = route->from == NETWORK_SOURCE || route->to == NETWORK_SOURCE;

    route->link = -1;
    if (!cluster->has_links || route->from == route->to || (at_source && !cluster->has_source))
        return true;
    from_node = node_of(cluster, route->from);
    to_node = node_of(cluster, route->to);
    medium = cluster_common_medium(cluster, from_node, to_node, &from, &to);
    if (!medium && strcmp(from_node, to_node) == 0)
        return true; /* inside a node all but a bus is free */
    if (!medium)
        return err_set(err, ERR_INPUT,
                       "%s/links.csv: no medium joins nodes '%s' and '%s': this version does "
                       "not simulate routes over several media",
                       cluster->path, from_node, to_node);
    if (unsupported(medium->kind))
        return err_set(
            err, ERR_INPUT,
            "%s/links.csv:%ld: medium '%s' between nodes '%s' and '%s' is of kind %s: this "
            "version simulates switch, wifi, hub and bus",
            cluster->path, from->line, medium->name, from_node, to_node, unsupported(medium->kind));
    route->link = port_of(network, medium, from_node);
    route->per_message_ps = from->per_message_ps;
    route->latency_ps = from->latency_ps > to->latency_ps ? from->latency_ps : to->latency_ps;
    route->rate_millibits_per_s = pair_rate(from, to);
    return true;
}

/* Where the pair stands in the table, or would. */
static uint32_t table_slot(const struct network *network, int32_t from, int32_t to)
{
    const int32_t key[2] = { from, to };
    uint32_t slot = (uint32_t)hash_bytes(HASH_START, key, sizeof(key)) & network->table_mask;

    while (network->table[slot] >= 0 && (network->routes[network->table[slot]].from != from ||
                                         network->routes[network->table[slot]].to != to))
        slot = (slot + 1) & network->table_mask;
    return slot;
}

int network_route(const struct network *network, int32_t from, int32_t to)
{
    return network->table[table_slot(network, from, to)];
}

bool network_route_is_free(const struct network *network, int route)
{
    return network->routes[route].link < 0;
}

int network_route_link(const struct network *network, int route)
{
    return network->routes[route].link;
}

struct network *network_create(struct arena *arena, const struct cluster *cluster,
                               const struct network_pair *pairs, int pair_count, struct err *err)
{
    struct network *network = arena_alloc(arena, sizeof(*network));

    network->arena = arena;
    network->cluster = cluster;
    network->ports = names_create(arena);
    network->links = arena_array(arena, (size_t)pair_count, sizeof(*network->links));
    network->routes = arena_array(arena, (size_t)pair_count, sizeof(*network->routes));
    network->table_mask = 15;
    while (network->table_mask < 2 * (uint32_t)pair_count)
        network->table_mask = 2 * network->table_mask + 1;
    network->table = arena_array(arena, (size_t)network->table_mask + 1, sizeof(*network->table));
    for (uint32_t i = 0; i <= network->table_mask; i++)
        network->table[i] = -1;
    for (int i = 0; i < pair_count; i++) {
        struct route *route = &network->routes[network->route_count];
        uint32_t slot = table_slot(network, pairs[i].from, pairs[i].to);

        if (network->table[slot] >= 0)
            continue;
        route->from = pairs[i].from;
        route->to = pairs[i].to;
        if (!route_find(network, route, err))
            return NULL;
        network->table[slot] = network->route_count++;
    }
    return network;
}

int network_slot_count(const struct network *network)
{
    return network->route_count;
}

void network_attach(struct network *network, struct engine *engine, int first_slot)
{
    network->engine = engine;
    network->first_slot = first_slot;
}

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

    return (struct network_hop){ route->link,
                                 engine_after_ps(route->per_message_ps, wire_ps(route, bytes)),
                                 route->latency_ps };
}

void network_account(struct network *network, int link, int64_t busy_ps, int64_t bytes)
{
    network->links[link].busy_ps += busy_ps;
    network->links[link].bytes = network_add_bytes(network->links[link].bytes, bytes);
}

/* Occupies the route's port; returns when the message is there. */
static inline int64_t port_book(struct route *route, struct link *link, int64_t at_ps,
                                int64_t bytes, int64_t *begin_ps)
{
    int64_t end_ps;

    *begin_ps = link->free_ps > at_ps ? link->free_ps : at_ps;
    end_ps =
        engine_after_ps(engine_after_ps(*begin_ps, route->per_message_ps), wire_ps(route, bytes));
    link->busy_ps += end_ps - *begin_ps;
    link->free_ps = end_ps;
    link->bytes = network_add_bytes(link->bytes, bytes);
    return engine_after_ps(end_ps, route->latency_ps);
}

struct network_sent network_book(struct network *network, int index, int64_t at_ps, int64_t bytes)
{
    struct route *route = &network->routes[index];
    struct link *link = &network->links[route->link];
    struct network_sent sent = { .is_free = false, .link = route->link };

    sent.arrival_ps = port_book(route, link, at_ps, bytes, &sent.begin_ps);
    sent.end_ps = link->free_ps;
    return sent;
}

static inline void message_send(struct network *network, int index, struct message message)
{
    struct route *route = &network->routes[index];

    if (route->count == route->capacity)
        ring_widen(network, route);
    route->ring[(route->head + route->count) & (route->capacity - 1)] = message;
    network->in_flight++;
    if (route->count++ == 0)
        engine_set(network->engine, network->first_slot + index, message.arrival_ps,
                   ENGINE_LINK_ARRIVAL);
}

void network_post(struct network *network, int index, int64_t bytes, int32_t number)
{
    struct route *route = &network->routes[index];
    struct message message = { .number = number };
    int64_t begin_ps;

    message.arrival_ps = port_book(route, &network->links[route->link],
                                   engine_now_ps(network->engine), bytes, &begin_ps);
    message_send(network, index, message);
}

struct network_sent network_send(struct network *network, int index, int64_t bytes, int32_t number)
{
    int64_t now_ps = engine_now_ps(network->engine);
    struct network_sent sent = { true, -1, now_ps, now_ps, now_ps };

    if (network->routes[index].link < 0)
        return sent;
    sent = network_book(network, index, now_ps, bytes);
    message_send(network, index, (struct message){ sent.arrival_ps, number });
    return sent;
}

int32_t network_receive(struct network *network, int slot)
{
    int index = slot - network->first_slot;
    struct route *route = &network->routes[index];
    int32_t number = route->ring[route->head].number;

    assert(route->count > 0 &&
           route->ring[route->head].arrival_ps == engine_now_ps(network->engine));
    route->head = (route->head + 1) & (route->capacity - 1);
    route->count--;
    network->in_flight--;
    if (route->count > 0)
        engine_set(network->engine, slot, route->ring[route->head].arrival_ps, ENGINE_LINK_ARRIVAL);
    return number;
}

int network_link_count(const struct network *network)
{
    return network->link_count;
}

const char *network_link_name(const struct network *network, int link)
{
    return network->links[link].name;
}

const char *network_link_medium(const struct network *network, int link)
{
    return network->links[link].medium->name;
}

int64_t network_link_busy_ps(const struct network *network, int link)
{
    return network->links[link].busy_ps;
}

int64_t network_link_bytes(const struct network *network, int link)
{
    return network->links[link].bytes;
}

int64_t network_in_flight(const struct network *network)
{
    return network->in_flight;
}
