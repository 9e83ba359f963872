/* fuzz_prefix_blocks.c - a workload and its prefix blocks: w.csv, b.csv. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/prefix_blocks.h"
#include "lib/format/workload.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>

static void check(struct arena *arena, const struct prefix_blocks *blocks,
                  const struct workload *workload)
{
    struct out *out = out_open_memory(arena);
    struct err err = ERR_INIT;

    assert(blocks->request_count == workload->count && blocks->first[0] == 0);
    for (size_t i = 0; i < workload->count; i++) {
        int32_t count = (int32_t)(blocks->first[i + 1] - blocks->first[i]);

        for (int32_t k = 0; k <= count; k++) {
            int32_t chain = prefix_blocks_chain(blocks, i, k);

            assert(k < count ? chain >= 0 && chain < blocks->chain_count : chain == -1);
        }
    }
    assert(prefix_blocks_fit(blocks, workload, 16, &err) == (err.kind == ERR_NONE));
    prefix_blocks_write(out, blocks, workload, NULL);
    out_abort(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char *const names[] = { "w.csv", "b.csv" };
    char path[FUZZ_PATH_BYTES];
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const struct workload *workload;

    fuzz_make_folder(bytes, count, names, 2, path);
    workload = workload_load(arena, arena_printf(arena, "%s/w.csv", path), &err);
    if (workload) {
        const struct prefix_blocks *blocks =
            prefix_blocks_load(arena, arena_printf(arena, "%s/b.csv", path), workload, &err);

        assert((blocks != NULL) == (err.kind == ERR_NONE));
        if (blocks)
            check(arena, blocks, workload);
    }
    arena_destroy(arena);
    fuzz_remove_folder(path, names, 2);
    return 0;
}
