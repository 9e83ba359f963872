/* topology_search.c - the route of fewest media, for nodes that have no medium in common.
 *
 * Breadth first over nodes, each with its media in order of the file: what is reached first came
 * over the medium, then the gateway, that stands first. One search serves all routes of a node. */
#include "sim/network/topology_internal.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/format/names.h"
#include <stddef.h>
#include <string.h>

#define ANY_NODE "*"

struct search {
    int32_t from;                   /* what has been searched from; -1 = nothing yet */
    int32_t *came_from, *came_over; /* by node; came_over -1 = not reached */
    int32_t *queue, *path;          /* nodes */
    bool *is_searched;              /* by medium */
    int32_t *first, *media; /* by node: media[first[n]] up to, not including, media[first[n + 1]] */
    int32_t *open;          /* media that attach every node, -1 behind the last */
};

/* Media of each node by rows of its own, in order of the file. */
static void media_list(struct search *search, struct arena *arena, const struct builder *builder)
{
    const struct cluster *cluster = builder->topology->cluster;
    int32_t node_count = names_count(builder->nodes), row_count = 0, open_count = 0, *fill;

    search->open = arena_array(arena, (size_t)cluster->medium_count + 1, sizeof(*search->open));
    search->first = arena_array(arena, (size_t)node_count + 2, sizeof(*search->first));
    fill = search->first + 1; /* where the next medium of a node goes: in the end its last + 1 */
    for (int m = 0; m < cluster->medium_count; m++)
        for (int i = 0; i < cluster->media[m].attachment_count; i++, row_count++)
            if (strcmp(cluster->media[m].attachments[i].node, ANY_NODE) == 0)
                search->open[open_count++] = m;
            else
                fill[names_find(builder->nodes, cluster->media[m].attachments[i].node) + 1]++;
    search->open[open_count] = -1;
    for (int32_t n = 0; n < node_count; n++)
        fill[n + 1] += fill[n];
    search->media = arena_array(arena, (size_t)row_count, sizeof(*search->media));
    for (int m = 0; m < cluster->medium_count; m++)
        for (int i = 0; i < cluster->media[m].attachment_count; i++)
            if (strcmp(cluster->media[m].attachments[i].node, ANY_NODE) != 0)
                search->media[fill[names_find(builder->nodes,
                                              cluster->media[m].attachments[i].node)]++] = m;
}

static struct search *search_create(const struct builder *builder)
{
    struct arena *arena = builder->arena;
    struct search *search = arena_alloc(arena, sizeof(*search));
    size_t node_count = (size_t)names_count(builder->nodes);

    search->from = -1;
    search->came_from = arena_array(arena, node_count, sizeof(*search->came_from));
    search->came_over = arena_array(arena, node_count, sizeof(*search->came_over));
    search->queue = arena_array(arena, node_count, sizeof(*search->queue));
    search->path = arena_array(arena, node_count, sizeof(*search->path));
    search->is_searched = arena_array(arena, (size_t)builder->topology->cluster->medium_count,
                                      sizeof(*search->is_searched));
    media_list(search, arena, builder);
    return search;
}

/* All nodes that the medium leads to and that were not reached before. */
static void medium_pass(struct builder *builder, int32_t medium, int32_t from, int32_t *count)
{
    struct search *search = builder->search;
    const struct members *members = topology_members(builder, medium);

    search->is_searched[medium] = true;
    for (int32_t i = 0; i < members->count; i++) {
        int32_t node = members->nodes[i];

        if (search->came_over[node] >= 0)
            continue;
        search->came_from[node] = from;
        search->came_over[node] = medium;
        search->queue[(*count)++] = node;
    }
}

/* The media of a node, its own and those of all, in order of the file. */
static void node_pass(struct builder *builder, int32_t node, int32_t *count)
{
    struct search *search = builder->search;
    const int32_t *own = &search->media[search->first[node]], *open = search->open;
    const int32_t *own_end = &search->media[search->first[node + 1]];

    while (own < own_end || *open >= 0) {
        int32_t medium = own < own_end && (*open < 0 || *own <= *open) ? *own : *open;

        own += own < own_end && *own == medium;
        open += *open == medium;
        if (!search->is_searched[medium])
            medium_pass(builder, medium, node, count);
    }
}

static void search_from(struct builder *builder, int32_t from)
{
    struct search *search = builder->search;
    int32_t count = 0;

    search->from = from;
    memset(search->is_searched, 0,
           (size_t)builder->topology->cluster->medium_count * sizeof(*search->is_searched));
    for (int32_t n = 0; n < names_count(builder->nodes); n++)
        search->came_over[n] = -1;
    search->came_over[from] = 0; /* not to be reached again */
    search->queue[count++] = from;
    for (int32_t i = 0; i < count; i++)
        node_pass(builder, search->queue[i], &count);
}

bool topology_search(struct builder *builder, int32_t from, int32_t to)
{
    struct search *search;
    int32_t count = 0;

    if (!builder->search)
        builder->search = search_create(builder);
    search = builder->search;
    if (search->from != from)
        search_from(builder, from);
    if (search->came_over[to] < 0)
        return false;
    for (int32_t node = to; node != from; node = search->came_from[node])
        search->path[count++] = node;
    for (int32_t at = from; count > 0; at = search->path[count]) {
        count--;
        topology_leg_add(builder, search->came_over[search->path[count]], at, search->path[count]);
    }
    return true;
}
