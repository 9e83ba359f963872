/* infscale_plan.c - a pipeline plan of InfScale: JSON as the program writes it, or a table with a
 * row a stage. */
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/units.h"
#include "sim/import/infscale.h"
#include <string.h>

#define MAX_LAYERS 100000
#define MAX_STAGES 10000
#define MAX_BATCH 1000000
#define MAX_GB 1e6
#define PS_PER_MS 1e9
#define BYTES_PER_GB 1e9
#define BYTES_PER_MB 1e6

/* ---- JSON ---- */

struct reader {
    struct arena *arena;
    const char *path;
    const struct json *stage;
    int number; /* of the stage, from 0 */
    struct err *err;
};

static bool bad(const struct reader *reader, const char *key, const char *expected)
{
    return err_at(reader->err, reader->path, 0, 0, "stages[%d].%s: expected %s", reader->number,
                  key, expected);
}

/* A number of an object that may be called in either way; absent and not needed: 0. */
static bool number(const struct reader *reader, const struct json *object, const char *key,
                   const char *other, double max, bool is_needed, double *value)
{
    const struct json *found = json_get(object, key);

    if (!found && other)
        found = json_get(object, other);
    *value = 0;
    if (!found && !is_needed)
        return true;
    return (found && json_double(found, value) && *value >= 0 && *value <= max) ||
           bad(reader, key, "a number that is not negative");
}

/* "0-10". */
static bool parse_range(struct arena *arena, const char *text, int64_t *first, int64_t *last)
{
    const char *dash = strchr(text, '-');

    return dash && units_parse_int(arena_strndup(arena, text, (size_t)(dash - text)), first) &&
           units_parse_int(dash + 1, last);
}

/* [0, 10], or "0-10". */
static bool layer_range(const struct reader *reader, struct infscale_stage *stage)
{
    const struct json *range = json_get(reader->stage, "layer_range");
    const char *text = range ? json_text(range) : NULL;
    int64_t first = -1, last = -1;
    bool is_read = false;

    if (text)
        is_read = parse_range(reader->arena, text, &first, &last);
    else if (range && json_count(range) == 2)
        is_read = json_int(json_at(range, 0), &first) && json_int(json_at(range, 1), &last);
    if (!is_read || first < 0 || last < first || last >= MAX_LAYERS)
        return bad(reader, "layer_range", "[first, last] or \"first-last\"");
    stage->layer_first = (int32_t)first;
    stage->layer_last = (int32_t)last;
    return true;
}

static bool read_stage(const struct reader *reader, struct infscale_stage *stage)
{
    const struct json *object = reader->stage, *replicas = json_get(object, "num_replicas");
    const struct json *memory = json_get(object, "memory");
    const struct json *sizes = json_get(object, "data_sizes");
    double most_ms = (double)UNITS_MAX_PS / PS_PER_MS, forward_ms, stage_ms, fixed, dynamic, output;
    int64_t count = 1;

    if (!json_is_object(object))
        return bad(reader, "layer_range", "a stage that is an object");
    if (!layer_range(reader, stage))
        return false;
    if (replicas && (!json_int(replicas, &count) || count < 1 || count > MAX_STAGES))
        return bad(reader, "num_replicas", "a whole number from 1 on");
    if (!number(reader, object, "forward_time_ms", NULL, most_ms, true, &forward_ms) ||
        !number(reader, object, "stage_time_ms", NULL, most_ms, true, &stage_ms) ||
        !number(reader, memory, "static", "static_gb", MAX_GB, false, &fixed) ||
        !number(reader, memory, "dynamic", "dynamic_gb", MAX_GB, false, &dynamic) ||
        !number(reader, sizes, "output", "output_mb", MAX_GB, false, &output))
        return false;
    stage->replicas = (int32_t)count;
    stage->forward_ps = dmath_round(forward_ms * PS_PER_MS);
    stage->stage_ps = dmath_round(stage_ms * PS_PER_MS);
    stage->static_bytes = dmath_round(fixed * BYTES_PER_GB);
    stage->dynamic_bytes = dmath_round(dynamic * BYTES_PER_GB);
    stage->output_bytes = dmath_round(output * BYTES_PER_MB);
    return true;
}

static bool read_json(struct arena *arena, const char *path, struct infscale_plan *plan,
                      struct err *err)
{
    const struct json *root = json_load(arena, path, err), *stages, *batch;
    struct reader reader = { .arena = arena, .path = path, .err = err };
    int64_t items = 0;

    if (!root)
        return false;
    batch = json_get(root, "batch_size");
    stages = json_get(root, "stages");
    if (!batch || !json_int(batch, &items) || items < 1 || items > MAX_BATCH)
        return err_at(err, path, 0, 0, "batch_size: expected a whole number from 1 to %d",
                      MAX_BATCH);
    if (!stages || !json_is_array(stages) || json_count(stages) == 0 ||
        json_count(stages) > MAX_STAGES)
        return err_at(err, path, 0, 0, "stages: expected a list of 1 to %d stages", MAX_STAGES);
    plan->batch = (int32_t)items;
    plan->model = json_get(root, "model_name") ? json_text(json_get(root, "model_name")) : NULL;
    plan->stage_count = json_count(stages);
    plan->stages = arena_array(arena, (size_t)plan->stage_count, sizeof *plan->stages);
    for (reader.number = 0; reader.number < plan->stage_count; reader.number++) {
        reader.stage = json_at(stages, reader.number);
        if (!read_stage(&reader, &plan->stages[reader.number]))
            return false;
    }
    return true;
}

/* ---- a table ---- */

enum {
    MODEL,
    GPUS,
    BATCH,
    STAGE,
    FIRST,
    LAST,
    REPLICAS,
    FORWARD,
    TIME,
    STATIC,
    DYNAMIC,
    OUTPUT,
    INPUT,
    STAGE_RATE,
    PLAN_RATE,
    PLAN_BATCH_RATE,
    PLAN_LATENCY,
    COLUMN_COUNT
};
static const struct csv_column columns[COLUMN_COUNT] = {
    [MODEL] = { "model", true },
    [GPUS] = { "gpus", true },
    [BATCH] = { "batch", true },
    [STAGE] = { "stage", true },
    [FIRST] = { "layer_first", true },
    [LAST] = { "layer_last", true },
    [REPLICAS] = { "replicas", true },
    [FORWARD] = { "forward_ms", true },
    [TIME] = { "stage_ms", true },
    [STATIC] = { "static_memory_gb", false },
    [DYNAMIC] = { "dynamic_memory_gb", false },
    [OUTPUT] = { "output_mb", false },
    [INPUT] = { "input_mb", false },
    [STAGE_RATE] = { "stage_throughput_per_s", false },
    [PLAN_RATE] = { "plan_throughput_per_s", false },
    [PLAN_BATCH_RATE] = { "plan_batch_throughput_per_s", false },
    [PLAN_LATENCY] = { "plan_latency_ms", false },
};

static bool scaled(const struct csv *csv, int column, double scale, double max, int64_t *value,
                   struct err *err)
{
    double given = 0;

    if (csv_text(csv, column)[0] && !csv_double(csv, column, 0, max, &given, err))
        return false;
    *value = dmath_round(given * scale);
    return true;
}

static bool read_row(const struct csv *csv, struct infscale_stage *stage, struct err *err)
{
    double most_ms = (double)UNITS_MAX_PS / PS_PER_MS, ms;

    if (!csv_int32(csv, FIRST, 0, MAX_LAYERS, &stage->layer_first, err) ||
        !csv_int32(csv, LAST, stage->layer_first, MAX_LAYERS, &stage->layer_last, err) ||
        !csv_int32(csv, REPLICAS, 1, MAX_STAGES, &stage->replicas, err) ||
        !csv_double(csv, FORWARD, 0, most_ms, &ms, err))
        return false;
    stage->forward_ps = dmath_round(ms * PS_PER_MS);
    if (!csv_double(csv, TIME, 0, most_ms, &ms, err))
        return false;
    stage->stage_ps = dmath_round(ms * PS_PER_MS);
    return scaled(csv, STATIC, BYTES_PER_GB, MAX_GB, &stage->static_bytes, err) &&
           scaled(csv, DYNAMIC, BYTES_PER_GB, MAX_GB, &stage->dynamic_bytes, err) &&
           scaled(csv, OUTPUT, BYTES_PER_MB, MAX_GB, &stage->output_bytes, err);
}

struct table {
    struct import_job *job;
    const struct infscale_settings *settings;
    struct csv *csv;
    struct infscale_plan *plan;
    int32_t gpus, room; /* gpus 0: no row was taken */
};

/* Rows of another plan are passed over, when the user says which one is meant. */
static bool take_row(struct table *table, struct err *err)
{
    const struct infscale_settings *settings = table->settings;
    struct infscale_plan *plan = table->plan;
    const char *model = csv_text(table->csv, MODEL);
    int32_t gpus, batch, stage;

    table->job->report.read++;
    if (!csv_int32(table->csv, GPUS, 1, MAX_STAGES, &gpus, err))
        return false;
    if ((settings->gpus > 0 && gpus != settings->gpus) ||
        (settings->model && strcmp(model, settings->model) != 0)) {
        import_drop(table->job, "of other plans", 1);
        return true;
    }
    if (table->gpus > 0 && gpus != table->gpus)
        return csv_bad(table->csv, GPUS, err,
                       "a second plan, after one of %d: say which with --gpus", (int)table->gpus);
    if (table->gpus > 0 && strcmp(model, plan->model) != 0)
        return csv_bad(table->csv, MODEL, err,
                       "a second model, after '%.60s': say which with --model", plan->model);
    if (!csv_int32(table->csv, BATCH, 1, MAX_BATCH, &batch, err) ||
        !csv_int32(table->csv, STAGE, 0, MAX_STAGES, &stage, err))
        return false;
    if (stage != plan->stage_count)
        return csv_bad(table->csv, STAGE, err, "expected %d: stages in order, from 0",
                       (int)plan->stage_count);
    if (table->gpus > 0 && batch != plan->batch)
        return csv_bad(table->csv, BATCH, err, "expected %d, as in the stage before",
                       (int)plan->batch);
    if (plan->stage_count == table->room) {
        int32_t room = arena_wider(table->room, 16);

        plan->stages = arena_grow(table->job->arena, plan->stages, (size_t)table->room,
                                  (size_t)room, sizeof *plan->stages);
        table->room = room;
    }
    table->gpus = gpus;
    plan->batch = batch;
    if (!plan->model)
        plan->model = arena_strdup(table->job->arena, model);
    table->job->report.kept++;
    return read_row(table->csv, &plan->stages[plan->stage_count++], err);
}

static bool read_csv(struct import_job *job, const struct infscale_settings *settings,
                     const char *path, struct infscale_plan *plan, struct err *err)
{
    struct table table = { job, settings, NULL, plan, 0, 0 };

    table.csv = csv_open(job->arena, path, NULL, columns, COLUMN_COUNT, err);
    if (!table.csv)
        return false;
    job->report.read = 0;
    while (csv_next(table.csv, err) && take_row(&table, err))
        continue;
    csv_close(table.csv);
    if (err->kind != ERR_NONE)
        return false;
    if (plan->stage_count > 0)
        return true;
    if (settings->gpus > 0)
        return err_at(err, path, 0, 0, "no plan of %d GPUs%s%.60s", (int)settings->gpus,
                      settings->model ? " of model " : "", settings->model ? settings->model : "");
    return err_at(err, path, 0, 0, "no plan%s%.60s", settings->model ? " of model " : "",
                  settings->model ? settings->model : "");
}

static bool check_layers(const char *path, const struct infscale_plan *plan, struct err *err)
{
    for (int32_t s = 0; s < plan->stage_count; s++) {
        int32_t expected = s > 0 ? plan->stages[s - 1].layer_last + 1 : 0;

        if (plan->stages[s].layer_first != expected)
            return err_at(err, path, 0, 0, "stage %d begins with layer %d: expected %d", (int)s,
                          (int)plan->stages[s].layer_first, (int)expected);
    }
    return true;
}

bool infscale_read_plan(struct import_job *job, const struct infscale_settings *settings,
                        const char *path, struct infscale_plan *plan, struct err *err)
{
    size_t length = strlen(path);
    bool is_json = length >= 5 && strcmp(path + length - 5, ".json") == 0;

    if (is_json && settings->gpus > 0)
        return err_set(err, ERR_USAGE, "--gpus chooses among the plans of a table: '%.200s' is one",
                       path);
    return (is_json ? read_json(job->arena, path, plan, err)
                    : read_csv(job, settings, path, plan, err)) &&
           check_layers(path, plan, err);
}
