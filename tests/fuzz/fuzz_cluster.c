/* fuzz_cluster.c - cluster folders: devices.csv, then links.csv. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char *const names[] = { "devices.csv", "links.csv" };
    char path[FUZZ_PATH_BYTES];
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const struct cluster *cluster;

    fuzz_make_folder(bytes, count, names, 2, path);
    cluster = cluster_load(arena, path, &err);
    assert(cluster ? err.kind == ERR_NONE && cluster->device_count > 0 : err.kind != ERR_NONE);
    arena_destroy(arena);
    fuzz_remove_folder(path, names, 2);
    return 0;
}
