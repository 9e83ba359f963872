/* infscale.c - the options of `import infscale`, and the tables that it writes. A request is a
 * batch of the plan: an executable with a profiled stage for each of the plan's, at batch 1. */
#include "sim/import/infscale.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/placement.h"
#include "sim/import/bundle.h"
#include <string.h>

enum { KEY_MODEL = 0x300, KEY_TYPE, KEY_GPUS, KEY_TRANSFERS };

static const struct argp_option infscale_options[] = {
    { NULL, 0, NULL, 0, "InfScale:", 2 },
    { "model", KEY_MODEL, "NAME", 0,
      "What the service and its executable are called (default: as the files do); of a table of "
      "plans those of this model",
      2 },
    { "gpus", KEY_GPUS, "N", 0, "Of a table of plans that on N GPUs (default: the only one)", 2 },
    { "type", KEY_TYPE, "NAME", 0, "Device type of the cost table (gpu)", 2 },
    { "transfers", KEY_TRANSFERS, "WHERE", 0,
      "stages: what a stage waits for its input is in its time, as in the plan (default); links: "
      "it "
      "is left to the links of a cluster of yours",
      2 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    static const char *const places[] = { "stages", "links" };
    struct infscale_settings *settings = state->input;

    switch (key) {
    case KEY_MODEL:
        settings->model = text;
        return 0;
    case KEY_TYPE:
        settings->type = text;
        return 0;
    case KEY_GPUS:
        settings->gpus = (int32_t)cli_int(state, "--gpus", text, 1, 10000);
        return 0;
    case KEY_TRANSFERS:
        settings->has_links = cli_choice(state, "--transfers", text, places, 2) == 1;
        return 0;
    case ARGP_KEY_INIT:
        infscale_defaults(settings);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void infscale_defaults(struct infscale_settings *settings)
{
    *settings = (struct infscale_settings){ .type = "gpu" };
}

struct tables {
    struct import_job *job;
    const struct infscale_settings *settings;
    const char *model, *plan_path, *job_path; /* paths NULL: not given */
    struct infscale_plan plan;
    struct infscale_job graph;
    struct placement_row *rows;
    int row_count;
    struct cluster_device *devices;
    int device_count;
};

/* ---- placement ---- */

static const char *add_device(struct tables *tables, const char *name, const char *node)
{
    for (int d = 0; d < tables->device_count; d++)
        if (strcmp(tables->devices[d].name, name) == 0)
            return tables->devices[d].name;
    tables->devices[tables->device_count++] =
        (struct cluster_device){ .name = name,
                                 .type = tables->settings->type,
                                 .node = node ? node : name,
                                 .speed_ratio = 1,
                                 .address = "",
                                 .idle_w = -1,
                                 .busy_w = -1,
                                 .flop_per_s = -1,
                                 .encode_value_ps = -1,
                                 .decode_value_ps = -1 };
    return name;
}

static void add_row(struct tables *tables, int32_t replica, int32_t stage, int32_t copy,
                    const char *device, int32_t first, int32_t last)
{
    tables->rows[tables->row_count++] = (struct placement_row){ .service = tables->model,
                                                                .device = device,
                                                                .model = "",
                                                                .executable = tables->model,
                                                                .replica = replica,
                                                                .stage = stage,
                                                                .copy = copy,
                                                                .layer_first = first,
                                                                .layer_last = last,
                                                                .part_of = 1 };
}

static void make_room(struct tables *tables, size_t rows)
{
    tables->rows = arena_array(tables->job->arena, rows, sizeof *tables->rows);
    tables->devices = arena_array(tables->job->arena, rows, sizeof *tables->devices);
}

/* Of a plan alone: a GPU for each replica of each stage. */
static void place_plan(struct tables *tables)
{
    size_t count = 0;

    for (int32_t s = 0; s < tables->plan.stage_count; s++)
        count += (size_t)tables->plan.stages[s].replicas;
    make_room(tables, count);
    for (int32_t s = 0; s < tables->plan.stage_count; s++)
        for (int32_t c = 0; c < tables->plan.stages[s].replicas; c++) {
            const char *name = arena_printf(tables->job->arena, "gpu%d", tables->device_count);

            add_row(tables, 0, s, c, add_device(tables, name, NULL), s, s);
        }
}

/* Stages of the plan that a worker's layers are; false: they are none. */
static bool stages_of(const struct infscale_plan *plan, const struct infscale_worker *worker,
                      int32_t *first, int32_t *last)
{
    *first = *last = -1;
    for (int32_t s = 0; s < plan->stage_count; s++) {
        if (plan->stages[s].layer_first == worker->layer_first)
            *first = s;
        if (plan->stages[s].layer_last == worker->layer_last)
            *last = s;
    }
    return *first >= 0 && *last >= *first;
}

static bool place_job(struct tables *tables, struct err *err)
{
    make_room(tables, (size_t)tables->graph.worker_count);
    for (int32_t w = 0; w < tables->graph.worker_count; w++) {
        const struct infscale_worker *worker = &tables->graph.workers[w];
        int32_t first = worker->stage, last = first;
        const char *name = worker->id;

        if (worker->is_server)
            continue;
        if (tables->plan_path && !stages_of(&tables->plan, worker, &first, &last))
            return err_at(err, tables->job_path, 0, 0,
                          "worker '%.60s' has layers %d to %d: no stage, or several whole ones, of "
                          "the plan '%.200s'",
                          worker->id, (int)worker->layer_first, (int)worker->layer_last,
                          tables->plan_path);
        if (worker->node && worker->device)
            name = arena_printf(tables->job->arena, "%s:%s", worker->node, worker->device);
        add_row(tables, worker->replica, worker->stage, worker->copy,
                add_device(tables, name, worker->node), first, last);
    }
    return true;
}

/* ---- the files ---- */

static bool has_suffix(const char *path, const char *suffix)
{
    size_t length = strlen(path), tail = strlen(suffix);

    return length > tail && strcmp(path + length - tail, suffix) == 0;
}

static bool sort_files(struct tables *tables, struct err *err)
{
    const struct import_job *job = tables->job;

    for (int i = 0; i < job->file_count; i++) {
        const char *path = job->files[i], **place;

        if (has_suffix(path, ".yaml") || has_suffix(path, ".yml"))
            place = &tables->job_path;
        else if (has_suffix(path, ".json") || has_suffix(path, ".csv"))
            place = &tables->plan_path;
        else
            return err_set(err, ERR_USAGE,
                           "'%.200s': expected a plan (.json, .csv) or a job (.yaml, .yml)", path);
        if (*place)
            return err_set(err, ERR_USAGE, "'%.200s': there is '%.200s' already", path, *place);
        *place = path;
    }
    return tables->job_path || tables->plan_path ||
           err_set(err, ERR_USAGE, "a FILE is missing: a plan, a job, or both");
}

static bool read_files(struct tables *tables, struct err *err)
{
    const struct infscale_settings *settings = tables->settings;

    tables->job->report.read = -1;
    if (tables->plan_path &&
        !infscale_read_plan(tables->job, settings, tables->plan_path, &tables->plan, err))
        return false;
    if (tables->job_path && !infscale_read_job(tables->job, tables->job_path, &tables->graph, err))
        return false;
    tables->model = settings->model       ? settings->model
                    : tables->graph.model ? tables->graph.model
                    : tables->plan.model  ? tables->plan.model
                                          : NULL;
    if (!tables->model)
        return err_set(err, ERR_USAGE, "no file says what the model is called: --model NAME");
    if (!bundle_is_name(tables->model))
        return err_set(err, ERR_INPUT,
                       "the model is called '%.60s': expected a name without blanks",
                       tables->model);
    if (tables->plan_path && tables->graph.batch > 0 && tables->graph.batch != tables->plan.batch)
        import_note(tables->job,
                    "the job has micro_batch_size %d, the plan was made for batches of %d",
                    (int)tables->graph.batch, (int)tables->plan.batch);
    return true;
}

/* ---- the tables ---- */

static bool write_costs(struct tables *tables, struct err *err)
{
    const struct infscale_plan *plan = &tables->plan;
    struct import_job *job = tables->job;
    struct out *out = bundle_open(job, arena_printf(job->arena, "costs/%s", tables->settings->type),
                                  "stages.csv", err);
    struct cost_stage *rows = arena_array(job->arena, (size_t)plan->stage_count, sizeof *rows);

    if (!out)
        return false;
    for (int32_t s = 0; s < plan->stage_count; s++) {
        const struct infscale_stage *stage = &plan->stages[s];
        bool has_links = tables->settings->has_links;

        rows[s] =
            (struct cost_stage){ .executable = tables->model,
                                 .model = tables->model,
                                 .stage = s,
                                 .latency_ps = has_links ? stage->forward_ps : stage->stage_ps,
                                 .weight_bytes = stage->static_bytes,
                                 .activation_bytes = stage->dynamic_bytes,
                                 .output_bytes = has_links ? stage->output_bytes : 0,
                                 .batch = 1 };
    }
    cost_write_stages(out, import_meta_list(job), rows, plan->stage_count);
    return true;
}

static bool write_all(struct tables *tables, struct err *err)
{
    struct import_job *job = tables->job;
    struct out *devices = bundle_open(job, "cluster", "devices.csv", err), *placement;

    if (!devices)
        return false;
    cluster_write_devices(devices, tables->devices, tables->device_count);
    if (tables->plan_path && !write_costs(tables, err))
        return false;
    placement = bundle_open(job, "", "placement.csv", err);
    if (placement)
        placement_write(placement, tables->rows, tables->row_count);
    return placement != NULL;
}

bool infscale_import(struct import_job *job, const void *settings, struct err *err)
{
    struct tables tables = { .job = job, .settings = settings };

    if (!bundle_check_output(job, err))
        return false;
    if (!bundle_is_type(tables.settings->type))
        return err_set(err, ERR_USAGE, "--type is '%.60s': expected a name that a folder can have",
                       tables.settings->type);
    if (!sort_files(&tables, err) || !read_files(&tables, err))
        return false;
    if (tables.plan_path)
        import_meta(job, "request",
                    arena_printf(job->arena, "a batch of %d", (int)tables.plan.batch));
    else
        import_note(job, "no plan: what the stages cost, %d of executable '%.60s', is still needed",
                    (int)tables.graph.stage_count, tables.model);
    if (tables.job_path) {
        if (!place_job(&tables, err))
            return false;
    } else {
        place_plan(&tables);
    }
    return write_all(&tables, err);
}

static const struct argp infscale_argp = { .options = infscale_options, .parser = on_option };

const struct importer import_infscale = {
    .name = "infscale",
    .reads = "InfScale's pipeline plan (JSON, or a table), and the YAML of a job",
    .arguments = "[PLAN.json|PLANS.csv] [JOB.yaml]",
    .text =
        "Writes cluster/devices.csv, placement.csv and, of a plan, costs/TYPE/stages.csv into the "
        "folder -o. A request is a batch of the plan, an executable with a profiled stage for each "
        "stage of it. Replicas of a stage are copies of it.\v"
        "Of a plan alone every replica of a stage gets a GPU of its own. A job says where its "
        "workers "
        "stand: those that its flow graph joins are a replica, those of one with the same layers "
        "copies of a stage; the server is the source. Its layers must be stages of the plan. Names "
        "that match nothing are errors.\n\n"
        "A table has a row a stage: model, gpus, batch, stage, layer_first, layer_last, replicas, "
        "forward_ms, stage_ms, and static_memory_gb, dynamic_memory_gb, output_mb.\n\n"
        "Example:\n"
        "  orrery-sim import infscale plans.csv --gpus 8 -o in\n"
        "  orrery-sim run -p in/placement.csv -w w.csv --cluster in/cluster \\\n"
        "      --costs in/costs",
    .argp = &infscale_argp,
    .settings_bytes = sizeof(struct infscale_settings),
    .run = infscale_import,
};
