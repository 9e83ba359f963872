/* spread_text.c - an iteration on several devices, on a terminal. */
#include "lib/base/cli.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "sim/ops/roles.h"
#include "sim/ops/spread.h"
#include "sim/report/inputs.h"
#include "sim/report/spread.h"
#include "sim/report/wrap.h"
#include <inttypes.h>
#include <string.h>

static const char *const kinds[SPREAD_PARALLEL_COUNT] = {
    [SPREAD_SINGLE] = "every device for itself",     [SPREAD_DATA] = "data parallel",
    [SPREAD_DDP] = "data parallel in buckets (ddp)", [SPREAD_TENSOR] = "tensor parallel",
    [SPREAD_PIPELINE] = "pipeline (GPipe)",
};

static double percent(int64_t part, int64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

static void put_setting(const struct spread_result *result, struct out *out)
{
    const struct spread_options *options = &result->options;
    const struct roles *roles = result->roles;
    char text[UNITS_TEXT_BYTES];

    out_printf(out, "\noperators     %d forward, %d backward, %d of the optimizer\n",
               roles->forward_count, roles->backward_count, roles->optimizer_count);
    out_printf(out, "parallel      %s on %d device%s, rules %s\n", kinds[options->parallel],
               options->devices, options->devices == 1 ? "" : "s",
               spread_rules_names[options->rules]);
    if (roles->batch > 0) {
        out_printf(out, "batch         %" PRId64, options->batch);
        if (result->samples != options->batch)
            out_printf(out, " a device, %" PRId64 " in all", result->samples);
        if (result->micro_count > 1)
            out_printf(out, ", in %" PRId64 " micro-batches of %" PRId64, result->micro_count,
                       options->micro_batch);
        out_printf(out, "; %" PRId64 " was traced\n", roles->batch);
    }
    if (options->link_bytes_per_s > 0)
        out_printf(out, "link          %.6g GB/s, latency %s\n",
                   (double)options->link_bytes_per_s / 1e9,
                   units_format_human(options->link_latency_ps, text));
}

static void put_time(struct out *out, const char *name, int64_t time_ps, int64_t whole_ps)
{
    char text[UNITS_TEXT_BYTES];

    out_printf(out, "%-14s%10s", name, units_format_human(time_ps, text));
    if (whole_ps > 0)
        out_printf(out, "%10.2f %%", percent(time_ps, whole_ps));
}

static void put_times(const struct spread_result *result, struct out *out)
{
    char text[UNITS_TEXT_BYTES];
    int64_t whole_ps = result->iteration_ps, sent = 0;

    for (int32_t d = 0; d < result->options.devices; d++)
        sent += result->devices[d].sent_bytes / result->options.devices;
    out_char(out, '\n');
    put_time(out, "iteration", whole_ps, 0);
    if (result->roles->batch > 0 && whole_ps > 0)
        out_printf(out, "%12s  %.6g samples/s", "",
                   (double)result->samples / ((double)whole_ps / (double)UNITS_PS_PER_S));
    out_char(out, '\n');
    put_time(out, "compute", result->compute_ps, whole_ps);
    out_text(out, "  of a device, in the mean\n");
    put_time(out, "bubble", result->bubble_ps, whole_ps);
    out_text(out, "  of a device, in the mean: it waits\n");
    put_time(out, "communication", result->communication_ps, whole_ps);
    if (result->messages > 0)
        out_printf(out, "  of the busiest link; %d message%s\n", result->messages,
                   units_s(result->messages));
    else
        out_printf(out, "  of the ring; %d collective%s of %s\n", result->collectives,
                   result->collectives == 1 ? "" : "s",
                   units_format_bytes(result->collective_bytes, text));
    if (result->fetch_ps > 0) {
        put_time(out, "fetch", result->fetch_ps, whole_ps);
        out_text(out, "  of the busiest link to the host\n");
    }
    out_printf(out, "%-14s%10s%12s  by a device, in the mean\n", "sent",
               units_format_bytes(sent, text), "");
}

static bool is_like_before(const struct spread_result *result, int32_t device)
{
    const struct spread_device *a = &result->devices[device], *b = a - 1;

    return device > 0 && a->from_row == b->from_row && a->to_row == b->to_row &&
           a->compute_ps == b->compute_ps && memcmp(&a->memory, &b->memory, sizeof a->memory) == 0;
}

static void put_device(const struct spread_result *result, int32_t from, int32_t to,
                       struct out *out)
{
    const struct spread_device *device = &result->devices[from];
    const struct spread_memory *memory = &device->memory;
    const int64_t sizes[] = { memory->weights_bytes,
                              memory->gradients_bytes + memory->buckets_bytes, memory->state_bytes,
                              memory->working_bytes, memory->peak_bytes };
    char name[24], text[UNITS_TEXT_BYTES];

    (void)snprintf(name, sizeof name, to - from > 1 ? "%d-%d" : "%d", from, to - 1);
    out_printf(out, "%-10s%5d", name, device->to_row - device->from_row);
    out_printf(out, "%10s", result->fits ? units_format_human(device->compute_ps, text) : "-");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        out_printf(out, "%11s", units_format_bytes(sizes[i], text));
    out_char(out, '\n');
}

static void put_devices(const struct spread_result *result, struct out *out)
{
    int32_t count = result->options.devices;

    out_printf(out, "\n%-10s%5s%10s%11s%11s%11s%11s%11s\n", "device", "ops", "compute", "weights",
               "gradients", "optimizer", "working", "peak");
    for (int32_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && is_like_before(result, to);)
            to++;
        put_device(result, from, to, out);
    }
}

static void put_answer(const struct spread_result *result, struct out *out)
{
    const struct spread_options *options = &result->options;
    int64_t peak = result->devices[result->largest_device].memory.peak_bytes;
    char text[UNITS_TEXT_BYTES], other[UNITS_TEXT_BYTES];

    if (options->memory_bytes == 0)
        return;
    out_char(out, '\n');
    if (result->fits)
        out_printf(out, "fits: device %d holds %s at most, of %s\n", result->largest_device,
                   units_format_bytes(peak, text),
                   units_format_bytes(options->memory_bytes, other));
    else
        out_printf(
            out, "does not fit: device %d needs %" PRId64 " bytes, %" PRId64 " more than it has\n",
            result->largest_device, peak, peak - options->memory_bytes);
}

void spread_text(const struct spread_result *result, const struct inputs *inputs, struct out *out)
{
    out_printf(out, "orrery-sim %s\n", CLI_VERSION);
    inputs_text(inputs, out);
    put_setting(result, out);
    if (result->fits)
        put_times(result, out);
    put_devices(result, out);
    put_answer(result, out);
    out_char(out, '\n');
    for (int i = 0; i < result->warning_count; i++)
        wrap_text(out, "warning: ", result->warnings[i]);
    wrap_text(out, "",
              "iteration = compute + bubble; ops are forward operators, working is the peak of "
              "activations, their gradients and temporaries, gradients have the buckets of ddp.");
}
