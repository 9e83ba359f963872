/* place_tell.c - see place_tell.h. */
#include "sim/cmd/place_tell.h"

#include "lib/base/arena.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "sim/report/wrap.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LABEL_WIDTH 11
#define MOST_TOLD 16 /* replicas, and devices of each */

static const char *device_name(const struct place_told *told, int32_t device)
{
    return told->planning->cluster->devices[device].name;
}

static void put_line(struct out *out, const char *label, const char *text)
{
    wrap_label(out, label, LABEL_WIDTH, text);
}

static const char *request_text(struct arena *arena, const struct problem_input *input)
{
    if (!input->model)
        return "a lone request";
    if (input->model->kind != MODEL_DECODER)
        return arena_printf(arena, "a lone request of %d tokens", input->prompt_tokens);
    return arena_printf(arena, "a lone request of %d prompt and %d output tokens",
                        input->prompt_tokens, input->output_tokens);
}

/* ---- what rows amount to ---- */

struct shape {
    int replicas, stages, devices, epochs; /* distinct ones */
};

static bool is_same_replica(const struct placement_row *a, const struct placement_row *b)
{
    return a->epoch == b->epoch && a->replica == b->replica && strcmp(a->service, b->service) == 0;
}

static struct shape shape_of(const struct planned *planned)
{
    struct shape shape = { 0, 0, 0, 0 };

    for (int i = 0; i < planned->row_count; i++) {
        const struct placement_row *row = &planned->rows[i];
        bool has_replica = false, has_stage = false, has_device = false, has_epoch = false;

        for (int k = 0; k < i; k++) {
            const struct placement_row *other = &planned->rows[k];
            bool is_same = is_same_replica(row, other);

            has_replica = has_replica || is_same;
            has_stage = has_stage || (is_same && other->stage == row->stage &&
                                      other->phase == row->phase && other->copy == row->copy);
            has_device = has_device || strcmp(other->device, row->device) == 0;
            has_epoch = has_epoch || other->epoch == row->epoch;
        }
        shape.replicas += !has_replica;
        shape.stages += !has_stage;
        shape.devices += !has_device;
        shape.epochs += !has_epoch;
    }
    return shape;
}

static const char *shape_text(struct arena *arena, const struct planned *planned)
{
    struct shape shape = shape_of(planned);
    const char *text = arena_printf(arena, "%d replica%s of %d stage%s in all, on %d device%s",
                                    shape.replicas, units_s(shape.replicas), shape.stages,
                                    units_s(shape.stages), shape.devices, units_s(shape.devices));

    return shape.epochs > 1 ? arena_printf(arena, "%s, in %d epochs", text, shape.epochs) : text;
}

/* Layers of the replica of row `first` on the device of row `row`, told at its first row: "0-3".
 * NULL: an earlier row told it. */
static const char *layers_text(struct arena *arena, const struct planned *planned, int first,
                               int row)
{
    const struct placement_row *own = &planned->rows[row];
    const char *text = "";
    int32_t from = -1, to = -1;
    bool is_cut = false;

    for (int i = first; i < row; i++)
        if (is_same_replica(&planned->rows[i], own) &&
            strcmp(planned->rows[i].device, own->device) == 0)
            return NULL;
    for (int i = row; i < planned->row_count; i++) {
        const struct placement_row *other = &planned->rows[i];

        if (!is_same_replica(other, own) || strcmp(other->device, own->device) != 0)
            continue;
        is_cut = is_cut || other->part_last - other->part_first + 1 < other->part_of;
        if (other->layer_first < 0 || (other->layer_first >= from && other->layer_last <= to))
            continue;
        if (from >= 0 && other->layer_first == to + 1) {
            to = other->layer_last;
            continue;
        }
        if (from >= 0)
            text = arena_printf(arena, "%s%d-%d,", text, (int)from, (int)to);
        from = other->layer_first;
        to = other->layer_last;
    }
    text = from >= 0                    ? arena_printf(arena, "%s%d-%d", text, (int)from, (int)to)
           : own->executable[0] != '\0' ? "all"
                                        : "ends";
    return arena_printf(arena, "%s: %s%s", own->device, text, is_cut ? " in part" : "");
}

static const char *replica_text(struct arena *arena, const struct planned *planned, int first)
{
    const char *text = "";
    int devices = 0;

    for (int i = first; i < planned->row_count; i++) {
        const char *layers = is_same_replica(&planned->rows[i], &planned->rows[first])
                                 ? layers_text(arena, planned, first, i)
                                 : NULL;

        if (layers && devices++ < MOST_TOLD)
            text = arena_printf(arena, "%s%s%s", text, text[0] != '\0' ? "; " : "", layers);
    }
    return devices > MOST_TOLD
               ? arena_printf(arena, "%s; and %d devices more", text, devices - MOST_TOLD)
               : text;
}

/* A line a replica: which layers its devices have. */
static void put_layers(struct arena *arena, const struct planned *planned, struct out *out)
{
    int replicas = 0;

    for (int i = 0; i < planned->row_count; i++) {
        bool is_first = true;

        for (int k = 0; k < i && is_first; k++)
            is_first = !is_same_replica(&planned->rows[k], &planned->rows[i]);
        if (is_first && replicas++ < MOST_TOLD)
            wrap_label(out, replicas == 1 ? "layers" : "", LABEL_WIDTH,
                       replica_text(arena, planned, i));
    }
    if (replicas > MOST_TOLD)
        wrap_label(out, "", LABEL_WIDTH,
                   arena_printf(arena, "and %d replicas more", replicas - MOST_TOLD));
}

/* ---- under a workload ---- */

const char *place_extrapolated_text(struct arena *arena, int64_t count)
{
    return arena_printf(arena,
                        "%" PRId64 " operator cost%s behind what is predicted %s outside the "
                        "measured range: extrapolated",
                        count, units_s(count), count == 1 ? "lies" : "lie");
}

double place_goodput_per_s(const struct judge_verdict *load)
{
    return load->window_ps > 0
               ? (double)load->good_count / ((double)load->window_ps / (double)UNITS_PS_PER_S)
               : 0;
}

const char *place_load_text(struct arena *arena, const struct judge_verdict *load)
{
    char p99[UNITS_TEXT_BYTES];

    if (!load->is_feasible)
        return arena_printf(arena, "not simulated: %s", load->why);
    return arena_printf(arena,
                        "%" PRId64 " of %" PRId64
                        " requests ok and within their objectives, %.3g/s; p99 of the latency %s",
                        load->good_count, load->total_count, place_goodput_per_s(load),
                        units_format_human(load->latency_p99_ps, p99));
}

const char *place_bound_text(struct arena *arena, enum place_objective objective, int64_t bound_ps,
                             double over_bound_ratio)
{
    char bound[UNITS_TEXT_BYTES];

    if (objective == PLACE_GOODPUT) /* a bound of the time of a good request */
        return arena_printf(arena, "%.1f %% under its proven bound, %.3g/s",
                            100 * over_bound_ratio / (1 + over_bound_ratio),
                            (double)UNITS_PS_PER_S / (double)bound_ps);
    return arena_printf(arena, "%.1f %% over its proven bound, %s", 100 * over_bound_ratio,
                        units_format_human(bound_ps, bound));
}

void place_put_load(struct json_writer *json, const struct judge_verdict *load)
{
    json_put_bool(json, "feasible", load->is_feasible);
    json_put_text(json, "reason", load->is_feasible ? NULL : load->why);
    if (!load->is_feasible)
        return;
    json_put_int(json, "requests", load->total_count);
    json_put_int(json, "ok", load->ok_count);
    json_put_int(json, "good", load->good_count);
    json_put_double(json, "goodput_ratio",
                    load->total_count > 0 ? (double)load->good_count / (double)load->total_count
                                          : 0);
    json_put_double(json, "goodput_per_s", place_goodput_per_s(load));
    json_put_int(json, "extrapolated_costs", load->extrapolated_costs);
    json_put_seconds(json, "latency_mean_s", load->latency_mean_ps);
    json_put_seconds(json, "latency_p50_s", load->latency_p50_ps);
    json_put_seconds(json, "latency_p99_s", load->latency_p99_ps);
    json_put_seconds(json, "ttft_mean_s", load->ttft_mean_ps);
    json_put_seconds(json, "tpot_mean_s", load->tpot_mean_ps);
    if (load->energy_j < 0)
        json_put_null(json, "energy_j");
    else
        json_put_double(json, "energy_j", load->energy_j);
}

/* ---- text ---- */

static void put_services(struct arena *arena, const struct place_told *told, struct out *out)
{
    const struct planning *planning = told->planning;
    char latency[UNITS_TEXT_BYTES], period[UNITS_TEXT_BYTES];

    for (int s = 0; s < planning->problem_count; s++) {
        const struct problem_input *input = problem_input(planning->problems[s]);
        const struct planned_service *service;

        if (s > 0 || planning->problem_count > 1)
            put_line(out, "service",
                     arena_printf(arena, "%s: %s %s", input->service,
                                  input->model ? "model" : "executable",
                                  input->model ? input->model->name : input->executable));
        service = &told->planned->services[s];
        put_line(out, "latency",
                 arena_printf(arena, "%s of %s", units_format_human(service->latency_ps, latency),
                              request_text(arena, input)));
        put_line(out, "period",
                 arena_printf(arena, "%s, limited by %s",
                              units_format_human(service->period_ps, period), service->limit));
    }
}

static void put_found(struct arena *arena, const struct place_told *told, struct out *out)
{
    const struct planned *planned = told->planned;
    char room[UNITS_TEXT_BYTES];

    if (planned->answer.stages)
        put_line(out, "stages", arena_printf(arena, "%d", (int)planned->answer.stage_count));
    else
        put_line(out, "placed", shape_text(arena, planned));
    put_layers(arena, planned, out);
    put_services(arena, told, out);
    put_line(out, "memory",
             planned->room_bytes == INT64_MAX
                 ? "no memory_bytes of these devices is known"
                 : arena_printf(arena, "least room %s, on device '%s'",
                                units_format_bytes(planned->room_bytes, room),
                                device_name(told, planned->room_device)));
    if (planned->has_load)
        put_line(out, "workload", place_load_text(arena, &planned->load));
    if (planned->extrapolated_costs > 0)
        put_line(out, "warning", place_extrapolated_text(arena, planned->extrapolated_costs));
    if (planned->over_bound_ratio >= 0)
        put_line(out, "bound",
                 place_bound_text(arena, told->planning->options->objective, planned->bound_ps,
                                  planned->over_bound_ratio));
}

static void put_explanation(const struct place_told *told, struct out *out)
{
    const struct place_answer *answer = &told->planned->answer;

    if (!told->does_explain)
        return;
    for (int i = 0; i < answer->line_count; i++)
        put_line(out, i == 0 ? "why" : "", answer->lines[i]);
    if (answer->line_count == 0)
        put_line(out, "why", "this planner says nothing of its choices");
}

void place_tell_text(const struct place_told *told, struct out *out)
{
    struct arena *arena = told->planning->arena;
    const struct planning *planning = told->planning;
    const struct place_answer *answer = &told->planned->answer;
    const struct problem_input *input = problem_input(planning->problems[0]);
    int64_t missing_bytes = problem_missing_of_all(planning->problems, planning->problem_count);
    const char *missing = arena_printf(arena, "%" PRId64 " bytes", missing_bytes);

    put_line(out, "algorithm", told->planned->algorithm->name);
    if (planning->problem_count == 1)
        put_line(out, "service",
                 arena_printf(arena, "%s: %s %s", input->service,
                              input->model ? "model" : "executable",
                              input->model ? input->model->name : input->executable));
    if (told->is_interrupted)
        put_line(out, "stopped", "by Ctrl-C: this is the best so far");
    if (answer->why[0] != '\0')
        put_line(out, answer->is_feasible ? "remark" : "infeasible", answer->why);
    if (!answer->is_feasible && missing_bytes > 0 && !strstr(answer->why, missing))
        put_line(out, "missing", arena_printf(arena, "all devices together lack %s", missing));
    if (answer->is_feasible)
        put_found(arena, told, out);
    put_explanation(told, out);
    if (answer->is_feasible)
        put_line(out, "placement", told->output);
}

/* ---- JSON ---- */

static void put_stages(const struct place_told *told, struct json_writer *json)
{
    const struct problem *problem = told->planning->problems[0];
    const struct place_answer *answer = &told->planned->answer;

    json_begin_array(json, "stages");
    for (int32_t s = 0; s < answer->stage_count; s++) {
        const struct problem_stage *stage = &answer->stages[s];

        json_begin_object(json, NULL);
        json_put_text(json, "device", device_name(told, stage->device));
        json_put_int(json, "first_unit", stage->first);
        json_put_int(json, "last_unit", stage->last);
        json_put_seconds(json, "compute_s",
                         problem_units_ps(problem, stage->device, stage->first, stage->last));
        json_put_int(json, "bytes",
                     problem_bytes(problem, stage->device, stage->first, stage->last));
        json_end_object(json);
    }
    json_end_array(json);
}

void place_put_services(struct json_writer *json, const struct planning *planning,
                        const struct planned *planned)
{
    json_begin_array(json, "services");
    for (int s = 0; s < planning->problem_count; s++) {
        const struct problem_input *input = problem_input(planning->problems[s]);
        const struct planned_service *service = &planned->services[s];

        json_begin_object(json, NULL);
        json_put_text(json, "service", input->service);
        json_put_text(json, input->model ? "model" : "executable",
                      input->model ? input->model->name : input->executable);
        json_put_seconds(json, "latency_s", service->latency_ps);
        json_put_seconds(json, "period_s", service->period_ps);
        json_put_text(json, "limit", service->limit);
        json_end_object(json);
    }
    json_end_array(json);
}

static void put_found_json(const struct place_told *told, struct json_writer *json)
{
    const struct planned *planned = told->planned;
    const struct planned_service *first = &planned->services[0];
    struct shape shape = shape_of(planned);

    json_put_seconds(json, "latency_s", first->latency_ps);
    json_put_seconds(json, "period_s", first->period_ps);
    json_put_text(json, "limit", first->limit);
    if (planned->room_bytes == INT64_MAX)
        json_put_null(json, "room_bytes");
    else
        json_put_int(json, "room_bytes", planned->room_bytes);
    json_put_text(json, "room_device",
                  planned->room_bytes == INT64_MAX ? NULL
                                                   : device_name(told, planned->room_device));
    if (planned->over_bound_ratio >= 0) {
        json_put_seconds(json, "bound_s", planned->bound_ps);
        json_put_double(json, "over_bound_ratio", planned->over_bound_ratio);
    }
    json_put_int(json, "extrapolated_costs", planned->extrapolated_costs);
    json_put_int(json, "replicas", shape.replicas);
    json_put_int(json, "devices", shape.devices);
    json_put_int(json, "epochs", shape.epochs);
    if (planned->answer.switch_cost_ps > 0)
        json_put_seconds(json, "switch_cost_s", planned->answer.switch_cost_ps);
    if (planned->answer.stages)
        put_stages(told, json);
    place_put_services(json, told->planning, planned);
    if (planned->has_load) {
        json_begin_object(json, "load");
        place_put_load(json, &planned->load);
        json_end_object(json);
    }
}

void place_tell_json(const struct place_told *told, struct out *out)
{
    const struct planning *planning = told->planning;
    const struct place_answer *answer = &told->planned->answer;
    const struct problem_input *input = problem_input(planning->problems[0]);
    struct json_writer *json = json_writer_create(planning->arena, out, true);
    int64_t missing_bytes = problem_missing_of_all(planning->problems, planning->problem_count);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "version", CLI_VERSION);
    json_put_int(json, "seed", (int64_t)planning->options->seed);
    json_put_text(json, "algorithm", told->planned->algorithm->name);
    json_put_text(json, "objective", place_objective_names[planning->options->objective]);
    if (planning->options->limit_ps > 0)
        json_put_seconds(json, "time_limit_s", planning->options->limit_ps);
    json_put_text(json, "service", input->service);
    json_put_text(json, input->model ? "model" : "executable",
                  input->model ? input->model->name : input->executable);
    if (told->is_interrupted)
        json_put_bool(json, "interrupted", true);
    json_put_bool(json, "feasible", answer->is_feasible);
    json_put_text(json, "remark", answer->why[0] != '\0' ? answer->why : NULL);
    if (answer->is_feasible)
        put_found_json(told, json);
    else if (missing_bytes > 0)
        json_put_int(json, "missing_bytes", missing_bytes);
    if (told->does_explain) {
        json_begin_array(json, "explanation");
        for (int i = 0; i < answer->line_count; i++)
            json_put_text(json, NULL, answer->lines[i]);
        json_end_array(json);
    }
    json_end_object(json);
}
