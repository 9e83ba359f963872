/* report.c - what a run's reader must be told beside its numbers: the warnings. */
#include "sim/report/report.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/policy/plan.h"
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

static void warn_of_network(struct report *report)
{
    const struct cluster *cluster = report->input->plan->cluster;

    if (!cluster->has_links)
        warn(report, "no links.csv: all transfers are free");
    else if (!cluster->has_source)
        warn(report, "links.csv attaches no node 'source': requests and results travel free");
}

static bool is_type_used(const struct plan *plan, const char *type)
{
    for (int i = 0; i < plan->stage_count; i++)
        for (int k = 0; k < plan->stages[i]->device_count; k++)
            if (strcmp(plan->cluster->devices[plan->stages[i]->devices[k]].type, type) == 0)
                return true;
    return false;
}

static double off_by(const struct cost_anchor *anchor)
{
    return anchor->kappa > 1 ? anchor->kappa - 1 : 1 - anchor->kappa;
}

static void warn_of_anchors(struct arena *arena, struct report *report,
                            const struct cost_table *table)
{
    const struct cost_anchor *worst = NULL;
    int count = 0;

    if (!is_type_used(report->input->plan, cost_type(table)))
        return;
    for (int i = 0; i < cost_anchor_count(table); i++) {
        const struct cost_anchor *anchor = cost_anchor_at(table, i);

        if (!(off_by(anchor) > KAPPA_TOLERANCE))
            continue;
        count++;
        if (!worst || off_by(anchor) > off_by(worst))
            worst = anchor;
    }
    if (worst)
        warn(report, arena_printf(arena,
                                  "costs of '%s': %d of %d anchors differ from the sum of their "
                                  "operators by more than 3 %%, at most %s %s %d tokens: kappa "
                                  "%.3f",
                                  cost_type(table), count, cost_anchor_count(table), worst->model,
                                  op_phase_name(worst->phase), (int)worst->tokens, worst->kappa));
}

static void warn_of_peak(struct arena *arena, struct report *report,
                         const struct cluster_device *device, int64_t peak_bytes)
{
    char peak[UNITS_TEXT_BYTES], have[UNITS_TEXT_BYTES];

    warn(report, arena_printf(arena, "device '%s' would need %s but has %s", device->name,
                              units_format_bytes(peak_bytes, peak),
                              units_format_bytes(device->memory_bytes, have)));
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

/* What each step reads of a device's weights: all but the embedding, of which it reads a few rows.
 */
static int64_t streamed_bytes(const struct plan *plan, int32_t device)
{
    int64_t sum_bytes = 0;

    for (int i = 0; i < plan->stage_count; i++) {
        const struct plan_stage *stage = plan->stages[i];
        const struct model *model = plan->services[plan->replicas[stage->replica].service].model;

        if (!model || stage->devices[0] != device)
            continue;
        sum_bytes += plan_stage_weight_bytes(plan, stage, device);
        if (stage->has_embed && !(stage->has_lm_head && model->tied_lm_head))
            sum_bytes -= model_block_weight_bytes(model, BLOCK_EMBED);
    }
    return sum_bytes;
}

/* A cost table holds the costs of cold memory; weights that stay in the cache are faster. */
static void warn_of_cache(struct arena *arena, struct report *report)
{
    const struct plan *plan = report->input->plan;

    for (int i = 0; i < plan->cluster->device_count; i++) {
        const struct cluster_device *device = &plan->cluster->devices[i];
        const struct cost_table *table = cost_set_find(report->input->costs, device->type);
        int64_t llc_bytes = table ? cost_llc_bytes(table) : 0,
                weight_bytes = streamed_bytes(plan, i);
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

void report_fill(struct arena *arena, struct report *report, const struct serve_input *input,
                 const struct serve_result *result)
{
    int most = 2 + input->costs->count + 2 * input->plan->cluster->device_count;

    report->input = input;
    report->result = result;
    report->all = metrics_compute(arena, input, result, report->slo_ps, &report->services);
    report->warnings = arena_array(arena, (size_t)most, sizeof(char *));
    report->warning_count = 0;
    warn_of_network(report);
    for (int i = 0; i < input->costs->count; i++)
        warn_of_anchors(arena, report, input->costs->tables[i]);
    if (result->extrapolated_costs > 0)
        warn(report, arena_printf(arena,
                                  "%lld operator costs lie outside the measured range: "
                                  "extrapolated",
                                  (long long)result->extrapolated_costs));
    warn_of_memory(arena, report);
    warn_of_cache(arena, report);
}
