/* fuzz_placement.c - placement tables, and the plan that the built-in models and implied devices
 * give, with what it asks of their memory. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/policy/footprint.h"
#include "lib/policy/plan.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>

/* Whatever tiles its models is counted, and halving agrees with what it says of both sides. */
static void count_bytes(struct arena *arena, const struct placement *placement,
                        struct cluster *cluster, struct model_catalogue *catalogue)
{
    struct err err = ERR_INIT;
    const struct plan *plan = plan_outline(arena, placement, cluster, NULL, catalogue, &err);
    const struct footprint *footprint = plan ? footprint_collect(arena, plan, NULL) : NULL;
    struct footprint_load *loads;

    assert(footprint ? err.kind == ERR_NONE : err.kind != ERR_NONE);
    if (!footprint)
        return;
    loads = arena_array(arena, (size_t)plan->service_count, sizeof(*loads));
    for (int s = 0; s < plan->service_count; s++)
        loads[s] = (struct footprint_load){ 100, 1, 0, 16 };
    for (int d = 0; d < cluster->device_count; d++) {
        struct footprint_device now = footprint_of_device(footprint, d, loads);
        int64_t most = footprint_largest(footprint, d, -1, FOOTPRINT_SEQUENCES, 1000, loads);

        assert(now.need_bytes >= 0 && (now.missing_bytes == 0) == (most > 0));
    }
}

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
        struct cluster *cluster = cluster_implied(arena, names, 4, "board");
        struct model_catalogue *catalogue = model_catalogue_load(arena, NULL, &err);
        const struct plan *plan = plan_build(arena, placement, cluster, NULL, catalogue, &err);

        assert(plan ? err.kind == ERR_NONE && plan->stage_count > 0 : err.kind != ERR_NONE);
        for (int i = 0; i < cluster->device_count; i++)
            cluster->devices[i].memory_bytes = INT64_C(1000000000) << i;
        count_bytes(arena, placement, cluster, catalogue);
    }
    arena_destroy(arena);
    fuzz_close(file);
    return 0;
}
