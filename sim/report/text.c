/* text.c - the report on a terminal: at most 80 columns, every figure with its unit. */
#include "lib/base/cli.h"
#include "lib/base/dmath.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/policy/plan.h"
#include "sim/llm/llm.h"
#include "sim/report/energy.h"
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

    out_printf(out, "trimmed    %" PRId64 " request%s of the first and last %s; %s are left\n",
               report->all.trimmed, units_s(report->all.trimmed),
               units_format_human(report->options.trim_ps, trim),
               units_format_human(report->all.window_ps, window));
}

/* Options as one would type them, in lines of at most 80 columns. */
static void put_options(const char *label, const char *const *pairs, struct out *out)
{
    int column = 80;

    for (const char *const *pair = pairs; pair && *pair; pair += 2) {
        int width = (int)(strlen(pair[0]) + strlen(pair[1])) + 3;

        if (column + width > 78) {
            out_printf(out, "%s%-10s", column == 80 ? "  " : "\n  ", column == 80 ? label : "");
            column = 12;
        }
        out_printf(out, " --%s %s", pair[0], pair[1]);
        column += width + 1;
    }
    if (column != 80)
        out_char(out, '\n');
}

/* Which requests the run took, and what became of those that were there when it ended. */
static void put_limits(const struct report *report, struct out *out)
{
    int64_t left_out = report_left_out(report), late = report->result->late_count;
    char text[UNITS_TEXT_BYTES];

    out_text(out, "limits    ");
    if (report->max_requests > 0)
        out_printf(out, " --max-requests %zu", report->max_requests);
    if (report->until_ps > 0)
        out_printf(out, " --until %s", units_format_human(report->until_ps, text));
    if (left_out >= 0)
        out_printf(out, ": %" PRId64 " request%s left out", left_out, units_s(left_out));
    if (report->until_ps > 0)
        out_printf(out, "\n           %" PRId64 " in flight at that instant %s finished", late,
                   late == 1 ? "was" : "were");
    out_char(out, '\n');
}

static void put_objectives(const struct metrics_options *options, struct out *out)
{
    const struct {
        const char *option;
        int64_t slo_ps;
    } slos[] = { { "--slo", options->slo_ps },
                 { "--slo-ttft", options->slo_ttft_ps },
                 { "--slo-tpot", options->slo_tpot_ps } };
    const char *before = "\n          ";

    if (!metrics_has_slo(options))
        return;
    for (size_t i = 0; i < sizeof slos / sizeof slos[0]; i++) {
        char text[UNITS_TEXT_BYTES];

        if (slos[i].slo_ps <= 0)
            continue;
        out_printf(out, "%s %s %s", before, slos[i].option,
                   units_format_human(slos[i].slo_ps, text));
        before = "";
    }
}

static void put_energy(const struct report *report, struct out *out)
{
    const struct metrics *all = &report->all;
    double energy_j;

    if (!energy_of_all(report->input->plan->cluster, report->result, &energy_j))
        return;
    out_printf(out, "energy     %.6g J", energy_j);
    if (all->run_tokens > 0)
        out_printf(out, ", %.4g J an output token", energy_j / (double)all->run_tokens);
    else if (all->run_ok > 0)
        out_printf(out, ", %.4g J a request", energy_j / (double)all->run_ok);
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
    out_printf(out, "\nsimulated  %s in %" PRId64 " event%s\n",
               units_format_human(result->end_ps, text), result->event_count,
               units_s(result->event_count));
    if (report_is_limited(report))
        put_limits(report, out);
    if (report->options.trim_ps > 0)
        put_trim(report, out);
    out_printf(out, "throughput %.6g requests/s, %.6g output tokens/s\n",
               rate(all->status[TRACE_OK], all->window_ps),
               rate(all->output_tokens, all->window_ps));
    out_printf(out, "goodput    %.6g requests/s, %.2f %% of all requests",
               rate(all->good, all->window_ps), percent(all->good, all->total));
    put_objectives(&report->options, out);
    out_printf(out, "\nmoved      %s over links; ", units_format_bytes(result->moved_bytes, text));
    if (result->has_kv_moves)
        out_printf(out, "KV caches of %" PRId64 " request%s, %s of it; ", result->kv_moves.requests,
                   units_s(result->kv_moves.requests),
                   units_format_bytes(result->kv_moves.bytes, text));
    if (result->migrations > 0)
        out_printf(out, "%" PRId64 " migration%s; ", result->migrations,
                   units_s(result->migrations));
    out_printf(out, "%" PRId64 " extrapolated cost%s\n", result->extrapolated_costs,
               units_s(result->extrapolated_costs));
    if (result->has_wakes)
        out_printf(out,
                   "woken      %" PRId64 " time%s, %s in all, for steps behind 60 ms of idling\n",
                   result->wake_count, units_s(result->wake_count),
                   units_format_human(result->wake_ps, text));
    put_energy(report, out);
    out_char(out, '\n');
    out_printf(out, "%-9s%10s%10s%10s%10s%10s%10s%10s\n", "", "mean", "p50", "p90", "p95", "p99",
               "p99.9", "max");
    put_summary(out, "latency", &all->latency);
    put_summary(out, "TTFT", &all->ttft);
    put_summary(out, "TPOT", &all->tpot);
    put_summary(out, "ITL", &all->itl);
    put_summary(out, "e2e", &all->e2e);
    put_summary(out, "queue", &all->queue);
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
    out_printf(out, "preempted  %" PRId64 " time%s, %" PRId64 " token%s computed anew\n",
               sum.preemptions, units_s(sum.preemptions), sum.recomputed_tokens,
               units_s(sum.recomputed_tokens));
    out_printf(out, "prefixes   %" PRId64 " token%s found, %.2f %% of all prompts\n",
               sum.hit_tokens, units_s(sum.hit_tokens), percent(sum.hit_tokens, sum.prompt_tokens));
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

static void put_device(const struct report *report, int index, struct out *out)
{
    const struct cluster_device *about = &report->input->plan->cluster->devices[index];
    const struct serve_device *device = &report->result->devices[index];
    int64_t end_ps = report->result->end_ps;
    char peak[UNITS_TEXT_BYTES], memory[UNITS_TEXT_BYTES] = "not given";

    if (about->memory_bytes > 0)
        units_format_bytes(about->memory_bytes, memory);
    out_column(out, about->name, 20);
    out_printf(out, "%8.2f %%%8.2f %%%8.2f %%", percent(device->busy_ps, end_ps),
               percent(device->gap_ps, end_ps),
               percent(end_ps - device->busy_ps - device->gap_ps, end_ps));
    if (report->result->has_shares)
        out_printf(out, "%8.2f %%", percent(dmath_round(device->sent_ps), end_ps));
    else
        out_printf(out, "%10s", "-");
    out_printf(out, "%10s%10s\n", units_format_bytes(device->peak_bytes, peak), memory);
}

/* What only some devices have: a KV cache, and watts in devices.csv. */
static void put_device_more(const struct report *report, struct out *out)
{
    const struct cluster *cluster = report->input->plan->cluster;
    const struct serve_result *result = report->result;
    bool has_header = false;

    for (int i = 0; i < cluster->device_count; i++) {
        const struct serve_device *device = &result->devices[i];
        char peak[UNITS_TEXT_BYTES], mean[UNITS_TEXT_BYTES] = "-";
        double energy_j = 0;
        bool has_energy = energy_of_device(cluster, result, i, &energy_j);

        if (device->kv_peak_bytes == 0 && !has_energy)
            continue;
        if (!has_header)
            out_printf(out, "\n%-20s%20s%20s%20s\n", "device", "KV cache at most", "in the mean",
                       "energy");
        has_header = true;
        if (result->parts.is_known)
            units_format_bytes(dmath_round(device->kv_mean_bytes), mean);
        out_column(out, cluster->devices[i].name, 20);
        out_printf(out, "%20s%20s", units_format_bytes(device->kv_peak_bytes, peak), mean);
        if (has_energy)
            out_printf(out, "%18.6g J\n", energy_j);
        else
            out_printf(out, "%20s\n", "not given");
    }
}

static void put_devices(const struct report *report, struct out *out)
{
    out_printf(out, "\n%-20s%10s%10s%10s%10s%10s%10s\n", "device", "busy", "gap", "idle", "sends",
               "peak", "memory");
    for (int i = 0; i < report->input->plan->cluster->device_count; i++)
        put_device(report, i, out);
    put_device_more(report, out);
}

static void put_links(const struct report *report, struct out *out)
{
    const struct serve_result *result = report->result;

    if (result->link_count > 0)
        out_printf(out, "\n%-34s%10s%12s%12s%12s\n", "link", "busy", "sent", "messages",
                   "their cost");
    for (int i = 0; i < result->link_count; i++) {
        const struct serve_link *link = &result->links[i];
        double cost_ps = link->share.per_message_ps, all_ps = cost_ps + link->share.bytes_ps;
        char sent[UNITS_TEXT_BYTES];

        out_column(out, link->name, 34);
        out_printf(out, "%8.2f %%%12s", percent(link->busy_ps, result->end_ps),
                   units_format_bytes(link->bytes, sent));
        if (result->has_shares)
            out_printf(out, "%12" PRId64 "%10.2f %%\n", link->share.message_count,
                       all_ps > 0 ? 100 * cost_ps / all_ps : 0);
        else
            out_printf(out, "%12s%12s\n", "-", "-");
    }
    if (result->has_circuits)
        out_printf(out,
                   "\ncircuits   %" PRId64 " set up, %" PRId64 " taken away, %" PRId64
                   " messages waited for one\n",
                   result->circuits.setups, result->circuits.evictions, result->circuits.waits);
}

/* Of pipelines: a replica on one device has none. */
static void put_bubbles(const struct report *report, struct out *out)
{
    const struct serve_result *result = report->result;
    bool has_header = false;

    for (int i = 0; i < result->replica_count; i++) {
        const struct serve_replica *replica = &result->replicas[i];
        char active[UNITS_TEXT_BYTES];

        if (replica->device_count < 2 || replica->active_ps == 0)
            continue;
        if (!has_header)
            out_printf(out, "\n%-30s%10s%10s%14s%12s\n", "pipeline", "replica", "devices",
                       "in flight", "bubble");
        has_header = true;
        out_column(out, report->input->plan->services[replica->service].name, 30);
        out_printf(out, "%10d%10d%14s%10.2f %%\n", replica->number, replica->device_count,
                   units_format_human(replica->active_ps, active),
                   100 * report_bubble_ratio(replica));
    }
}

static bool is_counted_in_buckets(const struct report *report)
{
    return report->all.itl.count > SAMPLES_HISTOGRAM_FROM ||
           report->all.queue.count > SAMPLES_HISTOGRAM_FROM;
}

/* Of what only some runs have. */
static void put_more_definitions(const struct report *report, struct out *out)
{
    const struct serve_result *result = report->result;
    bool has_pipeline = false;

    for (int i = 0; i < result->replica_count; i++)
        has_pipeline = has_pipeline || result->replicas[i].device_count > 1;
    if (report->all.itl.count > 0)
        wrap_text(out, "", "ITL = time between two tokens of a request, over all tokens.");
    if (has_pipeline)
        wrap_text(out, "",
                  "bubble = share of the time of a pipeline's devices, with requests in flight, in "
                  "which they do not compute.");
    if (result->has_shares && result->link_count > 0)
        wrap_text(out, "",
                  "sends = how long a device's messages take its first link, beside its work; "
                  "their cost = what of a link's time is per message and not per byte.");
    if (is_counted_in_buckets(report))
        wrap_text(out, "",
                  "ITL and queue are counted in buckets: quantiles are off by at most 0.025 % of "
                  "themselves; mean and max are exact.");
}

static void put_definitions(const struct report *report, struct out *out)
{
    const struct metrics_options *options = &report->options;

    wrap_text(out, "",
              "latency = finish - arrival; TTFT = first token - arrival (queueing included); "
              "TPOT = (finish - first token) / (output tokens - 1); queue = start - arrival; "
              "quantiles interpolate linearly between order statistics; goodput counts requests "
              "that are ok within their slo_s, else --slo, if any, and within --slo-ttft and "
              "--slo-tpot; rates are over simulated time.");
    put_more_definitions(report, out);
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
    put_options("load", report->load, out);
    put_options("served", report->served, out);
    put_totals(report, out);
    if (report->result->continuous)
        put_continuous(report->result->continuous, out);
    put_services(report, out);
    put_devices(report, out);
    passes_text(report->arena, report->input, report->result, out);
    put_links(report, out);
    put_bubbles(report, out);
    bottleneck_write_text(&report->bottleneck, out);
    if (report->phases)
        phases_text(report->phases, out);
    if (report->utilisation)
        utilisation_text(report->utilisation, out);
    out_char(out, '\n');
    for (int i = 0; i < report->warning_count; i++)
        wrap_text(out, "warning: ", report->warnings[i]);
    put_definitions(report, out);
}
