/* fuzz_network.c - cases for the flow model and their changes of capacity: case.scn, capacity.csv.
 */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "sim/network/scn.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char *const names[] = { "case.scn", "capacity.csv" };
    char path[FUZZ_PATH_BYTES];
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct scn_changes changes = { 0 };
    struct scn_result result;
    const struct scn *scn;
    bool is_done = false;

    fuzz_make_folder(bytes, count, names, 2, path);
    scn = scn_load(arena, arena_printf(arena, "%s/case.scn", path), &err);
    assert((scn != NULL) == (err.kind == ERR_NONE));
    if (scn) {
        (void)scn_load_changes(arena, arena_printf(arena, "%s/capacity.csv", path), scn, &changes,
                               &err);
        err = (struct err)ERR_INIT; /* the rows before a bad one are as good as any */
        is_done = scn_run(arena, scn, &changes, &result, &err);
        assert(is_done == (err.kind == ERR_NONE));
    }
    for (int32_t i = 0; is_done && i < scn->flow_count; i++) {
        assert(result.finish_ps[i] >= scn->flows[i].start_ps + scn->flows[i].latency_ps);
        assert(result.finish_ps[i] <= result.end_ps && result.end_ps <= UNITS_MAX_PS);
    }
    for (int32_t i = 0; is_done && i < scn->resource_count; i++)
        assert(result.busy_ps[i] >= 0 && result.busy_ps[i] <= result.end_ps);
    arena_destroy(arena);
    fuzz_remove_folder(path, names, 2);
    return 0;
}
