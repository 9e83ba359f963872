/* alpaserve.c - books requests one by one, in order of arrival. */
#include "sim/alpaserve/alpaserve.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "sim/alpaserve/internal.h"

#define BLOCK 256 /* arrivals of an open stream that are pulled at once */

int64_t alpaserve_response_ps(const struct run *run, int64_t request_id)
{
    if (!run->is_drawn)
        return run->response_ps;
    return overhead_draw(&run->overheads.at[OVERHEAD_RESPONSE], run->options->seed,
                         OVERHEAD_RESPONSE, (uint64_t)request_id, 0);
}

void alpaserve_tell_spans(const struct run *run, const struct path *path, int32_t size,
                          size_t index, int64_t ready_ps, int64_t batch_id, int32_t share)
{
    const struct plan_stage *stages = run->plan->replicas[path->replica].stages;
    const int64_t *latency_ps = path_latency_ps(path, size);

    for (int32_t k = 0; k < path->stage_count; k++) {
        struct alpaserve_span span = { .index = index,
                                       .batch_id = batch_id,
                                       .share = share,
                                       .batch_size = path->sizes[size],
                                       .stage = stages[k].id,
                                       .number = stages[k].number,
                                       .start_ps = run->times_ps[k] - latency_ps[k],
                                       .finish_ps = run->times_ps[k],
                                       .wait_ps = run->times_ps[k] - latency_ps[k] - ready_ps };

        ready_ps = run->times_ps[k];
        for (int i = 0; i < stages[k].device_count; i++) {
            span.device = stages[k].devices[i];
            span.position = i;
            run->observer.on_span(run->observer.arg, &span);
        }
    }
}

static void tell_end(const struct run *run, const struct alpaserve_arrival *arrival,
                     const struct path *path, enum trace_status status, int64_t start_ps,
                     int64_t end_ps)
{
    bool is_ok = status == TRACE_OK;
    struct alpaserve_end end = { .index = arrival->index,
                                 .request_id = arrival->request_id,
                                 .service = arrival->service,
                                 .replica = is_ok ? path->replica : -1,
                                 .status = status,
                                 .arrival_ps = arrival->arrival_ps,
                                 .start_ps = is_ok ? start_ps : TRACE_NONE,
                                 .finish_ps = is_ok ? end_ps : TRACE_NONE,
                                 .slo_ps = arrival->slo_ps,
                                 .end_ps = end_ps };

    run->observer.on_end(run->observer.end_arg, &end);
}

bool alpaserve_end(const struct run *run, const struct alpaserve_arrival *arrival,
                   const struct path *path, enum trace_status status, int64_t start_ps,
                   int64_t end_ps, struct err *err)
{
    struct alpaserve_result *result = run->result;

    if (end_ps > UNITS_MAX_PS)
        return err_set(err, ERR_INPUT,
                       "simulated time passes %lld s: use a shorter workload (of a run, --until)",
                       (long long)(UNITS_MAX_PS / UNITS_PS_PER_S));
    result->end_ps = end_ps > result->end_ps ? end_ps : result->end_ps;
    result->ok_count += status == TRACE_OK;
    result->dropped_count += status == TRACE_DROPPED;
    result->refused_count += status == TRACE_REFUSED;
    if (run->observer.on_end)
        tell_end(run, arrival, path, status, start_ps, end_ps);
    if (run->source->ended)
        run->source->ended(run->source->arg, arrival->index, end_ps);
    return true;
}

/* All devices of a clock are taken from then on. */
static void gap_keep(struct run *run, int32_t clock, int64_t from_ps)
{
    struct alpaserve_result *result = run->result;
    int device_count = run->plan->cluster->device_count;

    if (!result->gaps)
        result->gaps =
            arena_array(run->arena, (size_t)run->plan->epoch_count * (size_t)device_count,
                        sizeof *result->gaps);
    for (int32_t d = 0; d < device_count; d++)
        if (run->clock_of[d] == clock)
            result->gaps[result->gap_count++] =
                (struct alpaserve_gap){ d, from_ps, run->clock_ps[clock] };
}

void alpaserve_next_epoch(struct run *run)
{
    const struct plan *plan = run->plan;
    int device_count = plan->cluster->device_count;
    int64_t from_ps = run->next_epoch_ps;

    run->epoch++;
    run->now = &run->choices[(ptrdiff_t)run->epoch * plan->service_count];
    run->next_epoch_ps =
        run->epoch + 1 < plan->epoch_count ? plan->epochs[run->epoch + 1].from_ps : ALPASERVE_NEVER;
    if (!run->input->switch_ps)
        return;
    /* Devices that share a clock are taken until the last of them is ready. */
    for (int32_t i = 0; i < run->clock_count; i++)
        run->taken_ps[i] = 0;
    for (int d = 0; d < device_count; d++) {
        int64_t switch_ps = run->input->switch_ps[run->epoch * device_count + d];

        if (run->clock_of[d] >= 0 && switch_ps > run->taken_ps[run->clock_of[d]])
            run->taken_ps[run->clock_of[d]] = switch_ps;
    }
    for (int32_t i = 0; i < run->clock_count; i++) {
        int64_t begin_ps = run->clock_ps[i] > from_ps ? run->clock_ps[i] : from_ps;

        if (run->taken_ps[i] == 0)
            continue;
        run->clock_ps[i] = saturate_add(begin_ps, run->taken_ps[i]);
        gap_keep(run, i, begin_ps);
    }
}

static inline bool book(struct run *run, const struct alpaserve_arrival *arrival, struct err *err)
{
    const struct choice *choice = &run->now[arrival->service];
    int64_t enter_ps = arrival->arrival_ps, finish_ps;
    struct path *path;
    int32_t size = 0;

    if (arrival->items > choice->max_items)
        return alpaserve_end(run, arrival, NULL, TRACE_REFUSED, 0, enter_ps, err);
    path = choice_path(run, choice);
    if (arrival->items > 1)
        size = path_size(path, arrival->items);
    finish_ps = saturate_add(path_predict_ps(run, path, size, enter_ps),
                             alpaserve_response_ps(run, arrival->request_id));
    if (finish_ps > run_deadline_ps(run, arrival))
        return alpaserve_end(run, arrival, NULL, TRACE_DROPPED, 0, enter_ps, err);
    path_book(run, path, size, enter_ps);
    if (run->observer.on_span)
        alpaserve_tell_spans(run, path, size, arrival->index, enter_ps, -1, 0);
    return alpaserve_end(run, arrival, path, TRACE_OK,
                         run->times_ps[0] - path_latency_ps(path, size)[0], finish_ps, err);
}

static bool run_requests(struct run *run, struct err *err)
{
    const struct alpaserve_source *source = run->source;
    struct alpaserve_result *result = run->result;
    struct alpaserve_arrival *block = arena_array(run->arena, BLOCK, sizeof *block);
    size_t room = source->peek_ps ? 1 : BLOCK, count;

    while ((count = source->take(source->arg, block, room)) > 0) {
        if (result->taken_count == 0)
            result->first_ps = block[0].arrival_ps;
        result->last_ps = block[count - 1].arrival_ps;
        result->taken_count += (int64_t)count;
        for (size_t i = 0; i < count; i++) {
            while (block[i].arrival_ps >= run->next_epoch_ps)
                alpaserve_next_epoch(run);
            if (!book(run, &block[i], err))
                return false;
        }
    }
    result->event_count = result->taken_count;
    return true;
}

static void fill_peaks(const struct run *run, const struct path *path)
{
    const struct plan_stage *stages = run->plan->replicas[path->replica].stages;

    for (int32_t k = 0; k < path->stage_count; k++)
        for (int i = 0; i < stages[k].device_count; i++) {
            int64_t *peak_ps = &run->result->wait_peak_ps[stages[k].devices[i]];

            *peak_ps = path->wait_peak_ps[k] > *peak_ps ? path->wait_peak_ps[k] : *peak_ps;
        }
}

static void fill_busy(const struct run *run)
{
    const struct plan *plan = run->plan;

    for (int r = 0; r < plan->replica_count; r++) {
        const struct path *path = &run->paths[r];

        if (path->stage_count > 0)
            fill_peaks(run, path);
        for (int32_t i = 0; i < path->size_count * path->stage_count; i++) {
            const struct plan_stage *stage = &plan->replicas[r].stages[i % path->stage_count];
            int64_t times = path->booked[i / path->stage_count];

            for (int d = 0; times > 0 && d < stage->device_count; d++)
                run->result->busy_ps[stage->devices[d]] += times * path->latency_ps[i];
        }
    }
}

bool alpaserve_run(struct arena *arena, const struct alpaserve_input *input,
                   const struct alpaserve_options *options, const struct alpaserve_source *source,
                   const struct alpaserve_observer *observer, struct alpaserve_result *result,
                   struct err *err)
{
    struct run *run = arena_alloc(arena, sizeof *run);

    run->arena = arena;
    run->input = input;
    run->options = options;
    run->plan = input->plan;
    run->source = source;
    run->result = result;
    if (observer)
        run->observer = *observer;
    *result = (struct alpaserve_result){ .first_ps = ALPASERVE_NEVER };
    result->busy_ps =
        arena_array(arena, (size_t)input->plan->cluster->device_count, sizeof *result->busy_ps);
    result->wait_peak_ps = arena_array(arena, (size_t)input->plan->cluster->device_count,
                                       sizeof *result->wait_peak_ps);
    if (!alpaserve_setup(run, err))
        return false;
    if (options->batch.kind == BATCH_FIXED ? !alpaserve_run_batches(run, err)
                                           : !run_requests(run, err))
        return false;
    fill_busy(run);
    return true;
}
