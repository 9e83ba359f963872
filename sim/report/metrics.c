/* metrics.c - counts and samples by service; what all services amount to is their union. */
#include "sim/report/metrics.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/policy/plan.h"
#include "sim/serve/serve.h"
#include <string.h>

enum sample {
    SAMPLE_LATENCY,
    SAMPLE_TTFT,
    SAMPLE_TPOT,
    SAMPLE_E2E,
    SAMPLE_QUEUE,
    SAMPLE_ITL,
    SAMPLE_COUNT
};

struct waiting { /* what may yet be trimmed, in order of coming: a ring */
    size_t item_bytes;
    char *items;
    size_t first, count, capacity; /* a power of two */
};

struct meter {
    struct arena *arena;
    const struct plan *plan;
    struct metrics_options options;
    struct metrics *services; /* by service of the plan */
    struct samples **samples[SAMPLE_COUNT];
    int64_t last_arrival_ps; /* of those that have ended; time begins at 0 */
    int64_t run_ok, run_tokens;
    struct waiting ends; /* of requests */
    struct waiting gaps;
};

static enum samples_kind kind_of(enum sample sample, const struct metrics_options *options)
{
    return sample >= SAMPLE_QUEUE ? SAMPLES_HISTOGRAM : options->samples;
}

struct meter *metrics_begin(struct arena *arena, const struct plan *plan,
                            const struct metrics_options *options)
{
    struct meter *meter = arena_alloc(arena, sizeof(*meter));
    size_t count = (size_t)plan->service_count;

    meter->arena = arena;
    meter->plan = plan;
    meter->options = *options;
    meter->ends.item_bytes = sizeof(struct serve_end);
    meter->gaps.item_bytes = sizeof(struct serve_gap);
    meter->services = arena_array(arena, count, sizeof(*meter->services));
    for (int k = 0; k < SAMPLE_COUNT; k++)
        meter->samples[k] = arena_array(arena, count, sizeof(*meter->samples[k]));
    for (size_t s = 0; s < count; s++) {
        meter->services[s].service = plan->services[s].name;
        for (int k = 0; k < SAMPLE_COUNT; k++)
            meter->samples[k][s] = samples_create(arena, kind_of((enum sample)k, options));
    }
    return meter;
}

/* Tokens that were made: encoders and executables make none. */
static int64_t output_tokens(const struct meter *meter, const struct serve_end *end)
{
    const struct model *model = meter->plan->services[end->service].model;

    return model && model->kind == MODEL_DECODER ? end->output_tokens : 0;
}

static bool is_within(int64_t time_ps, int64_t slo_ps)
{
    return slo_ps <= 0 || time_ps <= slo_ps;
}

/* Counts first tokens and the time of the others; whether they came in time. */
static bool count_tokens(struct meter *meter, const struct serve_end *end,
                         const struct model *model)
{
    int64_t ttft_ps = end->first_token_ps - end->arrival_ps, tpot_ps;
    bool is_good = is_within(ttft_ps, meter->options.slo_ttft_ps);

    samples_add(meter->samples[SAMPLE_TTFT][end->service], ttft_ps);
    if (model->kind != MODEL_DECODER)
        return is_good;
    meter->services[end->service].output_tokens += end->output_tokens;
    if (end->output_tokens <= 1)
        return is_good;
    tpot_ps = units_mul_div(end->finish_ps - end->first_token_ps, 1, end->output_tokens - 1);
    samples_add(meter->samples[SAMPLE_TPOT][end->service], tpot_ps);
    return is_good && is_within(tpot_ps, meter->options.slo_tpot_ps);
}

static void count_in(struct meter *meter, const struct serve_end *end)
{
    struct metrics *metrics = &meter->services[end->service];
    const struct model *model = meter->plan->services[end->service].model;
    int64_t latency_ps, deadline_ps = end->slo_ps > 0 ? end->slo_ps : meter->options.slo_ps;
    bool is_good;

    metrics->total++;
    metrics->status[end->status]++;
    if (end->status != TRACE_OK)
        return;
    latency_ps = end->finish_ps - end->arrival_ps;
    is_good = is_within(latency_ps, deadline_ps);
    samples_add(meter->samples[SAMPLE_LATENCY][end->service], latency_ps);
    if (meter->options.has_all)
        samples_add(meter->samples[SAMPLE_QUEUE][end->service], end->start_ps - end->arrival_ps);
    if (end->e2e_ps != TRACE_NONE)
        samples_add(meter->samples[SAMPLE_E2E][end->service], end->e2e_ps);
    if (model && !count_tokens(meter, end, model))
        is_good = false;
    metrics->good += is_good;
}

static void gap_count(const struct meter *meter, const struct serve_gap *gap)
{
    samples_add_line(meter->samples[SAMPLE_ITL][gap->service], gap->first_ps, gap->slope_ps,
                     gap->count, gap->times);
}

struct serve_observer metrics_observer(struct meter *meter)
{
    bool has_all = meter->options.has_all;

    return (struct serve_observer){ .end_arg = meter,
                                    .on_end = metrics_add,
                                    .on_block = metrics_add_block,
                                    .wants_starts = has_all,
                                    .wants_arrivals = has_all && meter->options.trim_ps > 0,
                                    .on_gap = has_all ? metrics_add_gap : NULL };
}

/* ---- trim ---- */

static void *waiting_at(const struct waiting *waiting, size_t index)
{
    return &waiting
                ->items[((waiting->first + index) & (waiting->capacity - 1)) * waiting->item_bytes];
}

static void waiting_push(struct meter *meter, struct waiting *waiting, const void *item)
{
    size_t bytes = waiting->item_bytes;

    if (waiting->count == waiting->capacity) {
        size_t wider = waiting->capacity ? 2 * waiting->capacity : 256;
        char *items = arena_array(meter->arena, wider, bytes);

        for (size_t i = 0; i < waiting->count; i++)
            memcpy(&items[i * bytes], waiting_at(waiting, i), bytes);
        waiting->items = items;
        waiting->first = 0;
        waiting->capacity = wider;
    }
    memcpy(waiting_at(waiting, waiting->count++), item, bytes);
}

/* The oldest, which lives until the next one is pushed. */
static const void *waiting_pop(struct waiting *waiting)
{
    const void *item = waiting_at(waiting, 0);

    waiting->first = (waiting->first + 1) & (waiting->capacity - 1);
    waiting->count--;
    return item;
}

/* Before the time that is surely trimmed at the end, going by the arrivals known so far. */
static bool is_early_enough(const struct meter *meter, int64_t arrival_ps)
{
    return arrival_ps <= meter->last_arrival_ps - meter->options.trim_ps;
}

static bool end_is_early(const struct meter *meter)
{
    const struct serve_end *end = waiting_at(&meter->ends, 0);

    return is_early_enough(meter, end->arrival_ps);
}

static bool gap_is_early(const struct meter *meter)
{
    const struct serve_gap *gap = waiting_at(&meter->gaps, 0);

    return is_early_enough(meter, gap->arrival_ps);
}

void metrics_add_gap(void *arg, const struct serve_gap *gap)
{
    struct meter *meter = arg;

    if (meter->options.trim_ps == 0)
        gap_count(meter, gap);
    else if (gap->arrival_ps >= meter->options.trim_ps)
        waiting_push(meter, &meter->gaps, gap);
}

void metrics_add(void *arg, const struct serve_end *end)
{
    struct meter *meter = arg;

    if (end->arrival_ps > meter->last_arrival_ps)
        meter->last_arrival_ps = end->arrival_ps;
    if (end->status == TRACE_OK) {
        meter->run_ok++;
        meter->run_tokens += output_tokens(meter, end);
    }
    if (meter->options.trim_ps == 0) {
        count_in(meter, end);
        return;
    }
    if (end->arrival_ps < meter->options.trim_ps)
        meter->services[end->service].trimmed++;
    else
        waiting_push(meter, &meter->ends, end);
    while (meter->ends.count > 0 && end_is_early(meter))
        count_in(meter, waiting_pop(&meter->ends));
    while (meter->gaps.count > 0 && gap_is_early(meter))
        gap_count(meter, waiting_pop(&meter->gaps));
}

/* What is the same for every request of a block: all ended ok, the last came last. */
static void block_count(struct meter *meter, const struct serve_block *block)
{
    int64_t last_ps = block->arrivals_ps[block->count - 1];

    for (size_t i = 0; i < block->count; i++)
        meter->services[block->services[i]].status[TRACE_OK]++;
    if (last_ps > meter->last_arrival_ps)
        meter->last_arrival_ps = last_ps;
    meter->run_ok += (int64_t)block->count;
}

static int64_t start_of(const struct serve_block *block, size_t i)
{
    return block->starts_ps ? block->starts_ps[i] : block->arrivals_ps[i];
}

static void block_queue(struct meter *meter, const struct serve_block *block)
{
    for (size_t i = 0; i < block->count; i++)
        samples_add(meter->samples[SAMPLE_QUEUE][block->services[i]],
                    block->starts_ps[i] - block->arrivals_ps[i]);
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
                                                    .start_ps = start_of(block, i),
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
    if (meter->options.trim_ps == 0 && block->starts_ps)
        block_queue(meter, block);
    if (meter->options.trim_ps == 0)
        block_count(meter, block);
}

static void waiting_end(struct meter *meter)
{
    while (meter->ends.count > 0) {
        bool is_early = end_is_early(meter);
        const struct serve_end *end = waiting_pop(&meter->ends);

        if (is_early)
            count_in(meter, end);
        else
            meter->services[end->service].trimmed++;
    }
    while (meter->gaps.count > 0) {
        bool is_early = gap_is_early(meter);
        const struct serve_gap *gap = waiting_pop(&meter->gaps);

        if (is_early)
            gap_count(meter, gap);
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
    case SAMPLE_QUEUE:
        return &metrics->queue;
    case SAMPLE_ITL:
        return &metrics->itl;
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
    all.run_ok = meter->run_ok;
    all.run_tokens = meter->run_tokens;
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

bool metrics_has_slo(const struct metrics_options *options)
{
    return options->slo_ps > 0 || options->slo_ttft_ps > 0 || options->slo_tpot_ps > 0;
}
