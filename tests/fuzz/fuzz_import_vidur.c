/* fuzz_import_vidur.c - Vidur's profiles: a cost table that our own reader takes, or an error. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/cost.h"
#include "sim/import/vidur.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char *const names[] = { "mlp.csv", "attention.csv" };
    struct vidur_settings settings = { .model = "gpt2" };
    char path[FUZZ_PATH_BYTES];
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const char *files[2];
    struct import_job job = {
        .arena = arena, .importer = "vidur", .files = files, .file_count = 2
    };
    bool is_ok;

    fuzz_make_folder(bytes, count, names, 2, path);
    for (int i = 0; i < 2; i++)
        files[i] = arena_printf(arena, "%s/%s", path, names[i]);
    is_ok = vidur_import(&job, &settings, &err);
    assert(is_ok == (err.kind == ERR_NONE));
    if (is_ok) {
        size_t length;

        if (!cost_load_text(arena, "gpu", out_memory(job.outs[0], &length), NULL, &err))
            abort();
    }
    for (int i = 0; i < job.out_count; i++)
        out_abort(job.outs[i]);
    arena_destroy(arena);
    fuzz_remove_folder(path, names, 2);
    return 0;
}
