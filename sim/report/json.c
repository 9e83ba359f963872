/* json.c - the JSON object of `run --json`; keys are part of the contract, see sim/README.md. */
#include "lib/base/json.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/dmath.h"
#include "lib/base/op.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/policy/plan.h"
#include "sim/llm/llm.h"
#include "sim/report/energy.h"
#include "sim/report/passes.h"
#include "sim/report/phases.h"
#include "sim/report/refused.h"
#include "sim/report/report.h"
#include "sim/serve/serve.h"

static void put_summary(struct json_writer *json, const char *key,
                        const struct stats_summary *summary)
{
    const struct {
        const char *key;
        int64_t value_ps;
    } fields[] = { { "mean", summary->mean }, { "p50", summary->p50 }, { "p90", summary->p90 },
                   { "p95", summary->p95 },   { "p99", summary->p99 }, { "p999", summary->p999 },
                   { "max", summary->max } };

    json_begin_object(json, key);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (summary->count > 0)
            json_put_seconds(json, fields[i].key, fields[i].value_ps);
        else
            json_put_null(json, fields[i].key);
    }
    json_end_object(json);
}

static void put_known(struct json_writer *json, const char *key, bool is_known, double value)
{
    if (is_known)
        json_put_double(json, key, value);
    else
        json_put_null(json, key);
}

/* Null for a run that takes no time: there is no rate then. */
static void put_rate(struct json_writer *json, const char *key, int64_t count, int64_t time_ps)
{
    if (time_ps > 0)
        json_put_double(json, key, (double)count / ((double)time_ps / (double)UNITS_PS_PER_S));
    else
        json_put_null(json, key);
}

static void put_ratio(struct json_writer *json, const char *key, int64_t part, int64_t whole)
{
    if (whole > 0)
        json_put_double(json, key, (double)part / (double)whole);
    else
        json_put_null(json, key);
}

static void put_metrics(struct json_writer *json, const struct metrics *metrics)
{
    int64_t window_ps = metrics->window_ps;

    json_begin_object(json, "requests");
    json_put_int(json, "total", metrics->total);
    for (int i = 0; i < TRACE_STATUS_COUNT; i++)
        json_put_int(json, trace_status_names[i], metrics->status[i]);
    json_put_int(json, "trimmed", metrics->trimmed);
    json_end_object(json);
    put_summary(json, "latency_s", &metrics->latency);
    put_summary(json, "ttft_s", &metrics->ttft);
    put_summary(json, "tpot_s", &metrics->tpot);
    put_summary(json, "e2e_s", &metrics->e2e);
    put_summary(json, "queue_s", &metrics->queue);
    put_summary(json, "itl_s", &metrics->itl);
    put_rate(json, "throughput_per_s", metrics->status[TRACE_OK], window_ps);
    put_rate(json, "output_tokens_per_s", metrics->output_tokens, window_ps);
    put_ratio(json, "goodput_ratio", metrics->good, metrics->total);
    put_rate(json, "goodput_per_s", metrics->good, window_ps);
}

/* How the quantiles that follow are to be read. */
static void put_quantiles(struct json_writer *json, enum samples_kind kind)
{
    json_begin_object(json, "quantiles");
    json_put_text(json, "definition",
                  "linear interpolation between order statistics (Hyndman-Fan type 7)");
    json_put_text(json, "latency", samples_kind_names[kind]);
    json_put_double(json, "error_ratio", kind == SAMPLES_HISTOGRAM ? SAMPLES_ERROR_RATIO : 0);
    json_put_text(json, "queue_itl", samples_kind_names[SAMPLES_HISTOGRAM]);
    json_put_double(json, "queue_itl_error_ratio", SAMPLES_ERROR_RATIO);
    json_end_object(json);
}

static void put_services(struct json_writer *json, const struct report *report)
{
    json_begin_array(json, "services");
    for (int i = 0; i < report->input->plan->service_count; i++) {
        json_begin_object(json, NULL);
        json_put_text(json, "service", report->services[i].service);
        put_metrics(json, &report->services[i]);
        json_end_object(json);
    }
    json_end_array(json);
}

static void put_devices(struct json_writer *json, const struct report *report)
{
    const struct cluster *cluster = report->input->plan->cluster;
    const struct serve_result *result = report->result;

    json_begin_array(json, "devices");
    for (int i = 0; i < cluster->device_count; i++) {
        const struct serve_device *device = &result->devices[i];
        double energy_j = 0;
        bool has_energy = energy_of_device(cluster, result, i, &energy_j);

        json_begin_object(json, NULL);
        json_put_text(json, "device", cluster->devices[i].name);
        put_ratio(json, "busy_ratio", device->busy_ps, result->end_ps);
        put_ratio(json, "gap_ratio", device->gap_ps, result->end_ps);
        put_ratio(json, "idle_ratio", result->end_ps - device->busy_ps - device->gap_ps,
                  result->end_ps);
        put_ratio(json, "transfer_ratio", dmath_round(device->sent_ps),
                  result->has_shares ? result->end_ps : 0);
        put_ratio(json, "offered_ratio", device->offered_ps, result->arrival_span_ps);
        json_put_seconds(json, "wait_peak_s", device->wait_peak_ps);
        json_put_int(json, "peak_bytes", device->peak_bytes);
        json_put_int(json, "kv_peak_bytes", device->kv_peak_bytes);
        put_known(json, "kv_mean_bytes", result->parts.is_known, device->kv_mean_bytes);
        put_known(json, "energy_j", has_energy, energy_j);
        if (cluster->devices[i].memory_bytes > 0)
            json_put_int(json, "memory_bytes", cluster->devices[i].memory_bytes);
        else
            json_put_null(json, "memory_bytes");
        json_end_object(json);
    }
    json_end_array(json);
}

static double seconds(double time_ps)
{
    return time_ps / (double)UNITS_PS_PER_S;
}

static void put_links(struct json_writer *json, const struct serve_result *result)
{
    bool has_shares = result->has_shares;

    json_begin_array(json, "links");
    for (int i = 0; i < result->link_count; i++) {
        const struct serve_link *link = &result->links[i];

        json_begin_object(json, NULL);
        json_put_text(json, "link", link->name);
        put_ratio(json, "busy_ratio", link->busy_ps, result->end_ps);
        json_put_int(json, "bytes", link->bytes);
        if (has_shares)
            json_put_int(json, "messages", link->share.message_count);
        else
            json_put_null(json, "messages");
        put_known(json, "per_message_s", has_shares, seconds(link->share.per_message_ps));
        put_known(json, "bytes_s", has_shares, seconds(link->share.bytes_ps));
        put_known(json, "latency_s", has_shares, seconds(link->share.latency_ps));
        json_end_object(json);
    }
    json_end_array(json);
    if (!result->has_circuits)
        return;
    json_begin_object(json, "circuits");
    json_put_int(json, "setups", result->circuits.setups);
    json_put_int(json, "evictions", result->circuits.evictions);
    json_put_int(json, "waits", result->circuits.waits);
    json_end_object(json);
}

static void put_replicas(struct json_writer *json, const struct report *report)
{
    json_begin_array(json, "replicas");
    for (int i = 0; i < report->result->replica_count; i++) {
        const struct serve_replica *replica = &report->result->replicas[i];

        json_begin_object(json, NULL);
        json_put_text(json, "service", report->input->plan->services[replica->service].name);
        json_put_int(json, "replica", replica->number);
        json_put_int(json, "devices", replica->device_count);
        json_put_seconds(json, "in_flight_s", replica->active_ps);
        put_known(json, "bubble_ratio", replica->active_ps > 0, report_bubble_ratio(replica));
        json_end_object(json);
    }
    json_end_array(json);
}

static double per(double whole, int64_t count)
{
    return count > 0 ? whole / (double)count : 0;
}

/* Null where a device does not say what it draws, or nothing was made. */
static void put_energy(struct json_writer *json, const struct report *report)
{
    const struct metrics *all = &report->all;
    double energy_j = 0;
    bool is_known = energy_of_all(report->input->plan->cluster, report->result, &energy_j);

    put_known(json, "energy_j", is_known, energy_j);
    put_known(json, "energy_per_output_token_j", is_known && all->run_tokens > 0,
              per(energy_j, all->run_tokens));
    put_known(json, "energy_per_request_j", is_known && all->run_ok > 0,
              per(energy_j, all->run_ok));
}

static void put_limits(struct json_writer *json, const struct report *report)
{
    int64_t left_out = report_left_out(report);

    json_begin_object(json, "run_limits");
    if (report->until_ps > 0) {
        json_put_seconds(json, "until_s", report->until_ps);
        json_put_int(json, "in_flight_at_until", report->result->late_count);
    } else {
        json_put_null(json, "until_s");
        json_put_null(json, "in_flight_at_until");
    }
    if (report->max_requests > 0)
        json_put_int(json, "max_requests", (int64_t)report->max_requests);
    else
        json_put_null(json, "max_requests");
    if (left_out >= 0)
        json_put_int(json, "left_out", left_out);
    else
        json_put_null(json, "left_out");
    json_end_object(json);
}

/* Of all replicas together. */
static void put_continuous(struct json_writer *json, const struct llm_result *done)
{
    struct continuous_counts sum = llm_counts(done);
    int64_t blocks = 0;

    for (int i = 0; i < done->instance_count; i++)
        blocks += done->instances[i].block_count;
    json_begin_object(json, "continuous");
    json_put_int(json, "iterations", sum.steps);
    json_put_int(json, "tokens", sum.tokens);
    put_ratio(json, "batch_mean", sum.sequences, sum.steps);
    json_put_int(json, "running_peak", sum.running_peak);
    json_put_int(json, "waiting_peak", sum.waiting_peak);
    json_put_int(json, "token_budget", done->token_budget);
    json_put_int(json, "preemptions", sum.preemptions);
    json_put_int(json, "recomputed_tokens", sum.recomputed_tokens);
    json_put_int(json, "prefix_hit_tokens", sum.hit_tokens);
    put_ratio(json, "prefix_hit_ratio", sum.hit_tokens, sum.prompt_tokens);
    json_put_int(json, "kv_blocks", blocks);
    json_put_text(json, "kv_blocks_from",
                  done->are_blocks_given  ? "given"
                  : done->is_memory_known ? "memory"
                                          : "unbounded");
    json_put_int(json, "kv_blocks_peak", sum.blocks_peak);
    json_end_object(json);
}

/* What requests were made of: pairs of a key and its value. */
static void put_options(struct json_writer *json, const char *key, const char *const *pairs)
{
    if (!pairs)
        return;
    json_begin_object(json, key);
    for (const char *const *pair = pairs; *pair; pair += 2)
        json_put_text(json, pair[0], pair[1]);
    json_end_object(json);
}

static void put_wakes(struct json_writer *json, const struct serve_result *result)
{
    if (!result->has_wakes)
        return;
    json_begin_object(json, "wakes");
    json_put_int(json, "count", result->wake_count);
    json_put_seconds(json, "time_s", result->wake_ps);
    json_end_object(json);
}

static void put_moves(struct json_writer *json, const struct serve_result *result)
{
    json_put_int(json, "moved_bytes", result->moved_bytes);
    json_put_int(json, "migrations", result->migrations);
    if (result->has_kv_moves) {
        json_begin_object(json, "kv_moves");
        json_put_int(json, "requests", result->kv_moves.requests);
        json_put_int(json, "messages", result->kv_moves.messages);
        json_put_int(json, "bytes", result->kv_moves.bytes);
        json_end_object(json);
    }
}

void report_json(struct arena *arena, const struct report *report, struct out *out)
{
    struct json_writer *json = json_writer_create(arena, out, true);
    const struct serve_result *result = report->result;

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "version", CLI_VERSION);
    json_put_int(json, "seed", (int64_t)report->seed);
    inputs_json(report->inputs, json);
    put_options(json, "load", report->load);
    put_options(json, "served", report->served);
    json_put_seconds(json, "simulated_s", result->end_ps);
    json_put_int(json, "events", result->event_count);
    if (report->options.slo_ps > 0)
        json_put_seconds(json, "slo_s", report->options.slo_ps);
    if (report->options.slo_ttft_ps > 0)
        json_put_seconds(json, "slo_ttft_s", report->options.slo_ttft_ps);
    if (report->options.slo_tpot_ps > 0)
        json_put_seconds(json, "slo_tpot_s", report->options.slo_tpot_ps);
    if (report_is_limited(report))
        put_limits(json, report);
    if (report->options.trim_ps > 0) {
        json_put_seconds(json, "trim_s", report->options.trim_ps);
        json_put_seconds(json, "window_s", report->all.window_ps);
    }
    put_quantiles(json, report->options.samples);
    put_metrics(json, &report->all);
    put_services(json, report);
    put_devices(json, report);
    refused_json(result, json);
    passes_json(arena, report->input, result, json);
    put_links(json, result);
    put_replicas(json, report);
    put_energy(json, report);
    bottleneck_write_json(&report->bottleneck, result, json);
    if (report->phases)
        phases_json(report->phases, json);
    put_moves(json, result);
    json_put_int(json, "extrapolated_costs", result->extrapolated_costs);
    json_begin_array(json, "extrapolated_ops");
    for (int bit = 0; bit < OP_SET_COUNT; bit++)
        if (result->extrapolated_costs > 0 && result->extrapolated_ops >> bit & 1)
            json_put_text(json, NULL, op_set_name(bit));
    json_end_array(json);
    put_wakes(json, result);
    if (result->continuous)
        put_continuous(json, result->continuous);
    json_begin_array(json, "warnings");
    for (int i = 0; i < report->warning_count; i++)
        json_put_text(json, NULL, report->warnings[i]);
    json_end_array(json);
    json_end_object(json);
}
