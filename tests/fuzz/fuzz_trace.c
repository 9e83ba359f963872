/* fuzz_trace.c - request and stage traces: the same input is read as both. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/trace.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char path[FUZZ_PATH_BYTES];
    int file = fuzz_open(bytes, count, path);
    struct arena *arena = arena_create();
    struct err err = ERR_INIT, stage_err = ERR_INIT;
    struct trace_requests requests = { 0 };
    struct trace_stages stages = { 0 };

    assert(trace_requests_load(arena, path, &requests, &err) == (err.kind == ERR_NONE));
    assert(trace_stages_load(arena, path, &stages, &stage_err) == (stage_err.kind == ERR_NONE));
    if (stage_err.kind == ERR_NONE)
        assert(trace_stages_sort(&stages, &stage_err) == (stage_err.kind == ERR_NONE));
    arena_destroy(arena);
    fuzz_close(file);
    return 0;
}
