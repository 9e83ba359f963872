/* metrics.c - counts and samples by service; what all services amount to is their union. */
#include "sim/report/metrics.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/policy/plan.h"
#include "sim/serve/serve.h"

enum sample { SAMPLE_LATENCY, SAMPLE_TTFT, SAMPLE_TPOT, SAMPLE_E2E, SAMPLE_COUNT };

struct waiting { /* requests in order of ending that may yet be trimmed: a ring */
    struct serve_end *ends;
    size_t first, count, capacity; /* a power of two */
};

struct meter {
    struct arena *arena;
    const struct plan *plan;
    struct metrics_options options;
    struct metrics *services; /* by service of the plan */
    struct samples **samples[SAMPLE_COUNT];
    int64_t last_arrival_ps; /* of those that have ended; time begins at 0 */
    struct waiting waiting;
};

struct meter *metrics_begin(struct arena *arena, const struct plan *plan,
                            const struct metrics_options *options)
{
    struct meter *meter = arena_alloc(arena, sizeof(*meter));
    size_t count = (size_t)plan->service_count;

    meter->arena = arena;
    meter->plan = plan;
    meter->options = *options;
    meter->services = arena_array(arena, count, sizeof(*meter->services));
    for (int k = 0; k < SAMPLE_COUNT; k++)
        meter->samples[k] = arena_array(arena, count, sizeof(*meter->samples[k]));
    for (size_t s = 0; s < count; s++) {
        meter->services[s].service = plan->services[s].name;
        for (int k = 0; k < SAMPLE_COUNT; k++)
            meter->samples[k][s] = samples_create(arena, options->samples);
    }
    return meter;
}

static void count_in(struct meter *meter, const struct serve_end *end)
{
    struct metrics *metrics = &meter->services[end->service];
    const struct model *model = meter->plan->services[end->service].model;
    int64_t latency_ps, deadline_ps = end->slo_ps > 0 ? end->slo_ps : meter->options.slo_ps;

    metrics->total++;
    metrics->status[end->status]++;
    if (end->status != TRACE_OK)
        return;
    latency_ps = end->finish_ps - end->arrival_ps;
    samples_add(meter->samples[SAMPLE_LATENCY][end->service], latency_ps);
    metrics->good += deadline_ps <= 0 || latency_ps <= deadline_ps;
    if (end->e2e_ps != TRACE_NONE)
        samples_add(meter->samples[SAMPLE_E2E][end->service], end->e2e_ps);
    if (!model)
        return;
    samples_add(meter->samples[SAMPLE_TTFT][end->service], end->first_token_ps - end->arrival_ps);
    if (model->kind != MODEL_DECODER)
        return;
    metrics->output_tokens += end->output_tokens;
    if (end->output_tokens > 1)
        samples_add(meter->samples[SAMPLE_TPOT][end->service],
                    units_mul_div(end->finish_ps - end->first_token_ps, 1, end->output_tokens - 1));
}

/* ---- trim ---- */

static void waiting_push(struct meter *meter, const struct serve_end *end)
{
    struct waiting *waiting = &meter->waiting;

    if (waiting->count == waiting->capacity) {
        size_t wider = waiting->capacity ? 2 * waiting->capacity : 256;
        struct serve_end *ends = arena_array(meter->arena, wider, sizeof(*ends));

        for (size_t i = 0; i < waiting->count; i++)
            ends[i] = waiting->ends[(waiting->first + i) & (waiting->capacity - 1)];
        *waiting = (struct waiting){ ends, 0, waiting->count, wider };
    }
    waiting->ends[(waiting->first + waiting->count++) & (waiting->capacity - 1)] = *end;
}

/* Before the time that is surely trimmed at the end, going by the arrivals known so far. */
static bool is_early_enough(const struct meter *meter, const struct serve_end *end)
{
    return end->arrival_ps <= meter->last_arrival_ps - meter->options.trim_ps;
}

static struct serve_end waiting_pop(struct waiting *waiting)
{
    struct serve_end end = waiting->ends[waiting->first];

    waiting->first = (waiting->first + 1) & (waiting->capacity - 1);
    waiting->count--;
    return end;
}

void metrics_add(void *arg, const struct serve_end *end)
{
    struct meter *meter = arg;
    struct waiting *waiting = &meter->waiting;

    if (end->arrival_ps > meter->last_arrival_ps)
        meter->last_arrival_ps = end->arrival_ps;
    if (meter->options.trim_ps == 0) {
        count_in(meter, end);
        return;
    }
    if (end->arrival_ps < meter->options.trim_ps)
        meter->services[end->service].trimmed++;
    else
        waiting_push(meter, end);
    while (waiting->count > 0 && is_early_enough(meter, &waiting->ends[waiting->first])) {
        struct serve_end head = waiting_pop(waiting);

        count_in(meter, &head);
    }
}

/* What is the same for every request of a block: all ended ok, the last came last. */
static void block_count(struct meter *meter, const struct serve_block *block)
{
    int64_t last_ps = block->arrivals_ps[block->count - 1];

    for (size_t i = 0; i < block->count; i++)
        meter->services[block->services[i]].status[TRACE_OK]++;
    if (last_ps > meter->last_arrival_ps)
        meter->last_arrival_ps = last_ps;
}

void metrics_add_block(void *arg, const struct serve_block *block)
{
    struct meter *meter = arg;

    for (size_t i = 0; i < block->count; i++) {
        int32_t service = block->services[i];
        struct metrics *metrics = &meter->services[service];
        int64_t latency_ps = block->finishes_ps[i] - block->arrivals_ps[i];
        int64_t slo_ps = block->slos_ps ? block->slos_ps[i] : block->slo_ps;

        if (meter->options.trim_ps > 0) {
            metrics_add(meter, &(struct serve_end){ .service = service,
                                                    .status = TRACE_OK,
                                                    .arrival_ps = block->arrivals_ps[i],
                                                    .finish_ps = block->finishes_ps[i],
                                                    .e2e_ps = TRACE_NONE,
                                                    .slo_ps = slo_ps });
            continue;
        }
        slo_ps = slo_ps > 0 ? slo_ps : meter->options.slo_ps;
        metrics->total++;
        metrics->good += slo_ps <= 0 || latency_ps <= slo_ps;
        samples_add(meter->samples[SAMPLE_LATENCY][service], latency_ps);
    }
    if (meter->options.trim_ps == 0)
        block_count(meter, block);
}

static void waiting_end(struct meter *meter)
{
    while (meter->waiting.count > 0) {
        struct serve_end head = waiting_pop(&meter->waiting);

        if (is_early_enough(meter, &head))
            count_in(meter, &head);
        else
            meter->services[head.service].trimmed++;
    }
}

/* ---- the end ---- */

static struct stats_summary *summary_of(struct metrics *metrics, enum sample sample)
{
    switch (sample) {
    case SAMPLE_LATENCY:
        return &metrics->latency;
    case SAMPLE_TTFT:
        return &metrics->ttft;
    case SAMPLE_TPOT:
        return &metrics->tpot;
    case SAMPLE_E2E:
    case SAMPLE_COUNT:
        break;
    }
    return &metrics->e2e;
}

/* Of each service and of all. When one service has all the values, its summary is that of all. */
static void summarize(struct meter *meter, struct metrics *all, enum sample sample)
{
    int count = meter->plan->service_count, filled = 0, last = 0;

    for (int s = 0; s < count; s++) {
        struct samples **set = &meter->samples[sample][s];

        if (samples_count(*set) == 0)
            continue;
        *summary_of(&meter->services[s], sample) = samples_summarize(set, 1);
        filled++;
        last = s;
    }
    if (filled == 1)
        *summary_of(all, sample) = *summary_of(&meter->services[last], sample);
    else if (filled > 1)
        *summary_of(all, sample) = samples_summarize(meter->samples[sample], count);
}

struct metrics metrics_end(struct meter *meter, int64_t end_ps, struct metrics **services)
{
    int64_t trim_ps = meter->options.trim_ps;
    struct metrics all = { .window_ps = end_ps };

    waiting_end(meter);
    if (trim_ps > 0)
        all.window_ps = meter->last_arrival_ps - trim_ps > trim_ps
                            ? meter->last_arrival_ps - trim_ps - trim_ps
                            : 0;
    for (int s = 0; s < meter->plan->service_count; s++) {
        struct metrics *one = &meter->services[s];

        one->window_ps = all.window_ps;
        all.total += one->total;
        all.good += one->good;
        all.trimmed += one->trimmed;
        all.output_tokens += one->output_tokens;
        for (int k = 0; k < TRACE_STATUS_COUNT; k++)
            all.status[k] += one->status[k];
    }
    for (int k = 0; k < SAMPLE_COUNT; k++)
        summarize(meter, &all, (enum sample)k);
    *services = meter->services;
    return all;
}

int64_t metrics_missed(const struct metrics *metrics)
{
    return metrics->total - metrics->good;
}
