/* fuzz_import_triosim.c - TrioSim's pairs of files; a line "====" ends the first. What is imported
 * is read by our own reader. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/ops.h"
#include "sim/import/triosim.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>
#include <string.h>

static void check(const struct import_job *job)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    char path[FUZZ_PATH_BYTES];
    size_t length;
    const char *text = out_memory(job->outs[0], &length);
    int file = fuzz_open((const uint8_t *)text, length, path);

    assert(job->out_count == 1 && ops_load(arena, path, &err));
    arena_destroy(arena);
    fuzz_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char mark[] = "\n====\n";
    const uint8_t *at = memmem(bytes, count, mark, sizeof mark - 1);
    size_t first = at ? (size_t)(at - bytes) + 1 : count;
    size_t second = at ? first + sizeof mark - 2 : count;
    char paths[2][FUZZ_PATH_BYTES];
    int handles[2] = { fuzz_open(bytes, first, paths[0]),
                       fuzz_open(bytes + second, count - second, paths[1]) };
    const char *files[2] = { paths[0], paths[1] };
    struct arena *arena = arena_create();
    struct import_job job = {
        .arena = arena, .importer = "triosim", .files = files, .file_count = 2
    };
    const struct triosim_settings settings = { .step = -1 };
    struct err err = ERR_INIT;
    bool is_ok = triosim_import(&job, &settings, &err);

    assert(is_ok == (err.kind == ERR_NONE));
    if (is_ok)
        check(&job);
    for (int i = 0; i < job.out_count; i++)
        out_abort(job.outs[i]);
    arena_destroy(arena);
    for (int i = 0; i < 2; i++)
        fuzz_close(handles[i]);
    return 0;
}
