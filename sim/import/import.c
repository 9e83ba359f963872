/* import.c - the table of importers, and what they share: counting, metadata, outputs. */
#include "sim/import/import.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXT_BYTES 512

static const struct importer *const importers[] = {
    &import_dlsim,   &import_azure,         &import_burstgpt, &import_mlperf,   &import_kafetzis,
    &import_triosim, &import_llmservingsim, &import_vidur,    &import_pipeedge, &import_infscale
};
#define IMPORTER_COUNT ((int)(sizeof importers / sizeof importers[0]))

int import_count(void)
{
    return IMPORTER_COUNT;
}

const struct importer *import_at(int index)
{
    return importers[index];
}

const struct importer *import_find(const char *name, struct err *err)
{
    const char *names[IMPORTER_COUNT];
    char choices[ERR_CHOICES_BYTES];

    for (int i = 0; i < IMPORTER_COUNT; i++) {
        if (strcmp(importers[i]->name, name) == 0)
            return importers[i];
        names[i] = importers[i]->name;
    }
    err_set(err, ERR_USAGE, "'%.60s' is not an importer: %s", name,
            err_choices(name, names, IMPORTER_COUNT, choices));
    return NULL;
}

/* ---- counting ---- */

void import_drop(struct import_job *job, const char *why, int64_t rows)
{
    struct import_report *report = &job->report;
    int i = 0;

    if (rows == 0)
        return;
    while (i < report->reason_count && strcmp(report->reasons[i].why, why) != 0)
        i++;
    if (i == report->reason_count) {
        assert(i < IMPORT_MAX_REASONS);
        report->reasons[i].why = why;
        report->reason_count++;
    }
    report->reasons[i].rows += rows;
}

void import_note(struct import_job *job, const char *format, ...)
{
    struct import_report *report = &job->report;
    char text[TEXT_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    report->notes = arena_printf(job->arena, "%s%s%s", report->notes ? report->notes : "",
                                 report->notes ? "; " : "", text);
}

/* "(2 without output tokens, 1 outside the slice)", or "". */
static const char *reasons_text(const struct import_job *job)
{
    const struct import_report *report = &job->report;
    const char *text = "";

    for (int i = 0; i < report->reason_count; i++)
        text = arena_printf(job->arena, "%s%s%" PRId64 " %s", text, i > 0 ? ", " : " (",
                            report->reasons[i].rows, report->reasons[i].why);
    return report->reason_count > 0 ? arena_printf(job->arena, "%s)", text) : text;
}

static const char *counts_text(const struct import_job *job)
{
    const struct import_report *report = &job->report;
    int64_t dropped = 0;

    for (int i = 0; i < report->reason_count; i++)
        dropped += report->reasons[i].rows;
    return arena_printf(
        job->arena, "%" PRId64 " row%s read, %" PRId64 " kept, %" PRId64 " dropped%s", report->read,
        units_s(report->read), report->kept, dropped, reasons_text(job));
}

bool import_check_kept(const struct import_job *job, struct err *err)
{
    if (job->report.kept > 0)
        return true;
    return err_at(err, job->file_count > 0 ? job->files[0] : job->importer, 0, 0,
                  "no request is left: %s", counts_text(job));
}

const char *import_report_text(const struct import_job *job)
{
    const struct import_report *report = &job->report;
    const char *text = arena_printf(job->arena, "%s:", job->importer);
    const char *join = " ";

    if (report->layout) {
        text = arena_printf(job->arena, "%s%s%s", text, join, report->layout);
        join = "; ";
    }
    if (report->read >= 0) {
        text = arena_printf(job->arena, "%s%s%s", text, join, counts_text(job));
        join = "; ";
    }
    if (report->notes) {
        text = arena_printf(job->arena, "%s%s%s", text, join, report->notes);
        join = "; ";
    }
    for (int i = 0; i < job->out_count; i++)
        text = arena_printf(job->arena, "%s%s%s", text,
                            i == 0 ? arena_printf(job->arena, "%swrote ", join) : ", ",
                            strcmp(job->paths[i], "-") == 0 ? "stdout" : job->paths[i]);
    return text;
}

/* ---- metadata and outputs ---- */

void import_meta(struct import_job *job, const char *key, const char *value)
{
    if (!value)
        return;
    assert(job->meta_count + 2 <= IMPORT_MAX_META);
    job->meta[job->meta_count++] = key;
    job->meta[job->meta_count++] = value;
    job->meta[job->meta_count] = NULL;
}

static const char *source_text(const struct import_job *job)
{
    const char *source = job->source ? job->source : job->files[0];

    if (strcmp(source, "-") == 0)
        source = "stdin";
    if (job->source || job->file_count == 1)
        return source;
    return arena_printf(job->arena, "%s and %d more", source, job->file_count - 1);
}

const char *const *import_meta_list(struct import_job *job)
{
    const char **list = arena_array(job->arena, IMPORT_MAX_META + 16, sizeof *list);
    int count = 0;

    list[count++] = "generator";
    list[count++] = arena_printf(job->arena, "orrery-sim " CLI_VERSION " import %s", job->importer);
    if (job->source || job->file_count > 0) {
        list[count++] = "source";
        list[count++] = source_text(job);
    }
    if (job->report.read >= 0) {
        list[count++] = "rows";
        list[count++] = counts_text(job);
    }
    for (int i = 0; i < job->meta_count; i++)
        list[count++] = job->meta[i];
    list[count] = NULL;
    return list;
}

bool import_one_file(const struct import_job *job, const char **path, struct err *err)
{
    if (job->file_count == 0)
        return err_set(err, ERR_USAGE, "a FILE is missing: what to import (- is stdin)");
    if (job->file_count > 1)
        return err_set(err, ERR_USAGE, "'%.200s': expected one FILE, there is '%.200s' already",
                       job->files[1], job->files[0]);
    *path = job->files[0];
    return true;
}

struct out *import_open(struct import_job *job, const char *path, struct err *err)
{
    struct out *out = job->output ? out_open(job->arena, path, err) : out_open_memory(job->arena);

    if (!out)
        return NULL;
    assert(job->out_count < IMPORT_MAX_OUTPUTS);
    job->outs[job->out_count] = out;
    job->paths[job->out_count++] = path;
    return out;
}

bool import_write_workload(struct import_job *job, const char *path,
                           const struct workload *workload, struct err *err)
{
    struct out *out = import_open(job, path, err);

    if (out)
        workload_write(out, workload, import_meta_list(job));
    return out != NULL;
}
