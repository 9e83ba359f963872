/* place_kafetzis.c - see place_kafetzis.h. */
#include "sim/cmd/place_kafetzis.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/clock.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/format/workload.h"
#include "sim/place/heads_formula.h"
#include "sim/place/heads_rows.h"
#include "sim/report/inputs.h"
#include "sim/report/wrap.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_TOKENS 128
#define LABEL_WIDTH 11

struct run {
    struct arena *arena;
    const struct place_kafetzis *place;
    const struct heads_rule *rule;
    struct heads_formula of;
    const struct heads_problem *problem;
    struct heads_answer answer;
    const char *why; /* infeasible: what stands in the way; else "" */
    int32_t end;     /* device with both ends of the model */
    int row_count;
    struct placement_row *rows;
    double room_bytes; /* least of any device; infinite: none is stated */
    int32_t room_device;
};

/* ---- what is asked ---- */

static bool refuse_unknown(const struct planning_options *options, struct err *err)
{
    if (options->service_count > 1)
        return err_set(err, ERR_USAGE, "--rules kafetzis places one service, and %d are given",
                       options->service_count);
    if (options->has_objective && options->objective != PLACE_LATENCY)
        return err_set(err, ERR_USAGE,
                       "--objective is '%s': --rules kafetzis knows the time of a step",
                       place_objective_names[options->objective]);
    if (options->cost_count > 0)
        return err_set(err, ERR_USAGE, "--costs: --rules kafetzis has formulas in their place");
    if (options->events || options->sequences > 0 || options->fault_count > 0 ||
        options->serving.dispatch || options->serving.admission || options->serving.kv_option ||
        options->serve.batch.kind != BATCH_NONE)
        return err_set(err, ERR_USAGE,
                       "--rules kafetzis has one request: it knows no --events, --sequences, "
                       "--faults, and none of how requests are served");
    return true;
}

static bool find_rule(struct run *run, struct err *err)
{
    const char *names[16];
    char choices[ERR_CHOICES_BYTES];

    for (int i = 0; i < heads_rule_count; i++) {
        names[i] = heads_rules[i].name;
        if (strcmp(names[i], run->place->algorithm) == 0)
            run->rule = &heads_rules[i];
    }
    if (!run->rule)
        err_set(err, ERR_USAGE, "--algorithm is '%s': under --rules kafetzis %s",
                run->place->algorithm,
                err_choices(run->place->algorithm, names, heads_rule_count, choices));
    return run->rule != NULL;
}

/* NAME=MODEL, NAME of --model, or --model alone. */
static bool find_service(struct run *run, struct model_catalogue *catalogue, struct err *err)
{
    const struct planning_options *options = run->place->planning;
    const char *text = options->service_count > 0 ? options->services[0] : NULL;
    const char *equals = text ? strchr(text, '=') : NULL;
    const char *model = equals ? equals + 1 : options->model;

    if (equals && options->model)
        return err_set(err, ERR_USAGE, "--service says what it is: it goes without --model");
    if (!model)
        return err_set(err, ERR_USAGE, "--model is missing: what to place");
    run->of.service = equals ? arena_strndup(run->arena, text, (size_t)(equals - text))
                      : text ? text
                             : model;
    if (run->of.service[0] == '\0')
        return err_set(err, ERR_USAGE, "--service is '%s': expected NAME or NAME=MODEL", text);
    run->of.model = model_find(catalogue, model, err);
    return run->of.model != NULL;
}

/* The longest prompt and output of the service: what has to fit. */
static bool read_workload(struct run *run, struct err *err)
{
    const struct planning_options *options = run->place->planning;
    const struct workload *workload = workload_load(run->arena, options->workload, err);
    int32_t outputs = 0;

    assert(run->of.service); /* find_service has named it */
    if (!workload)
        return false;
    run->of.prompt_tokens = 0;
    for (size_t i = 0; i < workload->count; i++) {
        struct workload_request request = workload_at(workload, i);

        if (strcmp(workload->services[request.service], run->of.service) != 0)
            continue;
        if (request.prompt_tokens > run->of.prompt_tokens)
            run->of.prompt_tokens = request.prompt_tokens;
        if (request.output_tokens > outputs)
            outputs = request.output_tokens;
    }
    run->of.step = outputs > 1 ? outputs - 1 : 0;
    return run->of.prompt_tokens > 0 ||
           err_set(err, ERR_INPUT, "%s: no request of service '%s' with prompt_tokens",
                   options->workload, run->of.service);
}

static bool check_output(const struct run *run, struct err *err)
{
    const struct planning_options *options = run->place->planning;
    struct inputs inputs = { .arena = run->arena };

    if (!inputs_add_cluster(&inputs, options->cluster, err) ||
        (options->models && !inputs_add(&inputs, "models", options->models, err)) ||
        (options->workload && !inputs_add(&inputs, "workload", options->workload, err)))
        return false;
    return inputs_spare(&inputs, run->place->output, err);
}

static bool load(struct run *run, struct err *err)
{
    const struct planning_options *options = run->place->planning;
    struct model_catalogue *catalogue;

    if (!refuse_unknown(options, err) || !find_rule(run, err))
        return false;
    run->of.cluster = cluster_load(run->arena, options->cluster, err);
    catalogue = model_catalogue_load(run->arena, options->models, err);
    if (!run->of.cluster || !catalogue || !find_service(run, catalogue, err))
        return false;
    run->of.prompt_tokens = options->prompt_tokens > 0 ? options->prompt_tokens : DEFAULT_TOKENS;
    run->of.step = (options->output_tokens > 0 ? options->output_tokens : DEFAULT_TOKENS) - 1;
    if ((options->workload && !read_workload(run, err)) || !check_output(run, err))
        return false;
    run->problem = heads_formula(run->arena, &run->of, err);
    return run->problem != NULL;
}

/* ---- what is found ---- */

static bool is_over(void *arg)
{
    return clock_now_ns() >= *(const int64_t *)arg;
}

static const char *why_not(const struct run *run)
{
    static const char *const what[HEADS_RESOURCES] = { "bytes of memory",
                                                       "FLOP, as if a step had one second" };
    const struct heads_resource *memory = &run->problem->resources[0];
    double most = 0;

    for (int r = 0; r < HEADS_RESOURCES; r++) {
        const struct heads_resource *of = &run->problem->resources[r];
        double need = run->problem->head_count * of->head + of->projection + of->ffn, have = 0;

        for (int32_t d = 0; d < run->problem->device_count; d++)
            have += of->rooms[d];
        if (need > have)
            return arena_printf(run->arena, "all devices together lack %.0f %s", need - have,
                                what[r]);
    }
    for (int32_t d = 0; d < run->problem->device_count; d++)
        most = memory->rooms[d] > most ? memory->rooms[d] : most;
    return arena_printf(run->arena,
                        "%s; a head takes %.0f bytes, the projection %.0f, the FFN %.0f, and no "
                        "device has room for more than %.0f",
                        strcmp(run->rule->name, "exact-heads") == 0
                            ? "no placement of heads, projection and FFN fits"
                            : "this planner finds no device for one of heads, projection and FFN",
                        memory->head, memory->projection, memory->ffn, most);
}

static bool is_taken(const struct run *run, int32_t device)
{
    return run->answer.counts[device] > 0 || run->answer.projection == device ||
           run->answer.ffn == device || run->end == device;
}

static void fill_room(struct run *run)
{
    const struct heads_resource *memory = &run->problem->resources[0];

    run->room_bytes = HUGE_VAL;
    for (int32_t d = 0; d < run->problem->device_count; d++) {
        double room = memory->rooms[d] - run->answer.counts[d] * memory->head -
                      (run->answer.projection == d ? memory->projection : 0) -
                      (run->answer.ffn == d ? memory->ffn : 0);

        if (room >= run->room_bytes || !is_taken(run, d))
            continue;
        run->room_bytes = room;
        run->room_device = d;
    }
}

/* Both ends cost nothing: where requests come from, else beside the projection. */
static int32_t end_of(const struct run *run)
{
    for (int32_t d = 0; d < run->of.cluster->device_count; d++)
        if (strcmp(run->of.cluster->devices[d].node, CLUSTER_SOURCE) == 0)
            return d;
    return run->answer.projection;
}

static void find(struct run *run)
{
    int64_t limit_ps = run->place->planning->limit_ps;
    int64_t end_ns = clock_now_ns() + limit_ps / 1000;
    int32_t *devices = arena_array(run->arena, (size_t)run->problem->device_count, sizeof *devices);
    struct heads_plan plan = { .run_count = 1 };
    struct heads_run layers;

    run->answer = run->rule->plan(run->arena, run->problem, limit_ps > 0 ? is_over : NULL, &end_ns);
    run->why = run->answer.is_feasible ? "" : why_not(run);
    if (!run->answer.is_feasible)
        return;
    for (int32_t d = 0; d < run->problem->device_count; d++)
        devices[d] = d;
    layers = heads_run_of(run->arena, run->problem, &run->answer, devices, 0,
                          run->of.model->layers - 1, NULL);
    plan.runs = &layers;
    plan.end = run->end = end_of(run);
    run->rows = heads_rows(run->arena, run->of.cluster, run->of.model, run->of.service, &plan,
                           &run->row_count);
    fill_room(run);
}

/* ---- what is told ---- */

static int64_t to_ps(double time_s)
{
    return dmath_round(time_s * (double)UNITS_PS_PER_S);
}

static void put_line(struct out *out, const char *label, const char *text)
{
    wrap_label(out, label, LABEL_WIDTH, text);
}

static const char *device_name(const struct run *run, int32_t device)
{
    return run->of.cluster->devices[device].name;
}

static const char *heads_text(const struct run *run)
{
    const char *text = "";

    for (int32_t d = 0; d < run->problem->device_count; d++)
        if (run->answer.counts[d] > 0)
            text = arena_printf(run->arena, "%s%s%s %d", text, text[0] != '\0' ? ", " : "",
                                device_name(run, d), (int)run->answer.counts[d]);
    return arena_printf(run->arena, "%s of %d; projection on %s, FFN on %s", text,
                        (int)run->problem->head_count, device_name(run, run->answer.projection),
                        device_name(run, run->answer.ffn));
}

static const char *bound_text(const struct run *run)
{
    char bound[UNITS_TEXT_BYTES];

    if (run->answer.bound >= run->answer.cost)
        return "nothing is faster: proven";
    return arena_printf(run->arena, "%.1f %% over %s, below which nothing can be",
                        100 * (run->answer.cost / run->answer.bound - 1),
                        units_format_human(to_ps(run->answer.bound), bound));
}

static void tell_text(const struct run *run, struct out *out)
{
    struct arena *arena = run->arena;
    char step[UNITS_TEXT_BYTES], all[UNITS_TEXT_BYTES], room[UNITS_TEXT_BYTES];

    put_line(out, "algorithm", run->rule->name);
    put_line(out, "rules", "kafetzis: by formulas, nothing is measured");
    put_line(out, "service",
             arena_printf(arena, "%s: model %s", run->of.service, run->of.model->name));
    if (!run->answer.is_feasible) {
        put_line(out, "infeasible", run->why);
        return;
    }
    put_line(out, "latency",
             arena_printf(arena, "%s a step of %d tokens, %s with %d step%s",
                          units_format_human(to_ps(run->answer.cost), step),
                          (int)run->of.prompt_tokens,
                          units_format_human(to_ps(run->answer.cost * (run->of.step + 1)), all),
                          (int)run->of.step + 1, units_s(run->of.step + 1)));
    put_line(out, "heads", heads_text(run));
    put_line(out, "memory",
             isinf(run->room_bytes)
                 ? "no memory_bytes of these devices is known"
                 : arena_printf(arena, "least room %s, on device '%s'",
                                units_format_bytes((int64_t)run->room_bytes, room),
                                device_name(run, run->room_device)));
    if (run->answer.bound > 0)
        put_line(out, "bound", bound_text(run));
    if (run->place->does_explain)
        put_line(out, "why", run->rule->summary);
    put_line(out, "placement", run->place->output);
}

static void tell_found(const struct run *run, struct json_writer *json)
{
    json_put_seconds(json, "step_s", to_ps(run->answer.cost));
    json_put_int(json, "steps", run->of.step + 1);
    json_put_seconds(json, "latency_s", to_ps(run->answer.cost * (run->of.step + 1)));
    if (run->answer.bound > 0) {
        json_put_seconds(json, "bound_s", to_ps(run->answer.bound));
        json_put_double(json, "over_bound_ratio", run->answer.cost / run->answer.bound - 1);
    }
    if (isinf(run->room_bytes))
        json_put_null(json, "room_bytes");
    else
        json_put_int(json, "room_bytes", (int64_t)run->room_bytes);
    json_put_text(json, "projection_device", device_name(run, run->answer.projection));
    json_put_text(json, "ffn_device", device_name(run, run->answer.ffn));
    json_begin_array(json, "heads");
    for (int32_t d = 0; d < run->problem->device_count; d++) {
        if (run->answer.counts[d] == 0)
            continue;
        json_begin_object(json, NULL);
        json_put_text(json, "device", device_name(run, d));
        json_put_int(json, "heads", run->answer.counts[d]);
        json_end_object(json);
    }
    json_end_array(json);
}

static void tell_json(const struct run *run, struct out *out)
{
    struct json_writer *json = json_writer_create(run->arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "version", CLI_VERSION);
    json_put_int(json, "seed", (int64_t)run->place->planning->seed);
    json_put_text(json, "algorithm", run->rule->name);
    json_put_text(json, "rules", "kafetzis");
    json_put_text(json, "service", run->of.service);
    json_put_text(json, "model", run->of.model->name);
    json_put_bool(json, "feasible", run->answer.is_feasible);
    json_put_text(json, "remark", run->why[0] != '\0' ? run->why : NULL);
    if (run->answer.is_feasible)
        tell_found(run, json);
    json_end_object(json);
}

static bool tell(const struct run *run, struct err *err)
{
    const char *output = run->place->output;
    bool does_share = strcmp(output, "-") == 0; /* stdout has the placement */
    struct out *outs[2] = { NULL, does_share ? NULL : out_open(run->arena, "-", err) };

    if (run->answer.is_feasible) {
        outs[0] = out_open(run->arena, output, err);
        if (!outs[0]) {
            out_abort(outs[1]);
            return false;
        }
        placement_write(outs[0], run->rows, run->row_count);
    }
    if (!outs[0] && !outs[1])
        fprintf(stderr, "orrery-sim place: infeasible: %s\n", run->why);
    if (outs[1] && run->place->is_json)
        tell_json(run, outs[1]);
    else if (outs[1])
        tell_text(run, outs[1]);
    return out_commit_all(outs, 2, err);
}

bool place_kafetzis_run(struct arena *arena, const struct place_kafetzis *place, int *exit_code,
                        struct err *err)
{
    struct run run = { .arena = arena, .place = place };

    if (!load(&run, err))
        return false;
    find(&run);
    *exit_code = run.answer.is_feasible ? CLI_DONE : CLI_NO;
    return tell(&run, err);
}
