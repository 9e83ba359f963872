/* triosim.c - the arithmetic of TrioSim (sarchlab/triosim at 3fb3c06, Go, MIT), as far as its own
 * runs show it.
 *
 * Everything is in proportion to the batch: times and bytes, those of weights and of the optimizer
 * too. A micro-batch has 1 / m of both. --link-bytes-per-s is the rate of an all-reduce (links of
 * the ring run at 2(N-1)/N times as much), so that the number of devices cancels out. Weights stand
 * for their gradients. Latency does not count. Inputs come from a host over a link of their own
 * (triosim_play.c). A device overlaps with itself: the first operator of a micro-batch runs as soon
 * as the micro-batch is there, beside what the device is doing. With several micro-batches the
 * backward pass begins on a memory without what the forward pass left. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include "lib/format/ops.h"
#include "sim/ops/internal.h"
#include "sim/ops/triosim_play.h"
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct triosim {
    struct spread *spread;
    struct triosim_scale scale;
    int64_t *starts_ps; /* of each row, of the last pass over it */
};

static int64_t later(int64_t a_ps, int64_t b_ps)
{
    return a_ps > b_ps ? a_ps : b_ps;
}

static int64_t over_link(const struct triosim *triosim, int64_t bytes)
{
    return spread_link_ps(triosim->spread, bytes);
}

/* Its routes are those with the smallest sum of bandwidths: a fast ring goes through the host. */
static bool goes_through_host(const struct spread *spread, bool is_ring)
{
    int64_t link = spread->options.link_bytes_per_s, count = spread->options.devices;

    if (count < 2)
        return false;
    if (is_ring)
        link = units_mul_div(link, 2 * (count - 1), count);
    return spread->options.remote_bytes_per_s < link / 2;
}

static bool refuse_host(const struct spread *spread, struct err *err)
{
    return err_set(err, ERR_USAGE,
                   "TrioSim would send %s through the host, where it meets what is fetched: not "
                   "reproduced; expected --remote-bytes-per-s of at least half of its link",
                   spread->options.parallel == SPREAD_PIPELINE ? "micro-batches" : "the ring");
}

/* All rows on one device, as every device plays them. */
static bool play_all(struct triosim *triosim, struct triosim_played *played, struct err *err)
{
    struct spread *spread = triosim->spread;
    int32_t count = spread->ops->row_count;
    int32_t *rows = arena_array(spread->arena, (size_t)count, sizeof *rows);
    struct triosim_memory *memory = triosim_memory(spread->arena, spread->ops);

    for (int32_t i = 0; i < count; i++)
        rows[i] = i;
    *played = triosim_play(memory, &triosim->scale, rows, count, triosim->starts_ps);
    for (int32_t d = 0; d < spread->options.devices; d++)
        spread->result->devices[d].compute_ps = played->compute_ps;
    spread->result->iteration_ps = later(played->compute_end_ps, played->fetch_end_ps);
    spread->result->fetch_ps = played->fetch_ps;
    return spread->result->iteration_ps <= UNITS_MAX_PS ||
           err_set(err, ERR_INPUT, "the iteration takes more than 9000000 s");
}

static void count_ring(struct spread *spread, int64_t bytes, int64_t time_ps)
{
    struct spread_result *result = spread->result;

    result->collectives++;
    result->collective_bytes = saturate_add(result->collective_bytes, bytes);
    result->communication_ps = saturate_add(result->communication_ps, time_ps);
    for (int32_t d = 0; d < spread->options.devices; d++)
        result->devices[d].sent_bytes =
            saturate_add(result->devices[d].sent_bytes, spread_ring_sent_bytes(spread, bytes, 2));
}

/* ---- data ---- */

static void run_data(struct triosim *triosim)
{
    struct spread *spread = triosim->spread;
    int64_t bytes = triosim_bytes(&triosim->scale, spread->roles->gradient_bytes), time_ps;

    if (spread->options.devices < 2 || bytes == 0)
        return;
    time_ps = over_link(triosim, bytes);
    if (goes_through_host(spread, true))
        time_ps =
            units_mul_div(units_mul_div(bytes, UNITS_PS_PER_S, spread->options.remote_bytes_per_s),
                          2 * ((int64_t)spread->options.devices - 1), spread->options.devices);
    count_ring(spread, bytes, time_ps);
    spread->result->iteration_ps = saturate_add(spread->result->iteration_ps, time_ps);
}

/* ---- ddp ---- */

/* Gradients in falling order of their ids as texts. */
struct texts {
    int32_t count, reduced; /* the first `reduced` of them are reduced */
    struct text {
        char id[24];
        int32_t tensor;
    } * at;
    int32_t *rank;    /* of each tensor; -1 = no gradient */
    bool *is_reduced; /* of each tensor */
};

static int compare_texts(const void *a, const void *b)
{
    const struct text *left = a, *right = b;

    return strcmp(right->id, left->id);
}

static struct texts list_texts(const struct spread *spread)
{
    const struct roles *roles = spread->roles;
    size_t tensors = (size_t)spread->ops->tensor_count, count = (size_t)roles->gradient_count;
    struct texts texts = {
        .count = roles->gradient_count,
        .at = arena_array(spread->arena, count, sizeof *texts.at),
        .rank = arena_array(spread->arena, tensors, sizeof *texts.rank),
        .is_reduced = arena_array(spread->arena, tensors, sizeof *texts.is_reduced),
    };

    for (size_t t = 0; t < tensors; t++)
        texts.rank[t] = -1;
    for (int32_t i = 0; i < texts.count; i++) {
        texts.at[i].tensor = roles->gradients[i].weight;
        (void)snprintf(texts.at[i].id, sizeof texts.at[i].id, "%" PRId64,
                       spread->ops->tensors[texts.at[i].tensor].id);
    }
    qsort(texts.at, count, sizeof *texts.at, compare_texts);
    for (int32_t i = 0; i < texts.count; i++)
        texts.rank[texts.at[i].tensor] = i;
    return texts;
}

/* When a backward operator that reads a gradient (for TrioSim, a weight) starts, this one and all
 * whose ids are greater as texts and that are not reduced yet are a bucket. Weights that no such
 * operator reads and whose ids are small are never reduced. */
static int64_t bucket_bytes(const struct triosim *triosim, int32_t row, struct texts *texts)
{
    const struct ops *ops = triosim->spread->ops;
    int64_t bytes = 0;

    for (int32_t k = 0; k < ops->rows[row].in_count; k++) {
        int32_t tensor = ops->rows[row].ins[k];

        if (texts->rank[tensor] < 0)
            continue;
        bytes = saturate_add(bytes, triosim_bytes(&triosim->scale, ops->tensors[tensor].bytes));
        texts->is_reduced[tensor] = true;
        for (; texts->reduced < texts->rank[tensor]; texts->reduced++) {
            int32_t other = texts->at[texts->reduced].tensor;

            if (!texts->is_reduced[other])
                bytes =
                    saturate_add(bytes, triosim_bytes(&triosim->scale, ops->tensors[other].bytes));
            texts->is_reduced[other] = true;
        }
    }
    return bytes;
}

/* Buckets are reduced one after the other. The optimizer does not wait for them. */
static void run_ddp(struct triosim *triosim)
{
    struct spread *spread = triosim->spread;
    struct texts texts = list_texts(spread);
    int64_t ring_ps = 0;
    int32_t end = spread->roles->forward_count + spread->roles->backward_count;

    if (spread->options.devices < 2)
        return;
    for (int32_t row = spread->roles->forward_count; row < end; row++) {
        int64_t bytes = bucket_bytes(triosim, row, &texts);

        if (bytes == 0)
            continue;
        count_ring(spread, bytes, over_link(triosim, bytes));
        ring_ps = saturate_add(later(ring_ps, triosim->starts_ps[row]), over_link(triosim, bytes));
    }
    spread->result->iteration_ps = later(spread->result->iteration_ps, ring_ps);
}

/* ---- tensor ---- */

/* A closed form: tp_split operators take 1/N, and an all-reduce of 1/N of what they make follows
 * each of them; what is fetched for them is not reproduced. One device sends nothing (TrioSim waits
 * for ever for the other end of its ring). */
static void run_tensor(struct triosim *triosim)
{
    struct spread *spread = triosim->spread;
    int64_t count = spread->options.devices, compute_ps = 0;

    for (int32_t i = 0; i < spread->ops->row_count; i++) {
        const struct ops_row *row = &spread->ops->rows[i];
        int64_t bytes = triosim_bytes(&triosim->scale, row->out_bytes);

        compute_ps = saturate_add(
            compute_ps, triosim_row_ps(&triosim->scale, row, row->is_tp_split ? count : 1));
        if (row->is_tp_split && count > 1 && bytes > 0)
            count_ring(spread, units_mul_div(bytes, 1, count),
                       units_mul_div(over_link(triosim, bytes), 1, count));
    }
    for (int32_t d = 0; d < count; d++)
        spread->result->devices[d].compute_ps = compute_ps;
    spread->result->iteration_ps = saturate_add(compute_ps, spread->result->communication_ps);
}

/* ---- pipeline ---- */

/* The rows of a slice and what it sends on: the outputs of its last operator. */
struct slice {
    int32_t from, count; /* of order[] */
};
struct stage {
    struct triosim_memory *memory;
    struct slice forward, backward;
    int64_t busy_ps;      /* it is free from then on */
    int64_t link_ps[2];   /* its link to the next, and to the one before, is free from then on */
    int64_t fetch_end_ps; /* the last fetch so far is done */
    int64_t fetch_ps;
};
struct trio_pipeline {
    struct triosim *triosim;
    int32_t *order; /* row numbers: forward ones, then all others, as one list each */
    struct stage *stages;
    int64_t end_ps;
};

static struct slice cut(int32_t from, int32_t count, int32_t stages, int32_t index)
{
    int32_t start = (int32_t)((int64_t)index * count / stages);
    int32_t end = (int32_t)((int64_t)(index + 1) * count / stages);

    return (struct slice){ from + start, end - start };
}

static void place_slices(struct trio_pipeline *pipeline)
{
    struct spread *spread = pipeline->triosim->spread;
    int32_t forward = spread->roles->forward_count, count = spread->options.devices;
    int32_t other = spread->ops->row_count - forward;

    pipeline->order =
        arena_array(spread->arena, (size_t)spread->ops->row_count, sizeof *pipeline->order);
    for (int32_t i = 0; i < spread->ops->row_count; i++)
        pipeline->order[i] = i;
    pipeline->stages = arena_array(spread->arena, (size_t)count, sizeof *pipeline->stages);
    for (int32_t s = 0; s < count; s++) {
        struct stage *stage = &pipeline->stages[s];

        stage->memory = triosim_memory(spread->arena, spread->ops);
        stage->forward = cut(0, forward, count, s);
        stage->backward = cut(forward, other, count, count - 1 - s);
    }
}

/* One pass of a device over a slice that is there at at_ps; returns when it has computed it. */
static int64_t pass(struct trio_pipeline *pipeline, struct stage *stage, const struct slice *slice,
                    int64_t at_ps)
{
    struct triosim *triosim = pipeline->triosim;
    const int32_t *rows = pipeline->order + slice->from;
    struct triosim_played played =
        triosim_play(stage->memory, &triosim->scale, rows, slice->count, triosim->starts_ps);
    int64_t first_ps = 0, end_ps;

    if (slice->count > 0)
        first_ps = triosim_row_ps(&triosim->scale, &triosim->spread->ops->rows[rows[0]], 1);
    if (stage->busy_ps > at_ps)
        end_ps = saturate_add(later(stage->busy_ps, saturate_add(at_ps, first_ps)),
                              played.compute_end_ps - first_ps);
    else
        end_ps = saturate_add(at_ps, played.compute_end_ps);
    stage->busy_ps = end_ps;
    stage->fetch_end_ps = later(stage->fetch_end_ps, saturate_add(at_ps, played.fetch_end_ps));
    stage->fetch_ps = saturate_add(stage->fetch_ps, played.fetch_ps);
    triosim->spread->result->devices[stage - pipeline->stages].compute_ps = saturate_add(
        triosim->spread->result->devices[stage - pipeline->stages].compute_ps, played.compute_ps);
    pipeline->end_ps = later(pipeline->end_ps, later(end_ps, stage->fetch_end_ps));
    return end_ps;
}

/* Sends what the slice made; returns when it is there. direction: 0 to the next, 1 back. */
static int64_t send(struct trio_pipeline *pipeline, int32_t from, int direction,
                    const struct slice *slice, int64_t at_ps)
{
    struct triosim *triosim = pipeline->triosim;
    struct spread *spread = triosim->spread;
    struct stage *stage = &pipeline->stages[from];
    struct stage *to = &pipeline->stages[direction == 0 ? from + 1 : from - 1];
    int64_t bytes = 0;

    if (slice->count > 0) {
        const struct ops_row *row =
            &spread->ops->rows[pipeline->order[slice->from + slice->count - 1]];

        bytes = triosim_bytes(&triosim->scale, row->out_bytes);
        triosim_receive(to->memory, row);
    }
    stage->link_ps[direction] =
        saturate_add(later(stage->link_ps[direction], at_ps), over_link(triosim, bytes));
    spread->result->messages++;
    spread->result->devices[from].sent_bytes =
        saturate_add(spread->result->devices[from].sent_bytes, bytes);
    return stage->link_ps[direction];
}

/* Micro-batch after micro-batch: the next one enters when the first stage's output has arrived at
 * the second. Returns when the last stage is done with all. */
static int64_t run_forward(struct trio_pipeline *pipeline, int64_t micros)
{
    int32_t count = pipeline->triosim->spread->options.devices;
    int64_t enter_ps = 0, done_ps = 0;

    for (int64_t m = 0; m < micros; m++) {
        int64_t at_ps = enter_ps;

        for (int32_t s = 0; s < count; s++) {
            struct stage *stage = &pipeline->stages[s];

            at_ps = pass(pipeline, stage, &stage->forward, at_ps);
            if (s < count - 1)
                at_ps = send(pipeline, s, 0, &stage->forward, at_ps);
            if (s == 0)
                enter_ps = at_ps;
        }
        done_ps = at_ps;
    }
    return done_ps;
}

static void run_backward(struct trio_pipeline *pipeline, int64_t micros, int64_t from_ps)
{
    int32_t count = pipeline->triosim->spread->options.devices;

    for (int32_t s = 0; s < count && micros > 1; s++)
        triosim_forget(pipeline->stages[s].memory);
    for (int64_t m = 0; m < micros; m++) {
        int64_t at_ps = from_ps;

        for (int32_t s = count - 1; s >= 0; s--) {
            struct stage *stage = &pipeline->stages[s];

            at_ps = pass(pipeline, stage, &stage->backward, at_ps);
            if (s > 0)
                at_ps = send(pipeline, s, 1, &stage->backward, at_ps);
        }
    }
}

static bool run_pipeline(struct triosim *triosim, struct err *err)
{
    struct spread *spread = triosim->spread;
    struct trio_pipeline pipeline = { .triosim = triosim };
    int64_t micros = spread->result->micro_count, done_ps;

    triosim->scale.parts = micros;
    place_slices(&pipeline);
    done_ps = run_forward(&pipeline, micros);
    if (spread->ops->row_count > spread->roles->forward_count)
        run_backward(&pipeline, micros, done_ps);
    spread->result->iteration_ps = pipeline.end_ps;
    for (int32_t s = 0; s < spread->options.devices; s++) {
        int64_t sent_ps = over_link(triosim, spread->result->devices[s].sent_bytes);

        spread->result->fetch_ps = later(spread->result->fetch_ps, pipeline.stages[s].fetch_ps);
        spread->result->communication_ps = later(spread->result->communication_ps, sent_ps);
    }
    return pipeline.end_ps <= UNITS_MAX_PS ||
           err_set(err, ERR_INPUT, "the iteration takes more than 9000000 s");
}

bool triosim_run(struct spread *spread, struct err *err)
{
    struct triosim triosim = { .spread = spread };
    struct triosim_played played;
    bool is_ring = spread->options.parallel != SPREAD_PIPELINE;

    triosim.scale =
        (struct triosim_scale){ .batch = spread->options.batch,
                                .traced_batch = spread->traced_batch,
                                .parts = 1,
                                .remote_bytes_per_s = spread->options.remote_bytes_per_s };
    triosim.starts_ps =
        arena_array(spread->arena, (size_t)spread->ops->row_count, sizeof *triosim.starts_ps);
    switch (spread->options.parallel) {
    case SPREAD_SINGLE:
        return play_all(&triosim, &played, err);
    case SPREAD_DATA:
        if (!play_all(&triosim, &played, err))
            return false;
        run_data(&triosim);
        break;
    case SPREAD_DDP:
        if (goes_through_host(spread, is_ring))
            return refuse_host(spread, err);
        if (!play_all(&triosim, &played, err))
            return false;
        run_ddp(&triosim);
        break;
    case SPREAD_TENSOR:
        if (goes_through_host(spread, is_ring))
            return refuse_host(spread, err);
        run_tensor(&triosim);
        break;
    case SPREAD_PIPELINE:
        if (goes_through_host(spread, is_ring))
            return refuse_host(spread, err);
        return run_pipeline(&triosim, err);
    case SPREAD_PARALLEL_COUNT:
        break;
    }
    return spread->result->iteration_ps <= UNITS_MAX_PS ||
           err_set(err, ERR_INPUT, "the iteration takes more than 9000000 s");
}
