/* input.c - what a run is given, and what each worker will be told. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/events.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/format/workload.h"
#include "lib/policy/plan.h"
#include "lib/wire/keys.h"
#include "runner/coordinator/internal.h"
#include "runner/setup/machine.h"
#include "runner/setup/setup.h"

bool coordinator_check_rows(const struct placement *placement, struct err *err)
{
    for (int i = 0; i < placement->count; i++)
        if (placement->rows[i].executable[0] != '\0')
            return placement_bad(placement, &placement->rows[i], PLACEMENT_EXECUTABLE, err,
                                 "orrery-run executes models; a black box can only be simulated");
    return true;
}

/* Without --cluster: the placement's devices, of the type of the only cost table if one is given.
 */
static struct cluster *find_cluster(struct coordinator *c, struct err *err)
{
    const char **names;

    if (c->options->cluster)
        return cluster_load(c->arena, c->options->cluster, err);
    if (c->costs.count > 1) {
        err_set(err, ERR_USAGE,
                "cost tables of %d device types are given: --cluster must say "
                "which device is of which type",
                c->costs.count);
        return NULL;
    }
    names = arena_array(c->arena, (size_t)c->placement->count, sizeof *names);
    for (int i = 0; i < c->placement->count; i++)
        names[i] = c->placement->rows[i].device;
    return cluster_implied(c->arena, names, c->placement->count,
                           c->costs.count == 1 ? cost_type(c->costs.tables[0]) : "");
}

const struct batching *coordinator_batching(const struct coordinator *c)
{
    return c->options->batching.batch.kind == BATCH_CONTINUOUS ? &c->options->batching : NULL;
}

/* A drill kills and starts processes; links and speeds are this machine's own. */
static bool load_events(struct coordinator *c, struct err *err)
{
    const struct events *events;

    if (!c->options->events)
        return true;
    c->events = events = events_load(c->arena, c->options->events, c->plan->cluster, err);
    if (!events)
        return false;
    for (size_t i = 0; i < events->count; i++)
        if (events->events[i].target != EVENT_DEVICE ||
            (events->events[i].kind != EVENT_DOWN && events->events[i].kind != EVENT_UP))
            return err_at(err, events->path, events->events[i].line, 0,
                          "orrery-run performs down and up of devices: '%s' can only be simulated",
                          events->events[i].name);
    return true;
}

bool coordinator_load(struct coordinator *c, struct err *err)
{
    const struct coordinator_options *options = c->options;
    struct cluster *cluster;

    c->catalogue = model_catalogue_load(c->arena, options->models, err);
    if (!c->catalogue)
        return false;
    if (options->keys && !(c->keys = keys_load(c->arena, options->keys, err)))
        return false;
    c->placement = placement_load(c->arena, options->placement, err);
    if (!c->placement || !coordinator_check_rows(c->placement, err))
        return false;
    if (options->cost_count > 0 &&
        !cost_set_load(c->arena, options->costs, options->cost_count, &c->costs, err))
        return false;
    cluster = find_cluster(c, err);
    if (!cluster)
        return false;
    c->plan = plan_build(c->arena, c->placement, cluster, NULL, c->catalogue, err);
    if (!c->plan)
        return false;
    c->workload = workload_load(c->arena, options->workload, err);
    return c->workload &&
           plan_match_workload(c->arena, c->plan, c->workload, &c->service_of, err) &&
           load_events(c, err);
}

struct assign_input coordinator_assign_input(const struct coordinator *c)
{
    return (struct assign_input){
        .plan = c->plan,
        .placement = c->placement,
        .workload = c->workload,
        .service_of = c->service_of,
        .costs = c->options->cost_count > 0 ? &c->costs : NULL,
        .pads = c->options->pads,
        .pad_count = c->options->pad_count,
        .seed = c->options->seed,
        .session = c->session,
        .batching = coordinator_batching(c),
        .batch = &c->options->batching.batch,
        .collective = c->options->collective,
        .has_clamp = c->options->has_clamp,
        .tells_exchanges = c->options->transfers_out != NULL,
        .is_local = c->options->is_local,
    };
}

bool coordinator_assign(struct coordinator *c, struct err *err)
{
    struct assign_input input = coordinator_assign_input(c);

    c->assignment = arena_alloc(c->arena, sizeof *c->assignment);
    return assign_build(c->arena, &input, c->assignment, err) &&
           (!c->options->is_local ||
            assign_memory(c->assignment, NULL, machine_available_bytes(), err));
}
