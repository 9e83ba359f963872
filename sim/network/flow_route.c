/* flow_route.c - routes: what they use, and the search for one that is alike. */
#include "sim/network/flow_internal.h"

#include "lib/base/arena.h"
#include "lib/base/hash.h"
#include <assert.h>
#include <string.h>

/* A list of uses in order of resources, one for each, weights added up. Returns the length. */
static int uses_merge(struct flow_use *merged, const struct flow_use *uses, int count)
{
    int used = 0;

    for (int i = 0; i < count; i++) {
        int at = used;

        assert(uses[i].weight > 0 && isfinite(uses[i].weight));
        while (at > 0 && merged[at - 1].resource > uses[i].resource)
            at--;
        if (at > 0 && merged[at - 1].resource == uses[i].resource) {
            merged[at - 1].weight += uses[i].weight;
            continue;
        }
        memmove(&merged[at + 1], &merged[at], (size_t)(used - at) * sizeof(*merged));
        merged[at] = uses[i];
        used++;
    }
    return used;
}

static uint64_t route_hash(const struct flow_use *uses, int count, double bound, double penalty)
{
    uint64_t hash = hash_bytes(HASH_START, &bound, sizeof(bound));

    hash = hash_bytes(hash, &penalty, sizeof(penalty));
    for (int i = 0; i < count; i++) {
        hash = hash_bytes(hash, &uses[i].resource, sizeof(uses[i].resource));
        hash = hash_bytes(hash, &uses[i].weight, sizeof(uses[i].weight));
    }
    return hash != NO_HASH ? hash : 1;
}

/* Whether the route is the one described; uses as uses_merge gives them. */
static bool route_is(const struct flow_net *net, const struct route *route,
                     const struct flow_use *uses, int count, double bound, double penalty)
{
    int32_t use = route->first_use, pipe = route->first_pipe;

    if (route->use_count + route->pipe_count != count || !flow_is_same(route->own_bound, bound) ||
        !flow_is_same(route->penalty, penalty))
        return false;
    for (int i = 0; i < count; i++) {
        if (net->resources[uses[i].resource].is_pipe) {
            if (pipe == route->first_pipe + route->pipe_count ||
                net->pipes[pipe].resource != uses[i].resource ||
                !flow_is_same(net->pipes[pipe].weight, uses[i].weight))
                return false;
            pipe++;
        } else {
            if (use == route->first_use + route->use_count ||
                net->uses[use].resource != uses[i].resource ||
                !flow_is_same(net->uses[use].weight, uses[i].weight))
                return false;
            use++;
        }
    }
    return true;
}

void flow_find_bound(const struct flow_net *net, struct route *route)
{
    route->bound = route->own_bound;
    for (int32_t i = route->first_pipe; i < route->first_pipe + route->pipe_count; i++) {
        double limit = net->resources[net->pipes[i].resource].capacity / net->pipes[i].weight;

        if (limit < route->bound)
            route->bound = limit;
    }
}

static void uses_keep(struct flow_net *net, int32_t index, const struct flow_use *uses, int count)
{
    struct route *route = &net->routes[index];

    route->first_use = net->use_count;
    route->first_pipe = net->pipe_count;
    for (int i = 0; i < count; i++) {
        if (net->resources[uses[i].resource].is_pipe) {
            MAKE_ROOM(net, net->pipes, net->pipe_count, net->pipe_room, 16);
            net->pipes[net->pipe_count++] = uses[i];
            route->pipe_count++;
        } else {
            MAKE_ROOM(net, net->uses, net->use_count, net->use_room, 64);
            net->uses[net->use_count++] = (struct use){
                .resource = uses[i].resource,
                .weight = uses[i].weight,
                .ratio = uses[i].weight / route->penalty,
            };
            route->use_count++;
        }
    }
}

/* Where the route stands in the table, or would. */
static uint32_t table_slot(const struct flow_net *net, uint64_t hash, const struct flow_use *uses,
                           int count, double bound, double penalty)
{
    uint32_t slot = (uint32_t)hash & net->table_mask;

    for (; net->table[slot] >= 0; slot = (slot + 1) & net->table_mask) {
        const struct route *route = &net->routes[net->table[slot]];

        if (route->hash == hash && route_is(net, route, uses, count, bound, penalty))
            break;
    }
    return slot;
}

static void table_grow(struct flow_net *net)
{
    net->table_mask = 2 * net->table_mask + 1;
    net->table = arena_array(net->arena, (size_t)net->table_mask + 1, sizeof(*net->table));
    for (uint32_t i = 0; i <= net->table_mask; i++)
        net->table[i] = -1;
    for (int32_t i = 0; i < net->route_count; i++) {
        uint32_t slot = (uint32_t)net->routes[i].hash & net->table_mask;

        if (net->routes[i].hash == NO_HASH)
            continue;
        while (net->table[slot] >= 0)
            slot = (slot + 1) & net->table_mask;
        net->table[slot] = i;
    }
}

/* Room for the end of one more route. */
static void next_grow(struct flow_net *net)
{
    struct least larger;

    if ((uint32_t)net->route_count < net->next.room)
        return;
    least_create(&larger, net->arena, 4 * net->next.room);
    for (int32_t i = 0; i < net->route_count; i++)
        least_set(&larger, (uint32_t)i, least_get(&net->next, (uint32_t)i));
    net->next = larger;
}

static int32_t route_put(struct flow_net *net, const struct flow_use *uses, int count, double bound,
                         double penalty, uint64_t hash)
{
    struct route *route;

    MAKE_ROOM(net, net->routes, net->route_count, net->route_room, 16);
    next_grow(net);
    route = &net->routes[net->route_count];
    *route = (struct route){
        .own_bound = bound, .penalty = penalty, .hash = hash, .since_ps = net->now_ps
    };
    uses_keep(net, net->route_count, uses, count);
    flow_find_bound(net, route);
    return net->route_count++;
}

int32_t flow_add_route(struct flow_net *net, const struct flow_use *uses, int count, double bound,
                       double penalty)
{
    struct flow_use *merged = arena_array(net->arena, (size_t)count + 1, sizeof(*merged));
    double own_bound = bound > 0 ? bound : INFINITY;
    int merged_count = uses_merge(merged, uses, count);
    uint64_t hash = route_hash(merged, merged_count, own_bound, penalty);
    uint32_t slot = table_slot(net, hash, merged, merged_count, own_bound, penalty);

    assert(penalty > 0 && isfinite(penalty) && (count > 0 || bound > 0));
    if (net->table[slot] >= 0)
        return net->table[slot];
    net->table[slot] = route_put(net, merged, merged_count, own_bound, penalty, hash);
    if (2 * (uint32_t)net->route_count > net->table_mask)
        table_grow(net);
    return net->route_count - 1;
}

int32_t flow_add_own_route(struct flow_net *net, const struct flow_use *uses, int count,
                           double bound, double penalty)
{
    struct flow_use *merged = arena_array(net->arena, (size_t)count + 1, sizeof(*merged));

    assert(penalty > 0 && isfinite(penalty) && (count > 0 || bound > 0));
    return route_put(net, merged, uses_merge(merged, uses, count), bound > 0 ? bound : INFINITY,
                     penalty, NO_HASH);
}
