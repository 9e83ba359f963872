/* spread_json.c - an iteration on several devices, as one JSON object. */
#include "lib/base/cli.h"
#include "lib/base/json.h"
#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include "lib/format/ops.h"
#include "sim/ops/roles.h"
#include "sim/ops/spread.h"
#include "sim/report/inputs.h"
#include "sim/report/spread.h"

static void put_options(struct json_writer *json, const struct spread_result *result)
{
    const struct spread_options *options = &result->options;
    const struct roles *roles = result->roles;

    json_put_text(json, "rules", spread_rules_names[options->rules]);
    json_put_text(json, "parallel", spread_parallel_names[options->parallel]);
    json_put_int(json, "device_count", options->devices);
    if (options->parallel == SPREAD_PIPELINE)
        json_put_text(json, "cut", spread_cut_names[options->cut]);
    else
        json_put_null(json, "cut");
    if (roles->batch > 0) {
        json_put_int(json, "traced_batch", roles->batch);
        json_put_int(json, "batch", options->batch);
        json_put_int(json, "micro_batch", options->micro_batch);
        json_put_int(json, "samples", result->samples);
    } else {
        json_put_null(json, "traced_batch");
        json_put_null(json, "batch");
        json_put_null(json, "micro_batch");
        json_put_null(json, "samples");
    }
    json_put_int(json, "micro_batches", result->micro_count);
    if (options->link_bytes_per_s > 0)
        json_put_int(json, "link_bytes_per_s", options->link_bytes_per_s);
    else
        json_put_null(json, "link_bytes_per_s");
    json_put_seconds(json, "link_latency_s", options->link_latency_ps);
    json_begin_object(json, "operators");
    json_put_int(json, "forward", roles->forward_count);
    json_put_int(json, "backward", roles->backward_count);
    json_put_int(json, "optimizer", roles->optimizer_count);
    json_end_object(json);
}

/* Times are null where nothing ran because it does not fit. */
static void put_seconds(struct json_writer *json, const struct spread_result *result,
                        const char *key, int64_t time_ps)
{
    if (result->fits)
        json_put_seconds(json, key, time_ps);
    else
        json_put_null(json, key);
}

static void put_times(struct json_writer *json, const struct spread_result *result)
{
    double seconds = (double)result->iteration_ps / (double)UNITS_PS_PER_S;
    int64_t moved = 0;

    put_seconds(json, result, "iteration_s", result->iteration_ps);
    if (result->fits && result->roles->batch > 0 && seconds > 0)
        json_put_double(json, "samples_per_s", (double)result->samples / seconds);
    else
        json_put_null(json, "samples_per_s");
    put_seconds(json, result, "compute_s", result->compute_ps);
    put_seconds(json, result, "communication_s", result->communication_ps);
    put_seconds(json, result, "bubble_s", result->bubble_ps);
    if (result->fits && seconds > 0)
        json_put_double(json, "bubble_ratio",
                        (double)result->bubble_ps / (double)result->iteration_ps);
    else
        json_put_null(json, "bubble_ratio");
    if (result->options.rules == SPREAD_TRIOSIM && result->options.parallel != SPREAD_TENSOR)
        put_seconds(json, result, "fetch_s", result->fetch_ps);
    else
        json_put_null(json, "fetch_s");
    for (int32_t d = 0; d < result->options.devices; d++)
        moved = saturate_add(moved, result->devices[d].sent_bytes);
    json_put_int(json, "collectives", result->collectives);
    json_put_int(json, "collective_bytes", result->collective_bytes);
    json_put_int(json, "messages", result->messages);
    json_put_int(json, "moved_bytes", moved);
}

static void put_op(struct json_writer *json, const char *key, const struct spread_result *result,
                   int32_t row)
{
    if (row >= 0)
        json_put_int(json, key, result->ops->rows[row].op_id);
    else
        json_put_null(json, key);
}

static void put_devices(struct json_writer *json, const struct spread_result *result)
{
    json_begin_array(json, "devices");
    for (int32_t d = 0; d < result->options.devices; d++) {
        const struct spread_device *device = &result->devices[d];
        const struct spread_memory *memory = &device->memory;
        bool is_empty = device->to_row == device->from_row;

        json_begin_object(json, NULL);
        json_put_int(json, "device", d);
        put_op(json, "first_op_id", result, is_empty ? -1 : device->from_row);
        put_op(json, "last_op_id", result, is_empty ? -1 : device->to_row - 1);
        put_seconds(json, result, "compute_s", device->compute_ps);
        put_seconds(json, result, "bubble_s", result->iteration_ps - device->compute_ps);
        json_put_int(json, "sent_bytes", device->sent_bytes);
        json_put_int(json, "weights_bytes", memory->weights_bytes);
        json_put_int(json, "gradients_bytes", memory->gradients_bytes);
        json_put_int(json, "optimizer_bytes", memory->state_bytes);
        json_put_int(json, "buckets_bytes", memory->buckets_bytes);
        json_put_int(json, "working_bytes", memory->working_bytes);
        json_put_int(json, "peak_bytes", memory->peak_bytes);
        json_end_object(json);
    }
    json_end_array(json);
}

void spread_json(struct arena *arena, const struct spread_result *result,
                 const struct inputs *inputs, struct out *out)
{
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "version", CLI_VERSION);
    inputs_json(inputs, json);
    put_options(json, result);
    put_times(json, result);
    if (result->options.memory_bytes > 0)
        json_put_int(json, "memory_bytes", result->options.memory_bytes);
    else
        json_put_null(json, "memory_bytes");
    json_put_bool(json, "fits", result->fits);
    json_put_int(json, "largest_device", result->largest_device);
    put_devices(json, result);
    json_begin_array(json, "warnings");
    for (int i = 0; i < result->warning_count; i++)
        json_put_text(json, NULL, result->warnings[i]);
    json_end_array(json);
    json_end_object(json);
}
