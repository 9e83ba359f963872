/* fuzz_ops.c - operator traces; whatever loads is written back as it is, and spread in every way.
 */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/ops.h"
#include "sim/ops/spread.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>
#include <string.h>

static void spread_all(struct arena *arena, const struct ops *ops)
{
    for (int i = 0; i < SPREAD_PARALLEL_COUNT * SPREAD_RULES_COUNT; i++) {
        struct spread_options options = spread_defaults();
        struct spread_result result;
        struct err err = ERR_INIT;
        bool is_ok;

        options.parallel = (enum spread_parallel)(i % SPREAD_PARALLEL_COUNT);
        options.rules = i < SPREAD_PARALLEL_COUNT ? SPREAD_DEFAULT : SPREAD_TRIOSIM;
        options.devices = 2;
        options.batch = 6;
        options.traced_batch = 3;
        options.link_bytes_per_s = 1000000;
        options.remote_bytes_per_s = 1000000;
        options.bucket_bytes = options.first_bucket_bytes = 4;
        if (options.parallel == SPREAD_PIPELINE)
            options.micro_batch = 3;
        is_ok = spread_run(arena, ops, &options, &result, &err);
        assert(is_ok == (err.kind == ERR_NONE));
        if (!is_ok)
            continue;
        assert(result.fits && result.iteration_ps >= 0);
        assert(result.compute_ps + result.bubble_ps == result.iteration_ps);
        for (int d = 0; d < 2; d++)
            assert(result.devices[d].memory.peak_bytes >= result.devices[d].memory.weights_bytes);
    }
}

static const char *write_ops(struct arena *arena, const struct ops *ops)
{
    struct out *out = out_open_memory(arena);
    const char *text;
    size_t length;

    ops_write(out, ops, NULL);
    text = arena_strdup(arena, out_memory(out, &length));
    out_abort(out);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char path[FUZZ_PATH_BYTES], again_path[FUZZ_PATH_BYTES];
    int file = fuzz_open(bytes, count, path), again_file;
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const struct ops *ops = ops_load(arena, path, &err), *again;
    const char *text;

    assert((ops != NULL) == (err.kind == ERR_NONE));
    if (ops) {
        text = write_ops(arena, ops);
        again_file = fuzz_open((const uint8_t *)text, strlen(text), again_path);
        again = ops_load(arena, again_path, &err);
        assert(again && strcmp(write_ops(arena, again), text) == 0);
        fuzz_close(again_file);
        spread_all(arena, ops);
    }
    arena_destroy(arena);
    fuzz_close(file);
    return 0;
}
