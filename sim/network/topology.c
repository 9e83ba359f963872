/* topology.c - nodes, who is attached to what, and a route for each pair. */
#include "sim/network/topology.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/names.h"
#include "sim/network/network.h"
#include "sim/network/topology_internal.h"
#include <stdio.h>
#include <string.h>

#define KEY_BYTES 48
#define ANY_NODE "*"

int32_t topology_key(struct names *names, int32_t medium, int32_t a, int32_t b)
{
    char key[KEY_BYTES];

    (void)snprintf(key, sizeof key, "%d:%d:%d", medium, a, b);
    return names_put(names, key);
}

/* ---- nodes and what attaches them ---- */

/* Nodes of devices.csv, the source, and whatever else the media name. */
static struct names *nodes_list(struct arena *arena, const struct cluster *cluster)
{
    struct names *nodes = names_create(arena);

    for (int i = 0; i < cluster->device_count; i++)
        (void)names_put(nodes, cluster->devices[i].node);
    (void)names_put(nodes, CLUSTER_SOURCE);
    for (int m = 0; m < cluster->medium_count; m++)
        for (int i = 0; i < cluster->media[m].attachment_count; i++)
            if (strcmp(cluster->media[m].attachments[i].node, ANY_NODE) != 0)
                (void)names_put(nodes, cluster->media[m].attachments[i].node);
    return nodes;
}

static void member_add(struct builder *builder, struct members *members, int32_t node,
                       const struct cluster_attachment *row)
{
    (void)names_put(members->places, builder->topology->nodes[node]);
    members->rows[members->count] = row;
    members->nodes[members->count++] = node;
}

/* Rows of one node count before that of all, wherever they stand. */
static void members_list(struct builder *builder, struct members *members,
                         const struct cluster_medium *medium)
{
    int32_t node_count = names_count(builder->nodes);
    struct names *own = names_create(builder->arena); /* with a row of their own */
    bool has_any = false;
    size_t room;

    members->is_known = true;
    members->places = names_create(builder->arena);
    for (int i = 0; i < medium->attachment_count; i++) {
        has_any = has_any || strcmp(medium->attachments[i].node, ANY_NODE) == 0;
        (void)names_put(own, medium->attachments[i].node);
    }
    room = (size_t)(has_any ? node_count : medium->attachment_count);
    members->nodes = arena_array(builder->arena, room, sizeof(*members->nodes));
    members->rows = arena_array(builder->arena, room, sizeof(*members->rows));
    for (int i = 0; i < medium->attachment_count; i++) {
        const struct cluster_attachment *row = &medium->attachments[i];

        if (strcmp(row->node, ANY_NODE) != 0) {
            member_add(builder, members, names_find(builder->nodes, row->node), row);
            continue;
        }
        for (int32_t n = 0; n < node_count; n++)
            if (names_find(own, builder->topology->nodes[n]) < 0)
                member_add(builder, members, n, row);
    }
}

const struct members *topology_members(struct builder *builder, int32_t medium)
{
    struct members *members = &builder->members[medium];

    if (!members->is_known)
        members_list(builder, members, &builder->topology->cluster->media[medium]);
    return members;
}

int32_t topology_place(struct builder *builder, int32_t medium, int32_t node)
{
    return names_find(topology_members(builder, medium)->places, builder->topology->nodes[node]);
}

/* ---- routes ---- */

/* Nodes that have a medium in common use the first one; devices of one node its bus, or nothing. */
static bool route_find(struct builder *builder, int32_t from, int32_t to)
{
    const struct topology *topology = builder->topology;
    const struct cluster_attachment *from_row, *to_row;
    const struct cluster_medium *medium = cluster_common_medium(
        topology->cluster, topology->nodes[from], topology->nodes[to], &from_row, &to_row);

    if (medium) {
        topology_leg_add(builder, (int32_t)(medium - topology->cluster->media), from, to);
        return true;
    }
    return from == to || topology_search(builder, from, to);
}

static int32_t node_of(const struct builder *builder, int32_t end)
{
    return names_find(builder->nodes, end == NETWORK_SOURCE
                                          ? CLUSTER_SOURCE
                                          : builder->topology->cluster->devices[end].node);
}

static bool route_add(struct builder *builder, const struct network_pair *pair, struct err *err)
{
    struct topology *topology = builder->topology;
    const struct cluster *cluster = topology->cluster;
    struct topology_route *route = &topology->routes[topology->route_count++];
    bool at_source = pair->from == NETWORK_SOURCE || pair->to == NETWORK_SOURCE;
    int32_t from = node_of(builder, pair->from), to = node_of(builder, pair->to);

    route->first_leg = topology->leg_count;
    if (!cluster->has_links || pair->from == pair->to || (at_source && !cluster->has_source))
        return true;
    if (!route_find(builder, from, to))
        return err_set(err, ERR_INPUT,
                       "%s/links.csv: no route over any media joins nodes '%s' and '%s'",
                       cluster->path, topology->nodes[from], topology->nodes[to]);
    route->leg_count = topology->leg_count - route->first_leg;
    return true;
}

/* ---- all of it ---- */

struct topology *topology_build(struct arena *arena, const struct cluster *cluster,
                                const struct events *events, bool has_in_ports,
                                const struct network_pair *pairs, int pair_count, struct err *err)
{
    struct topology *topology = arena_alloc(arena, sizeof(*topology));
    struct builder builder = {
        .arena = arena,
        .topology = topology,
        .nodes = nodes_list(arena, cluster),
        .has_in_ports = has_in_ports,
        .members = arena_array(arena, (size_t)cluster->medium_count, sizeof(*builder.members)),
        .port_names = names_create(arena),
        .link_names = names_create(arena),
        .circuit_names = names_create(arena),
        .fibre_names = names_create(arena),
    };

    topology->cluster = cluster;
    topology->nodes = names_list(builder.nodes);
    topology->routes = arena_array(arena, (size_t)pair_count, sizeof(*topology->routes));
    for (int i = 0; i < pair_count; i++)
        if (!route_add(&builder, &pairs[i], err))
            return NULL;
    topology_rates_find(arena, topology, events);
    return topology;
}
