/* footprint.c - sums over what stands on a device, and a search along one axis: every need grows
 * with context and sequences, so that halving finds the last value that fits. */
#include "lib/policy/footprint.h"

#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/policy/plan.h"
#include <stddef.h>

static int64_t times(int64_t a, int64_t b)
{
    int64_t product;

    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

static int64_t plus(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- formulas ---- */

int64_t footprint_kv_bytes(int64_t bytes_per_token, const struct footprint_load *load)
{
    int64_t block_tokens = load->block_tokens;
    int64_t blocks =
        load->context_tokens / block_tokens + (load->context_tokens % block_tokens > 0);

    return times(times(times(blocks, block_tokens), load->sequences), bytes_per_token);
}

struct model_step footprint_step(const struct model *model, const struct footprint_load *load)
{
    int64_t all = times(load->context_tokens, load->sequences), rows = all;

    if (model->kind == MODEL_DECODER)
        rows =
            larger(load->step_tokens > 0 ? smaller(load->step_tokens, all) : load->context_tokens,
                   load->sequences); /* a decode step has a row of each */
    return (struct model_step){ rows, load->sequences, load->context_tokens };
}

/* ---- one part ---- */

static const struct model *model_of(const struct footprint *footprint,
                                    const struct footprint_part *part)
{
    return footprint->plan->services[part->service].model;
}

/* One axis of the loads of one service, or of all (-1), set to a value; NULL: nothing is. */
struct change {
    int32_t service;
    enum footprint_axis axis;
    int64_t value;
};

/* The load of a replica: no more context than its model, and as many sequences as its rows say. */
static struct footprint_load load_of(const struct footprint *footprint,
                                     const struct footprint_part *part,
                                     const struct footprint_load *loads,
                                     const struct change *change)
{
    const struct model *model = model_of(footprint, part);
    const struct plan_replica *replica = &footprint->plan->replicas[part->replica];
    struct footprint_load load = loads[part->service];

    if (change && (change->service < 0 || change->service == part->service)) {
        if (change->axis == FOOTPRINT_SEQUENCES)
            load.sequences = change->value;
        else if (model && model->kind == MODEL_DECODER) /* the others have one length */
            load.context_tokens = change->value;
    }
    if (model && model->max_context > 0 && load.context_tokens > model->max_context)
        load.context_tokens = model->max_context;
    load.sequences = plan_replica_batch(replica, (int32_t)load.sequences);
    return load;
}

static int64_t work_bytes(const struct model *model, const struct footprint_part *part,
                          const struct model_step *step)
{
    int64_t most = 0;

    for (int i = 0; i < part->slice_count; i++)
        for (int block = 0; block < BLOCK_COUNT; block++)
            if (part->slices[i].blocks & 1u << block)
                most = larger(most, model_part_work_bytes(model, (enum model_block)block,
                                                          part->slices[i].part, step));
    return most;
}

static struct footprint_bytes measure(const struct footprint *footprint,
                                      const struct footprint_part *part,
                                      const struct footprint_load *load)
{
    const struct plan_stage *stage = part->stage;
    const struct model *model = model_of(footprint, part);
    struct footprint_bytes bytes = { .weight_bytes = part->weight_bytes };
    struct model_step step;

    if (stage->executable) {
        if (!cost_stage_memory(part->table, stage->executable, stage->exec_first, stage->exec_last,
                               (int32_t)load->sequences, &bytes.weight_bytes,
                               &bytes.activation_bytes))
            bytes.activation_bytes = INT64_MAX;
        return bytes;
    }
    step = footprint_step(model, load);
    bytes.kv_bytes = footprint_kv_bytes(part->kv_bytes_per_token, load);
    bytes.activation_bytes = work_bytes(model, part, &step);
    return bytes;
}

struct footprint_bytes footprint_measure(const struct footprint *footprint,
                                         const struct footprint_part *part,
                                         const struct footprint_load *loads)
{
    struct footprint_load load = load_of(footprint, part, loads, NULL);

    return measure(footprint, part, &load);
}

/* ---- a device ---- */

/* Of parts from *next on that are of one epoch; *next moves behind them. */
static struct footprint_bytes sum_epoch(const struct footprint *footprint, int *next, int end,
                                        const struct footprint_load *loads,
                                        const struct change *change)
{
    int32_t epoch = footprint->parts[*next].epoch;
    struct footprint_bytes sum = { 0, 0, 0 };

    for (; *next < end && footprint->parts[*next].epoch == epoch; ++*next) {
        const struct footprint_part *part = &footprint->parts[*next];
        struct footprint_load load = load_of(footprint, part, loads, change);
        struct footprint_bytes one = measure(footprint, part, &load);

        sum.weight_bytes = plus(sum.weight_bytes, one.weight_bytes);
        sum.kv_bytes = plus(sum.kv_bytes, one.kv_bytes);
        sum.activation_bytes = larger(sum.activation_bytes, one.activation_bytes);
    }
    return sum;
}

static struct footprint_device device_under(const struct footprint *footprint, int32_t device,
                                            const struct footprint_load *loads,
                                            const struct change *change)
{
    const struct cluster_device *d = &footprint->plan->cluster->devices[device];
    int next = footprint->first_parts[device], end = footprint->first_parts[device + 1];
    struct footprint_device most = { .epoch = -1, .need_bytes = d->reserved_bytes };

    while (next < end) {
        int32_t epoch = footprint->parts[next].epoch;
        struct footprint_bytes sum = sum_epoch(footprint, &next, end, loads, change);
        int64_t need_bytes = plus(plus(sum.weight_bytes, sum.kv_bytes),
                                  plus(sum.activation_bytes, d->reserved_bytes));

        if (most.epoch < 0 || need_bytes > most.need_bytes)
            most = (struct footprint_device){ .of = sum, .epoch = epoch, .need_bytes = need_bytes };
    }
    most.free_bytes = d->memory_bytes == 0 ? -1 : larger(0, d->memory_bytes - most.need_bytes);
    if (d->memory_bytes > 0)
        most.missing_bytes = larger(0, most.need_bytes - d->memory_bytes);
    return most;
}

struct footprint_device footprint_of_device(const struct footprint *footprint, int32_t device,
                                            const struct footprint_load *loads)
{
    return device_under(footprint, device, loads, NULL);
}

/* ---- how far it reaches ---- */

bool footprint_grows(const struct footprint *footprint, int32_t device, int32_t service,
                     enum footprint_axis axis)
{
    for (int i = footprint->first_parts[device]; i < footprint->first_parts[device + 1]; i++) {
        const struct footprint_part *part = &footprint->parts[i];
        const struct model *model = model_of(footprint, part);

        if ((service < 0 || part->service == service) &&
            (axis == FOOTPRINT_SEQUENCES || (model && model->kind == MODEL_DECODER)))
            return true;
    }
    return false;
}

/* INT64_MAX is more than any device has, also one whose memory is not known. */
static bool is_held(const struct footprint *footprint, int32_t device,
                    const struct footprint_load *loads, const struct change *change)
{
    struct footprint_device most = device_under(footprint, device, loads, change);

    return most.missing_bytes == 0 && most.need_bytes < INT64_MAX;
}

int64_t footprint_largest(const struct footprint *footprint, int32_t device, int32_t service,
                          enum footprint_axis axis, int64_t limit,
                          const struct footprint_load *loads)
{
    int64_t low = 0, high = limit;

    while (low < high) { /* low fits (0 is not asked), what is above high does not */
        int64_t middle = low + (high - low + 1) / 2;
        struct change change = { service, axis, middle };

        if (is_held(footprint, device, loads, &change))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}
