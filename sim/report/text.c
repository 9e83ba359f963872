/* text.c - the report on a terminal: at most 80 columns, every figure with its unit. */
#include "lib/base/cli.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/policy/plan.h"
#include "sim/llm/llm.h"
#include "sim/report/passes.h"
#include "sim/report/phases.h"
#include "sim/report/report.h"
#include "sim/report/utilisation.h"
#include "sim/report/wrap.h"
#include "sim/serve/serve.h"
#include <inttypes.h>
#include <string.h>

static double rate(int64_t count, int64_t time_ps)
{
    return time_ps > 0 ? (double)count / ((double)time_ps / (double)UNITS_PS_PER_S) : 0;
}

static double percent(int64_t part, int64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

static void put_summary(struct out *out, const char *name, const struct stats_summary *summary)
{
    const int64_t values[] = { summary->mean, summary->p50,  summary->p90, summary->p95,
                               summary->p99,  summary->p999, summary->max };

    if (summary->count == 0)
        return;
    out_printf(out, "%-9s", name);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char text[UNITS_TEXT_BYTES];

        out_printf(out, "%10s", units_format_human(values[i], text));
    }
    out_char(out, '\n');
}

static void put_trim(const struct report *report, struct out *out)
{
    char trim[UNITS_TEXT_BYTES], window[UNITS_TEXT_BYTES];

    out_printf(out, "trimmed    %" PRId64 " requests of the first and last %s; %s are left\n",
               report->all.trimmed, units_format_human(report->options.trim_ps, trim),
               units_format_human(report->all.window_ps, window));
}

/* Requests that stand in no file: what they were asked to be, in lines of at most 80 columns. */
static void put_load(const struct report *report, struct out *out)
{
    int column = 80;

    for (const char *const *pair = report->load; pair && *pair; pair += 2) {
        int width = (int)(strlen(pair[0]) + strlen(pair[1])) + 3;

        if (column + width > 78) {
            out_text(out, column == 80 ? "  load      " : "\n            ");
            column = 12;
        }
        out_printf(out, " --%s %s", pair[0], pair[1]);
        column += width + 1;
    }
    if (column != 80)
        out_char(out, '\n');
}

static void put_totals(const struct report *report, struct out *out)
{
    const struct metrics *all = &report->all;
    const struct serve_result *result = report->result;
    char text[UNITS_TEXT_BYTES];

    out_printf(out, "\nrequests   %" PRId64 ":", all->total);
    for (int i = 0; i < TRACE_STATUS_COUNT; i++)
        out_printf(out, "%s %" PRId64 " %s", i ? "," : "", all->status[i], trace_status_names[i]);
    out_printf(out, "\nsimulated  %s in %" PRId64 " events\n",
               units_format_human(result->end_ps, text), result->event_count);
    if (report->options.trim_ps > 0)
        put_trim(report, out);
    out_printf(out, "throughput %.6g requests/s, %.6g output tokens/s\n",
               rate(all->status[TRACE_OK], all->window_ps),
               rate(all->output_tokens, all->window_ps));
    out_printf(out, "goodput    %.6g requests/s, %.2f %% of all requests",
               rate(all->good, all->window_ps), percent(all->good, all->total));
    if (report->options.slo_ps > 0)
        out_printf(out, " (--slo %s)", units_format_human(report->options.slo_ps, text));
    out_printf(out, "\nmoved      %s over links; %" PRId64 " extrapolated costs\n\n",
               units_format_bytes(result->moved_bytes, text), result->extrapolated_costs);
    out_printf(out, "%-9s%10s%10s%10s%10s%10s%10s%10s\n", "", "mean", "p50", "p90", "p95", "p99",
               "p99.9", "max");
    put_summary(out, "latency", &all->latency);
    put_summary(out, "TTFT", &all->ttft);
    put_summary(out, "TPOT", &all->tpot);
    put_summary(out, "e2e", &all->e2e);
}

static void put_continuous(const struct llm_result *done, struct out *out)
{
    struct continuous_counts sum = llm_counts(done);
    int64_t blocks = 0;

    for (int i = 0; i < done->instance_count; i++)
        blocks += done->instances[i].block_count;
    out_printf(out,
               "\niterations %" PRId64 " of %.3g requests in the mean, %d at most; %d waited\n",
               sum.steps, sum.steps > 0 ? (double)sum.sequences / (double)sum.steps : 0,
               sum.running_peak, sum.waiting_peak);
    out_printf(out, "KV blocks  %" PRId64 " %s, %d used at most\n", blocks,
               done->are_blocks_given  ? "given"
               : done->is_memory_known ? "in the memory that is left"
                                       : "(no memory_bytes)",
               sum.blocks_peak);
    out_printf(out, "preempted  %" PRId64 " times, %" PRId64 " tokens computed anew\n",
               sum.preemptions, sum.recomputed_tokens);
    out_printf(out, "prefixes   %" PRId64 " tokens found, %.2f %% of all prompts\n", sum.hit_tokens,
               percent(sum.hit_tokens, sum.prompt_tokens));
}

static void put_services(const struct report *report, struct out *out)
{
    out_printf(out, "\n%-24s%10s%10s%12s%12s%10s\n", "service", "requests", "ok", "mean", "p99",
               "goodput");
    for (int i = 0; i < report->input->plan->service_count; i++) {
        const struct metrics *one = &report->services[i];
        char mean[UNITS_TEXT_BYTES] = "-", p99[UNITS_TEXT_BYTES] = "-";

        if (one->latency.count > 0) {
            units_format_human(one->latency.mean, mean);
            units_format_human(one->latency.p99, p99);
        }
        out_column(out, one->service, 24);
        out_printf(out, "%10" PRId64 "%10" PRId64 "%12s%12s%8.2f %%\n", one->total,
                   one->status[TRACE_OK], mean, p99, percent(one->good, one->total));
    }
}

static void put_devices(const struct report *report, struct out *out)
{
    const struct cluster *cluster = report->input->plan->cluster;
    const struct serve_result *result = report->result;

    out_printf(out, "\n%-24s%10s%10s%16s%16s\n", "device", "busy", "gap", "peak", "memory");
    for (int i = 0; i < cluster->device_count; i++) {
        const struct serve_device *device = &result->devices[i];
        char peak[UNITS_TEXT_BYTES], memory[UNITS_TEXT_BYTES] = "not given";

        if (cluster->devices[i].memory_bytes > 0)
            units_format_bytes(cluster->devices[i].memory_bytes, memory);
        out_column(out, cluster->devices[i].name, 24);
        out_printf(out, "%8.2f %%%8.2f %%%16s%16s\n", percent(device->busy_ps, result->end_ps),
                   percent(device->gap_ps, result->end_ps),
                   units_format_bytes(device->peak_bytes, peak), memory);
    }
    if (result->link_count > 0)
        out_printf(out, "\n%-40s%10s%20s\n", "link", "busy", "sent");
    for (int i = 0; i < result->link_count; i++) {
        char sent[UNITS_TEXT_BYTES];

        out_column(out, result->links[i].name, 40);
        out_printf(out, "%8.2f %%%20s\n", percent(result->links[i].busy_ps, result->end_ps),
                   units_format_bytes(result->links[i].bytes, sent));
    }
    if (result->has_circuits)
        out_printf(out,
                   "\ncircuits   %" PRId64 " set up, %" PRId64 " taken away, %" PRId64
                   " messages waited for one\n",
                   result->circuits.setups, result->circuits.evictions, result->circuits.waits);
}

static void put_definitions(const struct report *report, struct out *out)
{
    const struct metrics_options *options = &report->options;

    wrap_text(out, "",
              "latency = finish - arrival; TTFT = first token - arrival (queueing included); "
              "TPOT = (finish - first token) / (output tokens - 1); quantiles interpolate "
              "linearly between order statistics; goodput counts requests that are ok within "
              "their slo_s, else --slo, if any; rates are over simulated time.");
    if (options->samples == SAMPLES_HISTOGRAM)
        wrap_text(out, "",
                  "--latency histogram: quantiles are off by at most 0.025 % of themselves; "
                  "mean and max are exact.");
    if (options->trim_ps > 0)
        wrap_text(out, "",
                  "--trim: requests that arrive in the first or last seconds count in nothing "
                  "but what devices and links did; rates are over the time between.");
}

void report_text(const struct report *report, struct out *out)
{
    out_printf(out, "orrery-sim %s, seed %" PRIu64 "\n", CLI_VERSION, report->seed);
    inputs_text(report->inputs, out);
    put_load(report, out);
    put_totals(report, out);
    if (report->result->continuous)
        put_continuous(report->result->continuous, out);
    put_services(report, out);
    put_devices(report, out);
    passes_text(report->arena, report->input, report->result, out);
    if (report->phases)
        phases_text(report->phases, out);
    if (report->utilisation)
        utilisation_text(report->utilisation, out);
    out_char(out, '\n');
    for (int i = 0; i < report->warning_count; i++)
        wrap_text(out, "warning: ", report->warnings[i]);
    put_definitions(report, out);
}
