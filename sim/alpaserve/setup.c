/* setup.c - costs, clocks and choices of a run by AlpaServe's rules, before time starts. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/saturate.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/policy/black_box.h"
#include "lib/policy/price.h"
#include "sim/alpaserve/internal.h"
#include <assert.h>

/* ---- overheads ---- */

static bool overheads_build(struct run *run, struct err *err)
{
    const struct overhead *response = &run->overheads.at[OVERHEAD_RESPONSE];

    run->overheads = run->input->overheads ? *run->input->overheads : overhead_alpaserve();
    for (int i = 0; i < OVERHEAD_WHERE_COUNT; i++)
        if (i != OVERHEAD_RESPONSE && run->overheads.at[i].is_given &&
            run->overheads.at[i].mean_ps > 0)
            return err_set(
                err, ERR_INPUT,
                "--rules alpaserve know no overhead but that of the response: the time of "
                "submit, dispatch and worker must be 0");
    run->is_drawn =
        response->is_given && (response->dist == OVERHEAD_EXP ||
                               (response->dist != OVERHEAD_CONSTANT && response->sd_ps > 0));
    run->response_ps = response->is_given ? response->mean_ps : 0;
    return true;
}

/* ---- clocks ---- */

/* Devices that the same stages are on share a clock. Each stage in turn takes its devices out of
 * the class they were in: those of one class go on as one. */
static void clocks_build(struct run *run)
{
    const struct plan *plan = run->plan;
    size_t device_count = (size_t)plan->cluster->device_count, most = 1;
    int32_t *split_by, *split_to, *number, count = 1;

    for (int s = 0; s < plan->stage_count; s++)
        most += (size_t)plan->stages[s]->device_count;
    split_by = arena_array(run->arena, most, sizeof *split_by); /* stage + 1, by class */
    split_to = arena_array(run->arena, most, sizeof *split_to);
    number = arena_array(run->arena, most, sizeof *number);
    run->clock_of = arena_array(run->arena, device_count, sizeof *run->clock_of);
    for (int s = 0; s < plan->stage_count; s++)
        for (int i = 0; i < plan->stages[s]->device_count; i++) {
            int32_t *class = &run->clock_of[plan->stages[s]->devices[i]];

            if (split_by[*class] != s + 1) {
                split_by[*class] = s + 1;
                split_to[*class] = count++;
            }
            *class = split_to[*class];
        }
    for (size_t d = 0; d < device_count; d++) {
        int32_t class = run->clock_of[d];

        if (class != 0 && number[class] == 0)
            number[class] = ++run->clock_count;
        run->clock_of[d] = number[class] - 1; /* -1: no stage is on it */
    }
    run->clock_ps = arena_array(run->arena, (size_t)run->clock_count, sizeof *run->clock_ps);
    run->taken_ps = arena_array(run->arena, (size_t)run->clock_count, sizeof *run->taken_ps);
}

static void path_clocks(struct run *run, struct path *path, const struct plan_replica *replica)
{
    int32_t *clocks, *first, count = 0, most = 0;

    for (int k = 0; k < replica->stage_count; k++)
        most += replica->stages[k].device_count;
    clocks = arena_array(run->arena, (size_t)most, sizeof *clocks);
    first = arena_array(run->arena, (size_t)replica->stage_count + 1, sizeof *first);
    for (int k = 0; k < replica->stage_count; k++) {
        const struct plan_stage *stage = &replica->stages[k];

        first[k] = count;
        for (int i = 0; i < stage->device_count; i++) {
            int32_t clock = run->clock_of[stage->devices[i]], at = first[k];

            while (at < count && clocks[at] != clock)
                at++;
            if (at == count)
                clocks[count++] = clock;
        }
    }
    first[replica->stage_count] = count;
    path->clocks = clocks;
    path->clock_first = first;
    path->is_simple = count == replica->stage_count;
}

/* ---- costs ---- */

/* The batches that all stages were profiled with, on each of their devices. */
static bool path_sizes(struct run *run, struct path *path, const struct plan_replica *replica,
                       struct err *err)
{
    int32_t most = INT32_MAX;

    for (int k = 0; k < replica->stage_count; k++) {
        const struct plan_stage *stage = &replica->stages[k];
        int32_t bound = stage->max_batch > 0 ? stage->max_batch : run->options->batch.max_size;

        most = bound < most ? bound : most;
    }
    path->sizes =
        black_box_sizes(run->arena, run->plan, run->input->costs, replica, &path->size_count, err);
    if (!path->sizes)
        return false;
    if (run->options->batch.kind == BATCH_FIXED)
        path->size_count = batch_size_count(most, path->sizes, path->size_count);
    path->batch = run->options->batch;
    path->batch.max_size = most;
    return true;
}

/* Its slowest device sets the pace. */
static bool stage_cost(const struct run *run, const struct plan_stage *stage, int32_t size,
                       int stage_count, int64_t *latency_ps, struct err *err)
{
    *latency_ps = 0;
    for (int i = 0; i < stage->device_count; i++) {
        int32_t device = stage->devices[i];
        const struct cost_table *table =
            black_box_table(run->arena, run->plan, run->input->costs, device, err);
        struct black_box box;
        int64_t time_ps;

        if (!table || !black_box_read(table, stage, size, &box, err))
            return false;
        time_ps = price_scale(box.latency_ps, run->plan->cluster->devices[device].speed_ratio);
        *latency_ps = time_ps > *latency_ps ? time_ps : *latency_ps;
    }
    *latency_ps = overhead_stage_ps(&run->overheads, *latency_ps, stage_count);
    return true;
}

static bool path_costs(struct run *run, struct path *path, const struct plan_replica *replica,
                       struct err *err)
{
    size_t count = (size_t)path->size_count * (size_t)path->stage_count;
    int64_t *latency_ps = arena_array(run->arena, count, sizeof *latency_ps);

    path->latency_ps = latency_ps;
    path->booked = arena_array(run->arena, (size_t)path->size_count, sizeof *path->booked);
    path->wait_peak_ps =
        arena_array(run->arena, (size_t)path->stage_count, sizeof *path->wait_peak_ps);
    for (int32_t b = 0; b < path->size_count; b++)
        for (int32_t k = 0; k < path->stage_count; k++)
            if (!stage_cost(run, &replica->stages[k], path->sizes[b], replica->stage_count,
                            latency_ps++, err))
                return false;
    return true;
}

static bool paths_build(struct run *run, struct err *err)
{
    const struct plan *plan = run->plan;
    int32_t most_stages = 1;

    run->paths = arena_array(run->arena, (size_t)plan->replica_count, sizeof *run->paths);
    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct plan_replica *replica = &plan->replicas[r];
        struct path *path = &run->paths[r];

        if (plan->services[replica->service].model)
            return err_set(err, ERR_INPUT,
                           "service '%.100s' is a model: --rules alpaserve know executables alone",
                           plan->services[replica->service].name);
        path->replica = r;
        path->stage_count = replica->stage_count;
        most_stages = path->stage_count > most_stages ? path->stage_count : most_stages;
        path_clocks(run, path, replica);
        if (!path_sizes(run, path, replica, err) || !path_costs(run, path, replica, err))
            return false;
    }
    run->times_ps = arena_array(run->arena, (size_t)most_stages, sizeof *run->times_ps);
    return true;
}

/* ---- choices ---- */

static void choices_build(struct run *run)
{
    const struct plan *plan = run->plan;
    struct choice *choice;

    run->choices = choice = arena_array(
        run->arena, (size_t)plan->epoch_count * (size_t)plan->service_count, sizeof *run->choices);
    for (int e = 0; e < plan->epoch_count; e++)
        for (int s = 0; s < plan->service_count; s++, choice++) {
            const struct plan_service *service = &plan->services[s];
            int32_t first = service->epoch_first[e], end = service->epoch_first[e + 1];

            choice->paths = arena_array(run->arena, (size_t)(end - first), sizeof *choice->paths);
            for (int32_t i = first; i < end; i++) {
                struct path *path = &run->paths[service->replicas[i]];
                int32_t largest = path->size_count > 0 ? path->sizes[path->size_count - 1] : 0;

                if (run->input->is_left_out && run->input->is_left_out[path->replica])
                    continue;
                if (choice->count == 0 || largest < choice->max_items)
                    choice->max_items = largest;
                choice->paths[choice->count++] = path;
            }
        }
    run->now = run->choices;
    run->next_epoch_ps = plan->epoch_count > 1 ? plan->epochs[1].from_ps : ALPASERVE_NEVER;
}

bool alpaserve_setup(struct run *run, struct err *err)
{
    if (!overheads_build(run, err))
        return false;
    clocks_build(run);
    if (!paths_build(run, err))
        return false;
    choices_build(run);
    return true;
}
