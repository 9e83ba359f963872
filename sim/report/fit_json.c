/* fit_json.c - does it fit, as one JSON object; keys are part of the contract, see sim/README.md.
 */
#include "lib/base/cli.h"
#include "lib/base/json.h"
#include "lib/format/cluster.h"
#include "lib/policy/plan.h"
#include "sim/report/fit.h"
#include "sim/report/inputs.h"

static void put_bytes(struct json_writer *json, const struct footprint_bytes *bytes)
{
    json_put_int(json, "weight_bytes", bytes->weight_bytes);
    json_put_int(json, "kv_bytes", bytes->kv_bytes);
    json_put_int(json, "activation_bytes", bytes->activation_bytes);
}

static void put_known(struct json_writer *json, const char *key, int64_t value, bool is_known)
{
    if (is_known)
        json_put_int(json, key, value);
    else
        json_put_null(json, key);
}

/* Null where nothing grows; where memory sets no limit, what the model or the profile does. */
static void put_reach(const struct fit *fit, struct json_writer *json, const char *key,
                      const char *device_key, const struct fit_reach *reach)
{
    put_known(json, key, reach->most, reach->most != FIT_NOT_ASKED);
    if (!device_key)
        return;
    json_put_text(json, device_key,
                  reach->device < 0 ? NULL
                                    : fit->footprint->plan->cluster->devices[reach->device].name);
}

static void put_reaches(const struct fit *fit, struct json_writer *json,
                        const struct fit_reach *context, const struct fit_reach *sequences)
{
    put_reach(fit, json, "largest_context_tokens", "context_device", context);
    put_reach(fit, json, "largest_sequences", "sequences_device", sequences);
}

static void put_parts(const struct fit *fit, struct json_writer *json, int32_t device)
{
    const struct footprint *footprint = fit->footprint;
    const struct plan *plan = footprint->plan;

    json_begin_array(json, "parts");
    for (int i = footprint->first_parts[device]; i < footprint->first_parts[device + 1]; i++) {
        const struct footprint_part *part = &footprint->parts[i];
        const struct plan_service *service = &plan->services[part->service];
        struct footprint_bytes bytes = footprint_measure(footprint, part, fit->loads);

        json_begin_object(json, NULL);
        json_put_int(json, "epoch", plan->epochs[part->epoch].number);
        json_put_text(json, "service", service->name);
        json_put_int(json, "replica", plan->replicas[part->replica].number);
        json_put_int(json, "stage", part->stage->number);
        json_put_text(json, "phase", placement_phase_names[part->stage->phase]);
        json_put_int(json, "copy", part->stage->copy);
        if (service->model)
            json_put_text(json, "model", service->model->name);
        else
            json_put_text(json, "executable", part->stage->executable);
        put_bytes(json, &bytes);
        put_known(json, "kv_bytes_per_token", part->kv_bytes_per_token, service->model != NULL);
        json_end_object(json);
    }
    json_end_array(json);
}

static void put_devices(const struct fit *fit, struct json_writer *json)
{
    const struct plan *plan = fit->footprint->plan;

    json_begin_array(json, "devices");
    for (int i = 0; i < plan->cluster->device_count; i++) {
        const struct cluster_device *d = &plan->cluster->devices[i];
        const struct fit_device *device = &fit->devices[i];
        bool is_known = d->memory_bytes > 0;

        json_begin_object(json, NULL);
        json_put_text(json, "device", d->name);
        put_known(json, "memory_bytes", d->memory_bytes, is_known);
        json_put_int(json, "reserved_bytes", d->reserved_bytes);
        put_bytes(json, &device->now.of);
        json_put_int(json, "need_bytes", device->now.need_bytes);
        put_known(json, "free_bytes", device->now.free_bytes, is_known);
        put_known(json, "missing_bytes", device->now.missing_bytes, is_known);
        if (is_known)
            json_put_bool(json, "fits", device->now.missing_bytes == 0);
        else
            json_put_null(json, "fits");
        put_known(json, "epoch", device->now.epoch < 0 ? 0 : plan->epochs[device->now.epoch].number,
                  device->now.epoch >= 0);
        put_reach(fit, json, "largest_context_tokens", NULL, &device->context);
        put_reach(fit, json, "largest_sequences", NULL, &device->sequences);
        put_parts(fit, json, i);
        json_end_object(json);
    }
    json_end_array(json);
}

static void put_services(const struct fit *fit, struct json_writer *json)
{
    const struct plan *plan = fit->footprint->plan;

    json_begin_array(json, "services");
    for (int s = 0; s < plan->service_count; s++) {
        const struct plan_service *service = &plan->services[s];
        const struct footprint_load *load = &fit->loads[s];
        bool is_decoder = service->model && service->model->kind == MODEL_DECODER;

        json_begin_object(json, NULL);
        json_put_text(json, "service", service->name);
        json_put_text(json, "model", service->model ? service->model->name : NULL);
        put_known(json, "context_tokens", load->context_tokens, service->model != NULL);
        json_put_int(json, "sequences", load->sequences);
        put_known(json, "step_tokens", load->step_tokens, is_decoder && load->step_tokens > 0);
        put_known(json, "kv_block_tokens", load->block_tokens, is_decoder);
        put_reaches(fit, json, &fit->services[s].context, &fit->services[s].sequences);
        json_end_object(json);
    }
    json_end_array(json);
}

void fit_json(struct arena *arena, const struct fit *fit, struct out *out)
{
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "version", CLI_VERSION);
    inputs_json(fit->inputs, json);
    json_put_bool(json, "fits", fit->fits);
    if (fit->alone) {
        json_put_text(json, "model", fit->alone->name);
        json_put_int(json, "context_tokens", fit->loads->context_tokens);
        json_put_int(json, "sequences", fit->loads->sequences);
        put_known(json, "fewest_devices", fit->fewest, fit->fewest > 0);
        json_put_int(json, "weight_and_kv_bytes", fit->whole_bytes);
        json_put_int(json, "missing_bytes", fit->missing_bytes);
    } else {
        put_reaches(fit, json, &fit->context, &fit->sequences);
        put_services(fit, json);
    }
    put_devices(fit, json);
    json_begin_array(json, "warnings");
    for (int i = 0; i < fit->warning_count; i++)
        json_put_text(json, NULL, fit->warnings[i]);
    json_end_array(json);
    json_end_object(json);
}
