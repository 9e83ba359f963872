/* linked.h - clusters made in memory, for tests of the network: nodes n0, n1, ..., one device each.
 */
#ifndef ORRERY_TESTS_LINKED_H
#define ORRERY_TESTS_LINKED_H

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include <string.h>

#define LINKED_MEDIA 8

static inline struct cluster *linked_create(struct arena *arena, int node_count)
{
    struct cluster *made = arena_alloc(arena, sizeof *made);

    made->path = "x";
    made->device_count = node_count;
    made->devices = arena_array(arena, (size_t)node_count, sizeof *made->devices);
    made->media = arena_array(arena, LINKED_MEDIA, sizeof *made->media);
    made->has_links = true;
    for (int i = 0; i < node_count; i++) {
        made->devices[i].name = arena_printf(arena, "d%d", i);
        made->devices[i].node = arena_printf(arena, "n%d", i);
    }
    return made;
}

/* 8 Mbit/s = 1 byte a microsecond, latency 100 us, no cost of messages, for all of "n0 n3 ..." or
 * "*". */
static inline struct cluster_medium *linked_medium(struct arena *arena, struct cluster *to,
                                                   const char *name, enum cluster_kind kind,
                                                   const char *nodes)
{
    struct cluster_medium *medium = &to->media[to->medium_count++];

    memset(medium, 0, sizeof *medium);
    medium->name = name;
    medium->kind = kind;
    medium->attachments = arena_array(arena, 80, sizeof *medium->attachments);
    while (*nodes != '\0') {
        size_t length = strcspn(nodes, " ");
        struct cluster_attachment *row = &medium->attachments[medium->attachment_count];

        row->node = arena_strndup(arena, nodes, length);
        row->bits_per_s = 8e6;
        row->latency_ps = 100 * UNITS_PS_PER_US;
        row->efficiency_ratio = 1;
        row->line = 2 + medium->attachment_count++;
        if (strcmp(row->node, "*") == 0 || strcmp(row->node, CLUSTER_SOURCE) == 0)
            to->has_source = true;
        nodes += length;
        nodes += *nodes == ' ';
    }
    return medium;
}

#endif
