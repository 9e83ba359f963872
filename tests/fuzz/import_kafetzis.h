/* import_kafetzis.h - one run of the importer: tables that our own readers take, or an error. */
#ifndef ORRERY_FUZZ_IMPORT_KAFETZIS_H
#define ORRERY_FUZZ_IMPORT_KAFETZIS_H

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/format/workload.h"
#include "sim/import/kafetzis.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>
#include <string.h>

/* The two files of the cluster stand in the first two outputs. */
static inline void import_kafetzis_cluster(struct arena *arena, const struct import_job *job)
{
    static const char *const tables[] = { "devices.csv", "links.csv" };
    char folder[FUZZ_PATH_BYTES];
    struct err err = ERR_INIT;
    size_t lengths[2];
    const char *devices = out_memory(job->outs[0], &lengths[0]);
    const char *links = out_memory(job->outs[1], &lengths[1]);
    const char *both = arena_printf(arena, "%s====\n%s", devices, links);

    fuzz_make_folder((const uint8_t *)both, strlen(both), tables, 2, folder);
    assert(cluster_load(arena, folder, &err));
    fuzz_remove_folder(folder, tables, 2);
}

static inline void import_kafetzis_table(struct arena *arena, struct out *out, const char *name)
{
    char path[FUZZ_PATH_BYTES];
    struct err err = ERR_INIT;
    size_t length;
    const char *text = out_memory(out, &length);
    int file = fuzz_open((const uint8_t *)text, length, path);

    if (strcmp(name, "models.csv") == 0)
        assert(model_catalogue_load(arena, path, &err));
    if (strcmp(name, "workload.csv") == 0)
        assert(workload_load(arena, path, &err));
    if (strcmp(name, "placement.csv") == 0)
        assert(placement_load(arena, path, &err));
    fuzz_close(file);
}

static inline void import_kafetzis_check(const struct kafetzis_settings *settings, const char *path)
{
    struct arena *arena = arena_create();
    struct import_job job = {
        .arena = arena, .importer = "kafetzis", .files = &path, .file_count = 1
    };
    struct err err = ERR_INIT;
    bool is_ok = kafetzis_import(&job, settings, &err);

    assert(is_ok == (err.kind == ERR_NONE));
    assert(!is_ok || job.out_count >= 4);
    if (is_ok)
        import_kafetzis_cluster(arena, &job);
    for (int i = 2; is_ok && i < job.out_count; i++)
        import_kafetzis_table(arena, job.outs[i], job.paths[i]);
    for (int i = 0; i < job.out_count; i++)
        out_abort(job.outs[i]);
    arena_destroy(arena);
}

#endif
