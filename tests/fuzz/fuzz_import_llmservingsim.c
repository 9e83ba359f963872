/* fuzz_import_llmservingsim.c - LLMServingSim's profiles and traces: tables that our own readers
 * take, or an error. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "sim/import/llmservingsim.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FILES 6

/* Written where our readers find it. */
static const char *keep(struct arena *arena, const struct import_job *job, const char *name,
                        int *file)
{
    char path[FUZZ_PATH_BYTES];

    for (int i = 0; i < job->out_count; i++) {
        size_t length;
        const char *text = out_memory(job->outs[i], &length);

        if (!strstr(job->paths[i], name))
            continue;
        *file = fuzz_open((const uint8_t *)text, length, path);
        return arena_strdup(arena, path);
    }
    return NULL;
}

static void check(struct arena *arena, const struct import_job *job)
{
    int files[3] = { -1, -1, -1 };
    const char *kernels = keep(arena, job, "kernels.csv", &files[0]);
    const char *requests = keep(arena, job, "workload.csv", &files[1]);
    const char *blocks = keep(arena, job, "prefix-blocks.csv", &files[2]);
    const struct workload *workload = NULL;
    struct err err = ERR_INIT;

    if (kernels)
        for (int i = 0; i < job->out_count; i++)
            if (strstr(job->paths[i], "kernels.csv") &&
                !cost_load_text(arena, "t", out_memory(job->outs[i], NULL), NULL, &err))
                abort();
    if (requests)
        workload = workload_load(arena, requests, &err);
    if (blocks && (!workload || !prefix_blocks_load(arena, blocks, workload, &err)))
        abort();
    assert(err.kind == ERR_NONE);
    for (int i = 0; i < 3; i++)
        if (files[i] >= 0)
            fuzz_close(files[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char *const names[FILES] = {
        "a.csv", "b.csv", "c.csv", "d.csv", "e.csv", "f.jsonl"
    };
    struct llmservingsim_settings settings = { .model = "gpt2" };
    char path[FUZZ_PATH_BYTES];
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const char *folder = path;
    struct import_job job = {
        .arena = arena, .importer = "llmservingsim", .files = &folder, .file_count = 1
    };
    bool is_ok;

    fuzz_make_folder(bytes, count, names, FILES, path);
    is_ok = llmservingsim_import(&job, &settings, &err);
    assert(is_ok == (err.kind == ERR_NONE));
    if (is_ok)
        check(arena, &job);
    for (int i = 0; i < job.out_count; i++)
        out_abort(job.outs[i]);
    arena_destroy(arena);
    fuzz_remove_folder(path, names, FILES);
    return 0;
}
