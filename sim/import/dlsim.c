/* dlsim.c - the options of `import dlsim`, which file is which, and what becomes of them. */
#include "sim/import/dlsim.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/names.h"
#include "lib/format/workload.h"
#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define STALL_RATIO 1.25

enum { KEY_PLACEMENT = 0x300, KEY_WORKLOAD, KEY_TRACE, KEY_MODEL, KEY_SERVICE, KEY_STALL_RATIO };

static const struct argp_option dlsim_options[] = {
    { NULL, 0, NULL, 0, "Input (each at most once; without an option told by its content):", 3 },
    { "placement", KEY_PLACEMENT, "FILE", 0, "Placement: a JSON list of replicas", 3 },
    { "workload", KEY_WORKLOAD, "FILE", 0, "Workload: a row of settings, then model,arrival", 3 },
    { "trace", KEY_TRACE, "FILE", 0, "Trace of the real system: a JSON object of models", 3 },
    { NULL, 0, NULL, 0, "Names:", 4 },
    { "model", KEY_MODEL, "NAME", 0,
      "The services of the workload are NAME_0, NAME_1, ... (default: those of the placement, "
      "else of the trace, that end so)",
      4 },
    { "service", KEY_SERVICE, "NAME", 0,
      "Service of model 0, of model 1 when given again, and so on", 4 },
    { NULL, 0, NULL, 0, "Trace:", 5 },
    { "stall-ratio", KEY_STALL_RATIO, "X", 0,
      "exclude.csv lists requests with a stage of more than X times its median, and those that "
      "waited for it (default 1.25)",
      5 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct dlsim_settings *settings = state->input;

    switch (key) {
    case KEY_PLACEMENT:
        settings->placement = text;
        return 0;
    case KEY_WORKLOAD:
        settings->workload = text;
        return 0;
    case KEY_TRACE:
        settings->trace = text;
        return 0;
    case KEY_MODEL:
        if (text[0] == '\0')
            cli_error(state, "--model is '': expected a name");
        settings->model = text;
        return 0;
    case KEY_SERVICE:
        if (settings->service_count == DLSIM_MAX_MODELS)
            cli_error(state, "--service: more than %d services", DLSIM_MAX_MODELS);
        else if (text[0] == '\0')
            cli_error(state, "--service is '': expected a name");
        else
            settings->services[settings->service_count++] = text;
        return 0;
    case KEY_STALL_RATIO:
        if (!units_parse_double(text, &settings->stall_ratio) || settings->stall_ratio < 1)
            cli_error(state, "--stall-ratio is '%.60s': expected a number of at least 1", text);
        return 0;
    case ARGP_KEY_INIT:
        dlsim_defaults(settings);
        return 0;
    case ARGP_KEY_END:
        if (settings->model && settings->service_count > 0)
            cli_error(state, "give either --model or --service");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void dlsim_defaults(struct dlsim_settings *settings)
{
    *settings = (struct dlsim_settings){ .stall_ratio = STALL_RATIO };
}

/* ---- which file is which ---- */

enum input { PLACEMENT, WORKLOAD, TRACE, INPUT_COUNT };
static const char *const input_names[INPUT_COUNT] = { "placement", "workload", "trace" };

/* A list is a placement, an object a trace, anything else a workload. */
static bool tell(const char *path, enum input *input, struct err *err)
{
    struct stat status;
    FILE *file;
    int c;

    if (strcmp(path, "-") == 0)
        return err_set(err, ERR_USAGE,
                       "'-' does not tell what it is: expected --placement -, "
                       "--workload - or --trace -");
    file = fopen(path, "rb");
    if (!file)
        return err_errno(err, path);
    if (fstat(fileno(file), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
        fclose(file);
        return err_set(err, ERR_USAGE,
                       "'%.200s' can be read only once: expected --placement, --workload or "
                       "--trace before it",
                       path);
    }
    do
        c = getc(file);
    while (c != EOF && isspace(c));
    if (ferror(file)) {
        fclose(file);
        return err_errno(err, path);
    }
    fclose(file);
    *input = c == '[' ? PLACEMENT : c == '{' ? TRACE : WORKLOAD;
    return true;
}

static bool sort_inputs(const struct import_job *job, const struct dlsim_settings *settings,
                        const char *paths[INPUT_COUNT], struct err *err)
{
    int count = 0, from_stdin = 0;

    paths[PLACEMENT] = settings->placement;
    paths[WORKLOAD] = settings->workload;
    paths[TRACE] = settings->trace;
    for (int i = 0; i < job->file_count; i++) {
        enum input input = WORKLOAD;

        if (!tell(job->files[i], &input, err))
            return false;
        if (paths[input])
            return err_set(err, ERR_USAGE, "'%.200s' is a %s: expected one, there is '%.200s'",
                           job->files[i], input_names[input], paths[input]);
        paths[input] = job->files[i];
    }
    for (int i = 0; i < INPUT_COUNT; i++) {
        count += paths[i] != NULL;
        from_stdin += paths[i] && strcmp(paths[i], "-") == 0;
    }
    if (count == 0)
        return err_set(err, ERR_USAGE,
                       "a FILE is missing: expected a placement, a workload or a "
                       "trace of DLSIM");
    if (from_stdin > 1)
        return err_set(err, ERR_USAGE, "only one input can be '-'");
    for (int i = 0; i < INPUT_COUNT; i++)
        if (i != WORKLOAD && paths[i] && strcmp(paths[i], "-") == 0)
            paths[i] = "/dev/stdin"; /* what the JSON reader opens */
    return true;
}

/* ---- names of services ---- */

/* What is known without the trace; NULL when that is nothing. */
static struct names *known_services(struct arena *arena, const struct dlsim_settings *settings,
                                    const struct dlsim_placement *placement, int model_count)
{
    struct names *names = names_create(arena);

    for (int i = 0; i < settings->service_count; i++)
        (void)names_put(names, settings->services[i]);
    for (int i = 0; settings->model && i < model_count; i++)
        (void)names_put(names, arena_printf(arena, "%s_%d", settings->model, i));
    for (int i = 0; placement && i < placement->count; i++)
        (void)names_put(names, placement->entries[i].service);
    return names_count(names) > 0 ? names : NULL;
}

/* services is NULL when nothing but the command line can tell. */
static bool name_models(struct arena *arena, const struct dlsim_settings *settings,
                        const struct names *services, struct dlsim_workload *workload,
                        struct err *err)
{
    const char **names = arena_array(arena, (size_t)workload->model_count, sizeof *names);

    if (settings->service_count > 0 && settings->service_count != workload->model_count)
        return err_set(err, ERR_USAGE,
                       "--service is given %d times, but the workload has %d models",
                       settings->service_count, workload->model_count);
    for (int m = 0; m < workload->model_count; m++) {
        if (settings->service_count > 0)
            names[m] = settings->services[m];
        else if (settings->model)
            names[m] = arena_printf(arena, "%s_%d", settings->model, m);
        else if (services)
            names[m] = dlsim_service(services, m);
        if (!names[m])
            return err_at(err, workload->path, 0, 0,
                          "the service of model %d is not known: expected --model, --service, or a "
                          "placement or a trace in which one service ends in _%d",
                          m, m);
    }
    workload->services = names;
    return true;
}

static struct names *trace_services(struct arena *arena, const struct dlsim_trace *trace)
{
    struct names *names = names_create(arena);

    for (int m = 0; m < trace->model_count; m++)
        (void)names_put(names, trace->models[m].service);
    return names;
}

/* ---- output ---- */

static bool is_table_name(const char *path)
{
    size_t length = strlen(path);

    return strcmp(path, "-") == 0 || (length > 4 && strcmp(path + length - 4, ".csv") == 0);
}

/* The path of a table: -o itself when only one is asked for there, else a file of the folder. */
static const char *table_path(const struct import_job *job, const char *name, bool is_single)
{
    size_t length = job->output ? strlen(job->output) : 0;

    if (!job->output || is_single)
        return job->output ? job->output : name;
    return arena_printf(job->arena, "%s%s%s", job->output,
                        length > 0 && job->output[length - 1] == '/' ? "" : "/", name);
}

static bool write_workload(struct import_job *job, const struct dlsim_workload *from,
                           const char *path, struct err *err)
{
    struct workload_builder *builder = workload_build(job->arena, from->path);
    int count = job->meta_count;
    bool is_ok;

    workload_builder_reserve(builder, from->count);
    for (size_t i = 0; i < from->count; i++) {
        const struct dlsim_row *row = &from->rows[i];
        const struct workload_request request = {
            .request_id = (int64_t)i,
            .arrival_ps = row->arrival_ps,
            .slo_ps = from->slos_ps[row->model],
            .service = workload_builder_service(builder, from->services[row->model]),
            .client = -1,
            .session = -1,
            .batch = 1,
        };

        workload_builder_add(builder, &request);
    }
    job->source = from->path;
    import_meta(job, "name", from->name);
    import_meta(job, "nominal_rate_per_s", from->rate);
    import_meta(job, "nominal_shares", from->shares);
    import_meta(job, "nominal_duration_s", from->duration);
    is_ok = import_write_workload(job, path, workload_builder_finish(builder), err);
    job->meta_count = count; /* the other tables have no use for these */
    job->meta[count] = NULL;
    return is_ok;
}

static bool write_trace(struct import_job *job, const struct dlsim_settings *settings,
                        const struct dlsim_trace *trace, bool is_single, struct err *err)
{
    const char *const *meta;
    struct out *out = import_open(job, table_path(job, "requests.csv", is_single), err);
    int64_t stalled;

    if (!out)
        return false;
    job->source = trace->path;
    meta = import_meta_list(job);
    dlsim_requests_put(trace, meta, out);
    if (is_single)
        return true;
    out = import_open(job, table_path(job, "stages.csv", false), err);
    if (!out)
        return false;
    dlsim_stages_put(trace, meta, out);
    out = import_open(job, table_path(job, "exclude.csv", false), err);
    if (!out)
        return false;
    stalled = dlsim_stalls_put(job->arena, trace, settings->stall_ratio, out);
    import_note(job, "%" PRId64 " request%s hit by a stall", stalled, units_s(stalled));
    return true;
}

/* ---- all together ---- */

struct loaded {
    struct dlsim_placement placement;
    struct dlsim_workload workload;
    struct dlsim_trace trace;
};

static bool load(struct import_job *job, const struct dlsim_settings *settings,
                 const char *const paths[INPUT_COUNT], struct loaded *loaded, struct err *err)
{
    struct dlsim_placement *placement = paths[PLACEMENT] ? &loaded->placement : NULL;
    struct dlsim_workload *workload = paths[WORKLOAD] ? &loaded->workload : NULL;
    struct dlsim_meshes meshes = { 0 };
    struct names *services;

    assert(loaded); /* for clang's analyzer */
    if (placement && !dlsim_placement_load(job->arena, paths[PLACEMENT], &meshes, placement, err))
        return false;
    if (workload && !dlsim_workload_load(job->arena, paths[WORKLOAD], workload, err))
        return false;
    if (placement)
        import_note(job, "placement of %d replica%s", placement->count,
                    placement->count == 1 ? "" : "s");
    if (workload)
        import_note(job, "workload of %zu request%s to %d model%s", workload->count,
                    units_s((int64_t)workload->count), workload->model_count,
                    units_s(workload->model_count));
    services = known_services(job->arena, settings, placement,
                              workload ? workload->model_count : DLSIM_MAX_MODELS);
    if (paths[TRACE] &&
        !dlsim_trace_load(job->arena, paths[TRACE], &meshes, services, &loaded->trace, err))
        return false;
    if (paths[TRACE] && !services)
        services = trace_services(job->arena, &loaded->trace);
    if (paths[TRACE])
        import_note(job, "trace of %zu request%s to %d model%s", loaded->trace.count,
                    units_s((int64_t)loaded->trace.count), loaded->trace.model_count,
                    units_s(loaded->trace.model_count));
    if (workload && !name_models(job->arena, settings, services, workload, err))
        return false;
    return !paths[TRACE] || (dlsim_replicas(job, placement, &loaded->trace, err) &&
                             dlsim_ids(job, workload, &loaded->trace, err));
}

static bool write_all(struct import_job *job, const struct dlsim_settings *settings,
                      const char *const paths[INPUT_COUNT], const struct loaded *loaded,
                      struct err *err)
{
    bool is_single = job->output && is_table_name(job->output);
    int inputs = 0;

    for (int i = 0; i < INPUT_COUNT; i++)
        inputs += paths[i] != NULL;
    if (is_single && inputs > 1)
        return err_set(err, ERR_USAGE,
                       "-o is '%.200s': expected a folder for the tables of %d "
                       "inputs",
                       job->output, inputs);
    if (job->output && !is_single && !out_make_folder(job->output, err))
        return false;
    if (paths[PLACEMENT]) {
        struct out *out = import_open(job, table_path(job, "placement.csv", is_single), err);

        if (!out)
            return false;
        dlsim_placement_put(job->arena, &loaded->placement, out);
    }
    if (paths[WORKLOAD] &&
        !write_workload(job, &loaded->workload, table_path(job, "workload.csv", is_single), err))
        return false;
    return !paths[TRACE] || write_trace(job, settings, &loaded->trace, is_single, err);
}

bool dlsim_import(struct import_job *job, const void *from, struct err *err)
{
    const struct dlsim_settings *settings = from;
    const char *paths[INPUT_COUNT] = { NULL };
    struct loaded loaded = { 0 };

    job->report.read = -1;
    if (!sort_inputs(job, settings, paths, err) || !load(job, settings, paths, &loaded, err))
        return false;
    return write_all(job, settings, paths, &loaded, err);
}

static const struct argp dlsim_argp = { .options = dlsim_options, .parser = on_option };

const struct importer import_dlsim = {
    .name = "dlsim",
    .reads = "DLSIM (AlpaServe's predecessor): placement, workload, trace of the real system",
    .arguments = "[FILE...]",
    .text =
        "Reads up to three files of DLSIM and writes placement.csv, workload.csv, and of a trace "
        "requests.csv, stages.csv and exclude.csv into the folder -o; with one input, -o may be a "
        "file that ends in .csv, or -, and a trace then gives its requests alone.\v"
        "The service of model m is <model>_m. Requests of a trace get the id of the row of the "
        "workload with their service and arrival; without a workload they keep their rq_id, or are "
        "numbered in order of arrival when two models share one. A trace's clock begins with its "
        "first request, so a start may lie before the arrival and below 0. exclude.csv is for "
        "`check --exclude`.\n\n"
        "Example: orrery-sim import dlsim --placement interop.json \\\n"
        "    --workload test_workload --trace interop_trace.json -o imported",
    .argp = &dlsim_argp,
    .settings_bytes = sizeof(struct dlsim_settings),
    .run = dlsim_import,
};
