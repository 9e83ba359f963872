/* flow_solve.c - weighted max-min fair rates by progressive filling, of what has changed alone.
 *
 * The water level rises for all routes at once: a route at level L has rate L / penalty. A resource
 * is full when its flows take its capacity; its routes stay at the level of that moment, and so
 * does a route at its bound. A resource with one route is like a bound of that route. The level at
 * which a resource will be full only rises while others get their rates, so that a level found
 * earlier is a lower limit, and is found anew when it is the lowest. */
#include "sim/network/flow_internal.h"

#include "lib/base/arena.h"
#include <assert.h>
#include <string.h>

/* Levels this close are one: what is equal on paper shall be equal here. */
#define SAME_LEVEL (1 + 1e-12)

struct component {
    int32_t resource_count, route_count;
    size_t first_mark, last_mark; /* words of route_marks that are not 0 */
};

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

/* Also begins the stamps anew before they run out. */
static void room_make(struct flow_net *net)
{
    struct arena *arena = net->arena;
    size_t resources = 2 * (size_t)net->resource_count, routes = 2 * (size_t)net->route_count;

    if (net->resource_count <= net->solve_resources && net->route_count <= net->solve_routes &&
        net->search < UINT32_MAX / 2)
        return;
    net->solve_resources = (int32_t)resources;
    net->solve_routes = (int32_t)routes;
    net->search = 0;
    net->resource_seen = arena_array(arena, resources, sizeof(*net->resource_seen));
    net->resource_local = arena_array(arena, resources, sizeof(*net->resource_local));
    net->resource_queue = arena_array(arena, resources, sizeof(*net->resource_queue));
    net->resource_marks = arena_array(arena, resources / 64 + 1, sizeof(*net->resource_marks));
    net->locals = arena_array(arena, resources, sizeof(*net->locals));
    net->route_seen = arena_array(arena, routes, sizeof(*net->route_seen));
    net->route_queue = arena_array(arena, routes, sizeof(*net->route_queue));
    net->route_marks = arena_array(arena, routes / 64 + 1, sizeof(*net->route_marks));
    net->limits = arena_array(arena, routes, sizeof(*net->limits));
    least_create(&net->level, arena, (uint32_t)(resources + routes));
}

/* ---- the component ---- */

static void mark_set(uint64_t *marks, int32_t index, size_t *first, size_t *last)
{
    size_t word = (size_t)index / 64;

    marks[word] |= UINT64_C(1) << (index % 64);
    *first = word < *first ? word : *first;
    *last = word > *last ? word : *last;
}

/* The marked numbers in ascending order; the marks are gone afterwards. Returns how many. */
static int32_t marks_take(uint64_t *marks, size_t first, size_t last, int32_t *numbers)
{
    int32_t count = 0;

    for (size_t word = first; word <= last; word++) {
        for (uint64_t bits = marks[word]; bits != 0; bits &= bits - 1)
            numbers[count++] = (int32_t)word * 64 + __builtin_ctzll(bits);
        marks[word] = 0;
    }
    return count;
}

static void route_meet(struct flow_net *net, int32_t index, struct component *component)
{
    if (net->route_seen[index] == net->search)
        return;
    net->route_seen[index] = net->search;
    net->route_queue[component->route_count++] = index;
}

/* Whether the same flows are on both, so that the one with the larger capacity is never full first:
 * most links of a long route are like the link before. */
static bool is_spare(const struct resource *resource, const struct resource *before)
{
    if (!before || before->entry_count != resource->entry_count ||
        resource->capacity < before->capacity)
        return false;
    for (int32_t e = 0; e < resource->entry_count; e++) {
        const struct entry *a = &resource->entries[e], *b = &before->entries[e];

        if (a->route != b->route || a->share < b->share || a->share > b->share)
            return false;
    }
    return true;
}

/* All that the flows on a resource connect, directly or not: routes, shared resources in order of
 * number, and the limits that routes have of their own. */
static void component_find(struct flow_net *net, int32_t start, struct component *component)
{
    size_t first = SIZE_MAX, last = 0;

    *component = (struct component){ .first_mark = SIZE_MAX };
    net->search += 2;
    route_meet(net, net->resources[start].entries[0].route, component);
    for (int32_t i = 0; i < component->route_count; i++) {
        int32_t index = net->route_queue[i];
        const struct route *route = &net->routes[index];
        const struct resource *before = NULL;
        double limit = route->bound * route->penalty;

        for (int32_t u = route->first_use; u < route->first_use + route->use_count; u++) {
            int32_t number = net->uses[u].resource;
            struct resource *resource = &net->resources[number];

            if (net->resource_seen[number] == net->search)
                continue;
            net->resource_seen[number] = net->search;
            resource->is_dirty = false;
            if (resource->entry_count == 1) {
                double full = resource->capacity / resource->entries[0].share;

                limit = full < limit ? full : limit;
                net->resource_local[number] = -1;
                continue;
            }
            if (is_spare(resource, before)) {
                net->resource_local[number] = -1;
                continue;
            }
            before = resource;
            mark_set(net->resource_marks, number, &first, &last);
            for (int32_t e = 0; e < resource->entry_count; e++)
                route_meet(net, resource->entries[e].route, component);
        }
        net->limits[index] = limit;
        if (limit < INFINITY)
            mark_set(net->route_marks, index, &component->first_mark, &component->last_mark);
    }
    component->resource_count = marks_take(net->resource_marks, first, last, net->resource_queue);
}

/* ---- filling ---- */

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
        for (int32_t e = 0; e < resource->entry_count; e++)
            if (net->route_seen[resource->entries[e].route] == net->search)
                local->share += resource->entries[e].share;
        local->summed_share = local->share;
    }
    return local_key(local);
}

/* Leaves of the tree of levels: the component's resources, then its limited routes, both in order
 * of number. Returns where the limited routes stand. */
static const int32_t *leaves_make(struct flow_net *net, const struct component *component)
{
    int32_t *limited = &net->route_queue[0];
    int32_t count = component->resource_count, limited_count;
    uint64_t *keys = net->level.keys[0];

    for (int32_t i = 0; i < count; i++) {
        const struct resource *resource = &net->resources[net->resource_queue[i]];
        double share = 0;

        for (int32_t e = 0; e < resource->entry_count; e++)
            share += resource->entries[e].share;
        net->locals[i] = (struct local){ .resource = net->resource_queue[i],
                                         .left = resource->entry_count,
                                         .rest = resource->capacity,
                                         .share = share,
                                         .summed_share = share };
        net->resource_local[net->resource_queue[i]] = i;
        keys[i] = local_key(&net->locals[i]);
    }
    limited_count =
        marks_take(net->route_marks, component->first_mark, component->last_mark, limited);
    for (int32_t i = 0; i < limited_count; i++)
        keys[count + i] = key_of(net->limits[limited[i]]);
    least_build(&net->level, (uint32_t)(count + limited_count));
    return limited;
}

/* The route's water stands at the level: its resources have less for the others. */
static void route_fix(struct flow_net *net, int32_t index, double level)
{
    struct route *route = &net->routes[index];

    net->route_seen[index] = net->search + 1;
    flow_set_rate(net, index, level / route->penalty);
    for (int32_t i = route->first_use; i < route->first_use + route->use_count; i++) {
        const struct use *use = &net->uses[i];
        int32_t place = net->resource_local[use->resource];
        double share = (double)route->count * use->ratio;

        if (place < 0)
            continue;
        net->locals[place].rest -= share * level;
        net->locals[place].share -= share;
        net->locals[place].left--;
        net->locals[place].is_stale = true;
    }
}

/* Returns how many routes got their rate. */
static int32_t resource_fill(struct flow_net *net, const struct local *local, double level)
{
    const struct resource *resource = &net->resources[local->resource];
    int32_t fixed = 0;

    for (int32_t e = 0; e < resource->entry_count; e++)
        if (net->route_seen[resource->entries[e].route] == net->search) {
            route_fix(net, resource->entries[e].route, level);
            fixed++;
        }
    return fixed;
}

static void component_fill(struct flow_net *net, const struct component *component)
{
    uint32_t count = (uint32_t)component->resource_count;
    int32_t routes_left = component->route_count;
    const int32_t *limited;
    double level = 0;

    limited = leaves_make(net, component);
    if (count == 0) { /* a route alone */
        route_fix(net, limited[0], net->limits[limited[0]]);
        return;
    }
    while (routes_left > 0) {
        uint32_t leaf;
        double lowest = level_of(least_top(&net->level, &leaf));

        if (leaf < count && net->locals[leaf].is_stale) {
            least_set(&net->level, leaf, local_key_again(net, &net->locals[leaf]));
            continue;
        }
        if (lowest > level * SAME_LEVEL)
            level = lowest;
        if (leaf < count) {
            routes_left -= resource_fill(net, &net->locals[leaf], level);
        } else if (net->route_seen[limited[leaf - count]] == net->search) {
            route_fix(net, limited[leaf - count], level);
            routes_left--;
        }
        least_set(&net->level, leaf, LEAST_NONE);
    }
}

void flow_solve(struct flow_net *net)
{
    room_make(net);
    for (int32_t d = 0; d < net->dirty_count; d++) {
        struct resource *resource = &net->resources[net->dirty[d]];
        struct component component;

        if (!resource->is_dirty)
            continue; /* its component has been solved */
        resource->is_dirty = false;
        if (resource->entry_count == 0)
            continue;
        component_find(net, net->dirty[d], &component);
        component_fill(net, &component);
    }
    net->dirty_count = 0;
}
