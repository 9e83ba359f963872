/* fuzz_placement.c - placement tables, and the plan that the built-in models and implied devices
 * give. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/policy/plan.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char path[FUZZ_PATH_BYTES];
    int file = fuzz_open(bytes, count, path);
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const struct placement *placement = placement_load(arena, path, &err);

    assert(placement ? err.kind == ERR_NONE && placement->count > 0 : err.kind != ERR_NONE);
    if (placement) {
        static const char *const names[] = { "a", "b", "c", "d" };
        const struct cluster *cluster = cluster_implied(arena, names, 4, "board");
        struct model_catalogue *catalogue = model_catalogue_load(arena, NULL, &err);
        const struct plan *plan = plan_build(arena, placement, cluster, NULL, catalogue, &err);

        assert(plan ? err.kind == ERR_NONE && plan->stage_count > 0 : err.kind != ERR_NONE);
    }
    arena_destroy(arena);
    fuzz_close(file);
    return 0;
}
