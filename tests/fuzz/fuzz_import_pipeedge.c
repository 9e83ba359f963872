/* fuzz_import_pipeedge.c - PipeEdge's files, and a schedule where there is a fourth: tables that
 * our own readers take, or an error. */
#include "sim/import/pipeedge.h"
#include "tests/fuzz/import_bundle.h"
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char *const names[] = { "m.yml", "t.yml", "d.yml", "s.yml" };
    struct pipeedge_settings settings;
    char path[FUZZ_PATH_BYTES];
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const char *files[4];
    struct import_job job = { .arena = arena, .importer = "pipeedge", .files = files };
    struct stat status;
    bool is_ok;

    fuzz_make_folder(bytes, count, names, 4, path);
    for (int i = 0; i < 4; i++) {
        files[i] = arena_printf(arena, "%s/%s", path, names[i]);
        if (stat(files[i], &status) == 0 && status.st_size > 0)
            job.file_count = i + 1;
    }
    pipeedge_defaults(&settings);
    is_ok = pipeedge_import(&job, &settings, &err);
    assert(is_ok == (err.kind == ERR_NONE));
    if (is_ok)
        import_bundle_check(arena, &job);
    for (int i = 0; i < job.out_count; i++)
        out_abort(job.outs[i]);
    arena_destroy(arena);
    fuzz_remove_folder(path, names, 4);
    return 0;
}
