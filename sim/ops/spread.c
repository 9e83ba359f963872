/* spread.c - options against the trace, shared arithmetic, and the choice of the kind. */
#include "sim/ops/spread.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include "lib/format/ops.h"
#include "sim/ops/internal.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

const char *const spread_parallel_names[SPREAD_PARALLEL_COUNT] = {
    [SPREAD_SINGLE] = "single", [SPREAD_DATA] = "data",         [SPREAD_DDP] = "ddp",
    [SPREAD_TENSOR] = "tensor", [SPREAD_PIPELINE] = "pipeline",
};
const char *const spread_rules_names[SPREAD_RULES_COUNT] = {
    [SPREAD_DEFAULT] = "default",
    [SPREAD_TRIOSIM] = "triosim",
};
const char *const spread_cut_names[SPREAD_CUT_COUNT] = {
    [SPREAD_CUT_OPERATORS] = "operators",
    [SPREAD_CUT_TIME] = "time",
};

#define MIB (INT64_C(1) << 20)
#define WARNING_BYTES 256
#define BYTES_MOST 1e18

struct spread_options spread_defaults(void)
{
    return (struct spread_options){ .devices = 1,
                                    .bucket_bytes = 25 * MIB,
                                    .first_bucket_bytes = MIB,
                                    .remote_bytes_per_s = INT64_C(696000000000) };
}

/* ---- arithmetic ---- */

int64_t spread_row_ps(const struct spread *spread, int32_t row, int64_t samples)
{
    const struct ops_row *op = &spread->ops->rows[row];

    return op->stage == OPS_OPTIMIZER ? op->busy_ps
                                      : units_mul_div(op->busy_ps, samples, spread->traced_batch);
}

int64_t spread_tensor_bytes(const struct spread *spread, int32_t tensor, int64_t samples)
{
    int64_t bytes = spread->ops->tensors[tensor].bytes;

    return spread->roles->is_scaled[tensor] ? units_mul_div(bytes, samples, spread->traced_batch)
                                            : bytes;
}

/* units_mul_div, for which b is never 0. */
static int64_t part_of(int64_t a, int64_t b, int64_t c)
{
    return b == 0 ? 0 : units_mul_div(a, b, c);
}

int64_t spread_link_ps(const struct spread *spread, int64_t bytes)
{
    return bytes == 0 ? 0 : units_mul_div(bytes, UNITS_PS_PER_S, spread->options.link_bytes_per_s);
}

int64_t spread_ring_ps(const struct spread *spread, int64_t bytes, int passes)
{
    int64_t steps = (int64_t)passes * (spread->options.devices - 1);

    return saturate_add(part_of(spread_link_ps(spread, bytes), steps, spread->options.devices),
                        part_of(spread->options.link_latency_ps, steps, 1));
}

int64_t spread_ring_sent_bytes(const struct spread *spread, int64_t bytes, int passes)
{
    return part_of(bytes, (int64_t)passes * (spread->options.devices - 1), spread->options.devices);
}

int64_t spread_of_optimizer(const struct spread *spread, int64_t amount, int64_t gradient_bytes)
{
    int64_t all = spread->roles->gradient_bytes;

    return all > 0 ? part_of(amount, gradient_bytes, all) : amount;
}

void spread_warn(struct spread *spread, const char *format, ...)
{
    struct spread_result *result = spread->result;
    char text[WARNING_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (result->warning_count < (int)(sizeof result->warnings / sizeof result->warnings[0]))
        result->warnings[result->warning_count++] = arena_strdup(spread->arena, text);
}

/* ---- options ---- */

/* So that no sum over tensors passes int64. */
static bool check_bytes(const struct spread *spread, struct err *err)
{
    double ratio = (double)spread->options.batch / (double)spread->traced_batch, bytes = 0;

    for (int32_t t = 0; t < spread->ops->tensor_count; t++)
        bytes += (double)spread->ops->tensors[t].bytes;
    return bytes * (ratio > 1 ? ratio : 1) < BYTES_MOST ||
           err_at(err, spread->ops->path, 0, 0,
                  "the tensors of a batch of %" PRId64 " have more than 10^18 bytes",
                  spread->options.batch);
}

static bool set_batch(struct spread *spread, struct err *err)
{
    struct spread_options *options = &spread->options;
    int64_t traced = spread->roles->batch;

    if (traced == 0 && (options->batch > 0 || options->micro_batch > 0))
        return err_at(err, spread->ops->path, 0, 0,
                      "nothing tells the batch that was traced, which --batch and --micro-batch "
                      "need: give --traced-batch, or the line '# batch: N'");
    spread->traced_batch = traced > 0 ? traced : 1;
    if (options->batch == 0)
        options->batch = spread->traced_batch;
    if (options->micro_batch == 0)
        options->micro_batch = options->batch;
    if (options->micro_batch > options->batch || options->batch % options->micro_batch != 0)
        return err_set(err, ERR_USAGE,
                       "--micro-batch is %" PRId64 ": expected a divisor of the batch, %" PRId64,
                       options->micro_batch, options->batch);
    spread->result->micro_count = options->batch / options->micro_batch;
    if (spread->result->micro_count > GRAPH_MAX_TASKS / 8 / options->devices)
        return err_set(err, ERR_USAGE,
                       "--micro-batch is %" PRId64 ": %" PRId64
                       " micro-batches on %d devices are more than one run takes",
                       options->micro_batch, spread->result->micro_count, options->devices);
    return check_bytes(spread, err);
}

static bool check_options(const struct spread_options *options, struct err *err)
{
    bool is_pipeline = options->parallel == SPREAD_PIPELINE;

    if (options->micro_batch > 0 && !is_pipeline)
        return err_set(err, ERR_USAGE, "--micro-batch needs --parallel pipeline");
    if (options->cut != SPREAD_CUT_OPERATORS && !is_pipeline)
        return err_set(err, ERR_USAGE, "--cut needs --parallel pipeline");
    if (options->parallel != SPREAD_SINGLE && options->devices > 1 &&
        options->link_bytes_per_s == 0)
        return err_set(err, ERR_USAGE,
                       "--link-bytes-per-s is missing: how fast devices send to one another");
    if (options->rules == SPREAD_TRIOSIM && options->link_latency_ps > 0)
        return err_set(err, ERR_USAGE, "--link-latency needs --rules default: TrioSim has none");
    if (options->rules == SPREAD_TRIOSIM && options->cut != SPREAD_CUT_OPERATORS)
        return err_set(err, ERR_USAGE,
                       "--cut needs --rules default: TrioSim cuts by numbers of operators");
    return true;
}

static void warn_of_holes(struct spread *spread)
{
    const struct roles *roles = spread->roles;
    const struct spread_options *options = &spread->options;
    bool needs_gradients = options->parallel == SPREAD_DATA || options->parallel == SPREAD_DDP;

    if (options->batch != spread->traced_batch || options->micro_batch != spread->traced_batch)
        spread_warn(spread,
                    "times are extrapolated from batch %" PRId64 " to %" PRId64 ", in proportion%s",
                    spread->traced_batch, options->micro_batch,
                    options->rules == SPREAD_TRIOSIM ? ", and so are the bytes of weights" : "");
    if (needs_gradients && options->devices > 1 && roles->gradient_count == 0)
        spread_warn(spread, "nothing runs backward, or no operator has weights: there is nothing "
                            "to reduce");
    if (options->parallel == SPREAD_TENSOR && options->devices > 1) {
        bool is_any = false;

        for (int32_t i = 0; i < spread->ops->row_count; i++)
            is_any = is_any || spread->ops->rows[i].is_tp_split;
        if (!is_any)
            spread_warn(spread, "no operator has tp_split 1: every device computes everything");
    }
}

/* ---- the run ---- */

static void finish(struct spread *spread)
{
    struct spread_result *result = spread->result;
    int64_t quotient = 0, rest = 0, count = spread->options.devices;

    /* The mean of times whose sum may pass int64. */
    for (int32_t d = 0; d < count; d++) {
        quotient += result->devices[d].compute_ps / count;
        rest += result->devices[d].compute_ps % count;
    }
    result->compute_ps = quotient + rest / count;
    result->bubble_ps = result->iteration_ps - result->compute_ps;
}

bool spread_run(struct arena *arena, const struct ops *ops, const struct spread_options *options,
                struct spread_result *result, struct err *err)
{
    struct spread spread = { .arena = arena, .ops = ops, .options = *options, .result = result };
    bool is_split = options->parallel == SPREAD_TENSOR || options->parallel == SPREAD_PIPELINE;

    *result = (struct spread_result){ .ops = ops, .iteration_ps = -1 };
    if (!check_options(options, err))
        return false;
    spread.roles = roles_find(arena, ops, options->traced_batch);
    result->roles = spread.roles;
    if (!set_batch(&spread, err) || !whole_check(&spread, err) ||
        (options->parallel == SPREAD_PIPELINE && !pipeline_cut(&spread, err)))
        return false;
    result->options = spread.options;
    result->samples = is_split ? spread.options.batch : spread.options.batch * options->devices;
    result->devices = arena_array(arena, (size_t)options->devices, sizeof *result->devices);
    warn_of_holes(&spread);
    memory_measure(&spread);
    if (!result->fits)
        return true;
    if (options->rules == SPREAD_TRIOSIM       ? !triosim_run(&spread, err)
        : options->parallel == SPREAD_PIPELINE ? !pipeline_run(&spread, err)
                                               : !whole_run(&spread, err))
        return false;
    finish(&spread);
    return true;
}
