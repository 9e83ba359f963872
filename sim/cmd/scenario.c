/* scenario.c - placement, cluster, costs, models and workload, read and put together. */
#include "sim/cmd/scenario.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/events.h"
#include "lib/format/model.h"
#include "lib/format/overhead.h"
#include "lib/format/placement.h"
#include "lib/format/prefix_blocks.h"
#include "lib/format/workload.h"
#include "lib/policy/plan.h"
#include "sim/generate/stream.h"
#include <string.h>

void scenario_add_costs(const struct argp_state *state, const char *costs[SCENARIO_MAX_COSTS],
                        int *count, const char *text)
{
    if (*count == SCENARIO_MAX_COSTS)
        cli_error(state, "--costs: more than %d given; name a folder of them", SCENARIO_MAX_COSTS);
    costs[(*count)++] = text;
}

/* Columns that plans carry but this simulator does not act on are refused, never passed over. */
static bool refuse_unsupported(const struct placement *placement, const struct plan *plan,
                               bool has_bounded_queues, struct err *err)
{
    for (int i = 0; i < plan->stage_count && !has_bounded_queues; i++)
        if (plan->stages[i]->queue_depth > 0)
            return placement_bad(placement, plan->stages[i]->row, PLACEMENT_QUEUE_DEPTH, err,
                                 "the simulator that --rules names has no bounded queues");
    return true;
}

static bool inputs_fill(struct scenario *scenario, const struct scenario_files *files,
                        struct err *err)
{
    struct inputs *inputs = &scenario->inputs;

    return inputs_add(inputs, "placement", files->placement, err) &&
           (!files->workload || inputs_add(inputs, "workload", files->workload, err)) &&
           load_inputs(&files->load, inputs, err) &&
           (!files->models || inputs_add(inputs, "models", files->models, err)) &&
           (!files->events || inputs_add(inputs, "events", files->events, err)) &&
           (!files->overhead || inputs_add(inputs, "overhead", files->overhead, err)) &&
           (!files->prefix_blocks || inputs_add(inputs, "prefixes", files->prefix_blocks, err)) &&
           (!files->cluster || inputs_add_cluster(inputs, files->cluster, err)) &&
           inputs_add_costs(inputs, &scenario->costs, err);
}

/* ---- requests ---- */

static bool rows_get(struct arena *arena, const struct scenario_files *files,
                     struct serve_input *input, struct err *err)
{
    struct workload *workload = files->workload
                                    ? workload_load(arena, files->workload, err)
                                    : generate_workload(arena, &files->load.options, err);

    input->workload = workload;
    if (workload && files->prefix_blocks) {
        input->prefix_blocks = prefix_blocks_load(arena, files->prefix_blocks, workload, err);
        if (!input->prefix_blocks)
            return false;
    }
    return workload && plan_match_workload(arena, input->plan, workload, &input->service_of, err);
}

/* Whether what the options draw is all that requests of the model need: draws are at least 1. */
static bool has_all_tokens(const struct generate_options *options, const struct model *model)
{
    return options->prompt && (options->output || model->kind != MODEL_DECODER);
}

/* Open arrivals of services that need no look at a row before the run can be drawn while it runs.
 */
static bool can_stream(const struct scenario_files *files, const struct plan *plan)
{
    const struct generate_options *options = &files->load.options;
    bool needs_rows = files->workload || files->needs_rows || files->prefix_blocks ||
                      options->clients > 0 || options->turns || options->replay || options->items;

    for (int i = 0; i < plan->service_count && !needs_rows; i++)
        needs_rows = plan->services[i].model && !has_all_tokens(options, plan->services[i].model);
    return !needs_rows;
}

static bool stream_get(struct arena *arena, const struct scenario_files *files,
                       struct serve_input *input, struct err *err)
{
    struct stream *stream = stream_open(arena, &files->load.options, err);
    int32_t *service_of;

    if (!stream)
        return false;
    service_of = arena_array(arena, (size_t)stream_service_count(stream), sizeof(*service_of));
    for (int i = 0; i < stream_service_count(stream); i++) {
        service_of[i] = plan_find_service(input->plan, stream_service(stream, i));
        if (service_of[i] < 0)
            return err_set(err, ERR_INPUT, "--service is '%.60s': not placed",
                           stream_service(stream, i));
    }
    input->stream = stream;
    input->service_of = service_of;
    return true;
}

static bool requests_get(struct arena *arena, const struct scenario_files *files,
                         struct serve_input *input, struct err *err)
{
    return can_stream(files, input->plan) ? stream_get(arena, files, input, err)
                                          : rows_get(arena, files, input, err);
}

static bool extras_load(struct arena *arena, const struct scenario_files *files,
                        struct serve_input *input, struct err *err)
{
    if (files->events) {
        input->events = events_load(arena, files->events, input->plan->cluster, err);
        if (!input->events)
            return false;
    }
    if (files->overhead) {
        struct overheads *overheads = arena_alloc(arena, sizeof(*overheads));

        if (!overhead_load(arena, files->overhead, overheads, err))
            return false;
        input->overheads = overheads;
    }
    return true;
}

bool scenario_load(struct arena *arena, const struct scenario_files *files,
                   struct scenario *scenario, struct err *err)
{
    struct model_catalogue *catalogue = model_catalogue_load(arena, files->models, err);
    const struct placement *placement;
    const struct cluster *cluster = NULL;

    *scenario = (struct scenario){ .inputs = { .arena = arena } };
    if (!catalogue || !cost_set_load(arena, files->costs, files->cost_count, &scenario->costs, err))
        return false;
    if (files->cluster) {
        cluster = cluster_load(arena, files->cluster, err);
        if (!cluster)
            return false;
    }
    placement = placement_load(arena, files->placement, err);
    if (!placement)
        return false;
    scenario->switch_cost_ps = placement->switch_cost_ps;
    scenario->input.costs = &scenario->costs;
    scenario->input.plan = plan_build(arena, placement, cluster, &scenario->costs, catalogue, err);
    if (!scenario->input.plan ||
        !refuse_unsupported(placement, scenario->input.plan, files->has_bounded_queues, err))
        return false;
    if (!extras_load(arena, files, &scenario->input, err))
        return false;
    return requests_get(arena, files, &scenario->input, err) && inputs_fill(scenario, files, err);
}
