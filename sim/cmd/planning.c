/* planning.c - loads what is to be placed. */
#include "sim/cmd/planning.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/events.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/format/workload.h"
#include "lib/policy/plan.h"
#include "sim/network/reach.h"
#include "sim/report/inputs.h"
#include "sim/report/report.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_TOKENS 128
#define MOST_NAMED 8 /* devices that are left out */

/* ---- services ---- */

/* The executable that the tables have, when there is one alone. */
static const char *only_executable(const struct cost_set *costs, struct err *err)
{
    const char *found = NULL;

    for (int t = 0; t < costs->count; t++) {
        const struct cost_table *table = costs->tables[t];

        for (int i = 0; i < cost_stage_row_count(table); i++) {
            const char *name = cost_stage_row_at(table, i)->executable;

            if (found && strcmp(found, name) != 0) {
                (void)err_set(err, ERR_USAGE,
                              "%s has several executables, such as '%s' and '%s': say which with "
                              "--service NAME=EXECUTABLE, or give a --model",
                              cost_path(table), found, name);
                return NULL;
            }
            found = name;
        }
    }
    if (!found)
        (void)err_set(err, ERR_USAGE,
                      "--model is missing, and no table of --costs has executables");
    return found;
}

static bool is_executable(const struct cost_set *costs, const char *name)
{
    for (int t = 0; t < costs->count; t++)
        if (cost_stage_count(costs->tables[t], name) > 0)
            return true;
    return false;
}

/* A service's name, and what it is: a model or an executable. text NULL: none was given. */
static bool service_find(const struct planning *planning, const char *text,
                         struct problem_input *input, struct err *err)
{
    const char *model = planning->options->model;
    const char *equals = text ? strchr(text, '=') : NULL;
    const char *of = equals ? equals + 1 : model;

    if (equals && model)
        return err_set(err, ERR_USAGE, "--service says what it is: it goes without --model");
    if (!of && text &&
        (planning->options->service_count > 1 || is_executable(&planning->costs, text)))
        of = text;
    if (!of && !(of = only_executable(&planning->costs, err)))
        return false;
    input->service =
        text ? arena_strndup(planning->arena, text, equals ? (size_t)(equals - text) : strlen(text))
             : of;
    if (input->service[0] == '\0' || of[0] == '\0')
        return err_set(err, ERR_USAGE, "--service is '%s': expected NAME or NAME=MODEL", text);
    if (!model && is_executable(&planning->costs, of)) {
        input->executable = of;
        return true;
    }
    input->model = model_find(planning->catalogue, of, err);
    return input->model != NULL;
}

static int64_t mean_of(int64_t sum, int64_t count)
{
    int64_t mean = (sum + count / 2) / count;

    return mean > 1 ? mean : 1;
}

static bool workload_lengths(const struct workload *workload, struct problem_input *input,
                             struct err *err)
{
    int64_t prompts = 0, outputs = 0, count = 0;

    assert(input->service); /* for clang's analyzer */
    for (size_t i = 0; i < workload->count; i++) {
        struct workload_request request = workload_at(workload, i);

        if (strcmp(workload->services[request.service], input->service) != 0)
            continue;
        prompts += request.prompt_tokens;
        outputs += request.output_tokens;
        count++;
    }
    if (count == 0)
        return err_set(err, ERR_INPUT, "%s: no request of service '%s'", workload->path,
                       input->service);
    if (input->model && input->model->kind != MODEL_VISION && prompts == 0)
        return err_set(err, ERR_INPUT,
                       "%s: requests of service '%s' have no prompt_tokens: how long they are says "
                       "what they cost",
                       workload->path, input->service);
    input->prompt_tokens = (int32_t)mean_of(prompts, count);
    input->output_tokens = (int32_t)mean_of(outputs, count);
    return true;
}

static bool input_fill(const struct planning *planning, const char *text,
                       struct problem_input *input, struct err *err)
{
    const struct planning_options *options = planning->options;

    if (!service_find(planning, text, input, err))
        return false;
    input->sequences = options->sequences > 0 ? options->sequences : 1;
    input->prompt_tokens = options->prompt_tokens > 0 ? options->prompt_tokens : DEFAULT_TOKENS;
    input->output_tokens = options->output_tokens > 0 ? options->output_tokens : DEFAULT_TOKENS;
    if (planning->workload && !workload_lengths(planning->workload, input, err))
        return false;
    if (input->model && input->model->kind == MODEL_VISION)
        input->prompt_tokens = input->model->max_context;
    if (!input->model || input->model->kind != MODEL_DECODER)
        input->output_tokens = 1;
    return true;
}

static bool services_load(struct planning *planning, struct err *err)
{
    const struct planning_options *options = planning->options;
    int count = options->service_count > 0 ? options->service_count : 1;

    planning->problems = arena_array(planning->arena, (size_t)count, sizeof *planning->problems);
    for (int s = 0; s < count; s++) {
        struct problem_input input = { .cluster = planning->cluster, .costs = &planning->costs };
        struct problem *problem;

        if (!input_fill(planning, options->service_count > 0 ? options->services[s] : NULL, &input,
                        err))
            return false;
        assert(input.service);
        for (int other = 0; other < s; other++)
            if (strcmp(problem_input(planning->problems[other])->service, input.service) == 0)
                return err_set(err, ERR_USAGE, "--service is '%s': it is given twice",
                               input.service);
        problem = problem_create(planning->arena, &input, err);
        if (!problem)
            return false;
        planning->problems[planning->problem_count++] = problem;
    }
    return true;
}

/* ---- the workload ---- */

/* Requests against any placement of the services: all on the first device. */
static bool workload_check(const struct planning *planning, struct err *err)
{
    struct placement placement = { .path = "placement" };
    int most = 3 * planning->problem_count;
    const struct plan *plan;
    const int32_t *service_of;

    placement.rows = arena_array(planning->arena, (size_t)most, sizeof *placement.rows);
    for (int s = 0; s < planning->problem_count; s++) {
        const struct problem *problem = planning->problems[s];
        const struct problem_stage all = { 0, 0, problem_unit_count(problem) - 1 };
        int count;
        const struct placement_row *rows = problem_rows(planning->arena, problem, &all, 1, &count);

        memcpy(&placement.rows[placement.count], rows, (size_t)count * sizeof *rows);
        placement.count += count;
    }
    plan = plan_outline(planning->arena, &placement, planning->cluster, &planning->costs,
                        planning->catalogue, err);
    return plan && plan_match_workload(planning->arena, plan, planning->workload, &service_of, err);
}

static bool check_effects(const struct planning *planning, struct err *err)
{
    size_t count = (size_t)planning->problem_count;
    const struct model **models = arena_array(planning->arena, count, sizeof *models);

    for (size_t s = 0; s < count; s++)
        models[s] = problem_input(planning->problems[s])->model;
    return serving_check(&planning->options->serving, models, (int)count,
                         planning->workload && planning->workload->slos_ps, err);
}

static void judge_begin(struct planning *planning)
{
    const struct planning_options *options = planning->options;
    const struct judge_input input = { .cluster = planning->cluster,
                                       .costs = &planning->costs,
                                       .catalogue = planning->catalogue,
                                       .workload = planning->workload,
                                       .events = planning->events,
                                       .serve = options->serve,
                                       .slo_ps = options->metrics.slo_ps,
                                       .slo_ttft_ps = options->metrics.slo_ttft_ps,
                                       .slo_tpot_ps = options->metrics.slo_tpot_ps };

    planning->judge = judge_create(planning->arena, &input);
}

/* ---- the cluster ---- */

static const char *name_list(struct arena *arena, const struct cluster *cluster,
                             const bool *is_reached, int32_t count)
{
    const char *text = "";
    int32_t named = 0;

    for (int32_t d = 0; d < cluster->device_count; d++)
        if (!is_reached[d] && named++ < MOST_NAMED)
            text = arena_printf(arena, "%s%s'%s'", text, named > 1 ? ", " : "",
                                cluster->devices[d].name);
    return count > MOST_NAMED ? arena_printf(arena, "%s and %d more", text, count - MOST_NAMED)
                              : text;
}

/* Nothing can be placed where no request gets to: planners see the other devices alone. */
static bool cluster_cut(struct planning *planning, struct err *err)
{
    const struct cluster *whole = planning->cluster;
    struct cluster *part = arena_alloc(planning->arena, sizeof *part);
    size_t count = (size_t)whole->device_count;
    bool *is_reached = arena_array(planning->arena, count, sizeof *is_reached);
    int32_t reached = reach_from_source(planning->arena, whole, is_reached);

    if (reached == whole->device_count)
        return true;
    if (reached == 0)
        return err_set(err, ERR_INPUT, "%s/links.csv: no route joins any device to the source",
                       whole->path);
    *part = *whole;
    part->device_count = 0;
    part->devices = arena_array(planning->arena, count, sizeof *part->devices);
    for (int32_t d = 0; d < whole->device_count; d++)
        if (is_reached[d])
            part->devices[part->device_count++] = whole->devices[d];
    cluster_index(planning->arena, part);
    planning->left_out =
        name_list(planning->arena, whole, is_reached, whole->device_count - reached);
    planning->cluster = part;
    return true;
}

/* Read against all devices; those of the ones that are left out concern nobody. */
static const struct events *events_of(const struct planning *planning, struct err *err)
{
    const struct cluster *whole = planning->whole;
    struct events *events = events_load(planning->arena, planning->options->events, whole, err);
    size_t kept = 0;

    for (size_t i = 0; events && i < events->count; i++) {
        struct event event = events->events[i];

        if (event.target == EVENT_DEVICE) {
            event.device =
                cluster_find_device(planning->cluster, whole->devices[event.device].name);
            if (event.device < 0)
                continue;
        }
        events->events[kept++] = event;
    }
    if (events)
        events->count = kept;
    return events;
}

bool planning_load(struct arena *arena, const struct planning_options *options,
                   struct planning *planning, struct err *err)
{
    *planning = (struct planning){ .arena = arena, .options = options };
    planning->cluster = planning->whole = cluster_load(arena, options->cluster, err);
    if (!planning->whole || !cluster_cut(planning, err) ||
        !cost_set_load(arena, options->costs, options->cost_count, &planning->costs, err))
        return false;
    planning->catalogue = model_catalogue_load(arena, options->models, err);
    if (!planning->catalogue)
        return false;
    planning->workload = options->made;
    if (options->workload) {
        planning->workload = workload_load(arena, options->workload, err);
        if (!planning->workload)
            return false;
    }
    if (options->events) {
        planning->events = events_of(planning, err);
        if (!planning->events)
            return false;
    }
    if (!services_load(planning, err) || (planning->workload && !workload_check(planning, err)) ||
        !check_effects(planning, err))
        return false;
    judge_begin(planning);
    return true;
}

bool planning_move(struct planning *planning, const struct cluster *cluster, struct err *err)
{
    size_t count = (size_t)planning->problem_count;
    const struct problem **moved = arena_array(planning->arena, count, sizeof *moved);

    for (size_t s = 0; s < count; s++) {
        struct problem_input input = *problem_input(planning->problems[s]);

        input.cluster = cluster;
        moved[s] = problem_create(planning->arena, &input, err);
        if (!moved[s])
            return false;
    }
    planning->problems = moved;
    planning->cluster = cluster;
    judge_begin(planning);
    return true;
}

void planning_warn(struct arena *arena, const struct cost_set *costs, const struct cluster *cluster,
                   const char *command)
{
    for (int t = 0; t < costs->count; t++) {
        const struct cost_table *table = costs->tables[t];
        bool is_used = false;

        for (int32_t d = 0; d < cluster->device_count && !is_used; d++)
            is_used = strcmp(cluster->devices[d].type, cost_type(table)) == 0;
        if (is_used && cost_is_disturbed(table))
            fprintf(stderr, "orrery-sim %s: warning: %s\n", command,
                    report_quality_text(arena, table));
    }
}

bool planning_check_reached(const struct planning *planning, const struct placement *placement,
                            struct err *err)
{
    for (int i = 0; i < placement->count; i++) {
        const struct placement_row *row = &placement->rows[i];

        if (cluster_find_device(planning->cluster, row->device) < 0 &&
            cluster_find_device(planning->whole, row->device) >= 0)
            return placement_bad(placement, row, PLACEMENT_DEVICE, err,
                                 "no route joins it to the source in %s/links.csv",
                                 planning->whole->path);
    }
    return true;
}

void planning_warn_all(const struct planning *planning, const char *command)
{
    if (planning->left_out)
        fprintf(stderr,
                "orrery-sim %s: warning: left out, as no route joins them to the source: %s\n",
                command, planning->left_out);
    planning_warn(planning->arena, &planning->costs, planning->cluster, command);
}

bool planning_inputs(const struct planning *planning, struct inputs *inputs, struct err *err)
{
    const struct planning_options *options = planning->options;

    return inputs_add_cluster(inputs, options->cluster, err) &&
           (!options->models || inputs_add(inputs, "models", options->models, err)) &&
           (!options->workload || inputs_add(inputs, "workload", options->workload, err)) &&
           (!options->events || inputs_add(inputs, "events", options->events, err)) &&
           inputs_add_costs(inputs, &planning->costs, err);
}
