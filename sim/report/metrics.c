/* metrics.c - one pass over the requests, grouped by service, then exact order statistics. */
#include "sim/report/metrics.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "lib/policy/plan.h"
#include "sim/serve/serve.h"

struct samples {
    int64_t *values;
    size_t count;
};
struct group { /* samples of one service */
    struct samples latency, ttft, tpot;
};

static void sample_add(struct samples *samples, int64_t value)
{
    samples->values[samples->count++] = value;
}

static void request_add(struct metrics *metrics, struct group *group,
                        const struct workload_request *request, const struct serve_request *record,
                        const struct model *model, int64_t slo_ps)
{
    int64_t latency_ps, deadline_ps = request->slo_ps > 0 ? request->slo_ps : slo_ps;

    metrics->total++;
    metrics->status[record->status]++;
    if (record->status != TRACE_OK)
        return;
    latency_ps = record->finish_ps - record->arrival_ps;
    sample_add(&group->latency, latency_ps);
    metrics->good += deadline_ps <= 0 || latency_ps <= deadline_ps;
    if (!model)
        return;
    sample_add(&group->ttft, record->first_token_ps - record->arrival_ps);
    if (model->kind != MODEL_DECODER)
        return;
    metrics->output_tokens += request->output_tokens;
    if (request->output_tokens > 1)
        sample_add(&group->tpot, units_mul_div(record->finish_ps - record->first_token_ps, 1,
                                               request->output_tokens - 1));
}

static void samples_append(struct samples *to, const struct samples *from)
{
    for (size_t i = 0; i < from->count; i++)
        sample_add(to, from->values[i]);
}

static void summarize(struct metrics *metrics, struct group *group)
{
    metrics->latency = stats_summarize(group->latency.values, group->latency.count);
    metrics->ttft = stats_summarize(group->ttft.values, group->ttft.count);
    metrics->tpot = stats_summarize(group->tpot.values, group->tpot.count);
}

static void group_reserve(struct arena *arena, struct group *group, size_t count)
{
    group->latency.values = arena_array(arena, count, sizeof(int64_t));
    group->ttft.values = arena_array(arena, count, sizeof(int64_t));
    group->tpot.values = arena_array(arena, count, sizeof(int64_t));
}

struct metrics metrics_compute(struct arena *arena, const struct serve_input *input,
                               const struct serve_result *result, int64_t slo_ps,
                               struct metrics **services)
{
    const struct workload *workload = input->workload;
    const struct plan *plan = input->plan;
    size_t service_count = (size_t)plan->service_count;
    struct group *groups = arena_array(arena, service_count, sizeof(*groups));
    size_t *sizes = arena_array(arena, service_count, sizeof(*sizes));
    struct metrics all = { 0 };
    struct group total = { { 0 }, { 0 }, { 0 } };

    *services = arena_array(arena, service_count, sizeof(**services));
    for (size_t i = 0; i < workload->count; i++)
        sizes[input->service_of[workload_at(workload, i).service]] += result->requests[i].is_taken;
    for (size_t s = 0; s < service_count; s++) {
        (*services)[s].service = plan->services[s].name;
        group_reserve(arena, &groups[s], sizes[s]);
    }
    for (size_t i = 0; i < workload->count; i++) {
        const struct workload_request request = workload_at(workload, i);
        int32_t s = input->service_of[request.service];

        if (result->requests[i].is_taken)
            request_add(&(*services)[s], &groups[s], &request, &result->requests[i],
                        plan->services[s].model, slo_ps);
    }
    group_reserve(arena, &total, result->taken_count);
    for (size_t s = 0; s < service_count; s++) {
        const struct metrics *one = &(*services)[s];

        samples_append(&total.latency, &groups[s].latency);
        samples_append(&total.ttft, &groups[s].ttft);
        samples_append(&total.tpot, &groups[s].tpot);
        summarize(&(*services)[s], &groups[s]);
        all.total += one->total;
        all.good += one->good;
        all.output_tokens += one->output_tokens;
        for (int k = 0; k < TRACE_STATUS_COUNT; k++)
            all.status[k] += one->status[k];
    }
    summarize(&all, &total);
    return all;
}

int64_t metrics_missed(const struct metrics *metrics)
{
    return metrics->total - metrics->good;
}
