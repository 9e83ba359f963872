/* fuzz_workload.c - workload tables: any text gives a workload or a located error. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/workload.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char path[FUZZ_PATH_BYTES];
    int file = fuzz_open(bytes, count, path);
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const struct workload *workload = workload_load(arena, path, &err);

    assert(workload ? err.kind == ERR_NONE && workload->count > 0 : err.kind != ERR_NONE);
    arena_destroy(arena);
    fuzz_close(file);
    return 0;
}
