/* fuzz_import_infscale.c - InfScale's plans, as a table and as JSON, and a job: tables that our own
 * readers take, or an error. What is empty is not given. */
#include "sim/import/infscale.h"
#include "tests/fuzz/import_bundle.h"
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char *const names[] = { "p.csv", "p.json", "j.yaml" };
    struct infscale_settings settings;
    char path[FUZZ_PATH_BYTES];
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const char *files[3];
    struct import_job job = { .arena = arena, .importer = "infscale", .files = files };
    struct stat status;
    bool is_ok;

    fuzz_make_folder(bytes, count, names, 3, path);
    for (int i = 0; i < 3; i++) {
        const char *file = arena_printf(arena, "%s/%s", path, names[i]);

        if (stat(file, &status) == 0 && status.st_size > 0)
            files[job.file_count++] = file;
    }
    infscale_defaults(&settings);
    settings.model = count % 2 ? "net" : NULL;
    is_ok = infscale_import(&job, &settings, &err);
    assert(is_ok == (err.kind == ERR_NONE));
    if (is_ok)
        import_bundle_check(arena, &job);
    for (int i = 0; i < job.out_count; i++)
        out_abort(job.outs[i]);
    arena_destroy(arena);
    fuzz_remove_folder(path, names, 3);
    return 0;
}
