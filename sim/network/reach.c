/* reach.c - media are passed as long as one of them attaches a node that is reached already. */
#include "sim/network/reach.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/format/names.h"
#include <string.h>

#define ANY_NODE "*"

static bool has_all(const struct cluster_medium *medium)
{
    for (int i = 0; i < medium->attachment_count; i++)
        if (strcmp(medium->attachments[i].node, ANY_NODE) == 0)
            return true;
    return false;
}

static bool has_any(const struct cluster_medium *medium, const struct names *reached)
{
    for (int i = 0; i < medium->attachment_count; i++)
        if (names_find(reached, medium->attachments[i].node) >= 0)
            return true;
    return false;
}

int32_t reach_from_source(struct arena *arena, const struct cluster *cluster, bool *is_reached)
{
    struct names *reached = names_create(arena);
    bool *is_passed = arena_array(arena, (size_t)cluster->medium_count + 1, sizeof *is_passed);
    bool is_everybody = !cluster->has_links || !cluster->has_source, has_changed = true;
    int32_t count = 0;

    (void)names_put(reached, CLUSTER_SOURCE);
    while (has_changed && !is_everybody) {
        has_changed = false;
        for (int m = 0; m < cluster->medium_count && !is_everybody; m++) {
            const struct cluster_medium *medium = &cluster->media[m];

            is_everybody = has_all(medium);
            if (is_passed[m] || !has_any(medium, reached))
                continue;
            is_passed[m] = has_changed = true;
            for (int i = 0; i < medium->attachment_count; i++)
                (void)names_put(reached, medium->attachments[i].node);
        }
    }
    for (int32_t d = 0; d < cluster->device_count; d++) {
        is_reached[d] = is_everybody || names_find(reached, cluster->devices[d].node) >= 0;
        count += is_reached[d];
    }
    return count;
}
