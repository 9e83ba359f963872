/* llm.c - the event loop: arrivals and dispatch, and whose iteration ends next. At one instant,
 * iterations end first, then requests arrive, then instances decide. */
#include "sim/llm/llm.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/policy/admit.h"
#include "sim/engine/presence.h"
#include "sim/llm/internal.h"
#include "sim/network/network.h"
#include "sim/sliced/sliced.h"

#define ASK_EVERY 1024 /* events, between looks at the clock */

#define BLOCK 256 /* arrivals of an open stream that are pulled at once */

struct stream { /* arrivals, one at a time */
    const struct llm_source *source;
    struct llm_arrival block[BLOCK];
    size_t at, count;
    int64_t next_ps; /* LLM_NEVER: none is known now */
};

static void stream_refresh(struct stream *stream)
{
    const struct llm_source *source = stream->source;

    if (source->peek_ps) {
        stream->next_ps = source->peek_ps(source->arg);
        return;
    }
    if (stream->at == stream->count) {
        stream->at = 0;
        stream->count = source->take(source->arg, stream->block, BLOCK);
    }
    stream->next_ps = stream->count > 0 ? stream->block[stream->at].arrival_ps : LLM_NEVER;
}

/* The next arrival, which lives until stream_refresh. */
static const struct llm_arrival *stream_take(struct stream *stream)
{
    if (!stream->source->peek_ps)
        return &stream->block[stream->at++];
    (void)stream->source->take(stream->source->arg, stream->block, 1);
    return stream->block;
}

/* ---- requests ---- */

static int32_t flight_create(struct run *run, const struct llm_arrival *arrival)
{
    int32_t index = run->first_free;

    if (index >= 0) {
        run->first_free = run->flights[index].next;
    } else {
        if (run->flight_count == run->flight_room) {
            int32_t room = run->flight_room > 0 ? 2 * run->flight_room : 256;

            run->flights = arena_grow(run->arena, run->flights, (size_t)run->flight_room,
                                      (size_t)room, sizeof *run->flights);
            run->flight_room = room;
        }
        index = run->flight_count++;
    }
    run->flights[index] = (struct flight){ .index = arrival->index,
                                           .request_id = arrival->request_id,
                                           .arrival_ps = arrival->arrival_ps,
                                           .slo_ps = arrival->slo_ps,
                                           .start_ps = TRACE_NONE,
                                           .first_token_ps = TRACE_NONE,
                                           .token_ps = TRACE_NONE,
                                           .service = arrival->service,
                                           .prompt_tokens = arrival->prompt_tokens,
                                           .output_tokens = arrival->output_tokens,
                                           .session = arrival->session,
                                           .client = arrival->client };
    return index;
}

static bool is_over_budget(const struct run *run, const struct flight *flight);

/* Area under the number in the system, up to now. */
static void count_change(struct run *run, int change)
{
    run->area_ps += (uint64_t)run->in_system * (uint64_t)(run->now_ps - run->area_at_ps);
    run->result->active_ps += run->in_system > 0 ? run->now_ps - run->area_at_ps : 0;
    run->area_at_ps = run->now_ps;
    run->in_system += change;
}

void llm_end(struct run *run, int32_t index, int32_t replica, enum trace_status status,
             int64_t end_ps)
{
    struct flight *flight = &run->flights[index];
    bool is_ok = status == TRACE_OK;

    count_change(run, -1);
    run->sojourn_ps += (uint64_t)(end_ps - flight->arrival_ps);
    if (replica >= 0) {
        run->instances[replica].outstanding--;
        if (run->input->presences)
            presence_leave(run->input->presences[replica], run->now_ps);
    }
    run->result->ok_count += is_ok;
    run->result->refused_count += status == TRACE_REFUSED;
    run->result->failed_count += status == TRACE_FAILED;
    run->ok_tokens += is_ok ? flight_outputs(run, flight) : 0;
    if (run->observer.on_end)
        run->observer.on_end(run->observer.end_arg,
                             &(struct llm_end){ .index = flight->index,
                                                .request_id = flight->request_id,
                                                .service = flight->service,
                                                .replica = replica,
                                                .status = status,
                                                .is_over_budget = status == TRACE_REFUSED &&
                                                                  is_over_budget(run, flight),
                                                .arrival_ps = flight->arrival_ps,
                                                .start_ps = flight->start_ps,
                                                .first_token_ps = flight->first_token_ps,
                                                .finish_ps = is_ok ? end_ps : TRACE_NONE,
                                                .slo_ps = flight->slo_ps,
                                                .end_ps = end_ps,
                                                .prompt_tokens = flight->prompt_tokens,
                                                .output_tokens = flight->output_tokens });
    if (run->source->ended)
        run->source->ended(run->source->arg, flight->index, end_ps);
    flight->next = run->first_free;
    run->first_free = index;
}

/* ---- dispatch ---- */

static bool options_fit(struct continuous_options options, bool is_cut, int32_t prompt_tokens,
                        int32_t outputs)
{
    options.has_chunks = options.has_chunks || is_cut;
    return continuous_fits(&options, prompt_tokens, outputs);
}

/* Whether it could be computed if it were alone; is_cut: and if prompts were cut into chunks. */
static bool fits(const struct run *run, const struct instance *instance,
                 const struct flight *flight, bool is_cut)
{
    int32_t outputs = flight_outputs(run, flight), prompt = flight->prompt_tokens;

    if (instance->partner < 0)
        return options_fit(instance->options, is_cut, prompt, outputs);
    return options_fit(instance->options, is_cut, prompt, 1) &&
           (outputs == 1 ||
            options_fit(run->instances[instance->partner].options, is_cut, prompt, outputs));
}

static bool can_take(const struct run *run, const struct instance *instance,
                     const struct flight *flight)
{
    return (!run->input->is_left_out || !run->input->is_left_out[instance->replica]) &&
           instance->down_count == 0 && fits(run, instance, flight, false);
}

static int64_t all_work_tokens(const struct run *run, const struct instance *instance)
{
    int64_t tokens = instance_work_tokens(run, instance) + instance->later_tokens;

    return instance->partner < 0
               ? tokens
               : tokens + instance_work_tokens(run, &run->instances[instance->partner]);
}

static struct dispatch_replica candidate_of(const struct run *run, const struct instance *instance,
                                            const struct flight *flight)
{
    struct dispatch_replica candidate = { .outstanding = instance->outstanding };

    candidate.is_up = can_take(run, instance, flight);
    /* Of all that is to be computed: every token of it takes time, and only its order counts. */
    if (run->options->dispatch == DISPATCH_LEAST_IDLE ||
        run->options->dispatch == DISPATCH_LEAST_LAST_STAGE)
        candidate.backlog_ps = candidate.last_backlog_ps =
            all_work_tokens(run, instance) + instance->coming_tokens;
    return candidate;
}

/* The instance that takes the request; -1: none can. */
static int32_t choose(struct run *run, const struct flight *flight)
{
    const struct choice *choice =
        &run->choices[run->epoch * run->plan->service_count + flight->service];
    struct dispatch_request who = { (int64_t)flight->index, -1, -1 };
    int chosen;

    if (choice->count == 1) /* where there is no choice nothing has to be known of it */
        return can_take(run, &run->instances[choice->instances[0]], flight) ? choice->instances[0]
                                                                            : -1;

    if (run->options->dispatch == DISPATCH_STICKY)
        who = (struct dispatch_request){ flight->request_id, flight->session, flight->client };
    for (int32_t i = 0; i < choice->count; i++)
        run->candidates[i] = candidate_of(run, &run->instances[choice->instances[i]], flight);
    chosen = dispatch_choose(run->dispatch, flight->service, &who, run->candidates, choice->count);
    return chosen < 0 ? -1 : choice->instances[chosen];
}

/* Why no instance takes it: one would, if its devices were up. */
static enum trace_status why_not(const struct run *run, const struct flight *flight)
{
    const struct choice *choice =
        &run->choices[run->epoch * run->plan->service_count + flight->service];

    for (int32_t i = 0; i < choice->count; i++) {
        struct instance instance = run->instances[choice->instances[i]];

        if (instance.down_count == 0)
            continue;
        instance.down_count = 0;
        if (can_take(run, &instance, flight))
            return TRACE_FAILED;
    }
    return TRACE_REFUSED;
}

/* Whether a budget of tokens is all that keeps instances from taking it. */
static bool is_over_budget(const struct run *run, const struct flight *flight)
{
    const struct choice *choice =
        &run->choices[run->epoch * run->plan->service_count + flight->service];

    for (int32_t i = 0; i < choice->count; i++) {
        const struct instance *instance = &run->instances[choice->instances[i]];

        if ((!run->input->is_left_out || !run->input->is_left_out[instance->replica]) &&
            !fits(run, instance, flight, false) && fits(run, instance, flight, true))
            return true;
    }
    return false;
}

static void next_epoch(struct run *run)
{
    run->epoch++;
    run->next_epoch_ps = run->epoch + 1 < run->plan->epoch_count
                             ? run->plan->epochs[run->epoch + 1].from_ps
                             : LLM_NEVER;
}

/* All tokens that it has to compute. */
static int64_t tokens_of(const struct run *run, const struct flight *flight)
{
    return (int64_t)flight->prompt_tokens + flight_outputs(run, flight) - 1;
}

void llm_arrive(struct run *run, int32_t flight, int32_t index)
{
    struct instance *instance = &run->instances[index];

    instance->coming_tokens -= tokens_of(run, &run->flights[flight]);
    if (instance->down_count > 0) {
        llm_end(run, flight, index, TRACE_FAILED, run->now_ps);
        return;
    }
    instance->outstanding--;
    pipeline_join(run, index, flight);
}

void llm_dispatch(struct run *run, int32_t flight)
{
    int32_t index;

    while (run->next_epoch_ps <= run->now_ps)
        next_epoch(run);
    index = choose(run, &run->flights[flight]);
    if (index < 0) {
        llm_end(run, flight, -1, why_not(run, &run->flights[flight]), run->now_ps);
        return;
    }
    if (run->input->presences)
        presence_enter(run->input->presences[index], run->now_ps);
    if (!run->is_piped) {
        instance_join(run, index, flight);
    } else if (delays_hold_request(run, flight, index)) {
        run->instances[index].outstanding++;
        run->instances[index].coming_tokens += tokens_of(run, &run->flights[flight]);
    } else {
        pipeline_join(run, index, flight);
    }
}

static void on_arrival(struct run *run, const struct llm_arrival *arrival)
{
    int32_t flight = flight_create(run, arrival);

    run->now_ps = arrival->arrival_ps;
    if (!run->is_solo)
        engine_advance(run->engine, run->now_ps);
    count_change(run, 1);
    if (run->result->taken_count++ == 0)
        run->result->first_ps = arrival->arrival_ps;
    run->result->last_ps = arrival->arrival_ps;
    if (!admit_context_ok(run->plan->services[arrival->service].model, arrival->prompt_tokens,
                          arrival->output_tokens))
        llm_end(run, flight, -1, TRACE_REFUSED, run->now_ps);
    else if (!run->is_piped || !delays_hold_request(run, flight, -1))
        llm_dispatch(run, flight);
}

/* ---- the loop ---- */

static bool decide_all(struct run *run, struct err *err)
{
    if (run->is_piped)
        return pipeline_decide_all(run, err);
    for (int32_t i = 0; i < run->deciding_count; i++)
        if (!instance_decide(run, run->deciding[i], err))
            return false;
    run->deciding_count = 0;
    return true;
}

/* Devices that fail later do not keep a run going. */
static bool is_over(const struct run *run, const struct stream *stream)
{
    return run->in_system == 0 && stream->next_ps == LLM_NEVER && run->live_tasks == 0 &&
           run->live_pulls == 0 && !(run->input->sliced && sliced_has_strays(run->input->sliced));
}

/* An event of a pipeline, or the end of what an instance computes. */
static bool on_event(struct run *run, int slot, struct stream *stream, struct err *err)
{
    if (run->is_piped ? !pipeline_event(run, slot, err) : !instance_done(run, slot, err))
        return false;
    if (run->source->ended)
        stream_refresh(stream);
    /* Nobody else is there who could do something at this instant. */
    return run->is_piped || run->plan->replica_count > 1 || stream->next_ps <= run->now_ps ||
           decide_all(run, err);
}

static bool loop(struct run *run, struct stream *stream, struct err *err)
{
    const bool is_piped = run->is_piped, is_solo = run->is_solo;
    uint32_t ticks = 0;

    while (!is_piped || !is_over(run, stream)) {
        int64_t event_ps = is_solo ? run->solo_ps : engine_peek_ps(run->engine);
        int64_t next_ps = stream->next_ps < event_ps ? stream->next_ps : event_ps;

        if (run->deciding_count > 0 && next_ps > run->now_ps) {
            if (!decide_all(run, err))
                return false;
            continue;
        }
        if (++ticks % ASK_EVERY == 0 && run->input->is_stopped &&
            run->input->is_stopped(run->input->is_stopped_arg))
            return err_set(err, ERR_USAGE, "given up: the time was over");
        if (next_ps == LLM_NEVER)
            return true;
        if (next_ps > UNITS_MAX_PS)
            return err_set(
                err, ERR_INPUT,
                "simulated time passes %lld s: use a shorter workload (of a run, --until)",
                (long long)(UNITS_MAX_PS / UNITS_PS_PER_S));
        if (event_ps <= stream->next_ps) {
            int slot = 0;

            run->now_ps = event_ps;
            if (is_solo) {
                run->solo_ps = LLM_NEVER;
            } else {
                slot = engine_next(run->engine);
                if (!is_piped && instance_step_on(run, slot))
                    continue;
            }
            if (!on_event(run, slot, stream, err))
                return false;
        } else {
            on_arrival(run, stream_take(stream));
            stream_refresh(stream);
        }
    }
    return true;
}

/* ---- begin and end ---- */

/* What must hold at the end of any run; a failure is a defect of the simulator, but for a pipeline
 * whose bounded queues have come to a standstill. */
static bool blocked(const struct run *run, const struct instance *instance, struct err *err)
{
    const char *text = run->is_piped ? pipeline_blocked(run) : NULL;
    const struct plan_replica *replica = &run->plan->replicas[instance->replica];

    return err_set(err, ERR_SYSTEM,
                   "blocked: %d requests run and %d wait in replica %d of service '%s', but no "
                   "event is left%s%s",
                   continuous_running(instance->batcher), continuous_waiting(instance->batcher),
                   (int)replica->number, run->plan->services[replica->service].name,
                   text ? ": " : "", text ? text : "");
}

static bool check_instance(const struct run *run, const struct instance *instance, struct err *err)
{
    const struct continuous *batcher = instance->batcher;

    if (!continuous_is_idle(batcher))
        return blocked(run, instance, err);
    if (continuous_used_blocks(batcher) != 0 || continuous_work_tokens(batcher) != 0)
        return err_set(err, ERR_SYSTEM,
                       "self-check failed: replica %d holds %d KV blocks and owes %lld tokens",
                       (int)instance->replica, continuous_used_blocks(batcher),
                       (long long)continuous_work_tokens(batcher));
    return true;
}

/* All tokens that were made belong to requests that ended, or were lost with theirs. */
static bool check_tokens(const struct run *run, struct err *err)
{
    int64_t made_tokens = 0;

    for (int32_t i = 0; i < run->instance_count; i++) {
        const struct continuous_counts *counts = continuous_counts(run->instances[i].batcher);

        made_tokens += counts->made_tokens - counts->lost_tokens;
    }
    return made_tokens == run->ok_tokens ||
           err_set(err, ERR_SYSTEM,
                   "self-check failed: %lld tokens were made and not lost, but requests that ended "
                   "have %lld",
                   (long long)made_tokens, (long long)run->ok_tokens);
}

/* Where devices have failed some of what was planned was never sent. */
static bool check_bytes(const struct run *run, struct err *err)
{
    return run->sent_bytes == run->due_bytes ||
           (run->result->failed_count > 0 && run->sent_bytes < run->due_bytes) ||
           err_set(err, ERR_SYSTEM,
                   "self-check failed: messages of %lld bytes were sent, but the batches that were "
                   "planned take %lld",
                   (long long)run->sent_bytes, (long long)run->due_bytes);
}

static bool check_end(const struct run *run, struct err *err)
{
    for (int32_t i = 0; i < run->instance_count; i++)
        if (!check_instance(run, &run->instances[i], err))
            return false;
    if (run->in_system != 0 || run->area_ps != run->sojourn_ps)
        return err_set(err, ERR_SYSTEM,
                       "self-check failed: Little's law: %lld requests are left, and the area "
                       "under their number differs from the sum of their times by %lld ps",
                       (long long)run->in_system, (long long)(run->area_ps - run->sojourn_ps));
    return check_tokens(run, err) && check_bytes(run, err);
}

static void result_fill(struct run *run)
{
    struct llm_result *result = run->result;
    int count = run->instance_count;

    result->end_ps = run->now_ps;
    result->event_count = run->is_piped ? engine_event_count(run->engine) : result->taken_count;
    result->instance_count = count;
    result->instances = arena_array(run->arena, (size_t)count, sizeof *result->instances);
    for (int r = 0; r < count; r++) {
        const struct instance *instance = &run->instances[r];
        struct llm_instance *told = &result->instances[r];

        *told = (struct llm_instance){ .replica = instance->replica,
                                       .block_count = instance->options.block_count,
                                       .counts = *continuous_counts(instance->batcher) };
        for (int s = 0; s < instance->stage_count; s++) {
            const struct stage *stage = &instance->stages[s];

            for (int32_t i = 0; i < stage->plan->device_count; i++) {
                told->block_bytes += stage->blocks_bytes[i];
                result->kv_bytes[stage->plan->devices[i]] +=
                    stage->blocks_bytes[i] * told->counts.blocks_peak;
            }
        }
        if (!run->is_piped)
            result->event_count +=
                told->counts.steps * (1 + (instance->in.link >= 0) + (instance->back.link >= 0));
        if (told->block_bytes == 0) /* an encoder's */
            told->block_count = told->counts.blocks_peak = 0;
    }
}

bool llm_run(struct arena *arena, const struct llm_input *input, const struct llm_options *options,
             const struct llm_source *source, const struct llm_observer *observer,
             struct llm_result *result, struct err *err)
{
    struct run *run = arena_alloc(arena, sizeof *run);
    struct stream *stream = arena_alloc(arena, sizeof *stream);

    run->arena = arena;
    run->input = input;
    run->options = options;
    run->plan = input->plan;
    run->source = source;
    run->result = result;
    if (observer)
        run->observer = *observer;
    run->is_heard = run->observer.on_line || run->observer.on_gap;
    stream->source = source;
    run->next_arrival_ps = &stream->next_ps;
    if (!llm_setup(run, err))
        return false;
    stream_refresh(stream);
    if (!loop(run, stream, err) || !check_end(run, err))
        return false;
    result_fill(run);
    return true;
}

static int32_t larger(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

struct continuous_counts llm_counts(const struct llm_result *result)
{
    struct continuous_counts sum = { 0 };

    for (int i = 0; i < result->instance_count; i++) {
        const struct continuous_counts *one = &result->instances[i].counts;

        sum.steps += one->steps;
        sum.tokens += one->tokens;
        sum.sequences += one->sequences;
        sum.admissions += one->admissions;
        sum.preemptions += one->preemptions;
        sum.recomputed_tokens += one->recomputed_tokens;
        sum.prompt_tokens += one->prompt_tokens;
        sum.hit_tokens += one->hit_tokens;
        sum.running_peak = larger(sum.running_peak, one->running_peak);
        sum.waiting_peak = larger(sum.waiting_peak, one->waiting_peak);
        sum.blocks_peak += one->blocks_peak;
    }
    return sum;
}
