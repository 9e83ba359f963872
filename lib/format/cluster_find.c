/* cluster_find.c - which device is called so, and which medium two nodes have in common: by hash
 * and in lists by node, since a plan asks for every row and a network for every route. */
#include "lib/format/cluster.h"

#include "lib/base/arena.h"
#include "lib/format/names.h"
#include <stddef.h>
#include <string.h>

#define ANY_NODE "*"

struct place { /* a row of links.csv */
    int32_t medium, attachment;
};

struct cluster_index {
    struct names *devices; /* numbered as cluster.devices */
    struct names *nodes;   /* that some row of links.csv names; "*" is one of them */
    int32_t *first;        /* by node: places[first[n]] up to, not including, places[first[n+1]] */
    struct place *places;  /* media in file order */
};

void cluster_index(struct arena *arena, struct cluster *cluster)
{
    struct cluster_index *index = arena_alloc(arena, sizeof *index);
    size_t row_count = 0, node_count;
    int32_t *fill;

    cluster->index = index;
    index->devices = names_create(arena);
    for (int i = 0; i < cluster->device_count; i++)
        (void)names_put(index->devices, cluster->devices[i].name);
    index->nodes = names_create(arena);
    for (int m = 0; m < cluster->medium_count; m++)
        for (int a = 0; a < cluster->media[m].attachment_count; a++, row_count++)
            (void)names_put(index->nodes, cluster->media[m].attachments[a].node);
    node_count = (size_t)names_count(index->nodes);
    index->places = arena_array(arena, row_count, sizeof *index->places);
    index->first = arena_array(arena, node_count + 2, sizeof *index->first);
    fill = index->first + 1; /* where the next place of a node goes: in the end its last + 1 */
    for (int m = 0; m < cluster->medium_count; m++)
        for (int a = 0; a < cluster->media[m].attachment_count; a++)
            fill[names_find(index->nodes, cluster->media[m].attachments[a].node) + 1]++;
    for (size_t n = 0; n < node_count; n++)
        fill[n + 1] += fill[n];
    for (int m = 0; m < cluster->medium_count; m++)
        for (int a = 0; a < cluster->media[m].attachment_count; a++) {
            int32_t node = names_find(index->nodes, cluster->media[m].attachments[a].node);

            index->places[fill[node]++] = (struct place){ m, a };
        }
}

int cluster_find_device(const struct cluster *cluster, const char *name)
{
    return names_find(cluster->index->devices, name);
}

/* The rows of one node. */
struct run {
    const struct place *next, *end;
};

static struct run run_of(const struct cluster_index *index, const char *node)
{
    int32_t n = names_find(index->nodes, node);

    if (n < 0)
        return (struct run){ index->places, index->places };
    return (struct run){ index->places + index->first[n], index->places + index->first[n + 1] };
}

/* The row of the run that is of the medium, or NULL. */
static const struct place *run_find(struct run run, int32_t medium)
{
    const struct place *low = run.next, *high = run.end;

    while (low < high) {
        const struct place *middle = low + (high - low) / 2;

        if (middle->medium < medium)
            low = middle + 1;
        else
            high = middle;
    }
    return low < run.end && low->medium == medium ? low : NULL;
}

/* The node's own row, else the row of every node, else NULL. */
static const struct cluster_attachment *
find_attachment(const struct cluster *cluster, struct run own, struct run any, int32_t medium)
{
    const struct place *place = run_find(own, medium);

    if (!place)
        place = run_find(any, medium);
    return place ? &cluster->media[medium].attachments[place->attachment] : NULL;
}

/* The first medium of either run, which is passed; -1 at the end of both. */
static int32_t runs_pass(struct run *a, struct run *b)
{
    int32_t first = a->next < a->end ? a->next->medium : -1;

    if (b->next < b->end && (first < 0 || b->next->medium < first))
        first = b->next->medium;
    if (a->next < a->end && a->next->medium == first)
        a->next++;
    if (b->next < b->end && b->next->medium == first)
        b->next++;
    return first;
}

const struct cluster_medium *cluster_common_medium(const struct cluster *cluster,
                                                   const char *from_node, const char *to_node,
                                                   const struct cluster_attachment **from,
                                                   const struct cluster_attachment **to)
{
    const struct run from_run = run_of(cluster->index, from_node);
    const struct run to_run = run_of(cluster->index, to_node);
    const struct run any_run = run_of(cluster->index, ANY_NODE);
    bool is_inside = strcmp(from_node, to_node) == 0;
    /* The one that is attached to fewer media has less to try. */
    struct run own = from_run.end - from_run.next < to_run.end - to_run.next ? from_run : to_run;
    struct run any = any_run;
    int32_t m;

    while ((m = runs_pass(&own, &any)) >= 0) {
        if (is_inside && cluster->media[m].kind != CLUSTER_BUS)
            continue;
        *from = find_attachment(cluster, from_run, any_run, m);
        *to = find_attachment(cluster, to_run, any_run, m);
        if (*from && *to)
            return &cluster->media[m];
    }
    return NULL;
}
