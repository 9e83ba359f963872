/* fit_text.c - does it fit, on a terminal. */
#include "lib/base/cli.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/policy/plan.h"
#include "sim/report/fit.h"
#include "sim/report/inputs.h"
#include "sim/report/wrap.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAME_WIDTH 14
#define TEXT_BYTES 64

static bool is_used(const struct fit *fit, int32_t device)
{
    return fit->footprint->first_parts[device] < fit->footprint->first_parts[device + 1];
}

static const char *device_name(const struct fit *fit, int32_t device)
{
    return fit->footprint->plan->cluster->devices[device].name;
}

static void put_loads(const struct fit *fit, struct out *out)
{
    const struct plan *plan = fit->footprint->plan;

    out_char(out, '\n');
    for (int s = 0; s < plan->service_count; s++) {
        const struct plan_service *service = &plan->services[s];
        const struct footprint_load *load = &fit->loads[s];

        out_column(out, service->name, NAME_WIDTH);
        if (!service->model) {
            out_printf(out, " batches of %" PRId64 "\n", load->sequences);
            continue;
        }
        out_printf(out, " %s: %" PRId64 " x %" PRId64 " tokens a replica", service->model->name,
                   load->sequences, load->context_tokens);
        if (service->model->kind == MODEL_DECODER)
            out_printf(out, ", KV blocks of %d", (int)load->block_tokens);
        if (service->model->kind == MODEL_DECODER && load->step_tokens > 0)
            out_printf(out, ", steps of %" PRId64, load->step_tokens);
        out_char(out, '\n');
    }
}

static void put_bytes(struct out *out, int width, int64_t bytes)
{
    char text[UNITS_TEXT_BYTES];

    out_printf(out, "%*s", width, bytes == INT64_MAX ? "-" : units_format_bytes(bytes, text));
}

static void put_device(const struct fit *fit, int32_t device, struct out *out)
{
    const struct cluster_device *d = &fit->footprint->plan->cluster->devices[device];
    const struct footprint_device *now = &fit->devices[device].now;

    out_column(out, d->name, NAME_WIDTH);
    put_bytes(out, 9, now->of.weight_bytes);
    put_bytes(out, 9, now->of.kv_bytes);
    put_bytes(out, 9, now->of.activation_bytes);
    put_bytes(out, 9, d->reserved_bytes);
    put_bytes(out, 9, now->need_bytes);
    if (d->memory_bytes == 0) {
        out_printf(out, "%19s\n", "memory not given");
        return;
    }
    put_bytes(out, 9, d->memory_bytes);
    put_bytes(out, 10, now->missing_bytes > 0 ? -now->missing_bytes : now->free_bytes);
    out_char(out, '\n');
}

static void put_devices(const struct fit *fit, struct out *out)
{
    const struct cluster *cluster = fit->footprint->plan->cluster;

    out_printf(out, "\n%-*s%9s%9s%9s%9s%9s%9s%10s\n", NAME_WIDTH, "device", "weights", "KV",
               "activ.", "reserved", "need", "memory", "free");
    for (int i = 0; i < cluster->device_count; i++)
        if (is_used(fit, i))
            put_device(fit, i, out);
}

/* ---- how far it reaches ---- */

/* A cell of the table: what the device alone allows. */
static const char *cell_of(const struct fit_reach *reach, char text[TEXT_BYTES])
{
    if (reach->most == FIT_NOT_ASKED)
        return "-";
    if (reach->most == 0)
        return "none";
    (void)snprintf(text, TEXT_BYTES, reach->device < 0 ? ">= %" PRId64 : "%" PRId64, reach->most);
    return text;
}

static void put_reaches(const struct fit *fit, struct out *out)
{
    const struct cluster *cluster = fit->footprint->plan->cluster;

    out_printf(out, "\n%-*s%18s%18s\n", NAME_WIDTH, "device", "largest context", "most sequences");
    for (int i = 0; i < cluster->device_count; i++) {
        char context[TEXT_BYTES], sequences[TEXT_BYTES];

        if (!is_used(fit, i))
            continue;
        out_column(out, cluster->devices[i].name, NAME_WIDTH);
        out_printf(out, "%18s%18s\n", cell_of(&fit->devices[i].context, context),
                   cell_of(&fit->devices[i].sequences, sequences));
    }
}

static void put_reach(const struct fit *fit, const char *name, const char *unit,
                      const struct fit_reach *reach, const char *limit, struct out *out)
{
    if (reach->most == FIT_NOT_ASKED)
        return;
    out_printf(out, "  %-18s", name);
    if (reach->most == 0)
        out_printf(out, "none: device '%s' is too small for 1\n", device_name(fit, reach->device));
    else if (reach->device < 0)
        out_printf(out, "%" PRId64 " %s, %s\n", reach->most, unit, limit);
    else
        out_printf(out, "%" PRId64 " %s, then device '%s' is full\n", reach->most, unit,
                   device_name(fit, reach->device));
}

static void put_both(const struct fit *fit, const struct fit_reach *context,
                     const struct fit_reach *sequences, struct out *out)
{
    put_reach(fit, "largest context", "tokens", context,
              context->limit < FOOTPRINT_MAX_TOKENS ? "all that the model takes"
                                                    : "or more: no limit is given",
              out);
    put_reach(fit, "most sequences", "a replica", sequences,
              sequences->limit < FOOTPRINT_MAX_SEQUENCES ? "all that its batches may hold"
                                                         : "or more: no limit is given",
              out);
}

static void put_services(const struct fit *fit, struct out *out)
{
    const struct plan *plan = fit->footprint->plan;

    out_char(out, '\n');
    if (plan->service_count > 1)
        out_text(out, "all services\n");
    put_both(fit, &fit->context, &fit->sequences, out);
    for (int s = 0; s < plan->service_count && plan->service_count > 1; s++) {
        out_printf(out, "%s, the others as they are\n", plan->services[s].name);
        put_both(fit, &fit->services[s].context, &fit->services[s].sequences, out);
    }
}

/* ---- the answer ---- */

static void put_missing(const struct fit *fit, struct out *out)
{
    const struct cluster *cluster = fit->footprint->plan->cluster;

    for (int i = 0; i < cluster->device_count; i++) {
        int64_t missing_bytes = fit->devices[i].now.missing_bytes;
        char text[UNITS_TEXT_BYTES];

        if (is_used(fit, i) && missing_bytes > 0)
            out_printf(out, "does not fit: device '%s' lacks %" PRId64 " bytes (%s)\n",
                       cluster->devices[i].name, missing_bytes,
                       units_format_bytes(missing_bytes, text));
    }
}

static void put_answer(const struct fit *fit, struct out *out)
{
    const struct cluster *cluster = fit->footprint->plan->cluster;
    int32_t fullest = -1;
    char text[UNITS_TEXT_BYTES];

    out_char(out, '\n');
    if (!fit->fits) {
        put_missing(fit, out);
        return;
    }
    for (int i = 0; i < cluster->device_count; i++)
        if (is_used(fit, i) && cluster->devices[i].memory_bytes > 0 &&
            (fullest < 0 || fit->devices[i].now.free_bytes < fit->devices[fullest].now.free_bytes))
            fullest = i;
    out_printf(out, "fits: device '%s' has the least left, %" PRId64 " bytes (%s)\n",
               cluster->devices[fullest].name, fit->devices[fullest].now.free_bytes,
               units_format_bytes(fit->devices[fullest].now.free_bytes, text));
}

#define ALONE_WIDTH 12

/* Devices that hold the model alone, in lines of at most 80 columns. */
static void put_holders(const struct fit *fit, struct out *out)
{
    const struct cluster *cluster = fit->footprint->plan->cluster;
    int count = 0, column = ALONE_WIDTH;

    out_text(out, "\nalone on    ");
    for (int i = 0; i < cluster->device_count; i++) {
        int width = (int)strlen(cluster->devices[i].name);

        if (cluster->devices[i].memory_bytes == 0 || fit->devices[i].now.missing_bytes > 0)
            continue;
        if (count > 0 && column + width + 3 > 80) {
            out_printf(out, ",\n%*s", ALONE_WIDTH, "");
            column = ALONE_WIDTH;
        } else if (count > 0) {
            out_text(out, ", ");
            column += 2;
        }
        out_text(out, cluster->devices[i].name);
        column += width;
        count++;
    }
    out_printf(out, "%s\n", count == 0 ? "none of the devices" : "");
}

static void put_alone(const struct fit *fit, struct out *out)
{
    char text[UNITS_TEXT_BYTES];

    put_holders(fit, out);
    if (fit->fewest > 0)
        out_printf(out, "together on %d device%s at least: weights and KV are %s\n", fit->fewest,
                   fit->fewest == 1 ? "" : "s", units_format_bytes(fit->whole_bytes, text));
    else
        out_printf(out, "does not fit: all devices together lack %" PRId64 " bytes (%s)\n",
                   fit->missing_bytes, units_format_bytes(fit->missing_bytes, text));
}

void fit_text(const struct fit *fit, struct out *out)
{
    const struct plan *plan = fit->footprint->plan;

    out_printf(out, "orrery-sim %s\n", CLI_VERSION);
    inputs_text(fit->inputs, out);
    put_loads(fit, out);
    put_devices(fit, out);
    put_reaches(fit, out);
    if (fit->alone) {
        put_alone(fit, out);
    } else {
        put_services(fit, out);
        put_answer(fit, out);
    }
    out_char(out, '\n');
    for (int i = 0; i < fit->warning_count; i++)
        wrap_text(out, "warning: ", fit->warnings[i]);
    if (plan->epoch_count > 1)
        wrap_text(out, "", "Each device in the epoch in which it needs most.");
    wrap_text(
        out, "",
        "activ.: activations of the largest step. Largest context with so many sequences, most "
        "sequences of so long a context, as above; >= where memory sets no limit.");
}
