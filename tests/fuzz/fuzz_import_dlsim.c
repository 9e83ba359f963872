/* fuzz_import_dlsim.c - DLSIM's files: any text is a placement, a workload, a trace, or a located
 * error; a line "====" begins the next file, of up to three. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/placement.h"
#include "lib/format/trace.h"
#include "lib/format/workload.h"
#include "sim/import/dlsim.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>
#include <string.h>

#define MAX_FILES 3

/* Length of the part before the next "====" line; *next is where the rest begins. */
static size_t part(const uint8_t *bytes, size_t count, size_t *next)
{
    static const char mark[] = "\n====\n";
    const uint8_t *at = memmem(bytes, count, mark, sizeof mark - 1);
    size_t length = at ? (size_t)(at - bytes) + 1 : count;

    *next = at ? length + sizeof mark - 2 : count;
    return length;
}

/* Our own readers take what was written. */
static void check(const struct import_job *job, int index)
{
    char path[FUZZ_PATH_BYTES];
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    size_t length;
    const char *text = out_memory(job->outs[index], &length), *name = job->paths[index];
    int file = fuzz_open((const uint8_t *)text, length, path);
    struct trace_requests requests;
    struct trace_stages stages;

    if (strcmp(name, "placement.csv") == 0)
        assert(placement_load(arena, path, &err));
    else if (strcmp(name, "workload.csv") == 0)
        assert(workload_load(arena, path, &err));
    else if (strcmp(name, "requests.csv") == 0)
        assert(trace_requests_load(arena, path, &requests, &err));
    else if (strcmp(name, "stages.csv") == 0)
        assert(trace_stages_load(arena, path, &stages, &err));
    assert(err.kind == ERR_NONE);
    arena_destroy(arena);
    fuzz_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char paths[MAX_FILES][FUZZ_PATH_BYTES];
    const char *files[MAX_FILES];
    int handles[MAX_FILES] = { -1, -1, -1 };
    struct arena *arena = arena_create();
    struct import_job job = { .arena = arena, .importer = "dlsim", .files = files };
    struct dlsim_settings settings;
    struct err err = ERR_INIT;
    size_t next = 0;
    int file_count = 0;
    bool is_ok;

    do {
        size_t length = part(bytes, count, &next);

        handles[file_count] = fuzz_open(bytes, length, paths[file_count]);
        files[file_count] = paths[file_count];
        file_count++;
        bytes += next;
        count -= next;
    } while (count > 0 && file_count < MAX_FILES);
    job.file_count = file_count;
    dlsim_defaults(&settings);
    settings.model = "m";
    is_ok = dlsim_import(&job, &settings, &err);
    assert(is_ok ? err.kind == ERR_NONE && job.out_count > 0 : err.kind != ERR_NONE);
    for (int i = 0; is_ok && i < job.out_count; i++)
        check(&job, i);
    for (int i = 0; i < job.out_count; i++)
        out_abort(job.outs[i]);
    arena_destroy(arena);
    for (int i = 0; i < file_count; i++)
        fuzz_close(handles[i]);
    return 0;
}
