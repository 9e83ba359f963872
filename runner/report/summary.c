/* summary.c - the numbers of a run: text for people, JSON with the keys of `orrery-sim run`. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/stats.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/trace.h"
#include "lib/format/workload.h"
#include "lib/policy/plan.h"
#include "runner/fleet/assign.h"
#include "runner/fleet/fleet.h"
#include "runner/load/serve.h"
#include "runner/load/table.h"
#include "runner/report/report.h"

struct numbers { /* of one service, or of all */
    size_t total, by_status[TRACE_STATUS_COUNT];
    int64_t output_tokens;
    struct stats_summary latency, ttft, tpot;
};

/* service -1: all. */
static struct numbers collect(struct arena *arena, const struct report_input *input,
                              int32_t service)
{
    const struct workload *workload = input->workload;
    struct numbers numbers = { 0 };
    int64_t *latency = arena_array(arena, workload->count, sizeof *latency);
    int64_t *ttft = arena_array(arena, workload->count, sizeof *ttft);
    int64_t *tpot = arena_array(arena, workload->count, sizeof *tpot);
    size_t ok = 0, with_tpot = 0;

    for (size_t i = 0; i < workload->count; i++) {
        const struct workload_request row = workload_at(workload, i);
        const struct table_request *state = &input->run->table->requests[i];

        if (service >= 0 && row.service != service)
            continue;
        numbers.total++;
        numbers.by_status[state->status]++;
        if (state->status != TRACE_OK)
            continue;
        latency[ok] = state->finish_ps - state->arrival_ps;
        ttft[ok++] = state->first_token_ps - state->arrival_ps;
        numbers.output_tokens += state->step_count > 1 ? state->step_count : 1;
        if (state->step_count > 1)
            tpot[with_tpot++] =
                units_mul_div(state->finish_ps - state->first_token_ps, 1, state->step_count - 1);
    }
    numbers.latency = stats_summarize(latency, ok);
    numbers.ttft = stats_summarize(ttft, ok);
    numbers.tpot = stats_summarize(tpot, with_tpot);
    return numbers;
}

static double per_s(int64_t count, int64_t span_ps)
{
    return span_ps > 0 ? (double)count * 1e12 / (double)span_ps : 0;
}

/* Requests that fail end at once, but the step under way is computed to its end: the part of it
 * after the span, or before by the error of a clock, is not of this run. */
static int64_t inside_ps(int64_t at_ps, int64_t span_ps)
{
    return at_ps < 0 ? 0 : at_ps > span_ps ? span_ps : at_ps;
}

static int64_t busy_ps(const struct report_input *input, int worker, int64_t *steps)
{
    int64_t busy = 0;

    *steps = 0;
    for (size_t i = 0; i < input->run->record_count; i++) {
        const struct serve_record *record = &input->run->records[i];
        const struct plan_stage *stage = input->plan->stages[record->stage_id];

        if (!record->has_computed || record->share > 0 ||
            input->fleet->assignment->worker_of[stage->devices[record->position]] != worker)
            continue;
        busy += inside_ps(record->finish_ps, input->run->span_ps) -
                inside_ps(record->start_ps, input->run->span_ps);
        ++*steps;
    }
    return busy;
}

/* ---- JSON ---- */

static void put_times(struct json_writer *json, const char *key, const struct stats_summary *times)
{
    json_begin_object(json, key);
    if (times->count > 0) {
        json_put_seconds(json, "mean", times->mean);
        json_put_seconds(json, "p50", times->p50);
        json_put_seconds(json, "p90", times->p90);
        json_put_seconds(json, "p95", times->p95);
        json_put_seconds(json, "p99", times->p99);
        json_put_seconds(json, "p999", times->p999);
        json_put_seconds(json, "max", times->max);
    }
    json_end_object(json);
}

static void put_numbers(struct json_writer *json, const struct numbers *numbers, int64_t span_ps)
{
    json_begin_object(json, "requests");
    json_put_int(json, "total", (int64_t)numbers->total);
    for (int i = 0; i < TRACE_STATUS_COUNT; i++)
        json_put_int(json, trace_status_names[i], (int64_t)numbers->by_status[i]);
    json_end_object(json);
    put_times(json, "latency_s", &numbers->latency);
    put_times(json, "ttft_s", &numbers->ttft);
    put_times(json, "tpot_s", &numbers->tpot);
    json_put_double(json, "throughput_per_s",
                    per_s((int64_t)numbers->by_status[TRACE_OK], span_ps));
    json_put_double(json, "output_tokens_per_s", per_s(numbers->output_tokens, span_ps));
}

static void put_devices(const struct report_input *input, struct json_writer *json)
{
    json_begin_array(json, "devices");
    for (int i = 0; i < input->fleet->count; i++) {
        const struct fleet_worker *worker = &input->fleet->workers[i];
        int64_t steps, busy = busy_ps(input, i, &steps);

        json_begin_object(json, NULL);
        json_put_text(json, "device", worker->device);
        json_put_double(json, "busy_ratio",
                        input->run->span_ps > 0 ? (double)busy / (double)input->run->span_ps : 0);
        json_put_int(json, "steps", steps);
        json_put_int(json, "weight_bytes", worker->weight_bytes);
        json_put_text(json, "lost", worker->state == FLEET_DEAD ? worker->trouble : NULL);
        json_end_object(json);
    }
    json_end_array(json);
}

static void put_json(struct arena *arena, const struct report_input *input, struct out *out)
{
    const struct serve_run *run = input->run;
    struct json_writer *json = json_writer_create(arena, out, true);
    struct numbers all = collect(arena, input, -1);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "version", CLI_VERSION);
    json_put_int(json, "seed", (int64_t)input->seed);
    json_put_seconds(json, "measured_s", run->span_ps);
    put_numbers(json, &all, run->span_ps);
    json_put_int(json, "late_deadlines", run->late_count);
    json_put_int(json, "lost_workers", run->dead_count);
    json_put_int(json, "returned_workers", run->return_count);
    json_put_int(json, "replayed_requests", (int64_t)run->replay_count);
    json_begin_array(json, "updates");
    for (int i = 0; i < run->update_count; i++) {
        json_begin_object(json, NULL);
        json_put_int(json, "epoch", run->updates[i].epoch);
        json_put_seconds(json, "from_s", run->updates[i].from_ps);
        json_put_text(json, "placement", run->updates[i].path);
        json_end_object(json);
    }
    json_end_array(json);
    json_begin_array(json, "services");
    for (int i = 0; i < input->workload->service_count; i++) {
        struct numbers one = collect(arena, input, i);

        json_begin_object(json, NULL);
        json_put_text(json, "service", input->workload->services[i]);
        put_numbers(json, &one, run->span_ps);
        json_end_object(json);
    }
    json_end_array(json);
    put_devices(input, json);
    json_begin_array(json, "warnings");
    if (run->late_count > 0)
        json_put_text(json, NULL,
                      arena_printf(arena,
                                   "%lld steps missed their padded deadline: this machine "
                                   "is too slow or too busy for the ratio",
                                   (long long)run->late_count));
    if (run->signal_number != 0)
        json_put_text(json, NULL,
                      arena_printf(arena,
                                   "interrupted by %s: requests that had not finished have failed",
                                   fleet_signal_name(run->signal_number)));
    json_end_array(json);
    json_end_object(json);
    out_char(out, '\n');
}

/* ---- text ---- */

static void put_line(struct out *out, const char *name, const struct stats_summary *times)
{
    char mean[UNITS_TEXT_BYTES], p50[UNITS_TEXT_BYTES], p90[UNITS_TEXT_BYTES];

    if (times->count > 0)
        out_printf(out, "%-9s mean %-9s  p50 %-9s  p90 %s\n", name,
                   units_format_human(times->mean, mean), units_format_human(times->p50, p50),
                   units_format_human(times->p90, p90));
}

static void put_text(struct arena *arena, const struct report_input *input, struct out *out)
{
    const struct serve_run *run = input->run;
    struct numbers all = collect(arena, input, -1);
    char span[UNITS_TEXT_BYTES];

    out_printf(out, "requests  %zu: %zu ok, %zu failed, %zu refused, in %s (seed %llu)\n",
               all.total, all.by_status[TRACE_OK], all.by_status[TRACE_FAILED],
               all.by_status[TRACE_REFUSED], units_format_human(run->span_ps, span),
               (unsigned long long)input->seed);
    put_line(out, "ttft", &all.ttft);
    put_line(out, "tpot", &all.tpot);
    put_line(out, "latency", &all.latency);
    out_printf(out, "tokens    %.1f/s, requests %.2f/s\n", per_s(all.output_tokens, run->span_ps),
               per_s((int64_t)all.by_status[TRACE_OK], run->span_ps));
    for (int i = 0; i < input->fleet->count; i++) {
        int64_t steps, busy = busy_ps(input, i, &steps);
        const struct fleet_worker *worker = &input->fleet->workers[i];

        out_printf(out, "device    %s: %lld steps, busy %.1f %%%s%s\n", worker->device,
                   (long long)steps,
                   run->span_ps > 0 ? 100.0 * (double)busy / (double)run->span_ps : 0.0,
                   worker->state == FLEET_DEAD ? ", lost: " : "",
                   worker->state == FLEET_DEAD ? worker->trouble : "");
    }
    for (int i = 0; i < run->update_count; i++)
        out_printf(out, "update    epoch %d from %s on: %s\n", run->updates[i].epoch,
                   units_format_human(run->updates[i].from_ps, span), run->updates[i].path);
    if (run->return_count > 0 || run->replay_count > 0)
        out_printf(out, "failures  %d worker%s lost, %d came back; %zu request%s begun anew\n",
                   run->dead_count, run->dead_count == 1 ? "" : "s", run->return_count,
                   run->replay_count, run->replay_count == 1 ? "" : "s");
    if (run->late_count > 0)
        out_printf(out, "late      %lld steps missed their padded deadline\n",
                   (long long)run->late_count);
    if (run->signal_number != 0)
        out_printf(out, "interrupted by %s: requests that had not finished have failed\n",
                   fleet_signal_name(run->signal_number));
}

void report_summary(struct arena *arena, const struct report_input *input, bool is_json,
                    struct out *out)
{
    if (is_json)
        put_json(arena, input, out);
    else
        put_text(arena, input, out);
}
