/* memory.c - what each device must hold.
 *
 * Throughout: its weights, their gradients, what the optimizer keeps of them (in proportion), and
 * for ddp buckets as large as the gradients (PyTorch's DistributedDataParallel copies gradients
 * into buckets unless gradient_as_bucket_view is set). For a while: activations and gradients of
 * activations, from the operator that makes them to the last that reads them; tensors that only the
 * backward pass reads and nobody makes (masks, indices) from their forward operator on. GPipe keeps
 * what every micro-batch saves from its forward to its backward pass. When the optimizer runs all
 * of that is gone, and its temporaries are there. */
#include "lib/base/arena.h"
#include "lib/format/ops.h"
#include "sim/ops/internal.h"

struct live {
    struct spread *spread;
    bool *is_output;       /* of each tensor: some operator makes it */
    int32_t *first, *last; /* of each tensor: positions in the stage; first -1 = not there */
    int32_t *touched;      /* tensors that are there */
    int32_t touched_count;
    int64_t *change; /* of each position: bytes that come, less those that went before it */
};

static void touch(struct live *live, int32_t tensor, int32_t position)
{
    tensor = live->spread->roles->same_as[tensor];
    if (live->spread->roles->role[tensor] != ROLE_ACTIVATION)
        return;
    if (live->first[tensor] < 0) {
        live->first[tensor] = position;
        live->touched[live->touched_count++] = tensor;
    }
    live->last[tensor] = position;
}

static void touch_row(struct live *live, int32_t row, int32_t position, int32_t saved_position)
{
    const struct ops_row *op = &live->spread->ops->rows[row];

    for (int32_t k = 0; k < op->in_count; k++) {
        int32_t tensor = live->spread->roles->same_as[op->ins[k]];

        if (saved_position >= 0 && !live->is_output[tensor] && live->first[tensor] < 0)
            touch(live, tensor, saved_position);
        touch(live, tensor, position);
    }
    for (int32_t k = 0; k < op->out_count; k++)
        touch(live, op->outs[k], position);
}

/* Walks forward rows [from, to) and the backward rows that belong to them. Returns how many forward
 * ones there were, and all of them in *positions. */
static int32_t walk_stage(struct live *live, int32_t from, int32_t to, int32_t *positions)
{
    const struct roles *roles = live->spread->roles;
    int32_t position = 0;

    for (int32_t row = from; row < to; row++)
        touch_row(live, row, position++, -1);
    for (int32_t i = 0; i < roles->backward_count; i++) {
        int32_t partner = roles->partner[i];

        if (partner < from && !(partner < 0 && from == 0))
            continue;
        if (partner >= to && to < roles->forward_count)
            continue;
        touch_row(live, roles->forward_count + i, position++, partner < 0 ? -1 : partner - from);
    }
    *positions = position;
    return to - from;
}

/* Peak of activations: of one micro-batch, and of those that wait for their backward pass. */
static int64_t stage_bytes(struct live *live, int32_t from, int32_t to)
{
    struct spread *spread = live->spread;
    int64_t bytes = 0, most = 0, saved = 0;
    int32_t positions, middle = walk_stage(live, from, to, &positions);

    for (int32_t i = 0; i < live->touched_count; i++) {
        int32_t tensor = live->touched[i];
        int64_t own = spread_tensor_bytes(spread, tensor, spread->options.micro_batch);

        live->change[live->first[tensor]] += own;
        live->change[live->last[tensor] + 1] -= own;
        if (live->first[tensor] < middle && live->last[tensor] >= middle)
            saved += own;
        live->first[tensor] = -1;
    }
    live->touched_count = 0;
    for (int32_t p = 0; p <= positions; p++) {
        bytes += live->change[p];
        live->change[p] = 0;
        if (bytes > most)
            most = bytes;
    }
    return most + (spread->result->micro_count - 1) * saved;
}

/* Peak of what the optimizer makes and reads again, of all weights. */
static int64_t optimizer_bytes(struct live *live)
{
    const struct ops *ops = live->spread->ops;
    int32_t from = ops->row_count - live->spread->roles->optimizer_count;
    int64_t bytes = 0, most = 0;

    for (int32_t row = from; row < ops->row_count; row++)
        for (int32_t k = 0; k < ops->rows[row].in_count + ops->rows[row].out_count; k++) {
            bool is_in = k < ops->rows[row].in_count;
            int32_t tensor =
                is_in ? ops->rows[row].ins[k] : ops->rows[row].outs[k - ops->rows[row].in_count];

            if (live->spread->roles->role[tensor] != ROLE_OPTIMIZER || !live->is_output[tensor])
                continue;
            if (live->first[tensor] < 0) {
                live->first[tensor] = row - from;
                live->touched[live->touched_count++] = tensor;
            }
            live->last[tensor] = row - from;
        }
    for (int32_t i = 0; i < live->touched_count; i++) {
        int32_t tensor = live->touched[i];

        live->change[live->first[tensor]] += ops->tensors[tensor].bytes;
        live->change[live->last[tensor] + 1] -= ops->tensors[tensor].bytes;
        live->first[tensor] = -1;
    }
    live->touched_count = 0;
    for (int32_t p = 0; p <= ops->row_count - from; p++) {
        bytes += live->change[p];
        live->change[p] = 0;
        if (bytes > most)
            most = bytes;
    }
    return most;
}

/* What of a weight's bytes is on a device of the stage. */
static int64_t share_bytes(const struct spread *spread, int32_t weight, int32_t from, int32_t to)
{
    int64_t bytes = spread->ops->tensors[weight].bytes, count = spread->options.devices;
    int32_t owner = spread->roles->owner[weight] >= 0 ? spread->roles->owner[weight] : 0;

    if (spread->options.parallel == SPREAD_PIPELINE)
        return owner >= from && owner < to ? bytes : 0;
    if (spread->options.parallel == SPREAD_TENSOR && spread->ops->rows[owner].is_tp_split)
        return bytes / count + (bytes % count > 0);
    return bytes;
}

static void measure_device(struct live *live, int32_t device, int64_t temporaries)
{
    struct spread *spread = live->spread;
    const struct roles *roles = spread->roles;
    struct spread_device *at = &spread->result->devices[device];
    struct spread_memory *memory = &at->memory;

    for (int32_t t = 0; t < spread->ops->tensor_count; t++)
        if (roles->role[t] == ROLE_WEIGHT)
            memory->weights_bytes += share_bytes(spread, t, at->from_row, at->to_row);
    for (int32_t i = 0; i < roles->gradient_count; i++)
        memory->gradients_bytes +=
            share_bytes(spread, roles->gradients[i].weight, at->from_row, at->to_row);
    memory->state_bytes = spread_of_optimizer(spread, roles->state_bytes, memory->gradients_bytes);
    if (spread->options.parallel == SPREAD_DDP && spread->options.devices > 1)
        memory->buckets_bytes = memory->gradients_bytes;
    memory->working_bytes = stage_bytes(live, at->from_row, at->to_row);
    temporaries = spread_of_optimizer(spread, temporaries, memory->gradients_bytes);
    if (temporaries > memory->working_bytes)
        memory->working_bytes = temporaries;
    memory->peak_bytes = memory->weights_bytes + memory->gradients_bytes + memory->state_bytes +
                         memory->buckets_bytes + memory->working_bytes;
}

static void prepare(struct live *live)
{
    struct spread *spread = live->spread;
    const struct ops *ops = spread->ops;
    size_t tensors = (size_t)ops->tensor_count;

    live->is_output = arena_array(spread->arena, tensors, sizeof *live->is_output);
    live->first = arena_array(spread->arena, tensors, sizeof *live->first);
    live->last = arena_array(spread->arena, tensors, sizeof *live->last);
    live->touched = arena_array(spread->arena, tensors, sizeof *live->touched);
    live->change = arena_array(spread->arena, (size_t)ops->row_count + 2, sizeof *live->change);
    for (int32_t t = 0; t < ops->tensor_count; t++)
        live->first[t] = -1;
    for (int32_t i = 0; i < ops->row_count; i++)
        for (int32_t k = 0; k < ops->rows[i].out_count; k++)
            live->is_output[ops->rows[i].outs[k]] = true;
}

void memory_measure(struct spread *spread)
{
    struct live live = { .spread = spread };
    struct spread_result *result = spread->result;
    bool is_pipeline = spread->options.parallel == SPREAD_PIPELINE;
    int64_t temporaries;

    prepare(&live);
    temporaries = optimizer_bytes(&live);
    for (int32_t d = 0; d < spread->options.devices; d++) {
        struct spread_device *device = &result->devices[d];

        device->from_row = is_pipeline ? spread->cut[d] : 0;
        device->to_row = is_pipeline ? spread->cut[d + 1] : spread->roles->forward_count;
        if (is_pipeline || d == 0)
            measure_device(&live, d, temporaries);
        else
            device->memory = result->devices[0].memory;
        if (device->memory.peak_bytes > result->devices[result->largest_device].memory.peak_bytes)
            result->largest_device = d;
    }
    result->fits =
        spread->options.memory_bytes == 0 ||
        result->devices[result->largest_device].memory.peak_bytes <= spread->options.memory_bytes;
}
