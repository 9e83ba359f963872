/* flow_solve.c - weighted max-min fair rates by progressive filling, of what has changed alone.
 *
 * The water level rises for all routes at once: a route at level L has rate L / penalty. A resource
 * is full when its flows take its capacity; its routes stay at the level of that moment, and so
 * does a route at its bound. The level at which a resource will be full only rises while others get
 * their rates, so that a level found earlier is a lower limit, and is found anew when it is the
 * lowest. */
#include "sim/network/flow_internal.h"

#include "lib/base/arena.h"
#include <assert.h>
#include <string.h>

/* Levels this close are one: what is equal on paper shall be equal here. */
#define SAME_LEVEL (1 + 1e-12)

/* Doubles that are not negative are in the order of their bits. */
static uint64_t key_of(double level)
{
    uint64_t key;

    memcpy(&key, &level, sizeof(key));
    return key;
}

static double level_of(uint64_t key)
{
    double level;

    memcpy(&level, &key, sizeof(level));
    return level;
}

/* ---- the component ---- */

static void mark_set(struct flow_net *net, int32_t index, size_t *first, size_t *last)
{
    size_t word = (size_t)index / 64;

    net->marks[word] |= UINT64_C(1) << (index % 64);
    *first = word < *first ? word : *first;
    *last = word > *last ? word : *last;
}

/* All resources that the flows on one connect, directly or not, into net->queue in order of number.
 * Returns how many; *route_count: routes with flows on them. */
static int32_t component_find(struct flow_net *net, int32_t start, int32_t *route_count)
{
    size_t first = SIZE_MAX, last = 0;
    int32_t count = 0, sorted = 0;
    uint32_t search = ++net->search;

    *route_count = 0;
    net->resources[start].seen = search;
    net->queue[count++] = start;
    mark_set(net, start, &first, &last);
    for (int32_t i = 0; i < count; i++) {
        const struct resource *resource = &net->resources[net->queue[i]];

        for (int32_t u = 0; u < resource->use_count; u++) {
            struct route *route = &net->routes[net->uses[resource->uses[u]].route];

            if (route->seen == search)
                continue;
            route->seen = search;
            ++*route_count;
            for (int32_t k = route->first_use; k < route->first_use + route->use_count; k++) {
                int32_t other = net->uses[k].resource;

                if (net->resources[other].seen == search)
                    continue;
                net->resources[other].seen = search;
                net->queue[count++] = other;
                mark_set(net, other, &first, &last);
            }
        }
    }
    for (size_t word = first; word <= last; word++) {
        for (uint64_t bits = net->marks[word]; bits != 0; bits &= bits - 1)
            net->queue[sorted++] = (int32_t)word * 64 + __builtin_ctzll(bits);
        net->marks[word] = 0;
    }
    assert(sorted == count);
    return count;
}

/* ---- filling ---- */

static void room_make(struct flow_net *net)
{
    int32_t need = net->resource_count + net->bounded_count;

    if (need <= net->solve_room)
        return;
    net->solve_room = 2 * need;
    net->locals = arena_array(net->arena, (size_t)net->solve_room, sizeof(*net->locals));
    net->bounded = arena_array(net->arena, (size_t)net->solve_room, sizeof(*net->bounded));
    least_create(&net->level, net->arena, (uint32_t)net->solve_room);
}

/* The level at which the resource is full if no other route gets its rate before. */
static uint64_t local_key(const struct local *local)
{
    return local->left > 0 ? key_of((local->rest > 0 ? local->rest : 0) / local->share)
                           : LEAST_NONE;
}

/* The same after other routes got their rates. What is left of shares that differ by orders of
 * magnitude is summed up anew, since rounding may have left nothing of it. */
static uint64_t local_key_again(const struct flow_net *net, struct local *local)
{
    const struct resource *resource = &net->resources[local->resource];

    local->is_stale = false;
    if (local->left > 0 && local->share < local->summed_share * 0x1p-10) {
        local->share = 0;
        for (int32_t u = 0; u < resource->use_count; u++) {
            const struct use *use = &net->uses[resource->uses[u]];

            if (net->routes[use->route].fixed != net->solution)
                local->share += use->share;
        }
        local->summed_share = local->share;
    }
    return local_key(local);
}

/* Resources become locals 0 to count - 1, bounded routes the leaves behind them. Returns the number
 * of leaves. */
static int32_t leaves_make(struct flow_net *net, int32_t count)
{
    int32_t leaf = count;

    for (int32_t i = 0; i < count; i++) {
        struct resource *resource = &net->resources[net->queue[i]];
        struct local *local = &net->locals[i];

        *local = (struct local){ .resource = net->queue[i],
                                 .left = resource->use_count,
                                 .rest = resource->capacity };
        resource->local = i;
        for (int32_t u = 0; u < resource->use_count; u++) {
            const struct use *use = &net->uses[resource->uses[u]];
            const struct route *route = &net->routes[use->route];

            local->share += use->share;
            if (route->bound < INFINITY && resource->uses[u] == route->first_use) {
                net->bounded[leaf - count] = use->route;
                net->level.keys[0][leaf++] = key_of(route->bound * route->penalty);
            }
        }
        local->summed_share = local->share;
        net->level.keys[0][i] = local_key(local);
    }
    least_build(&net->level, (uint32_t)leaf);
    return leaf;
}

/* The route's water stands at the level: its resources have less for the others. */
static void route_fix(struct flow_net *net, int32_t index, double level, double rate)
{
    struct route *route = &net->routes[index];

    route->fixed = net->solution;
    flow_set_rate(net, index, rate);
    for (int32_t i = route->first_use; i < route->first_use + route->use_count; i++) {
        const struct use *use = &net->uses[i];
        struct local *local = &net->locals[net->resources[use->resource].local];

        local->rest -= use->share * level;
        local->share -= use->share;
        local->left--;
        local->is_stale = true;
    }
}

/* Returns how many routes got their rate. */
static int32_t resource_fill(struct flow_net *net, struct local *local, double level)
{
    const struct resource *resource = &net->resources[local->resource];
    int32_t fixed = 0;

    for (int32_t u = 0; u < resource->use_count; u++) {
        int32_t index = net->uses[resource->uses[u]].route;
        const struct route *route = &net->routes[index];

        if (route->fixed == net->solution)
            continue;
        route_fix(net, index, level, level / route->penalty);
        fixed++;
    }
    local->rest = 0;
    return fixed;
}

static void component_fill(struct flow_net *net, int32_t count, int32_t routes_left)
{
    double level = 0;

    net->solution++;
    (void)leaves_make(net, count);
    while (routes_left > 0) {
        uint32_t leaf;
        double lowest = level_of(least_top(&net->level, &leaf));

        if (leaf < (uint32_t)count && net->locals[leaf].is_stale) {
            least_set(&net->level, leaf, local_key_again(net, &net->locals[leaf]));
            continue;
        }
        if (lowest > level * SAME_LEVEL)
            level = lowest;
        if (leaf < (uint32_t)count) {
            routes_left -= resource_fill(net, &net->locals[leaf], level);
        } else {
            int32_t index = net->bounded[leaf - (uint32_t)count];
            const struct route *route = &net->routes[index];

            if (route->fixed != net->solution) {
                route_fix(net, index, route->bound * route->penalty, route->bound);
                routes_left--;
            }
        }
        least_set(&net->level, leaf, LEAST_NONE);
    }
}

/* ---- a route alone ---- */

/* The only route on the resource, when it is the only one on its other resources too; else -1. */
static int32_t lone_route(const struct flow_net *net, const struct resource *resource)
{
    int32_t index;
    const struct route *route;

    if (resource->use_count != 1)
        return -1;
    index = net->uses[resource->uses[0]].route;
    route = &net->routes[index];
    for (int32_t i = route->first_use; i < route->first_use + route->use_count; i++)
        if (net->resources[net->uses[i].resource].use_count != 1)
            return -1;
    return index;
}

/* From now on the resource is used so much. */
static void used_set(struct flow_net *net, struct resource *resource, double used_ratio)
{
    resource->busy_ps += resource->used_ratio * (double)(net->now_ps - resource->since_ps);
    resource->since_ps = net->now_ps;
    resource->used_ratio = used_ratio;
    resource->is_dirty = false;
}

/* What the filling of a component with this route alone comes to. */
static void lone_fill(struct flow_net *net, int32_t index)
{
    const struct route *route = &net->routes[index];
    double level = INFINITY, rate;

    for (int32_t i = route->first_use; i < route->first_use + route->use_count; i++) {
        double full = net->resources[net->uses[i].resource].capacity / net->uses[i].share;

        level = full < level ? full : level;
    }
    rate = level / route->penalty;
    if (route->bound * route->penalty < level) {
        level = route->bound * route->penalty;
        rate = route->bound;
    }
    flow_set_rate(net, index, rate);
    for (int32_t i = route->first_use; i < route->first_use + route->use_count; i++) {
        struct resource *resource = &net->resources[net->uses[i].resource];
        double used = level * net->uses[i].share;

        used_set(net, resource, used < resource->capacity ? used / resource->capacity : used > 0);
    }
}

void flow_solve(struct flow_net *net)
{
    room_make(net);
    for (int32_t d = 0; d < net->dirty_count; d++) {
        struct resource *resource = &net->resources[net->dirty[d]];
        int32_t count, routes, lone;

        if (!resource->is_dirty)
            continue; /* its component has been solved */
        if (resource->use_count == 0) {
            used_set(net, resource, 0);
            continue;
        }
        lone = lone_route(net, resource);
        if (lone >= 0) {
            lone_fill(net, lone);
            continue;
        }
        count = component_find(net, net->dirty[d], &routes);
        component_fill(net, count, routes);
        for (int32_t i = 0; i < count; i++) {
            const struct local *local = &net->locals[i];
            struct resource *member = &net->resources[local->resource];
            double used = member->capacity - local->rest;

            used_set(net, member, used < member->capacity ? used / member->capacity : used > 0);
        }
    }
    net->dirty_count = 0;
}
