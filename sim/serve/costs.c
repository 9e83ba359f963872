/* costs.c - what jobs of a replica cost, from the tables of its devices' types.
 *
 * Profiled stages named by `layers` run in turn as one job: latencies add up; the gap that others
 * wait for is that of the last one. Slower devices of a stage set the pace for all. */
#include "sim/serve/internal.h"

#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/overhead.h"
#include "lib/policy/black_box.h"
#include "lib/policy/price.h"
#include "lib/policy/quantise.h"

static const struct cost_table *table_of(const struct serve *serve, int32_t device, struct err *err)
{
    return black_box_table(serve->arena, serve->input->plan, serve->input->costs, device, err);
}

int32_t costs_most_items(const struct serve_input *input)
{
    const struct workload *workload = input->workload;
    int32_t most = 1;

    for (size_t i = 0; workload && workload->batches && i < workload->count; i++)
        if (workload->batches[i] > most)
            most = workload->batches[i];
    return most;
}

/* The batch sizes that every device of every stage is profiled for. */
static bool sizes_find(struct serve *serve, struct lane *lane, struct err *err)
{
    const struct plan *plan = serve->input->plan;
    const struct plan_stage *first = lane->sites[0].stage;
    const struct cost_table *table = table_of(serve, first->devices[0], err);

    lane->sizes = black_box_sizes(serve->arena, plan, serve->input->costs,
                                  &plan->replicas[first->replica], &lane->size_count, err);
    if (!table || !lane->sizes)
        return false;
    if (lane->size_count > INT16_MAX) /* a flight has 16 bits for the number of its size */
        return err_set(err, ERR_INPUT, "%s: executable '%s' has %d batch sizes: at most %d",
                       cost_path(table), first->executable, lane->size_count, INT16_MAX);
    return lane->size_count > 0 ||
           err_set(err, ERR_INPUT, "%s: the stages of executable '%s' have no batch size in common",
                   cost_path(table), first->executable);
}

/* No more sizes than the run can use: memory is taken for the largest. */
static void sizes_limit(struct lane *lane, int32_t most)
{
    int count = 1;

    while (count < lane->size_count && lane->sizes[count - 1] < most)
        count++;
    lane->size_count = count;
}

/* Raw jobs of one device of the site, one for each size. */
static bool device_jobs(struct serve *serve, const struct lane *lane, struct site *site,
                        int position, struct err *err)
{
    const struct plan_stage *stage = site->stage;
    const struct cost_table *table = table_of(serve, stage->devices[position], err);
    int64_t weight_bytes, activation_bytes;

    if (!table)
        return false;
    for (int b = 0; b < lane->size_count; b++) {
        struct job *job = &site->raw_jobs[position * lane->size_count + b];
        struct black_box box;

        if (!black_box_read(table, stage, lane->sizes[b], &box, err))
            return false;
        job->cost_ps = engine_after_ps(0, box.latency_ps);
        job->gap_ps = serve->options->rules == SERVE_DLSIM ? 0 : box.gap_ps;
        if (serve->input->overheads)
            job->cost_ps =
                overhead_stage_ps(serve->input->overheads, job->cost_ps, lane->stage_count);
        if (position == 0) /* the device that sends */
            site->output_bytes[b] = box.output_bytes;
    }
    (void)cost_stage_memory(table, stage->executable, stage->exec_first, stage->exec_last,
                            lane->sizes[lane->size_count - 1], &weight_bytes, &activation_bytes);
    if (weight_bytes > site->weight_bytes)
        site->weight_bytes = weight_bytes;
    if (activation_bytes > site->activation_bytes)
        site->activation_bytes = activation_bytes;
    return true;
}

void costs_scale(const struct serve *serve, const struct lane *lane, struct site *site)
{
    for (int b = 0; b < lane->size_count; b++) {
        struct job slowest = { 0, 0 };

        for (int i = 0; i < site->device_count; i++) {
            const struct job *raw = &site->raw_jobs[i * lane->size_count + b];
            double speed_ratio = serve->speeds[site->devices[i]];
            int64_t cost_ps = price_scale(raw->cost_ps, speed_ratio);
            int64_t gap_ps = price_scale(raw->gap_ps, speed_ratio);

            slowest.cost_ps = cost_ps > slowest.cost_ps ? cost_ps : slowest.cost_ps;
            slowest.gap_ps = gap_ps > slowest.gap_ps ? gap_ps : slowest.gap_ps;
        }
        /* What does not fit into the calendar is cut to what just does not fit either. */
        if (slowest.cost_ps > UNITS_MAX_PS + 1)
            slowest.cost_ps = UNITS_MAX_PS + 1;
        if (slowest.gap_ps > UNITS_MAX_PS + 1 - slowest.cost_ps)
            slowest.gap_ps = UNITS_MAX_PS + 1 - slowest.cost_ps;
        site->jobs[b] = slowest;
    }
    site->job = site->jobs[0];
    site->is_sized = lane->size_count > 1;
}

/* At most what passes the calendar. */
static int64_t times_ps(int64_t count, int64_t each_ps)
{
    return each_ps > 0 && count > ENGINE_LAST_PS / each_ps ? ENGINE_LAST_PS : count * each_ps;
}

/* Coding on the device that sends, restoring on the one that receives, and the fewer bytes between
 * them: what a stage sends is taken for f32 values. */
static bool codec_fill(struct serve *serve, const struct lane *lane, struct err *err)
{
    for (int s = 0; s < lane->site_count; s++) { /* before outputs are coded */
        struct site *to = &lane->sites[s];
        const struct site *from = to->base - 1;

        for (int b = 0; b < lane->size_count && to->stage->number > 0 &&
                        quantise_applies(from->stage->wire_bits);
             b++)
            to->raw_jobs[b].cost_ps = engine_after_ps(
                to->raw_jobs[b].cost_ps,
                times_ps(from->output_bytes[b] / QUANTISE_VALUE_BYTES, to->stage->decode_value_ps));
    }
    for (int s = 0; s < lane->site_count; s++) {
        struct site *from = &lane->sites[s];
        const struct plan_stage *stage = from->stage;

        for (int b = 0;
             b < lane->size_count && !from->is_last && quantise_applies(stage->wire_bits); b++) {
            int64_t values = from->output_bytes[b] / QUANTISE_VALUE_BYTES;

            if (from->output_bytes[b] % QUANTISE_VALUE_BYTES != 0)
                return err_set(err, ERR_INPUT,
                               "%s: output_bytes of stage %d of '%s' is '%lld': with wire_bits %d "
                               "expected a multiple of %d, the bytes of a value",
                               cost_path(table_of(serve, from->device, err)), stage->exec_last,
                               stage->executable, (long long)from->output_bytes[b],
                               stage->wire_bits, QUANTISE_VALUE_BYTES);
            from->raw_jobs[b].cost_ps = engine_after_ps(from->raw_jobs[b].cost_ps,
                                                        times_ps(values, stage->encode_value_ps));
            from->output_bytes[b] = quantise_bytes(values, stage->wire_bits);
        }
    }
    return true;
}

static bool executable_fill(struct serve *serve, struct lane *lane, struct err *err)
{
    int32_t most = serve->most_items;

    if (!sizes_find(serve, lane, err))
        return false;
    sizes_limit(lane, most > lane->max_batch ? most : lane->max_batch);
    for (int s = 0; s < lane->site_count; s++) {
        struct site *site = &lane->sites[s];
        size_t sizes = (size_t)lane->size_count;

        site->jobs = arena_array(serve->arena, sizes, sizeof(*site->jobs));
        site->output_bytes = arena_array(serve->arena, sizes, sizeof(*site->output_bytes));
        site->raw_jobs =
            arena_array(serve->arena, sizes * (size_t)site->device_count, sizeof(*site->raw_jobs));
        for (int i = 0; i < site->device_count; i++)
            if (!device_jobs(serve, lane, site, i, err))
                return false;
        if (serve->options->rules == SERVE_DLSIM)
            site->queued_ps = lane->stage_count > 1 ? 3 * UNITS_PS_PER_MS : 4 * UNITS_PS_PER_MS;
    }
    if (!codec_fill(serve, lane, err))
        return false;
    for (int s = 0; s < lane->site_count; s++)
        costs_scale(serve, lane, &lane->sites[s]);
    return true;
}

/* What goes to other devices of the cache that is computed here. */
static void left_fill(const struct serve *serve, struct site *site)
{
    const struct plan_replica *replica = &serve->input->plan->replicas[site->replica];

    site->left_bytes_per_token =
        arena_array(serve->arena, (size_t)site->device_count, sizeof(int64_t));
    for (int m = 0; m < replica->move_count; m++)
        for (int i = 0; i < site->device_count; i++)
            if (replica->moves[m].from_stage == site->stage->id &&
                replica->moves[m].from == site->devices[i])
                site->left_bytes_per_token[i] += replica->moves[m].bytes_per_token;
}

static bool slices_fill(struct serve *serve, struct lane *lane, struct err *err)
{
    const struct plan *plan = serve->input->plan;

    for (int s = 0; s < lane->site_count; s++) {
        struct site *site = &lane->sites[s];
        const struct cluster_device *d = &plan->cluster->devices[site->device];

        site->table = table_of(serve, site->device, err);
        if (!site->table)
            return false;
        site->threads = d->threads;
        site->kv_bytes_per_token = plan_stage_kv_bytes_per_token(plan, site->stage);
        site->weight_bytes = plan_stage_weight_bytes(plan, site->stage, site->device);
        if (site->stage->phase == PLACEMENT_PREFILL)
            left_fill(serve, site);
    }
    return true;
}

bool costs_fill(struct serve *serve, struct lane *lane, struct err *err)
{
    return lane->sites[0].is_model ? slices_fill(serve, lane, err)
                                   : executable_fill(serve, lane, err);
}
