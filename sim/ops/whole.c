/* whole.c - kinds in which every device runs all operators, and all devices do the same: single,
 * data, ddp and tensor. One device and the ring stand for all. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include "lib/format/ops.h"
#include "sim/ops/internal.h"
#include <inttypes.h>
#include <stddef.h>

enum lane { LANE_DEVICE, LANE_RING, LANE_COUNT };
static const char *const lane_names[LANE_COUNT] = { "0", "ring" };

struct stream {
    struct spread *spread;
    struct graph *graph;
    int32_t *tasks;  /* of each row; until it is added, its own number */
    int32_t *latest; /* of each tensor: the row before that made it; -1 = none */
    int32_t *later;  /* of each tensor: the first row that makes it without reading it; -1 */
    int32_t barrier; /* communication that the next row waits for; -1 = none */
};

static struct stream stream_create(struct spread *spread)
{
    const struct ops *ops = spread->ops;
    size_t rows = (size_t)ops->row_count, count = (size_t)ops->tensor_count;
    struct stream stream = {
        .spread = spread,
        .graph = graph_create(spread->arena, LANE_COUNT),
        .tasks = arena_array(spread->arena, rows, sizeof *stream.tasks),
        .latest = arena_array(spread->arena, count, sizeof *stream.latest),
        .later = arena_array(spread->arena, count, sizeof *stream.later),
        .barrier = -1,
    };

    for (size_t t = 0; t < count; t++)
        stream.latest[t] = stream.later[t] = -1;
    for (int32_t i = ops->row_count - 1; i >= 0; i--) {
        stream.tasks[i] = i;
        for (int32_t k = 0; k < ops->rows[i].out_count; k++)
            if (!roles_reads(&ops->rows[i], ops->rows[i].outs[k]))
                stream.later[ops->rows[i].outs[k]] = i;
    }
    return stream;
}

/* The row whose output the input is: one before, or else one behind, which is waited for in vain.
 * -1 when it comes from outside. Tensors without bytes tie nothing. */
static int32_t maker_of(const struct stream *stream, int32_t tensor)
{
    const struct spread *spread = stream->spread;
    int32_t same = spread->roles->same_as[tensor];

    if (spread->ops->tensors[tensor].bytes == 0)
        return -1;
    if (stream->latest[tensor] >= 0)
        return stream->latest[tensor];
    return same != tensor ? stream->latest[same] : stream->later[tensor];
}

static void stream_row(struct stream *stream, int32_t row, int64_t duration_ps)
{
    const struct ops_row *op = &stream->spread->ops->rows[row];
    int32_t task =
        graph_add(stream->graph,
                  &(struct graph_task){
                      .lane = LANE_DEVICE, .row = row, .part = -1, .duration_ps = duration_ps });

    stream->tasks[row] = task;
    for (int32_t k = 0; k < op->in_count; k++) {
        int32_t maker = maker_of(stream, op->ins[k]);

        if (maker >= 0 && maker != row)
            graph_after(stream->graph, task, stream->tasks[maker]);
    }
    for (int32_t k = 0; k < op->out_count; k++)
        stream->latest[op->outs[k]] = row;
    if (stream->barrier >= 0)
        graph_after(stream->graph, task, stream->barrier);
    stream->barrier = -1;
}

/* A collective behind the last row that was added. */
static int32_t stream_ring(struct stream *stream, int32_t row, int32_t part, int64_t bytes,
                           int passes)
{
    struct spread_result *result = stream->spread->result;
    int32_t task = graph_add(
        stream->graph,
        &(struct graph_task){ .lane = LANE_RING,
                              .row = -1,
                              .part = part,
                              .bytes = bytes,
                              .duration_ps = spread_ring_ps(stream->spread, bytes, passes) });

    graph_after(stream->graph, task, stream->tasks[row]);
    result->collectives++;
    result->collective_bytes = saturate_add(result->collective_bytes, bytes);
    result->devices[0].sent_bytes = saturate_add(
        result->devices[0].sent_bytes, spread_ring_sent_bytes(stream->spread, bytes, passes));
    return task;
}

/* ---- operators that wait for ever ---- */

#define TOLD 3 /* operators that the error names */

static const char *row_text(const struct spread *spread, int32_t row)
{
    const struct ops_row *op = &spread->ops->rows[row];

    return arena_printf(spread->arena, "operator %" PRId64 " '%.60s'", op->op_id, op->name);
}

bool whole_check(struct spread *spread, struct err *err)
{
    struct stream stream = stream_create(spread);
    const char *text = "";
    int32_t blocked = 0;

    for (int32_t i = 0; i < spread->ops->row_count; i++)
        stream_row(&stream, i, 0);
    if (graph_run(stream.graph, err) || err->kind != ERR_NONE)
        return err->kind == ERR_NONE;
    for (int32_t i = 0; i < spread->ops->row_count; i++) {
        const struct graph_task *task = &stream.graph->tasks[i];
        int32_t before;

        if (task->start_ps >= 0 || blocked++ >= TOLD)
            continue;
        before = graph_waits_for(stream.graph, i);
        text = arena_printf(spread->arena, "%s%s%s waits for %s", text, blocked > 1 ? "; " : "",
                            row_text(spread, i), row_text(spread, before));
    }
    return err_at(err, spread->ops->path, 0, 0,
                  "%d operators can never start: a tensor is made behind its reader: %s", blocked,
                  text);
}

/* ---- what is sent ---- */

/* The buckets of PyTorch's DistributedDataParallel: gradients in order of being ready, the first
 * bucket is full with first_bucket_bytes (1 MiB), the others with bucket_cap_mb (25 MiB). */
struct buckets {
    int32_t next; /* gradient */
    int64_t bytes, limit;
    int32_t count, task; /* closed, and the collective of the last of them; -1 = none */
};

static void close_bucket(struct stream *stream, struct buckets *buckets, int32_t row)
{
    buckets->task = stream_ring(stream, row, buckets->count++, buckets->bytes, 2);
    buckets->bytes = 0;
    buckets->limit = stream->spread->options.bucket_bytes;
}

static void fill_buckets(struct stream *stream, struct buckets *buckets, int32_t row)
{
    const struct roles *roles = stream->spread->roles;

    while (buckets->next < roles->gradient_count &&
           roles->gradients[buckets->next].ready_row <= row) {
        int32_t weight = roles->gradients[buckets->next++].weight;

        buckets->bytes += stream->spread->ops->tensors[weight].bytes;
        if (buckets->bytes >= buckets->limit)
            close_bucket(stream, buckets, row);
    }
    if (buckets->bytes > 0 && buckets->next == roles->gradient_count)
        close_bucket(stream, buckets, row);
    /* The optimizer alone waits for buckets. */
    if (row == roles->forward_count + roles->backward_count - 1)
        stream->barrier = buckets->task;
}

/* The gradient of what a forward operator reads, which all devices have a part of: what the
 * backward operator makes but gradients of weights; nothing of that in the trace: what the forward
 * operator reads, unless it is the first. */
static int64_t input_gradient_bytes(const struct spread *spread, int32_t row)
{
    const struct ops_row *op = &spread->ops->rows[row];
    const struct roles *roles = spread->roles;
    int32_t partner = roles->partner[row - roles->forward_count];
    int64_t bytes = 0;

    for (int32_t k = 0; k < op->out_count; k++)
        if (roles->role[op->outs[k]] == ROLE_ACTIVATION)
            bytes += spread_tensor_bytes(spread, op->outs[k], spread->options.batch);
    if (bytes > 0 || partner <= 0)
        return bytes;
    op = &spread->ops->rows[partner];
    for (int32_t k = 0; k < op->in_count; k++)
        if (roles->role[op->ins[k]] == ROLE_ACTIVATION)
            bytes += spread_tensor_bytes(spread, op->ins[k], spread->options.batch);
    return bytes;
}

static void gather_or_reduce(struct stream *stream, int32_t row)
{
    const struct spread *spread = stream->spread;
    const struct ops_row *op = &spread->ops->rows[row];
    int64_t bytes = 0;

    if (op->stage == OPS_BACKWARD) {
        bytes = input_gradient_bytes(spread, row);
    } else {
        for (int32_t k = 0; k < op->out_count; k++)
            bytes += spread_tensor_bytes(spread, op->outs[k], spread->options.batch);
    }
    if (bytes > 0)
        stream->barrier = stream_ring(stream, row, -1, bytes, op->stage == OPS_BACKWARD ? 2 : 1);
}

static void communicate(struct stream *stream, struct buckets *buckets, int32_t row)
{
    const struct spread *spread = stream->spread;
    const struct roles *roles = spread->roles;
    const struct ops_row *op = &spread->ops->rows[row];

    switch (spread->options.parallel) {
    case SPREAD_DATA:
        if (row == roles->forward_count + roles->backward_count - 1 && roles->gradient_bytes > 0)
            stream->barrier = stream_ring(stream, row, -1, roles->gradient_bytes, 2);
        break;
    case SPREAD_DDP:
        if (op->stage == OPS_BACKWARD)
            fill_buckets(stream, buckets, row);
        break;
    case SPREAD_TENSOR:
        if (op->is_tp_split && op->stage != OPS_OPTIMIZER)
            gather_or_reduce(stream, row);
        break;
    case SPREAD_SINGLE:
    case SPREAD_PIPELINE:
    case SPREAD_PARALLEL_COUNT:
        break;
    }
}

static int64_t row_ps(const struct spread *spread, int32_t row)
{
    const struct ops_row *op = &spread->ops->rows[row];
    int64_t time_ps = spread_row_ps(spread, row, spread->options.batch);

    if (spread->options.parallel != SPREAD_TENSOR)
        return time_ps;
    if (op->stage == OPS_OPTIMIZER)
        return spread_of_optimizer(spread, time_ps,
                                   spread->result->devices[0].memory.gradients_bytes);
    return op->is_tp_split ? units_mul_div(time_ps, 1, spread->options.devices) : time_ps;
}

bool whole_run(struct spread *spread, struct err *err)
{
    struct stream stream = stream_create(spread);
    struct buckets buckets = { .limit = spread->options.first_bucket_bytes, .task = -1 };
    struct spread_result *result = spread->result;

    for (int32_t i = 0; i < spread->ops->row_count; i++) {
        stream_row(&stream, i, row_ps(spread, i));
        if (spread->options.devices > 1)
            communicate(&stream, &buckets, i);
    }
    if (!graph_run(stream.graph, err))
        return false;
    result->iteration_ps = stream.graph->end_ps;
    result->communication_ps = stream.graph->busy_ps[LANE_RING];
    result->graph = stream.graph;
    result->lanes = lane_names;
    result->device_lanes = 1;
    for (int32_t d = 0; d < spread->options.devices; d++) {
        result->devices[d].compute_ps = stream.graph->busy_ps[LANE_DEVICE];
        result->devices[d].sent_bytes = result->devices[0].sent_bytes;
    }
    return true;
}
