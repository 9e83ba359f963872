/* flow.c - resources, routes, and the flows that begin and end. Rates: flow_solve.c. */
#include "sim/network/flow.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "sim/network/flow_internal.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PS_PER_S 1e12
/* Counts of served bytes are taken back here, before they lose the last microbytes. */
#define REBASE_BYTES 0x1p33

struct flow_net *flow_create(struct arena *arena)
{
    struct flow_net *net = arena_alloc(arena, sizeof(*net));

    net->arena = arena;
    net->table_mask = 63;
    net->table = arena_array(arena, (size_t)net->table_mask + 1, sizeof(*net->table));
    for (uint32_t i = 0; i <= net->table_mask; i++)
        net->table[i] = -1;
    least_create(&net->next, arena, 1);
    return net;
}

int32_t flow_add_resource(struct flow_net *net, double capacity, enum flow_policy policy)
{
    int32_t old_room = net->resource_room;
    struct resource *resource;

    assert(capacity >= 0 && isfinite(capacity));
    MAKE_ROOM(net, net->resources, net->resource_count, net->resource_room, 16);
    if (net->resource_room > old_room) {
        net->dirty = arena_grow(net->arena, net->dirty, (size_t)old_room,
                                (size_t)net->resource_room, sizeof(*net->dirty));
    }
    resource = &net->resources[net->resource_count];
    *resource = (struct resource){ .capacity = capacity, .is_pipe = policy == FLOW_FAT_PIPE };
    return net->resource_count++;
}

/* ---- what a route has served ---- */

int64_t flow_route_next_ps(const struct route *route)
{
    double left_bytes, wait_ps;

    if (route->count == 0)
        return FLOW_NEVER;
    left_bytes = route->ends[0].at_bytes - route->served_bytes;
    if (!(left_bytes > 0))
        return route->since_ps;
    if (!(route->rate > 0))
        return FLOW_NEVER;
    wait_ps = left_bytes / route->rate * PS_PER_S + 0.5;
    return wait_ps < (double)(FLOW_NEVER - route->since_ps) ? route->since_ps + (int64_t)wait_ps
                                                            : FLOW_NEVER;
}

static bool ends_before(const struct end *a, const struct end *b)
{
    return a->at_bytes < b->at_bytes || (!(b->at_bytes < a->at_bytes) && a->seq < b->seq);
}

static void ends_sink(struct end *ends, int32_t count, int32_t at)
{
    struct end moved = ends[at];

    for (int32_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && ends_before(&ends[child + 1], &ends[child]))
            child++;
        if (!ends_before(&ends[child], &moved))
            break;
        ends[at] = ends[child];
        at = child;
    }
    ends[at] = moved;
}

static void ends_rise(struct end *ends, int32_t at)
{
    struct end moved = ends[at];

    for (; at > 0 && ends_before(&moved, &ends[(at - 1) / 2]); at = (at - 1) / 2)
        ends[at] = ends[(at - 1) / 2];
    ends[at] = moved;
}

static void rebase(struct route *route)
{
    for (int32_t i = 0; i < route->count; i++)
        route->ends[i].at_bytes -= route->served_bytes;
    route->served_bytes = 0;
    for (int32_t i = route->count / 2; i-- > 0;) /* rounding may have made ties */
        ends_sink(route->ends, route->count, i);
}

void flow_settle(struct flow_net *net, struct route *route)
{
    double served_bytes;

    if (route->since_ps == net->now_ps)
        return;
    served_bytes = route->rate * ((double)(net->now_ps - route->since_ps) / PS_PER_S);
    route->served_bytes += served_bytes;
    route->moved_bytes += served_bytes * (double)route->count;
    route->since_ps = net->now_ps;
    if (route->served_bytes > REBASE_BYTES)
        rebase(route);
}

static void next_plan(struct flow_net *net, int32_t index)
{
    int64_t next_ps = flow_route_next_ps(&net->routes[index]);

    least_set(&net->next, (uint32_t)index, next_ps == FLOW_NEVER ? LEAST_NONE : (uint64_t)next_ps);
    net->is_top_known = false;
}

void flow_set_rate(struct flow_net *net, int32_t index, double rate)
{
    struct route *route = &net->routes[index];

    if (flow_is_same(rate, route->rate))
        return;
    flow_settle(net, route);
    route->rate = rate;
    next_plan(net, index);
}

/* ---- flows ---- */

void flow_mark(struct flow_net *net, int32_t index)
{
    struct resource *resource = &net->resources[index];

    if (resource->is_dirty)
        return;
    resource->is_dirty = true;
    net->dirty[net->dirty_count++] = index;
}

/* The route's entry in the list of a resource, or where it would stand. */
static int32_t entry_find(const struct resource *resource, int32_t route)
{
    int32_t at = resource->entry_count;

    while (at > 0 && resource->entries[at - 1].route >= route)
        at--;
    return at;
}

static void entry_insert(struct flow_net *net, struct resource *resource, int32_t at,
                         struct entry entry)
{
    MAKE_ROOM(net, resource->entries, resource->entry_count, resource->entry_room, 8);
    for (int32_t i = resource->entry_count++; i > at; i--)
        resource->entries[i] = resource->entries[i - 1];
    resource->entries[at] = entry;
}

static void entry_remove(struct resource *resource, int32_t at)
{
    resource->entry_count--;
    for (int32_t i = at; i < resource->entry_count; i++)
        resource->entries[i] = resource->entries[i + 1];
}

/* One flow more or less is under way on the route. */
static void uses_update(struct flow_net *net, int32_t index, bool is_first)
{
    const struct route *route = &net->routes[index];

    for (int32_t i = route->first_use; i < route->first_use + route->use_count; i++) {
        const struct use *use = &net->uses[i];
        struct resource *resource = &net->resources[use->resource];
        double share = (double)route->count * use->ratio;
        int32_t at = entry_find(resource, index);

        if (is_first)
            entry_insert(net, resource, at, (struct entry){ index, i, share });
        else if (route->count == 0)
            entry_remove(resource, at);
        else
            resource->entries[at].share = share;
        flow_mark(net, use->resource);
    }
}

void flow_start(struct flow_net *net, int32_t index, double bytes, int32_t tag)
{
    struct route *route = &net->routes[index];

    assert(index >= 0 && index < net->route_count && bytes >= 0 && isfinite(bytes));
    if (route->count == 0) {
        route->served_bytes = 0;
        route->since_ps = net->now_ps;
    }
    flow_settle(net, route);
    MAKE_ROOM(net, route->ends, route->count, route->room, 4);
    route->ends[route->count] = (struct end){ route->served_bytes + bytes, net->next_seq++, tag };
    ends_rise(route->ends, route->count++);
    route->total_bytes += bytes;
    net->flow_count++;
    uses_update(net, index, route->count == 1);
    if (route->use_count == 0)
        route->rate = route->bound;
    next_plan(net, index);
}

/* The route's first flow ends now. */
static void flow_take(struct flow_net *net, int32_t index)
{
    struct route *route = &net->routes[index];

    flow_settle(net, route);
    MAKE_ROOM(net, net->ended, net->ended_count, net->ended_room, 16);
    net->ended[net->ended_count++] = route->ends[0];
    route->ends[0] = route->ends[--route->count];
    if (route->count > 0)
        ends_sink(route->ends, route->count, 0);
    else
        route->rate = 0;
    net->flow_count--;
    uses_update(net, index, false);
    next_plan(net, index);
}

static int by_start(const void *a, const void *b)
{
    const struct end *left = a, *right = b;

    return left->seq < right->seq ? -1 : left->seq > right->seq;
}

/* When the first flow ends at the present rates; its route is net->top_route. */
static uint64_t top_ps(struct flow_net *net)
{
    if (!net->is_top_known)
        net->top_ps = least_top(&net->next, &net->top_route);
    net->is_top_known = true;
    return net->top_ps;
}

int64_t flow_next_ps(struct flow_net *net)
{
    if (net->dirty_count > 0)
        flow_solve(net);
    return top_ps(net) == LEAST_NONE ? FLOW_NEVER : (int64_t)top_ps(net);
}

int flow_advance(struct flow_net *net, int64_t time_ps)
{
    uint64_t first_ps;

    assert(time_ps >= net->now_ps && time_ps != FLOW_NEVER);
    if (time_ps > net->now_ps && net->dirty_count > 0)
        flow_solve(net);
    first_ps = top_ps(net);
    assert((uint64_t)time_ps <= first_ps);
    net->now_ps = time_ps;
    net->ended_count = 0;
    for (; first_ps <= (uint64_t)time_ps; first_ps = top_ps(net))
        flow_take(net, (int32_t)net->top_route);
    if (net->ended_count > 1)
        qsort(net->ended, (size_t)net->ended_count, sizeof(*net->ended), by_start);
    return net->ended_count;
}

int32_t flow_ended(const struct flow_net *net, int index)
{
    assert(index >= 0 && index < net->ended_count);
    return net->ended[index].tag;
}

/* weight x bytes that flows have moved over the resource, up to now. */
static double moved_find(const struct flow_net *net, int32_t index)
{
    double moved = 0;

    for (int32_t r = 0; r < net->route_count; r++) {
        const struct route *route = &net->routes[r];
        const struct use *uses = &net->uses[route->first_use];
        double since_s = (double)(net->now_ps - route->since_ps) / PS_PER_S;
        double route_bytes = route->moved_bytes + route->rate * since_s * (double)route->count;

        for (int32_t i = 0; i < route->use_count; i++)
            if (uses[i].resource == index)
                moved += route_bytes * uses[i].weight;
    }
    return moved;
}

/* Seconds of its whole capacity that the resource has given. */
static double busy_find(const struct resource *resource, double moved)
{
    return resource->capacity > 0
               ? resource->busy_s + (moved - resource->counted) / resource->capacity
               : resource->busy_s;
}

/* What comes is counted apart from what has been. */
static void busy_cut(struct flow_net *net, int32_t index)
{
    struct resource *resource = &net->resources[index];
    double moved = moved_find(net, index);

    resource->busy_s = busy_find(resource, moved);
    resource->counted = moved;
}

void flow_set_capacity(struct flow_net *net, int32_t index, double capacity)
{
    struct resource *resource = &net->resources[index];

    assert(capacity >= 0 && isfinite(capacity));
    busy_cut(net, index);
    resource->capacity = capacity;
    if (!resource->is_pipe) {
        flow_mark(net, index);
        return;
    }
    for (int32_t r = 0; r < net->route_count; r++) {
        struct route *route = &net->routes[r];

        if (route->pipe_count == 0)
            continue;
        flow_find_bound(net, route);
        if (route->use_count == 0 && route->count > 0)
            flow_set_rate(net, r, route->bound);
        else if (route->count > 0)
            flow_mark(net, net->uses[route->first_use].resource);
    }
}

void flow_set_weight(struct flow_net *net, int32_t index, int32_t number, double weight)
{
    struct route *route = &net->routes[index];
    struct resource *resource = &net->resources[number];
    struct use *use = &net->uses[route->first_use];

    assert(route->hash == NO_HASH && weight > 0 && isfinite(weight) && !resource->is_pipe);
    while (use->resource != number)
        use++;
    busy_cut(net, number);
    use->weight = weight;
    use->ratio = weight / route->penalty;
    resource->counted = moved_find(net, number);
    if (route->count == 0)
        return;
    resource->entries[entry_find(resource, index)].share = (double)route->count * use->ratio;
    flow_mark(net, number);
}

/* ---- what can be asked ---- */

int64_t flow_now_ps(const struct flow_net *net)
{
    return net->now_ps;
}

bool flow_is_unsettled(const struct flow_net *net)
{
    return net->dirty_count > 0;
}

bool flow_is_any_moving(struct flow_net *net)
{
    if (net->dirty_count > 0)
        flow_solve(net);
    for (int32_t r = 0; r < net->route_count; r++)
        if (net->routes[r].count > 0 && net->routes[r].rate > 0)
            return true;
    return false;
}

int64_t flow_count(const struct flow_net *net)
{
    return net->flow_count;
}

int32_t flow_route_flows(const struct flow_net *net, int32_t route)
{
    return net->routes[route].count;
}

double flow_capacity(const struct flow_net *net, int32_t resource)
{
    return net->resources[resource].capacity;
}

double flow_rate(struct flow_net *net, int32_t route)
{
    if (net->dirty_count > 0)
        flow_solve(net);
    return net->routes[route].rate;
}

double flow_used_ratio(struct flow_net *net, int32_t index)
{
    const struct resource *resource = &net->resources[index];
    double used = 0;

    if (net->dirty_count > 0)
        flow_solve(net);
    for (int32_t i = 0; i < resource->entry_count; i++) {
        const struct route *route = &net->routes[resource->entries[i].route];

        used += route->rate * resource->entries[i].share * route->penalty;
    }
    if (!(resource->capacity > 0))
        return 0;
    return used < resource->capacity ? used / resource->capacity : 1;
}

int64_t flow_busy_ps(const struct flow_net *net, int32_t index)
{
    double busy_ps = busy_find(&net->resources[index], moved_find(net, index)) * PS_PER_S + 0.5;

    return busy_ps < (double)net->now_ps ? (int64_t)busy_ps : net->now_ps;
}

double flow_bytes(const struct flow_net *net, int32_t resource)
{
    double bytes = 0;

    for (int32_t r = 0; r < net->route_count; r++) {
        const struct route *route = &net->routes[r];

        for (int32_t i = route->first_use; i < route->first_use + route->use_count; i++)
            bytes += net->uses[i].resource == resource ? route->total_bytes : 0;
        for (int32_t i = route->first_pipe; i < route->first_pipe + route->pipe_count; i++)
            bytes += net->pipes[i].resource == resource ? route->total_bytes : 0;
    }
    return bytes;
}
