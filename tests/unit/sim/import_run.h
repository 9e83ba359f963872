/* import_run.h - one run of an importer whose outputs stay in memory. */
#ifndef ORRERY_TESTS_UNIT_SIM_IMPORT_RUN_H
#define ORRERY_TESTS_UNIT_SIM_IMPORT_RUN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/import/import.h"
#include "tests/unit/scratch.h"

static struct import_job run; /* of the last import_run */

/* file NULL: none. */
static inline bool import_run(struct scratch *scratch, const struct importer *importer,
                              const char *file, const void *settings)
{
    const char **files = arena_array(scratch->arena, 1, sizeof *files);

    files[0] = file;
    run = (struct import_job){ .arena = scratch->arena,
                               .importer = importer->name,
                               .files = files,
                               .file_count = file ? 1 : 0 };
    return importer->run(&run, settings, scratch_err(scratch));
}

/* The table of that name among the outputs, NULL when there is none. Importers of one workload do
 * not name it when it stays in memory. */
static inline const char *import_table(const char *name)
{
    for (int i = 0; i < run.out_count; i++)
        if (!name || strcmp(run.paths[i], name) == 0)
            return scratch_text(run.outs[i]);
    return NULL;
}

static inline const struct workload *import_workload(struct scratch *scratch, const char *name)
{
    const char *text = import_table(name);
    const struct workload *workload;

    assert_non_null(text);
    workload = workload_load(scratch->arena, scratch_write(scratch, "imported.csv", text),
                             scratch_err(scratch));
    if (!workload)
        fail_msg("%s", scratch->err.text);
    return workload;
}

/* The rows of a table, without metadata. */
static inline const char *import_rows(const char *name)
{
    const char *text = import_table(name);

    assert_non_null(text);
    while (*text == '#')
        text = strchr(text, '\n') + 1;
    return text;
}

static inline void import_fails(struct scratch *scratch, const struct importer *importer,
                                const char *file, const void *settings, const char *message)
{
    assert_false(import_run(scratch, importer, file, settings));
    assert_string_equal(scratch_message(scratch), message);
}

#endif
