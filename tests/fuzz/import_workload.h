/* import_workload.h - one importer on one file: a workload that our own reader takes, or an error.
 */
#ifndef ORRERY_FUZZ_IMPORT_WORKLOAD_H
#define ORRERY_FUZZ_IMPORT_WORKLOAD_H

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/workload.h"
#include "sim/import/import.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>

static inline void import_workload_check(const struct import_job *job)
{
    char path[FUZZ_PATH_BYTES];
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    size_t length;
    const char *text = out_memory(job->outs[0], &length);
    int file = fuzz_open((const uint8_t *)text, length, path);
    const struct workload *workload = workload_load(arena, path, &err);

    assert(job->out_count == 1 && workload && workload->count > 0);
    arena_destroy(arena);
    fuzz_close(file);
}

static inline void import_workload_run(const struct importer *importer, const void *settings,
                                       const char *path)
{
    struct arena *arena = arena_create();
    struct import_job job = {
        .arena = arena, .importer = importer->name, .files = &path, .file_count = 1
    };
    struct err err = ERR_INIT;
    bool is_ok = importer->run(&job, settings, &err);

    assert(is_ok == (err.kind == ERR_NONE));
    if (is_ok)
        import_workload_check(&job);
    for (int i = 0; i < job.out_count; i++)
        out_abort(job.outs[i]);
    arena_destroy(arena);
}

#endif
