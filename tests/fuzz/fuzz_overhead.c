/* fuzz_overhead.c - overhead tables; whatever loads can be drawn from. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/overhead.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char path[FUZZ_PATH_BYTES];
    int file = fuzz_open(bytes, count, path);
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct overheads overheads;
    bool is_loaded = overhead_load(arena, path, &overheads, &err);

    assert(is_loaded == (err.kind == ERR_NONE));
    for (int w = 0; is_loaded && w < OVERHEAD_WHERE_COUNT; w++)
        for (uint64_t request = 0; request < 8; request++)
            assert(overhead_draw(&overheads.at[w], 1, (enum overhead_where)w, request, 0) >= 0);
    assert(!is_loaded || overhead_stage_ps(&overheads, 1000, 4) >= 1000);
    arena_destroy(arena);
    fuzz_close(file);
    return 0;
}
