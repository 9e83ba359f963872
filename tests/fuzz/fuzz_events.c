/* fuzz_events.c - events and the cluster that they belong to: devices.csv, links.csv, events.csv.
 */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/events.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char *const names[] = { "devices.csv", "links.csv", "events.csv" };
    char path[FUZZ_PATH_BYTES];
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const struct cluster *cluster;
    const struct events *events = NULL;

    fuzz_make_folder(bytes, count, names, 3, path);
    cluster = cluster_load(arena, path, &err);
    if (cluster) {
        events = events_load(arena, arena_printf(arena, "%s/events.csv", path), cluster, &err);
        assert((events != NULL) == (err.kind == ERR_NONE));
    }
    for (size_t i = 0; events && i < events->count; i++) {
        const struct event *event = &events->events[i];

        assert(event->device < cluster->device_count && event->medium < cluster->medium_count);
        assert((event->device >= 0) == (event->target == EVENT_DEVICE));
        assert((event->node != NULL) == (event->target == EVENT_PORT));
        assert(i == 0 || event->time_ps >= event[-1].time_ps);
    }
    arena_destroy(arena);
    fuzz_remove_folder(path, names, 3);
    return 0;
}
