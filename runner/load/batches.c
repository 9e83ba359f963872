/* batches.c - plans, sends and takes back continuous batches. */
#include "runner/load/batches.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/format/model.h"
#include "lib/format/workload.h"
#include "lib/policy/admit.h"
#include "lib/policy/continuous.h"
#include "lib/policy/plan.h"
#include "runner/fleet/fleet.h"
#include "runner/load/internal.h"
#include "runner/load/records.h"
#include "runner/load/room.h"
#include "runner/load/table.h"
#include <assert.h>
#include <string.h>

struct part { /* of a batch: one request */
    size_t request;
    int64_t name;                /* of its attempt, as workers know it */
    int32_t tokens, past_tokens; /* tokens 0: it loses its caches */
    int32_t step;                /* of the request's own */
    bool makes_token;
};

struct flying { /* a batch that has been planned; kept, since its records may come late */
    int64_t number;
    int32_t replica;
    int32_t count, tokens; /* of parts that compute */
    int32_t part_count;
    struct part *parts; /* those that compute first */
};

struct member {    /* a request */
    int32_t *made; /* its tokens so far */
    int32_t made_count, step;
    bool is_held; /* stages have caches of it */
    int64_t seen; /* the look at who runs that has found it */
};

struct instance { /* of a replica */
    struct continuous *continuous;
    struct continuous_options options;
    int64_t preemptions, looks;
    size_t *flying; /* numbers of batches under way, oldest first; room for max_in_flight */
    int32_t flying_count, sent_count;
};

struct batches {
    struct serve *serve;
    int instance_count;
    struct instance *instances;
    struct member *members;
    struct flying **all; /* by number */
    size_t count, room;
    int32_t *words; /* scratch: a STEP */
    size_t most_words;
};

static int32_t outputs_of(const struct batches *batches, size_t request)
{
    const struct workload_request row = workload_at(batches->serve->input->workload, request);

    return admit_step_count(serve_model(batches->serve, request), row.output_tokens);
}

bool batches_add_replicas(struct batches *batches, struct err *err)
{
    struct serve *serve = batches->serve;
    const struct plan *plan = serve->input->plan;
    int old = batches->instance_count;

    batches->instances = arena_grow(serve->arena, batches->instances, (size_t)old,
                                    (size_t)plan->replica_count, sizeof *batches->instances);
    for (int r = old; r < plan->replica_count; r++) {
        struct instance *instance = &batches->instances[r];
        const struct plan_replica *replica = &plan->replicas[r];
        size_t words;

        if (!batching_of(serve->input->batching, replica, plan->services[replica->service].model,
                         batching_longest(serve->input->workload), &instance->options, err))
            return false;
        instance->continuous = continuous_create(serve->arena, &instance->options);
        instance->flying = arena_array(serve->arena, (size_t)instance->options.max_in_flight,
                                       sizeof *instance->flying);
        words = 2 * (size_t)FRAME_ENTRY_WORDS * (size_t)instance->options.max_seqs +
                (size_t)instance->options.token_budget;
        if (words > batches->most_words) {
            batches->most_words = words;
            batches->words = arena_array(serve->arena, words, sizeof *batches->words);
        }
    }
    batches->instance_count = plan->replica_count;
    return true;
}

struct batches *batches_create(struct serve *serve, struct err *err)
{
    struct batches *batches = arena_alloc(serve->arena, sizeof *batches);

    batches->serve = serve;
    batches->members =
        arena_array(serve->arena, serve->input->workload->count, sizeof *batches->members);
    return batches_add_replicas(batches, err) ? batches : NULL;
}

bool batches_fit(const struct batches *batches, int32_t replica, size_t request)
{
    const struct workload_request row = workload_at(batches->serve->input->workload, request);

    return continuous_fits(&batches->instances[replica].options, row.prompt_tokens,
                           outputs_of(batches, request));
}

int64_t batches_work_tokens(const struct batches *batches, int32_t replica)
{
    return continuous_work_tokens(batches->instances[replica].continuous);
}

void batches_join(struct batches *batches, size_t request)
{
    struct serve *serve = batches->serve;
    const struct workload_request row = workload_at(serve->input->workload, request);
    int32_t outputs = outputs_of(batches, request);

    /* nothing is left of an attempt before */
    batches->members[request] =
        (struct member){ .made = arena_array(serve->arena, (size_t)outputs,
                                             sizeof *batches->members[request].made) };
    continuous_arrive(batches->instances[serve->table->requests[request].replica].continuous,
                      row.prompt_tokens, outputs, (int64_t)request);
}

/* ---- planning ---- */

/* Requests that have caches and do not run any more: the batch takes their caches away. */
static void find_preempted(struct batches *batches, int32_t replica, struct flying *flying)
{
    struct instance *instance = &batches->instances[replica];
    int64_t preemptions = continuous_counts(instance->continuous)->preemptions;
    size_t request = batches->serve->table->replicas[replica].running;

    if (preemptions == instance->preemptions)
        return;
    instance->preemptions = preemptions;
    instance->looks++;
    for (int32_t k = 0; k < continuous_running(instance->continuous); k++)
        batches->members[continuous_running_tag(instance->continuous, k)].seen = instance->looks;
    for (; request != TABLE_NOBODY; request = batches->serve->table->requests[request].next) {
        struct member *member = &batches->members[request];

        if (!member->is_held || member->seen == instance->looks)
            continue;
        member->is_held = false;
        assert(flying->part_count < flying->count + instance->options.max_seqs);
        flying->parts[flying->part_count++] =
            (struct part){ .request = request, .name = table_name(batches->serve->table, request) };
    }
}

/* False: there is nothing to compute. */
static bool plan_next(struct batches *batches, int32_t replica)
{
    struct serve *serve = batches->serve;
    struct instance *instance = &batches->instances[replica];
    const struct continuous_batch *batch = continuous_schedule(instance->continuous);
    struct flying *flying;

    if (batch->count == 0)
        return false;
    flying = arena_alloc(serve->arena, sizeof *flying);
    /* no more can have lost their caches than have had them */
    flying->parts =
        arena_array(serve->arena, (size_t)batch->count + (size_t)instance->options.max_seqs,
                    sizeof *flying->parts);
    flying->number = (int64_t)batches->count;
    flying->replica = replica;
    flying->count = flying->part_count = batch->count;
    flying->tokens = batch->tokens;
    for (int32_t i = 0; i < batch->count; i++) {
        const struct continuous_entry *entry = &batch->entries[i];
        struct member *member = &batches->members[entry->tag];

        flying->parts[i] =
            (struct part){ (size_t)entry->tag, table_name(serve->table, (size_t)entry->tag),
                           entry->tokens,      entry->past_tokens,
                           member->step++,     entry->makes_token };
        member->is_held = true;
    }
    find_preempted(batches, replica, flying);
    if (batches->count == batches->room) {
        size_t room = batches->room > 0 ? 2 * batches->room : 256;

        batches->all =
            arena_grow(serve->arena, batches->all, batches->room, room, sizeof(struct flying *));
        batches->room = room;
    }
    batches->all[batches->count] = flying;
    instance->flying[instance->flying_count++] = batches->count++;
    return true;
}

/* As many as may be under way. */
static void plan_all(struct batches *batches, int32_t replica)
{
    const struct instance *instance = &batches->instances[replica];
    const struct plan_stage *first = batches->serve->input->plan->replicas[replica].stages;

    while (batches->serve->table->replicas[replica].is_up &&
           instance->flying_count < instance->options.max_in_flight &&
           room_has(batches->serve, first) && plan_next(batches, replica))
        room_take(batches->serve, first);
}

/* ---- sending ---- */

/* Tokens of the part: of its prompt, and of what it has made before. */
static void fill_part(struct batches *batches, const struct part *part, int32_t *to)
{
    struct serve *serve = batches->serve;
    const struct workload_request row = workload_at(serve->input->workload, part->request);
    const struct member *member = &batches->members[part->request];

    if (part->past_tokens < row.prompt_tokens)
        serve_fill_prompt(serve, part->request,
                          part->past_tokens + part->tokens < row.prompt_tokens
                              ? part->past_tokens + part->tokens
                              : row.prompt_tokens);
    for (int32_t i = 0; i < part->tokens; i++) {
        int32_t at = part->past_tokens + i;

        to[i] = at < row.prompt_tokens ? serve->tokens[at] : member->made[at - row.prompt_tokens];
    }
}

static enum channel_result send_batch(struct batches *batches, const struct flying *flying,
                                      struct err *err)
{
    struct serve *serve = batches->serve;
    const struct plan_stage *first = &serve->input->plan->replicas[flying->replica].stages[0];
    struct frame frame = { .type = FRAME_STEP,
                           .stage = first->id,
                           .request = flying->number,
                           .new_tokens = flying->tokens,
                           .entries = flying->part_count,
                           .start_ns = serve_clock_of(serve, serve_worker_of(serve, first)),
                           .finish_ns = serve->table->replicas[flying->replica].generation };
    int32_t *words = batches->words;

    for (int32_t i = 0; i < flying->part_count; i++, words += FRAME_ENTRY_WORDS) {
        const struct part *part = &flying->parts[i];
        const struct workload_request row = workload_at(serve->input->workload, part->request);

        frame_put_entry(words, &(struct frame_entry){ part->name, part->tokens, part->past_tokens,
                                                      row.prompt_tokens + row.output_tokens });
    }
    for (int32_t i = 0; i < flying->count; i++) {
        fill_part(batches, &flying->parts[i], words);
        words += flying->parts[i].tokens;
    }
    frame.payload_bytes = 4 * (int64_t)(words - batches->words);
    return channel_send_words(serve->fleet->workers[serve_worker_of(serve, first)].push, NULL,
                              &frame, batches->words, err);
}

static bool send_planned(struct batches *batches, struct instance *instance, struct err *err)
{
    while (instance->sent_count < instance->flying_count) {
        switch (send_batch(batches, batches->all[instance->flying[instance->sent_count]], err)) {
        case CHANNEL_DONE:
        case CHANNEL_GONE:
            instance->sent_count++;
            break;
        case CHANNEL_LATER:
            return true;
        case CHANNEL_BAD:
            return false;
        }
    }
    return true;
}

bool batches_advance(struct batches *batches, struct err *err)
{
    struct serve *serve = batches->serve;

    for (int32_t r = 0; r < serve->table->replica_count; r++) {
        struct instance *instance = &batches->instances[r];

        plan_all(batches, r);
        if (serve->table->replicas[r].is_up && !send_planned(batches, instance, err))
            return false;
    }
    return true;
}

bool batches_wait_for(const struct batches *batches, int worker)
{
    const struct serve *serve = batches->serve;

    for (int32_t r = 0; r < serve->table->replica_count; r++)
        if (batches->instances[r].sent_count < batches->instances[r].flying_count &&
            serve_worker_of(serve, &serve->input->plan->replicas[r].stages[0]) == worker)
            return true;
    return false;
}

/* ---- what comes back ---- */

/* The batch of a frame, when it is one of the stage's replica. */
static const struct flying *find_batch(const struct batches *batches,
                                       const struct plan_stage *stage, const struct frame *frame)
{
    const struct flying *flying;

    if ((uint64_t)frame->request >= batches->count)
        return NULL;
    flying = batches->all[frame->request];
    return flying->replica == stage->replica ? flying : NULL;
}

/* Tokens come in the order of the parts; who has all has ended. */
static void take_tokens(struct batches *batches, const struct flying *flying,
                        const unsigned char *payload, int64_t at_ps)
{
    struct serve *serve = batches->serve;
    struct instance *instance = &batches->instances[flying->replica];
    const struct continuous_ends *ends;

    for (int32_t i = 0; i < flying->count; i++) {
        const struct part *part = &flying->parts[i];
        struct member *member = &batches->members[part->request];
        struct table_request *state = &serve->table->requests[part->request];

        if (!part->makes_token || member->made_count >= outputs_of(batches, part->request))
            continue;
        frame_get_words(&member->made[member->made_count++], payload + 4 * (ptrdiff_t)i, 1);
        if (state->first_token_ps == TRACE_NONE)
            state->first_token_ps = at_ps;
    }
    ends = continuous_step_done(instance->continuous);
    for (int32_t i = 0; i < ends->finished_count; i++)
        serve_end(serve, (size_t)ends->finished[i], TRACE_OK, at_ps);
}

void batches_result(struct batches *batches, const struct plan_stage *stage,
                    const struct channel_message *message, int64_t send_ps)
{
    struct serve *serve = batches->serve;
    struct instance *instance = &batches->instances[stage->replica];
    const struct flying *flying = find_batch(batches, stage, &message->frame);
    int64_t at_ps = serve_now_ps(serve);

    /* they come in order: a replica's stages are queues */
    if (!flying || instance->sent_count == 0 || instance->flying[0] != (size_t)flying->number ||
        message->frame.payload_bytes != 4 * (int64_t)flying->count)
        return;
    for (int32_t i = 0; serve->input->keep_transfers && i < flying->count; i++)
        records_keep_result(serve->arena, serve->run,
                            &(struct serve_record){ .request = flying->parts[i].request,
                                                    .step = flying->parts[i].step,
                                                    .batch = flying->number,
                                                    .batch_count = flying->count,
                                                    .batch_tokens = flying->tokens,
                                                    .stage = stage->number + 1,
                                                    .stage_id = stage->id,
                                                    .send_ps = send_ps,
                                                    .receive_ps = at_ps });
    instance->flying_count--;
    instance->sent_count--;
    memmove(instance->flying, instance->flying + 1,
            (size_t)instance->flying_count * sizeof *instance->flying);
    take_tokens(batches, flying, message->payload, at_ps);
    /* before another result comes, as each is an instant; who arrives in it, the next request of a
     * client whose last one has just ended among them, takes part, as in the simulator */
    serve_take_arrivals(serve, at_ps);
    plan_all(batches, stage->replica);
}

void batches_record(struct batches *batches, const struct plan_stage *stage, int32_t position,
                    const struct channel_message *message)
{
    struct serve *serve = batches->serve;
    const struct flying *flying = find_batch(batches, stage, &message->frame);
    struct serve_record record;

    if (!flying)
        return;
    record = serve_record_of(serve, stage, position, message);
    record.batch = flying->number;
    record.batch_count = flying->count;
    record.batch_tokens = flying->tokens;
    for (int32_t i = 0; i < flying->count; i++) {
        const struct part *part = &flying->parts[i];
        struct table_request *state = &serve->table->requests[part->request];

        if (part->name != table_name(serve->table, part->request))
            continue; /* what is replayed has lost it */
        record.request = part->request;
        record.step = part->step;
        record.share = i;
        record.is_chunk = part->tokens > 1;
        if (stage->number == 0 && part->step == 0 &&
            (state->start_ps == TRACE_NONE || record.start_ps < state->start_ps))
            state->start_ps = record.start_ps;
        records_keep(serve->arena, serve->run, &record);
        if (serve->input->keep_transfers && i == 0) /* one row for all, as in the simulator */
            serve_keep_exchanges(serve, stage, &record, message);
        record.is_late = false; /* counted once */
    }
}

void batches_lose(struct batches *batches, int32_t replica)
{
    struct instance *instance = &batches->instances[replica];
    int64_t tag;

    while (continuous_lose(instance->continuous, &tag))
        continue;
    instance->flying_count = instance->sent_count = 0;
}
