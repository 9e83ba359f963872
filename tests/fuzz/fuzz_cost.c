/* fuzz_cost.c - cost tables: kernels.csv, interp.csv, stages.csv and anchors.csv, then a look-up.
 */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char *const names[] = { "kernels.csv", "interp.csv", "stages.csv", "anchors.csv" };
    static const struct model_op op = {
        .op = OP_ADD, .phase = OP_ANY, .m_tokens = 3, .gemm_n = 768, .count = 1
    };
    char path[FUZZ_PATH_BYTES];
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const struct cost_table *table;

    fuzz_make_folder(bytes, count, names, 4, path);
    table = cost_load(arena, path, &err);
    assert(table ? err.kind == ERR_NONE : err.kind != ERR_NONE);
    if (table) {
        enum interp_origin origin;
        int64_t time_ps = -1;
        bool found = cost_lookup(table, &op, 1, 32, &time_ps, &origin, &err);

        assert(found ? time_ps >= 0 : err.kind != ERR_NONE);
    }
    arena_destroy(arena);
    fuzz_remove_folder(path, names, 4);
    return 0;
}
