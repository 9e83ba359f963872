/* pipeline.c - GPipe (Huang et al., 2019): every micro-batch forward through all stages, then every
 * one backward, last first; the optimizer of each stage behind its last.
 *
 * A stage is a run of forward operators, the backward operators that belong to them, and the share
 * of the optimizer's time that its weights are of all. Its operators need nothing from elsewhere
 * once the boundary has arrived, so that a stage's pass over a micro-batch is one task. A stage is
 * free as soon as it has computed: messages travel by themselves, in order. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include "lib/format/ops.h"
#include "sim/ops/internal.h"
#include <assert.h>
#include <inttypes.h>
#include <stddef.h>

/* ---- stages ---- */

/* Time of each forward operator with the backward ones that belong to it. */
static int64_t *row_times(const struct spread *spread)
{
    const struct roles *roles = spread->roles;
    int64_t *times = arena_array(spread->arena, (size_t)roles->forward_count, sizeof *times);

    for (int32_t i = 0; i < roles->forward_count; i++)
        times[i] = spread->ops->rows[i].busy_ps;
    for (int32_t i = 0; i < roles->backward_count; i++)
        times[roles->partner[i]] = saturate_add(
            times[roles->partner[i]], spread->ops->rows[roles->forward_count + i].busy_ps);
    return times;
}

/* Stages filled from the front, none above most_ps, each with an operator at least. Whether all
 * operators found a stage. */
static bool fill_stages(const int64_t *times, int32_t count, int32_t stages, int64_t most_ps,
                        int32_t *cut)
{
    int32_t at = 0;

    for (int32_t s = 0; s < stages; s++) {
        int64_t time_ps = 0;

        cut[s] = at;
        while (at < count - (stages - 1 - s) && times[at] <= most_ps - time_ps)
            time_ps += times[at++];
        if (at == cut[s])
            return false;
    }
    cut[stages] = count;
    return at == count;
}

static void cut_by_time(const struct spread *spread)
{
    int32_t count = spread->roles->forward_count, stages = spread->options.devices;
    const int64_t *times = row_times(spread);
    int64_t low = -1, high = 0; /* low: not enough, high: enough */

    for (int32_t i = 0; i < count; i++)
        high = saturate_add(high, times[i]);
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;

        if (fill_stages(times, count, stages, middle, spread->cut))
            high = middle;
        else
            low = middle;
    }
    (void)fill_stages(times, count, stages, high, spread->cut);
}

bool pipeline_cut(struct spread *spread, struct err *err)
{
    int32_t count = spread->roles->forward_count, stages = spread->options.devices;

    if (count < stages)
        return err_at(err, spread->ops->path, 0, 0,
                      "%d forward operators: expected at least one for each of %d devices", count,
                      stages);
    spread->cut = arena_array(spread->arena, (size_t)stages + 1, sizeof *spread->cut);
    for (int32_t s = 0; s <= stages; s++)
        spread->cut[s] = (int32_t)((int64_t)s * count / stages);
    if (spread->options.cut == SPREAD_CUT_TIME)
        cut_by_time(spread);
    return true;
}

static int32_t stage_of(const struct spread *spread, int32_t row)
{
    int32_t low = 0, high = spread->options.devices;

    while (high - low > 1) {
        int32_t middle = low + (high - low) / 2;

        if (spread->cut[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* ---- boundaries ---- */

/* Bytes of a micro-batch that stage s sends to the next: tensors made up to there by forward
 * operators and read behind, passed on from stage to stage; none of them in the trace: what the
 * last operator makes. Their gradients come back in as many bytes. */
static int64_t *boundary_bytes(const struct spread *spread)
{
    const struct ops *ops = spread->ops;
    const struct roles *roles = spread->roles;
    int32_t stages = spread->options.devices;
    size_t tensors = (size_t)ops->tensor_count;
    int64_t *bytes = arena_array(spread->arena, (size_t)stages, sizeof *bytes);
    int32_t *made = arena_array(spread->arena, tensors, sizeof *made); /* stage + 1 */
    int32_t *sent = arena_array(spread->arena, tensors, sizeof *sent); /* has reached it, + 1 */

    for (int32_t i = 0; i < roles->forward_count; i++) {
        const struct ops_row *op = &ops->rows[i];
        int32_t stage = stage_of(spread, i);

        for (int32_t k = 0; k < op->in_count; k++) {
            int32_t tensor = roles->same_as[op->ins[k]];

            if (made[tensor] == 0)
                continue;
            for (int32_t s = sent[tensor] - 1; s < stage; s++)
                bytes[s] += spread_tensor_bytes(spread, tensor, spread->options.micro_batch);
            if (sent[tensor] < stage + 1)
                sent[tensor] = stage + 1;
        }
        for (int32_t k = 0; k < op->out_count; k++)
            made[op->outs[k]] = sent[op->outs[k]] = stage + 1;
    }
    for (int32_t s = 0; s < stages - 1; s++) {
        const struct ops_row *op = &ops->rows[spread->cut[s + 1] - 1];

        for (int32_t k = 0; k < op->out_count && bytes[s] == 0; k++)
            bytes[s] = spread_tensor_bytes(spread, op->outs[k], spread->options.micro_batch);
    }
    return bytes;
}

/* ---- the schedule ---- */

struct pipeline {
    struct spread *spread;
    struct graph *graph;
    int64_t *forward_ps, *backward_ps, *optimizer_ps; /* of each stage */
    int64_t *boundary;                                /* of each stage but the last */
    int32_t *arrived; /* of each stage: the message that its next task waits for; -1 = none */
};

static void time_stages(struct pipeline *pipeline)
{
    struct spread *spread = pipeline->spread;
    const struct roles *roles = spread->roles;
    size_t stages = (size_t)spread->options.devices;
    int64_t optimizer_ps = 0;

    pipeline->forward_ps = arena_array(spread->arena, stages, sizeof *pipeline->forward_ps);
    pipeline->backward_ps = arena_array(spread->arena, stages, sizeof *pipeline->backward_ps);
    pipeline->optimizer_ps = arena_array(spread->arena, stages, sizeof *pipeline->optimizer_ps);
    for (int32_t i = 0; i < spread->ops->row_count; i++) {
        int64_t time_ps = spread_row_ps(spread, i, spread->options.micro_batch);
        int64_t *sum = &optimizer_ps;

        if (i < roles->forward_count)
            sum = &pipeline->forward_ps[stage_of(spread, i)];
        else if (i < roles->forward_count + roles->backward_count)
            sum =
                &pipeline->backward_ps[stage_of(spread, roles->partner[i - roles->forward_count])];
        *sum = saturate_add(*sum, time_ps);
    }
    for (size_t s = 0; s < stages; s++)
        pipeline->optimizer_ps[s] =
            roles->gradient_bytes > 0
                ? spread_of_optimizer(spread, optimizer_ps,
                                      spread->result->devices[s].memory.gradients_bytes)
                : units_mul_div(optimizer_ps, 1, (int64_t)stages);
}

static int32_t compute(struct pipeline *pipeline, int32_t stage, int32_t micro, int64_t time_ps)
{
    int32_t task =
        graph_add(pipeline->graph, &(struct graph_task){ .lane = stage,
                                                         .row = pipeline->spread->cut[stage],
                                                         .part = micro,
                                                         .duration_ps = time_ps });

    if (pipeline->arrived[stage] >= 0)
        graph_after(pipeline->graph, task, pipeline->arrived[stage]);
    pipeline->arrived[stage] = -1;
    return task;
}

/* Lanes behind those of the devices: stage 0 to 1, 1 to 2, ..., then 1 to 0, 2 to 1, ... */
static void transfer(struct pipeline *pipeline, int32_t from, int32_t to, int32_t micro,
                     int32_t task)
{
    struct spread *spread = pipeline->spread;
    int32_t stages = spread->options.devices, boundary = from < to ? from : to;
    int64_t bytes = pipeline->boundary[boundary];
    int32_t message =
        graph_add(pipeline->graph,
                  &(struct graph_task){ .lane = stages + (from < to ? 0 : stages - 1) + boundary,
                                        .row = -1,
                                        .part = micro,
                                        .bytes = bytes,
                                        .duration_ps = spread_link_ps(spread, bytes),
                                        .latency_ps = spread->options.link_latency_ps });

    graph_after(pipeline->graph, message, task);
    pipeline->arrived[to] = message;
    spread->result->messages++;
    spread->result->devices[from].sent_bytes =
        saturate_add(spread->result->devices[from].sent_bytes, bytes);
}

/* Tasks of a lane run in order of being added: micro-batch after micro-batch. */
static void schedule(struct pipeline *pipeline)
{
    struct spread *spread = pipeline->spread;
    int32_t stages = spread->options.devices, micros = (int32_t)spread->result->micro_count;

    for (int32_t m = 0; m < micros; m++)
        for (int32_t s = 0; s < stages; s++) {
            int32_t task = compute(pipeline, s, m, pipeline->forward_ps[s]);

            if (s < stages - 1)
                transfer(pipeline, s, s + 1, m, task);
        }
    for (int32_t m = micros - 1; m >= 0 && spread->roles->backward_count > 0; m--)
        for (int32_t s = stages - 1; s >= 0; s--) {
            int32_t task = compute(pipeline, s, m, pipeline->backward_ps[s]);

            if (s > 0)
                transfer(pipeline, s, s - 1, m, task);
        }
    for (int32_t s = 0; s < stages && spread->roles->optimizer_count > 0; s++)
        (void)compute(pipeline, s, -1, pipeline->optimizer_ps[s]);
}

static const char *const *name_lanes(const struct spread *spread)
{
    int32_t stages = spread->options.devices;
    const char **lanes = arena_array(spread->arena, 3 * (size_t)stages - 2, sizeof *lanes);

    for (int32_t s = 0; s < stages; s++)
        lanes[s] = arena_printf(spread->arena, "%d", s);
    for (int32_t s = 0; s < stages - 1; s++) {
        lanes[stages + s] = arena_printf(spread->arena, "%d to %d", s, s + 1);
        lanes[2 * stages - 1 + s] = arena_printf(spread->arena, "%d to %d", s + 1, s);
    }
    return lanes;
}

bool pipeline_run(struct spread *spread, struct err *err)
{
    int32_t stages = spread->options.devices;
    struct spread_result *result = spread->result;
    struct pipeline pipeline = { .spread = spread,
                                 .graph = graph_create(spread->arena, 3 * stages - 2),
                                 .boundary = boundary_bytes(spread),
                                 .arrived = arena_array(spread->arena, (size_t)stages,
                                                        sizeof *pipeline.arrived) };
    bool is_done;

    for (int32_t s = 0; s < stages; s++)
        pipeline.arrived[s] = -1;
    time_stages(&pipeline);
    schedule(&pipeline);
    is_done = graph_run(pipeline.graph, err);
    if (err->kind != ERR_NONE)
        return false;
    assert(is_done);
    result->iteration_ps = pipeline.graph->end_ps;
    result->graph = pipeline.graph;
    result->lanes = name_lanes(spread);
    result->device_lanes = stages;
    for (int32_t lane = 0; lane < pipeline.graph->lane_count; lane++) {
        int64_t busy_ps = pipeline.graph->busy_ps[lane];

        if (lane < stages)
            result->devices[lane].compute_ps = busy_ps;
        else if (busy_ps > result->communication_ps)
            result->communication_ps = busy_ps;
    }
    return true;
}
