/* report.c - what a run's reader must be told beside its numbers: the warnings. */
#include "sim/report/report.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/op.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/workload.h"
#include "lib/policy/plan.h"
#include "lib/policy/quantise.h"
#include "lib/policy/standstill.h"
#include "sim/llm/llm.h"
#include "sim/report/passes.h"
#include "sim/report/refused.h"
#include "sim/serve/serve.h"
#include <stdio.h>
#include <string.h>

/* An anchor is a whole forward measured beside the sum of its operators. Further off than this, the
 * sums that the simulator forms are suspect. */
#define KAPPA_TOLERANCE 0.03

static void warn(struct report *report, const char *text)
{
    report->warnings[report->warning_count++] = text;
}

/* About the costs themselves: whoever reads numbers alone must see it too. */
static void warn_loudly(struct report *report, const char *text)
{
    report->loud_warnings[report->loud_count++] = text;
    warn(report, text);
}

static void warn_of_network(struct report *report)
{
    const struct cluster *cluster = report->input->plan->cluster;

    if (report->has_no_links && cluster->has_links)
        warn(report, "these rules know no links: all transfers are free, links.csv counts for "
                     "nothing");
    else if (!cluster->has_links)
        warn(report, "no links.csv: all transfers are free");
    else if (!cluster->has_source)
        warn(report, "links.csv attaches no node 'source': requests and results travel free");
}

/* Coding of values that is not known counts for nothing, and says so. */
static void warn_of_codec(struct arena *arena, struct report *report)
{
    const struct plan *plan = report->input->plan;
    const char *device = NULL, *column = NULL;

    for (int i = 0; i < plan->stage_count && !device; i++) {
        const struct plan_stage *stage = plan->stages[i];
        const struct cluster_device *first = &plan->cluster->devices[stage->devices[0]];
        bool is_last =
            stage->number + 1 == plan_chain_count(&plan->replicas[stage->replica], stage);

        if (quantise_applies(stage->wire_bits) && !is_last && first->encode_value_ps < 0)
            column = "encode_value_ns";
        else if (quantise_applies(stage->wire_bits_in) && first->decode_value_ps < 0)
            column = "decode_value_ns";
        if (column)
            device = first->name;
    }
    if (device)
        warn(report,
             arena_printf(arena,
                          "wire_bits: devices.csv gives no %s of '%s': what is not known of "
                          "coding counts as free",
                          column, device));
}

/* Whether a device of the table's type computes slices of the model (NULL: anything), with these
 * threads (0: any). */
static bool is_used(const struct plan *plan, const struct cost_table *table, const char *model,
                    int32_t threads)
{
    for (int i = 0; i < plan->stage_count; i++) {
        const struct plan_stage *stage = plan->stages[i];
        const struct model *placed = plan->services[plan->replicas[stage->replica].service].model;

        if (model && (stage->executable || !placed || strcmp(placed->name, model) != 0))
            continue;
        for (int k = 0; k < stage->device_count; k++) {
            const struct cluster_device *device = &plan->cluster->devices[stage->devices[k]];
            int known = device->threads > 0 ? device->threads : cost_only_threads(table);

            if (strcmp(device->type, cost_type(table)) == 0 &&
                (threads == 0 || threads == (known > 0 ? known : 1)))
                return true;
        }
    }
    return false;
}

static double off_by(const struct cost_anchor *anchor)
{
    return anchor->kappa > 1 ? anchor->kappa - 1 : 1 - anchor->kappa;
}

/* Of all anchors of its model and phase that the run uses: the first of those furthest off. */
static bool is_worst(const struct plan *plan, const struct cost_table *table, int index)
{
    const struct cost_anchor *anchor = cost_anchor_at(table, index);

    if (!is_used(plan, table, anchor->model, anchor->threads))
        return false;
    for (int i = 0; i < cost_anchor_count(table); i++) {
        const struct cost_anchor *other = cost_anchor_at(table, i);

        if (i == index || other->phase != anchor->phase ||
            strcmp(other->model, anchor->model) != 0 ||
            !is_used(plan, table, other->model, other->threads))
            continue;
        if (i < index ? off_by(other) >= off_by(anchor) : off_by(other) > off_by(anchor))
            return false;
    }
    return true;
}

/* kappa = measured / sum: above 1 the sums that the simulator forms are too fast. */
static void warn_of_anchors(struct arena *arena, struct report *report,
                            const struct cost_table *table)
{
    for (int i = 0; i < cost_anchor_count(table); i++) {
        const struct cost_anchor *anchor = cost_anchor_at(table, i);

        if (!(off_by(anchor) > KAPPA_TOLERANCE) || !is_worst(report->input->plan, table, i))
            continue;
        warn_loudly(
            report,
            arena_printf(arena,
                         "costs of '%s': kappa of %s %s is %.3f (%d tokens, %d keys): a whole "
                         "forward took %.1f %% %s than the sum of its operators; "
                         "%s",
                         cost_type(table), anchor->model, op_phase_name(anchor->phase),
                         anchor->kappa, (int)anchor->tokens, (int)anchor->kv_len,
                         100 * off_by(anchor), anchor->kappa > 1 ? "longer" : "shorter",
                         report->has_kappa ? "--kappa on corrects for it"
                                           : "--kappa on would correct for it"));
    }
}

const char *report_quality_text(struct arena *arena, const struct cost_table *table)
{
    return arena_printf(arena, "costs of '%s' were measured under disturbance: %.200s",
                        cost_type(table), cost_quality(table));
}

static void warn_of_quality(struct arena *arena, struct report *report,
                            const struct cost_table *table)
{
    if (cost_is_disturbed(table) && is_used(report->input->plan, table, NULL, 0))
        warn_loudly(report, report_quality_text(arena, table));
}

static void warn_of_peak(struct arena *arena, struct report *report,
                         const struct cluster_device *device, int64_t peak_bytes)
{
    char peak[UNITS_TEXT_BYTES], have[UNITS_TEXT_BYTES];

    warn(report, arena_printf(arena, "device '%s' would need %s but has %s", device->name,
                              units_format_bytes(peak_bytes, peak),
                              units_format_bytes(device->memory_bytes, have)));
}

static void warn_of_left_out(struct arena *arena, struct report *report)
{
    const struct plan *plan = report->input->plan;

    for (int r = 0; r < plan->replica_count; r++)
        if (report->result->is_left_out && report->result->is_left_out[r])
            warn(report, arena_printf(arena,
                                      "replica %d of '%s' does not fit into the memory of its "
                                      "devices: it was left out",
                                      plan->replicas[r].number,
                                      plan->services[plan->replicas[r].service].name));
}

static void warn_of_refused(struct arena *arena, struct report *report)
{
    for (int why = 0; why < SERVE_REFUSAL_COUNT; why++) {
        const char *text = refused_text(arena, report->result, (enum serve_refusal)why);

        if (text)
            warn(report, text);
    }
    for (int why = 0; why < SERVE_FAILURE_COUNT; why++) {
        const char *text = failed_text(arena, report->result, (enum serve_failure)why);

        if (text)
            warn(report, text);
    }
}

static void warn_of_memory(struct arena *arena, struct report *report)
{
    const struct cluster *cluster = report->input->plan->cluster;

    for (int i = 0; i < cluster->device_count; i++) {
        const struct cluster_device *device = &cluster->devices[i];
        int64_t peak_bytes = report->result->devices[i].peak_bytes;

        if (device->memory_bytes > 0 && peak_bytes > device->memory_bytes)
            warn_of_peak(arena, report, device, peak_bytes);
    }
}

static bool holds_head(const struct plan_stage *stage, int32_t device)
{
    for (int i = 0; i < stage->slice_count; i++)
        if (stage->slices[i].device == device && stage->slices[i].blocks & 1u << BLOCK_LM_HEAD)
            return true;
    return false;
}

/* The last stage that a step passes which passes this one. */
static const struct plan_stage *last_of(const struct plan_replica *replica,
                                        const struct plan_stage *stage)
{
    return stage->phase == PLACEMENT_DECODE ? &replica->decode_stages[replica->decode_count - 1]
                                            : &replica->stages[replica->stage_count - 1];
}

/* What steps do not read of an embedding that counts on the device, less what they do read of one
 * that was taken off there: a tied matrix, where the output is computed. */
static int64_t unread_bytes(const struct plan_replica *replica, const struct plan_stage *stage,
                            const struct plan_slice *slice, const struct model *model)
{
    int64_t bytes = model_block_weight_bytes(model, BLOCK_EMBED);
    bool is_read = model->tied_lm_head && holds_head(last_of(replica, stage), slice->device);

    if (!slice->is_shared)
        return is_read ? 0 : bytes;
    /* of both phases, and counted with the prompts */
    return is_read && !holds_head(last_of(replica, replica->stages), slice->device) ? -bytes : 0;
}

/* By device: what each step reads of its weights, all but the embedding, of which it reads a few
 * rows. */
static const int64_t *streamed_bytes(struct arena *arena, const struct plan *plan)
{
    int64_t *sums_bytes =
        arena_array(arena, (size_t)plan->cluster->device_count, sizeof *sums_bytes);

    for (int i = 0; i < plan->stage_count; i++) {
        const struct plan_stage *stage = plan->stages[i];
        const struct plan_replica *replica = &plan->replicas[stage->replica];
        const struct model *model = plan->services[replica->service].model;

        for (int k = 0; model && k < stage->device_count; k++)
            sums_bytes[stage->devices[k]] +=
                plan_stage_weight_bytes(plan, stage, stage->devices[k]);
        for (int k = 0; model && k < stage->slice_count; k++)
            if (stage->slices[k].blocks & 1u << BLOCK_EMBED)
                sums_bytes[stage->slices[k].device] -=
                    unread_bytes(replica, stage, &stage->slices[k], model);
    }
    return sums_bytes;
}

/* A cost table holds the costs of cold memory; weights that stay in the cache are faster. */
static void warn_of_cache(struct arena *arena, struct report *report)
{
    const struct plan *plan = report->input->plan;
    const int64_t *weights_bytes = streamed_bytes(arena, plan);

    for (int i = 0; i < plan->cluster->device_count; i++) {
        const struct cluster_device *device = &plan->cluster->devices[i];
        const struct cost_table *table = cost_set_find(report->input->costs, device->type);
        int64_t llc_bytes = table ? cost_llc_bytes(table) : 0, weight_bytes = weights_bytes[i];
        char weights[UNITS_TEXT_BYTES], cache[UNITS_TEXT_BYTES];

        if (cost_is_cached(weight_bytes, llc_bytes))
            warn(report,
                 arena_printf(arena,
                              "device '%s' holds %s of weights and has %s of last-level cache: "
                              "costs are those of cold memory, so its steps are predicted too slow",
                              device->name, units_format_bytes(weight_bytes, weights),
                              units_format_bytes(llc_bytes, cache)));
    }
}

/* More work arrives than a device can do: the load over the time of arrivals is above 1 by more
 * than three standard deviations of as many Poisson arrivals with exponential costs. Then waits
 * grow for as long as requests come, and means and quantiles tell of the length of the run alone.
 */
static bool is_overload(const struct serve_result *result, double load)
{
    return load > 1 + 3 * dmath_sqrt(2 / (double)result->taken_count);
}

/* A stage on several devices, which are idle while they talk. */
static bool warn_of_stage(struct arena *arena, struct report *report,
                          const struct sliced_stage *stage)
{
    double load = (double)passes_time_ps(stage) / (double)report->result->arrival_span_ps;
    const struct plan *plan = report->input->plan;

    if (!is_overload(report->result, load))
        return false;
    warn(report,
         arena_printf(arena,
                      "requests arrive faster than stage %s on %d devices can serve: offered load "
                      "%.2f; waits grow with the run",
                      passes_stage_name(arena, plan, stage->stage),
                      (int)plan->stages[stage->stage]->device_count, load));
    return true;
}

/* Of a stage and its devices the stage alone is told of: it is what they wait for. */
static void warn_of_overload(struct arena *arena, struct report *report)
{
    const struct plan *plan = report->input->plan;
    const struct serve_result *result = report->result;
    bool *is_told = arena_array(arena, (size_t)plan->cluster->device_count, sizeof *is_told);

    if (result->arrival_span_ps <= 0)
        return;
    for (int i = 0; i < result->passes_count; i++) {
        const struct plan_stage *stage = plan->stages[result->passes[i].stage];
        bool has_told = warn_of_stage(arena, report, &result->passes[i]);

        for (int k = 0; k < stage->device_count && has_told; k++)
            is_told[stage->devices[k]] = true;
    }
    for (int i = 0; i < plan->cluster->device_count; i++) {
        double load = (double)result->devices[i].offered_ps / (double)result->arrival_span_ps;
        char wait[UNITS_TEXT_BYTES];

        if (!is_told[i] && is_overload(result, load))
            warn(report, arena_printf(arena,
                                      "requests arrive faster than device '%s' can serve: offered "
                                      "load %.2f; waits grow with the run, in its queue up to %s",
                                      plan->cluster->devices[i].name, load,
                                      units_format_human(result->devices[i].wait_peak_ps, wait)));
    }
}

/* Where the number of KV blocks comes from decides more than any kernel. */
static void warn_of_kv(struct report *report)
{
    const struct llm_result *done = report->result->continuous;

    if (!done)
        return;
    if (!done->are_blocks_given && !done->is_memory_known)
        warn(report,
             "no memory_bytes and no --kv-blocks: KV caches have room for all that may run");
    if (report->result->lacks_prefixes)
        warn(report, "--prefix-cache on: neither --prefix-blocks nor prefix_tokens of sessions say "
                     "what requests share: nothing is found");
}

/* This run has come to its end. */
static void warn_of_standstill(struct arena *arena, struct report *report)
{
    const char *text = standstill_possible(arena, report->input->plan);

    if (text)
        warn_loudly(
            report,
            arena_printf(arena, "another load may bring this placement to a standstill: %s", text));
}

static void warn_of_trim(struct report *report)
{
    if (report->all.total == 0 && report->all.trimmed > 0)
        warn(report, "--trim leaves no request: there are no statistics");
}

double report_bubble_ratio(const struct serve_replica *replica)
{
    double all_ps = (double)replica->device_count * (double)replica->active_ps;

    return replica->busy_ps < all_ps ? 1 - replica->busy_ps / all_ps : 0;
}

bool report_is_limited(const struct report *report)
{
    return report->until_ps > 0 || report->max_requests > 0;
}

int64_t report_left_out(const struct report *report)
{
    const struct workload *workload = report->input->workload;

    return workload ? (int64_t)(workload->count - report->result->taken_count) : -1;
}

/* " (attn decode, lmhead)": what to profile further. */
static const char *ops_text(struct arena *arena, uint32_t ops)
{
    const char *text = "";

    for (int bit = 0; bit < OP_SET_COUNT; bit++)
        if (ops >> bit & 1)
            text = arena_printf(arena, "%s%s%s", text, text[0] == '\0' ? " (" : ", ",
                                op_set_name(bit));
    return text[0] == '\0' ? text : arena_printf(arena, "%s)", text);
}

void report_fill(struct arena *arena, struct report *report, const struct serve_input *input,
                 const struct serve_result *result, struct meter *meter)
{
    int most = 10 + SERVE_REFUSAL_COUNT + SERVE_FAILURE_COUNT +
               3 * input->plan->cluster->device_count + input->plan->replica_count +
               result->passes_count;
    char cost[UNITS_TEXT_BYTES];

    report->arena = arena;
    report->input = input;
    report->result = result;
    for (int i = 0; i < input->costs->count; i++)
        most += 1 + cost_anchor_count(input->costs->tables[i]);
    report->all = metrics_end(meter, result->end_ps, &report->services);
    report->bottleneck = bottleneck_find(arena, input->plan, input->plan->cluster, result,
                                         report->all.run_ok, report->all.run_tokens);
    report->warnings = arena_array(arena, (size_t)most, sizeof(char *));
    report->loud_warnings = arena_array(arena, (size_t)most, sizeof(char *));
    report->warning_count = report->loud_count = 0;
    warn_of_network(report);
    for (int i = 0; i < input->costs->count; i++) {
        warn_of_anchors(arena, report, input->costs->tables[i]);
        warn_of_quality(arena, report, input->costs->tables[i]);
    }
    if (report->planned_switch_cost_ps > 0)
        warn_loudly(report,
                    arena_printf(arena,
                                 "its planner says that migrations of this placement take %ss, and "
                                 "here they take no time: give --switch-cost %ss",
                                 units_format_seconds(report->planned_switch_cost_ps, cost), cost));
    if (result->lacks_kappa)
        warn_loudly(report, "--kappa on: some steps are of a model and phase without an anchor: "
                            "their costs stay as they are");
    if (result->extrapolated_costs > 0)
        warn(report, arena_printf(arena,
                                  "%lld operator cost%s outside the measured range: "
                                  "extrapolated%s",
                                  (long long)result->extrapolated_costs,
                                  result->extrapolated_costs == 1 ? " lies" : "s lie",
                                  ops_text(arena, result->extrapolated_ops)));
    warn_of_codec(arena, report);
    warn_of_standstill(arena, report);
    warn_of_trim(report);
    warn_of_kv(report);
    warn_of_overload(arena, report);
    warn_of_left_out(arena, report);
    warn_of_refused(arena, report);
    warn_of_memory(arena, report);
    warn_of_cache(arena, report);
}
