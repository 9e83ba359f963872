/* triosim.c - TrioSim's operator traces (sarchlab/triosim, MIT) as OPS.csv: tells the files apart,
 * and writes. */
#include "sim/import/triosim.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/lines.h"
#include "lib/base/out.h"
#include "lib/format/ops.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_BATCH 1000000000
#define MAX_STEP 1000000000

enum { KEY_BATCH = 0x300, KEY_STEP };

static const struct argp_option triosim_options[] = {
    { NULL, 0, NULL, 0, "TrioSim:", 3 },
    { "batch", KEY_BATCH, "B", 0,
      "Samples of the iteration that was traced, for the line '# batch:' (default none: then the "
      "first dimension of the input)",
      3 },
    { "step", KEY_STEP, "N", 0,
      "Of a profile: the iteration, as in its annotation ProfilerStep#N (default the last)", 3 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct triosim_settings *settings = state->input;

    switch (key) {
    case KEY_BATCH:
        settings->batch = cli_int(state, "--batch", text, 1, MAX_BATCH);
        return 0;
    case KEY_STEP:
        settings->step = cli_int(state, "--step", text, 0, MAX_STEP);
        return 0;
    case ARGP_KEY_INIT:
        settings->step = -1;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

bool triosim_bad(struct arena *arena, const char *path, const char *where, const struct json *json,
                 const char *expected, struct err *err)
{
    const char *shown = "something else";
    double number;

    if (!json)
        return err_at(err, path, 0, 0, "%.200s is missing: %s", where, expected);
    if (json_is_text(json))
        shown = arena_printf(arena, "%.60s", json_text(json));
    else if (json_double(json, &number))
        shown = arena_printf(arena, "%.17g", number);
    else if (json_is_array(json) || json_is_object(json))
        shown = json_is_array(json) ? "[...]" : "{...}";
    return err_at(err, path, 0, 0, "%.200s is '%s': %s", where, shown, expected);
}

/* ---- which file is what ---- */

enum kind { KIND_TRACE, KIND_TENSORS, KIND_JSON, KIND_COUNT };

/* By the first line that is not blank: JSON begins with a bracket, the tables have columns that the
 * other does not have. */
static bool kind_of(struct arena *arena, const char *path, enum kind *kind, struct err *err)
{
    struct lines *lines = lines_open(arena, path, err);
    const char *line = NULL;

    while (lines && (line = lines_next(lines, err)) &&
           line[strspn(line, " \t\xef\xbb\xbf")] == '\0')
        continue;
    if (line) {
        char first = line[strspn(line, " \t\xef\xbb\xbf")];

        *kind = first == '{' || first == '[' ? KIND_JSON
                : strstr(line, "OperatorID") ? KIND_TRACE
                : strstr(line, "TensorID")   ? KIND_TENSORS
                                             : KIND_COUNT;
    }
    lines_close(lines);
    if (err->kind != ERR_NONE)
        return false;
    if (!line)
        return err_at(err, path, 0, 0, "nothing in it: expected a table or JSON of TrioSim");
    return *kind != KIND_COUNT ||
           err_at(err, path, 1, 0,
                  "expected trace.csv (with a column OperatorID), tensor.csv (TensorID) or JSON");
}

static bool is_folder(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static bool name_files(const struct import_job *job, const char *paths[2], struct err *err)
{
    if (job->file_count == 1 && is_folder(job->files[0])) {
        paths[0] = arena_printf(job->arena, "%s/trace.csv", job->files[0]);
        paths[1] = arena_printf(job->arena, "%s/tensor.csv", job->files[0]);
        return true;
    }
    for (int i = 0; i < job->file_count; i++)
        if (strcmp(job->files[i], "-") == 0)
            return err_set(err, ERR_USAGE, "'-': files are read twice: expected names of files");
    if (job->file_count != 2)
        return err_set(err, ERR_USAGE,
                       "%d files: expected a folder with trace.csv and tensor.csv, these two, or "
                       "the JSON of profiler and execution graph",
                       job->file_count);
    paths[0] = job->files[0];
    paths[1] = job->files[1];
    return true;
}

/* The table of operators first; JSON files tell themselves apart. */
static bool order_files(const struct import_job *job, const char *paths[2], bool *is_json,
                        struct err *err)
{
    enum kind kinds[2] = { KIND_COUNT, KIND_COUNT };

    for (int i = 0; i < 2; i++)
        if (!kind_of(job->arena, paths[i], &kinds[i], err))
            return false;
    *is_json = kinds[0] == KIND_JSON && kinds[1] == KIND_JSON;
    if (*is_json || (kinds[0] == KIND_TRACE && kinds[1] == KIND_TENSORS))
        return true;
    if (kinds[0] == KIND_TENSORS && kinds[1] == KIND_TRACE) {
        const char *trace = paths[1];

        paths[1] = paths[0];
        paths[0] = trace;
        return true;
    }
    return err_set(err, ERR_USAGE,
                   "'%.150s' and '%.150s' do not belong together: expected trace.csv and "
                   "tensor.csv, or two JSON files",
                   paths[0], paths[1]);
}

static bool read_files(struct import_job *job, const char *const paths[2], bool is_json,
                       int64_t step, struct ops_builder *builder, struct err *err)
{
    if (is_json)
        return triosim_read_json(job, paths[0], paths[1], step, builder, err);
    if (step >= 0)
        return err_set(err, ERR_USAGE, "--step needs a profile: trace.csv is one iteration");
    return triosim_read_tables(job, paths[0], paths[1], builder, err);
}

/* ---- the table ---- */

static bool total_rows(const struct ops *ops, struct err *err)
{
    for (int32_t i = 0; i < ops->row_count; i++)
        if (!ops_row_total(ops, &ops->rows[i]))
            return err_at(err, ops->path, ops->rows[i].line, 0,
                          "the tensors of operator %" PRId64 " have more than 2^50 bytes",
                          ops->rows[i].op_id);
    return true;
}

static bool check_ids(struct arena *arena, const struct ops *ops, struct err *err)
{
    const struct ops_row *first, *second = ops_find_double(arena, ops, &first);

    return !second ||
           err_at(err, ops->path, second->line, 0, "OperatorID %" PRId64 " is in line %ld already",
                  second->op_id, first->line);
}

bool triosim_import(struct import_job *job, const void *from, struct err *err)
{
    const struct triosim_settings *settings = from;
    const char *paths[2] = { NULL, NULL };
    struct ops_builder *builder;
    struct ops *ops;
    struct out *out;
    bool is_json;

    if (!name_files(job, paths, err) || !order_files(job, paths, &is_json, err))
        return false;
    builder = ops_build(job->arena, paths[0]);
    if (!read_files(job, paths, is_json, settings->step, builder, err))
        return false;
    job->report.kept = ops_builder_count(builder);
    if (job->report.kept == 0)
        return err_at(err, paths[0], 0, 0, "no operator is left: %s", import_report_text(job));
    ops = ops_builder_finish(builder);
    ops->batch = settings->batch;
    if (!check_ids(job->arena, ops, err) || !total_rows(ops, err))
        return false;
    out = import_open(job, job->output, err);
    if (out)
        ops_write(out, ops, import_meta_list(job));
    return out != NULL;
}

static const struct argp triosim_argp = { .options = triosim_options, .parser = on_option };

const struct importer import_triosim = {
    .name = "triosim",
    .reads = "TrioSim: operators of one GPU, or the JSON of PyTorch's profiler and graph",
    .arguments = "FOLDER | FILE FILE",
    .text =
        "Reads TrioSim's trace.csv and tensor.csv (a folder with both, or the two in any order), "
        "or "
        "what its tracer makes them from: the JSON of PyTorch's profiler and of its execution "
        "trace. Writes OPS.csv for `orrery-sim ops`.\v"
        "From JSON, operators are those of the CPU that no other encloses, with the kernels that "
        "they launch; what the optimizer does is known by its annotation or by its name. Operators "
        "without kernels and those that the graph does not have are left out and counted.\n\n"
        "Examples:\n"
        "  orrery-sim import triosim trace/vgg13 -o OPS.csv\n"
        "  orrery-sim import triosim profile.json graph.json --batch 128 -o OPS.csv",
    .argp = &triosim_argp,
    .settings_bytes = sizeof(struct triosim_settings),
    .run = triosim_import,
};
