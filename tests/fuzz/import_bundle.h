/* import_bundle.h - what importers of costs, clusters and placements made: tables that our own
 * readers take. */
#ifndef ORRERY_FUZZ_IMPORT_BUNDLE_H
#define ORRERY_FUZZ_IMPORT_BUNDLE_H

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/placement.h"
#include "sim/import/import.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The output of that name, or NULL. */
static inline const char *import_bundle_find(const struct import_job *job, const char *name)
{
    size_t length;

    for (int i = 0; i < job->out_count; i++)
        if (strcmp(job->paths[i], name) == 0)
            return out_memory(job->outs[i], &length);
    return NULL;
}

static inline void import_bundle_fail(const struct err *err)
{
    fprintf(stderr, "%s\n", err->text);
    abort();
}

/* cluster/: links.csv need not be there. */
static inline void import_bundle_cluster(struct arena *arena, const struct import_job *job)
{
    static const char *const tables[] = { "devices.csv", "links.csv" };
    const char *devices = import_bundle_find(job, "cluster/devices.csv");
    const char *links = import_bundle_find(job, "cluster/links.csv");
    const char *both;
    char folder[FUZZ_PATH_BYTES];
    struct err err = ERR_INIT;

    assert(devices);
    both = links ? arena_printf(arena, "%s====\n%s", devices, links) : devices;
    fuzz_make_folder((const uint8_t *)both, strlen(both), tables, links ? 2 : 1, folder);
    if (!cluster_load(arena, folder, &err))
        import_bundle_fail(&err);
    fuzz_remove_folder(folder, tables, links ? 2 : 1);
}

static inline void import_bundle_stages(struct arena *arena, const char *text)
{
    static const char *const tables[] = { "stages.csv" };
    char folder[FUZZ_PATH_BYTES];
    const char *path = folder;
    struct cost_set costs;
    struct err err = ERR_INIT;

    fuzz_make_folder((const uint8_t *)text, strlen(text), tables, 1, folder);
    if (!cost_set_load(arena, &path, 1, &costs, &err))
        import_bundle_fail(&err);
    fuzz_remove_folder(folder, tables, 1);
}

static inline void import_bundle_placement(struct arena *arena, const char *text)
{
    char path[FUZZ_PATH_BYTES];
    struct err err = ERR_INIT;
    int file = fuzz_open((const uint8_t *)text, strlen(text), path);

    if (!placement_load(arena, path, &err))
        import_bundle_fail(&err);
    fuzz_close(file);
}

/* All that a job that went well has made. */
static inline void import_bundle_check(struct arena *arena, const struct import_job *job)
{
    size_t length;

    import_bundle_cluster(arena, job);
    for (int i = 0; i < job->out_count; i++) {
        if (strncmp(job->paths[i], "costs/", 6) == 0)
            import_bundle_stages(arena, out_memory(job->outs[i], &length));
        if (strcmp(job->paths[i], "placement.csv") == 0)
            import_bundle_placement(arena, out_memory(job->outs[i], &length));
    }
}

/* One run of an importer on those of the named files that are not empty. */
static inline void import_bundle_run(const uint8_t *bytes, size_t count, const char *const *names,
                                     int name_count, const struct importer *importer,
                                     const void *settings)
{
    char path[FUZZ_PATH_BYTES];
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const char **files = arena_array(arena, (size_t)name_count, sizeof *files);
    struct import_job job = { .arena = arena, .importer = importer->name, .files = files };
    struct stat status;
    bool is_ok;

    fuzz_make_folder(bytes, count, names, name_count, path);
    for (int i = 0; i < name_count; i++) {
        const char *file = arena_printf(arena, "%s/%s", path, names[i]);

        if (stat(file, &status) == 0 && status.st_size > 0)
            files[job.file_count++] = file;
    }
    is_ok = importer->run(&job, settings, &err);
    assert(is_ok == (err.kind == ERR_NONE));
    if (is_ok)
        import_bundle_check(arena, &job);
    for (int i = 0; i < job.out_count; i++)
        out_abort(job.outs[i]);
    arena_destroy(arena);
    fuzz_remove_folder(path, names, name_count);
}

#endif
