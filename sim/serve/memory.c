/* memory.c - weights and activations against what devices have, before time starts; KV caches while
 * it runs. Every epoch has its own slices: a device needs what its fullest epoch needs. */
#include "sim/serve/handoff.h"
#include "sim/serve/internal.h"

#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/workload.h"
#include "sim/serve/crew.h"

struct need { /* of a device in one epoch */
    int64_t weight_bytes, activation_bytes;
};

static int64_t bytes_of(const struct need *need, const struct cluster_device *device)
{
    return need->weight_bytes + need->activation_bytes + device->reserved_bytes;
}

static bool does_not_fit(const struct serve *serve, int32_t index, const struct need *needed,
                         struct err *err)
{
    const struct cluster *cluster = serve->input->plan->cluster;
    const struct cluster_device *device = &cluster->devices[index];
    const char *path = arena_printf(serve->arena, "%s/devices.csv", cluster->path);
    int64_t need_bytes = bytes_of(needed, device);
    char need[UNITS_TEXT_BYTES], have[UNITS_TEXT_BYTES];

    return err_at(
        err, path, device->line, 0,
        "device '%s' has %s (%lld bytes) of memory, but weights, activations and reserved "
        "take %s (%lld bytes)",
        device->name, units_format_bytes(device->memory_bytes, have),
        (long long)device->memory_bytes, units_format_bytes(need_bytes, need),
        (long long)need_bytes);
}

static void lane_add(struct need *needs, const struct lane *lane)
{
    for (int s = 0; s < lane->site_count; s++) {
        const struct site *site = &lane->sites[s];

        for (int i = 0; i < site->device_count; i++) {
            struct need *need = &needs[site->devices[i]];

            need->weight_bytes += site->crew ? site->crew->weight_bytes[i] : site->weight_bytes;
            if (site->activation_bytes > need->activation_bytes)
                need->activation_bytes = site->activation_bytes;
        }
    }
}

/* Copies what the lane's own devices need. */
static void lane_copy(struct need *to, const struct need *from, const struct lane *lane)
{
    for (int s = 0; s < lane->site_count; s++) {
        const struct site *site = &lane->sites[s];

        for (int i = 0; i < site->device_count; i++)
            to[site->devices[i]] = from[site->devices[i]];
    }
}

static bool lane_fits(const struct serve *serve, const struct need *needs, const struct lane *lane)
{
    const struct cluster *cluster = serve->input->plan->cluster;

    for (int s = 0; s < lane->site_count; s++) {
        const struct site *site = &lane->sites[s];

        for (int i = 0; i < site->device_count; i++) {
            const struct cluster_device *device = &cluster->devices[site->devices[i]];

            if (device->memory_bytes > 0 &&
                bytes_of(&needs[site->devices[i]], device) > device->memory_bytes)
                return false;
        }
    }
    return true;
}

/* Keeps the most that a device needs in any epoch; false when it has less. */
static bool device_settle(struct serve *serve, int32_t index, const struct need *need)
{
    const struct cluster_device *device = &serve->input->plan->cluster->devices[index];
    struct memory *memory = &serve->memories[index];
    int64_t bytes = bytes_of(need, device);

    if (bytes > memory->base_bytes) {
        memory->base_bytes = memory->peak_bytes = bytes;
        memory->activation_bytes = need->activation_bytes;
    }
    return device->memory_bytes == 0 || bytes <= device->memory_bytes ||
           serve->options->memory == SERVE_MEMORY_WARN;
}

/* *worst becomes the first device of the lane, by index, that does not fit and comes before it. */
static void lane_settle(struct serve *serve, const struct lane *lane, const struct need *needs,
                        int32_t *worst)
{
    for (int s = 0; s < lane->site_count; s++) {
        const struct site *site = &lane->sites[s];

        for (int i = 0; i < site->device_count; i++) {
            int32_t device = site->devices[i];

            if (!device_settle(serve, device, &needs[device]) && (*worst < 0 || device < *worst))
                *worst = device;
        }
    }
}

static void lane_clear(struct need *needs, const struct lane *lane)
{
    for (int s = 0; s < lane->site_count; s++)
        for (int i = 0; i < lane->sites[s].device_count; i++)
            needs[lane->sites[s].devices[i]] = (struct need){ 0, 0 };
}

/* Replicas in file order; with --memory refuse one that does not fit takes no requests. needs begin
 * and end with 0 for all devices. Fails at the first device, by index, that does not fit. */
static bool epoch_check(struct serve *serve, const struct plan_epoch *epoch, struct need *needs,
                        struct need *before, struct err *err)
{
    int32_t worst = -1;

    for (int r = 0; r < epoch->replica_count; r++) {
        struct lane *lane = &serve->lanes[epoch->replicas[r]];

        lane_copy(before, needs, lane);
        lane_add(needs, lane);
        if (serve->options->memory == SERVE_MEMORY_REFUSE && !lane_fits(serve, needs, lane)) {
            lane->is_left_out = true;
            lane_copy(needs, before, lane);
        }
    }
    for (int r = 0; r < epoch->replica_count; r++)
        lane_settle(serve, &serve->lanes[epoch->replicas[r]], needs, &worst);
    if (worst >= 0)
        return does_not_fit(serve, worst, &needs[worst], err);
    for (int r = 0; r < epoch->replica_count; r++)
        lane_clear(needs, &serve->lanes[epoch->replicas[r]]);
    return true;
}

/* A device without slices needs what is reserved. */
static bool reserved_check(struct serve *serve, struct need *needs, struct err *err)
{
    const struct cluster *cluster = serve->input->plan->cluster;

    for (int32_t i = 0; i < cluster->device_count; i++)
        if (!device_settle(serve, i, &needs[i]))
            return does_not_fit(serve, i, &needs[i], err);
    return true;
}

bool memory_check(struct serve *serve, struct err *err)
{
    const struct plan *plan = serve->input->plan;
    size_t device_count = (size_t)plan->cluster->device_count;
    struct need *needs = arena_array(serve->arena, device_count, sizeof(*needs));
    struct need *before = arena_array(serve->arena, device_count, sizeof(*before));

    serve->memories = arena_array(serve->arena, device_count, sizeof(*serve->memories));
    if (!reserved_check(serve, needs, err))
        return false;
    for (int e = 0; e < plan->epoch_count; e++)
        if (!epoch_check(serve, &plan->epochs[e], needs, before, err))
            return false;
    return true;
}

/* ---- while it runs ---- */

/* Of the stage's device at that position. */
static int64_t kv_bytes_per_token(const struct site *site, int position)
{
    return site->crew ? site->crew->kv_bytes_per_token[position] : site->kv_bytes_per_token;
}

static void peak_note(struct memory *memory)
{
    int64_t used_bytes = memory->base_bytes + memory->kv_bytes;

    if (used_bytes > memory->peak_bytes)
        memory->peak_bytes = used_bytes;
    if (memory->kv_bytes > memory->kv_peak_bytes)
        memory->kv_peak_bytes = memory->kv_bytes;
}

/* The cache is about to change. */
static void area_note(struct memory *memory, int64_t now_ps)
{
    uint64_t time_ps = (uint64_t)(now_ps - memory->changed_ps);

    memory->area_ps = wide_add(memory->area_ps, wide_mul((uint64_t)memory->kv_bytes, time_ps));
    memory->changed_ps = now_ps;
}

static void activations_grow(struct memory *memory, int64_t activation_bytes)
{
    if (activation_bytes <= memory->activation_bytes)
        return;
    memory->base_bytes += activation_bytes - memory->activation_bytes;
    memory->activation_bytes = activation_bytes;
    peak_note(memory);
}

/* On one device, of a request alone, or of as many like it as a fixed batch may have: its prompt,
 * or its last token behind all others, whichever needs more; where stages of prompts are apart,
 * what comes to this one. */
static int64_t work_bytes(const struct serve *serve, const struct site *site, int32_t device,
                          int32_t prompt_tokens, int64_t tokens)
{
    const struct plan *plan = serve->input->plan;
    const int64_t batch = serve->lanes[site->replica].max_batch;
    const struct model_step prefill = { batch * prompt_tokens, batch, prompt_tokens };
    const struct model_step last = { batch, batch, tokens };
    int64_t first_bytes = 0, last_bytes = 0;

    if (site->stage->phase != PLACEMENT_DECODE)
        first_bytes = plan_stage_work_bytes(plan, site->stage, device, &prefill);
    if (site->stage->phase != PLACEMENT_PREFILL)
        last_bytes = plan_stage_work_bytes(plan, site->stage, device, &last);
    return first_bytes > last_bytes ? first_bytes : last_bytes;
}

static int64_t tokens_of(const struct serve *serve, int32_t index)
{
    return (int64_t)serve->flights[index].prompt_tokens + serve->decodes[index].output_tokens;
}

void memory_expect(struct serve *serve, const struct lane *lane, const struct model_step *step)
{
    for (int s = 0; s < lane->site_count; s++) {
        const struct site *site = &lane->sites[s];

        for (int i = 0; i < site->device_count; i++)
            activations_grow(
                &serve->memories[site->devices[i]],
                plan_stage_work_bytes(serve->input->plan, site->stage, site->devices[i], step));
    }
}

/* Activations grow with prompt and length: those of shorter requests are in memory's already. */
static bool is_known(const struct site *site, int32_t prompt_tokens, int64_t tokens)
{
    return prompt_tokens <= site->longest_prompt_tokens && tokens <= site->longest_tokens;
}

static void site_grow(struct serve *serve, struct site *site, int32_t prompt_tokens, int64_t tokens)
{
    if (is_known(site, prompt_tokens, tokens))
        return;
    for (int i = 0; i < site->device_count; i++)
        activations_grow(&serve->memories[site->devices[i]],
                         work_bytes(serve, site, site->devices[i], prompt_tokens, tokens));
    if (prompt_tokens > site->longest_prompt_tokens)
        site->longest_prompt_tokens = prompt_tokens;
    if (tokens > site->longest_tokens)
        site->longest_tokens = tokens;
}

/* Of a token, what goes from the device of the stage to others. */
static int64_t left_bytes(const struct serve *serve, const struct site *site, int position,
                          int32_t index)
{
    const struct plan_replica *replica = &serve->input->plan->replicas[site->replica];
    int64_t bytes = 0;

    if (!serve->has_ways)
        return site->left_bytes_per_token[position];
    for (int32_t m = 0; m < replica->move_count; m++)
        if (replica->moves[m].from_stage == site->stage->id &&
            replica->moves[m].from == site->devices[position] && way_may_move(serve, index, m))
            bytes += replica->moves[m].bytes_per_token;
    return bytes;
}

/* The cache of all tokens that the request will ever have, on a device of a stage. Where stages of
 * prompts are apart, these hold what they send to others, of the prompt, until it is sent. Without
 * decode steps all stays there. */
static int64_t cache_bytes(const struct serve *serve, const struct site *site, int position,
                           int32_t index)
{
    int64_t all_bytes = tokens_of(serve, index) * kv_bytes_per_token(site, position);
    bool is_decoded = serve->decodes[index].step_count > 1;

    if (!way_may_have(serve, index, site))
        return 0;
    if (site->stage->phase == PLACEMENT_DECODE)
        return is_decoded ? all_bytes : 0;
    if (site->stage->phase == PLACEMENT_PREFILL && is_decoded)
        return serve->flights[index].prompt_tokens * left_bytes(serve, site, position, index);
    return all_bytes;
}

void memory_shift(struct serve *serve, int32_t device, int64_t by_bytes)
{
    struct memory *memory = &serve->memories[device];
    int64_t now_ps = engine_now_ps(serve->engine);

    area_note(memory, now_ps);
    memory->kv_bytes += by_bytes;
    peak_note(memory);
    if (serve->observer.on_cache && by_bytes != 0)
        serve->observer.on_cache(serve->observer.arg, device, now_ps, memory->kv_bytes);
}

void memory_keep(struct serve *serve, int32_t index, int sign)
{
    const struct flight *flight = &serve->flights[index];
    const struct lane *lane = &serve->lanes[flight->site->replica];
    const struct plan_replica *replica = &serve->input->plan->replicas[flight->site->replica];

    for (int s = 0; s < lane->site_count; s++) {
        struct site *site = &lane->sites[s];

        if (!way_may_have(serve, index, site))
            continue;
        site_grow(serve, site, flight->prompt_tokens, tokens_of(serve, index));
        for (int i = 0; i < site->device_count; i++)
            memory_shift(serve, site->devices[i], sign * cache_bytes(serve, site, i, index));
    }
    for (int m = 0; m < replica->move_count && sign < 0; m++) /* what is not there any more */
        if (way_moves(serve, index, m) && handoff_has_left(serve, index, m))
            memory_shift(serve, replica->moves[m].from,
                         flight->prompt_tokens * replica->moves[m].bytes_per_token);
}

struct wide *memory_token_area(const struct serve *serve, int32_t replica, bool is_decoding)
{
    return &serve->token_areas_ps[replica + (is_decoding ? serve->input->plan->replica_count : 0)];
}

/* Of continuous batches: the stages on the device, a token a part of a block. */
static double continuous_area(const struct serve *serve, int32_t device)
{
    const struct plan *plan = serve->input->plan;
    double area = 0;

    for (int32_t r = 0; r < plan->replica_count && serve->token_areas_ps; r++)
        for (int s = 0; s < serve->lanes[r].site_count; s++) {
            const struct site *site = &serve->lanes[r].sites[s];

            for (int i = 0; i < site->device_count; i++)
                if (site->devices[i] == device)
                    area += parts_double(*memory_token_area(
                                serve, r, site->stage->phase == PLACEMENT_DECODE)) *
                            (double)kv_bytes_per_token(site, i);
        }
    return area;
}

/* Nothing is held when the run has ended. */
double memory_kv_mean_bytes(const struct serve *serve, int32_t device)
{
    double area = serve->result->continuous ? continuous_area(serve, device)
                                            : parts_double(serve->memories[device].area_ps);

    return serve->result->end_ps > 0 ? area / (double)serve->result->end_ps : 0;
}

/* What a device would hold if the request came to the lane: all its stages there count. */
static int64_t would_hold_bytes(const struct serve *serve, const struct lane *lane, int32_t device,
                                int32_t index)
{
    int32_t prompt_tokens = serve->flights[index].prompt_tokens;
    int64_t tokens = tokens_of(serve, index);
    const struct memory *memory = &serve->memories[device];
    int64_t activation_bytes = memory->activation_bytes, kv_bytes = memory->kv_bytes;

    for (int s = 0; s < lane->site_count; s++) {
        const struct site *site = &lane->sites[s];

        for (int i = 0; i < site->device_count; i++) {
            int64_t bytes;

            if (site->devices[i] != device || !way_may_have(serve, index, site))
                continue;
            kv_bytes += cache_bytes(serve, site, i, index);
            if (is_known(site, prompt_tokens, tokens))
                continue;
            bytes = work_bytes(serve, site, device, prompt_tokens, tokens);
            activation_bytes = bytes > activation_bytes ? bytes : activation_bytes;
        }
    }
    return memory->base_bytes - memory->activation_bytes + activation_bytes + kv_bytes;
}

static bool has_no_room(const struct serve *serve, int32_t index, int32_t device,
                        int64_t would_bytes, struct err *err)
{
    const struct cluster_device *d = &serve->input->plan->cluster->devices[device];
    const struct workload *workload = serve->input->workload;
    uint64_t request = serve->flights[index].request;
    char now[UNITS_TEXT_BYTES], would[UNITS_TEXT_BYTES], have[UNITS_TEXT_BYTES];
    const char *text = arena_printf(
        serve->arena,
        "request %lld with %lld tokens comes to its replica at %s s, and device '%s' would then "
        "hold %s (%lld bytes) of %s (%lld bytes): --memory refuse turns such requests away, "
        "--memory warn goes on",
        (long long)arrivals_id(&serve->arrivals, request), (long long)tokens_of(serve, index),
        units_format_seconds(engine_now_ps(serve->engine), now), d->name,
        units_format_bytes(would_bytes, would), (long long)would_bytes,
        units_format_bytes(d->memory_bytes, have), (long long)d->memory_bytes);

    if (workload && workload->path)
        return err_at(err, workload->path, workload_line(workload, (size_t)request),
                      workload->prompt_column, "%s", text);
    return err_set(err, ERR_INPUT, "%s", text);
}

static bool device_has_room(const struct serve *serve, const struct lane *lane, int32_t index,
                            int32_t device, struct err *err)
{
    int64_t have_bytes = serve->input->plan->cluster->devices[device].memory_bytes;
    int64_t would_bytes;

    if (have_bytes == 0)
        return true;
    would_bytes = would_hold_bytes(serve, lane, device, index);
    if (would_bytes > have_bytes && serve->options->memory == SERVE_MEMORY_ERROR)
        return has_no_room(serve, index, device, would_bytes, err);
    return would_bytes <= have_bytes;
}

bool memory_has_room(const struct serve *serve, const struct lane *lane, int32_t index,
                     struct err *err)
{
    for (int s = 0; s < lane->site_count; s++)
        for (int i = 0; i < lane->sites[s].device_count; i++)
            if (!device_has_room(serve, lane, index, lane->sites[s].devices[i], err))
                return false;
    return true;
}

/* ---- refusals ---- */

const char *const serve_refusal_names[SERVE_REFUSAL_COUNT] = {
    [SERVE_REFUSAL_PLACEMENT] = "placement",
    [SERVE_REFUSAL_CONTEXT] = "context",
    [SERVE_REFUSAL_MEMORY] = "memory",
    [SERVE_REFUSAL_BUDGET] = "budget",
};

void serve_note_refused(struct serve_result *result, enum serve_refusal why, int64_t request_id,
                        int64_t tokens)
{
    struct serve_refused *refused = &result->refused[why];

    if (refused->count++ == 0) {
        refused->first_id = request_id;
        refused->first_tokens = tokens;
    }
}

void memory_refuse(struct serve *serve, int32_t index, enum serve_refusal why)
{
    const struct flight *flight = &serve->flights[index];

    serve_note_refused(serve->result, why, arrivals_id(&serve->arrivals, flight->request),
                       flight->site->is_model ? tokens_of(serve, index) : 0);
    flight_turn_away(serve, index, TRACE_REFUSED);
}
