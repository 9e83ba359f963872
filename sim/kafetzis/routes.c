/* routes.c - breadth-first search over the nodes of a cluster, media by media. */
#include "sim/kafetzis/routes.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/format/names.h"
#include <string.h>

struct end { /* a node's attachment to a medium */
    int32_t node, medium;
    double bits_per_s; /* with the efficiency */
};

struct ends {
    int32_t count, capacity;
    struct end *list;
};

struct tree {                  /* the routes from one node */
    struct kafetzis_route *to; /* by node */
    bool *is_reached;
};

struct kafetzis_routes {
    struct arena *arena;
    const struct cluster *cluster;
    int32_t node_count;
    int32_t *node_of;              /* by device */
    struct ends *of_medium;        /* in order of the file */
    struct ends *of_node;          /* in order of media */
    struct tree *trees;            /* by node; made when asked for */
    struct kafetzis_route *inside; /* by node: over its bus; without hops where it has none */
};

static const struct kafetzis_route is_free;

/* ---- who is attached to what ---- */

static void ends_add(struct arena *arena, struct ends *ends, struct end end)
{
    if (ends->count == ends->capacity) {
        int32_t larger = ends->capacity ? 2 * ends->capacity : 4;

        ends->list = arena_grow(arena, ends->list, (size_t)ends->capacity, (size_t)larger,
                                sizeof *ends->list);
        ends->capacity = larger;
    }
    ends->list[ends->count++] = end;
}

static bool can_carry(const struct cluster_medium *medium)
{
    switch (medium->kind) {
    case CLUSTER_SWITCH:
    case CLUSTER_WIFI:
    case CLUSTER_HUB:
    case CLUSTER_BUS:
        return true;
    case CLUSTER_RING:
    case CLUSTER_MESH:
    case CLUSTER_OPTICAL:
    case CLUSTER_KIND_COUNT:
        break;
    }
    return false;
}

/* A node's own row goes before the row of every node. */
static void attach(struct kafetzis_routes *routes, const struct names *nodes, int32_t m)
{
    const struct cluster_medium *medium = &routes->cluster->media[m];
    bool *has_own = arena_array(routes->arena, (size_t)routes->node_count, sizeof *has_own);

    for (int i = 0; i < medium->attachment_count; i++)
        if (names_find(nodes, medium->attachments[i].node) >= 0)
            has_own[names_find(nodes, medium->attachments[i].node)] = true;
    for (int i = 0; i < medium->attachment_count; i++) {
        const struct cluster_attachment *at = &medium->attachments[i];
        int32_t own = names_find(nodes, at->node);

        for (int32_t n = own < 0 ? 0 : own; n < (own < 0 ? routes->node_count : own + 1); n++) {
            const struct end end = { n, m, at->bits_per_s * at->efficiency_ratio };

            if (own < 0 && has_own[n])
                continue;
            ends_add(routes->arena, &routes->of_medium[m], end);
            ends_add(routes->arena, &routes->of_node[n], end);
        }
    }
}

/* Two devices of one node: its first bus, if it has one. */
static void find_bus(struct kafetzis_routes *routes, int32_t node)
{
    const struct ends *ends = &routes->of_node[node];

    for (int32_t i = 0; i < ends->count && routes->inside[node].hop_count == 0; i++) {
        const struct end *end = &ends->list[i];

        if (routes->cluster->media[end->medium].kind == CLUSTER_BUS)
            routes->inside[node] = (struct kafetzis_route){ 1, &end->medium, end->bits_per_s };
    }
}

struct kafetzis_routes *kafetzis_routes_create(struct arena *arena, const struct cluster *cluster)
{
    struct kafetzis_routes *routes = arena_alloc(arena, sizeof *routes);
    struct names *nodes = names_create(arena);
    size_t count;

    routes->arena = arena;
    routes->cluster = cluster;
    routes->node_of = arena_array(arena, (size_t)cluster->device_count, sizeof *routes->node_of);
    for (int i = 0; i < cluster->device_count; i++)
        routes->node_of[i] = names_put(nodes, cluster->devices[i].node);
    (void)names_put(nodes, CLUSTER_SOURCE);
    routes->node_count = names_count(nodes);
    count = (size_t)routes->node_count;
    routes->of_node = arena_array(arena, count, sizeof *routes->of_node);
    routes->trees = arena_array(arena, count, sizeof *routes->trees);
    routes->inside = arena_array(arena, count, sizeof *routes->inside);
    routes->of_medium =
        arena_array(arena, (size_t)cluster->medium_count, sizeof *routes->of_medium);
    for (int32_t m = 0; m < cluster->medium_count; m++)
        if (can_carry(&cluster->media[m]))
            attach(routes, nodes, m);
    for (int32_t n = 0; n < routes->node_count; n++)
        find_bus(routes, n);
    return routes;
}

/* ---- the search ---- */

static void reach(const struct kafetzis_routes *routes, const struct tree *tree, int32_t from,
                  const struct end *here, const struct end *there)
{
    const struct kafetzis_route *before = &tree->to[from];
    struct kafetzis_route *route = &tree->to[there->node];
    int32_t *media = arena_array(routes->arena, (size_t)before->hop_count + 1, sizeof *media);
    double lower = here->bits_per_s < there->bits_per_s ? here->bits_per_s : there->bits_per_s;

    if (before->hop_count > 0)
        memcpy(media, before->media, (size_t)before->hop_count * sizeof *media);
    media[before->hop_count] = there->medium;
    route->media = media;
    route->hop_count = before->hop_count + 1;
    route->bits_per_s =
        before->hop_count > 0 && before->bits_per_s < lower ? before->bits_per_s : lower;
    tree->is_reached[there->node] = true;
}

static void search(struct kafetzis_routes *routes, int32_t root)
{
    struct tree *tree = &routes->trees[root];
    size_t count = (size_t)routes->node_count;
    int32_t *queue = arena_array(routes->arena, count, sizeof *queue), head = 0, tail = 0;
    bool *is_done =
        arena_array(routes->arena, (size_t)routes->cluster->medium_count, sizeof *is_done);

    tree->to = arena_array(routes->arena, count, sizeof *tree->to);
    tree->is_reached = arena_array(routes->arena, count, sizeof *tree->is_reached);
    tree->is_reached[root] = true;
    queue[tail++] = root;
    while (head < tail) {
        const struct ends *ends = &routes->of_node[queue[head]];

        for (int32_t i = 0; i < ends->count; i++) {
            const struct end *here = &ends->list[i];
            const struct ends *others = &routes->of_medium[here->medium];

            /* Whoever is on it was reached when the first node on it was looked at. */
            if (is_done[here->medium])
                continue;
            is_done[here->medium] = true;
            for (int32_t k = 0; k < others->count; k++) {
                if (tree->is_reached[others->list[k].node])
                    continue;
                reach(routes, tree, queue[head], here, &others->list[k]);
                queue[tail++] = others->list[k].node;
            }
        }
        head++;
    }
}

const struct kafetzis_route *kafetzis_route(struct kafetzis_routes *routes, int32_t from,
                                            int32_t to)
{
    int32_t here = routes->node_of[from], there = routes->node_of[to];

    if (from == to || !routes->cluster->has_links)
        return &is_free;
    if (here == there)
        return &routes->inside[here];
    if (!routes->trees[here].to)
        search(routes, here);
    return routes->trees[here].is_reached[there] ? &routes->trees[here].to[there] : NULL;
}

double kafetzis_route_s(const struct kafetzis_route *route, double bytes)
{
    return route->hop_count > 0 ? 8 * bytes / route->bits_per_s : 0;
}
