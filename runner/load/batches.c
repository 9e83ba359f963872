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
#include "runner/load/handovers.h"
#include "runner/load/internal.h"
#include "runner/load/records.h"
#include "runner/load/room.h"
#include "runner/load/table.h"
#include <assert.h>
#include <string.h>

#define NOBODY (-1)

struct part { /* of a batch: one request */
    size_t request;
    int64_t name;                /* of its attempt, as workers know it */
    int32_t tokens, past_tokens; /* tokens 0: it loses its caches */
    int32_t step;                /* of the request's own */
    bool makes_token;
};

struct flying { /* a batch that has been planned; kept, since its records may come late */
    int64_t number;
    int32_t instance;
    int32_t count, tokens; /* of parts that compute */
    int32_t part_count;
    struct part *parts; /* those that compute first */
};

struct member {    /* a request */
    int32_t *made; /* its tokens so far */
    int32_t made_count, step;
    int32_t held_by;   /* instance whose stages have caches of it; NOBODY */
    int32_t receivers; /* devices that have not said that its caches are there */
    int64_t seen;      /* the look at who runs that has found it */
};

/* Two of each replica: 2 x replica computes prompts, or all; the one behind it what is decoded
 * elsewhere, where that is. */
struct instance {
    const struct plan_stage *first; /* of its stages; NULL: there is no such instance */
    struct continuous *continuous;
    struct continuous_options options;
    int64_t preemptions, looks;
    size_t *flying; /* numbers of batches under way, oldest first; room for max_in_flight */
    int32_t flying_count, sent_count;
    bool is_blocked;      /* the next one cannot be sent now */
    int64_t later_tokens; /* of requests that are here, what the other instance will decode */
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

static bool add_instance(struct batches *batches, int32_t replica, bool is_decoding,
                         struct err *err)
{
    struct serve *serve = batches->serve;
    const struct plan *plan = serve->input->plan;
    const struct plan_replica *placed = &plan->replicas[replica];
    const struct plan_replica chain = batching_chain(placed, is_decoding);
    struct instance *instance = &batches->instances[2 * replica + is_decoding];
    size_t words;

    *instance = (struct instance){ .first = chain.stages };
    if (!batching_of(serve->input->batching, &chain, plan->services[placed->service].model,
                     batching_longest(serve->input->workload), &instance->options, err))
        return false;
    instance->options.hands_over = plan_replica_is_split(placed);
    instance->continuous = continuous_create(serve->arena, &instance->options);
    instance->flying = arena_array(serve->arena, (size_t)instance->options.max_in_flight,
                                   sizeof *instance->flying);
    words = 2 * (size_t)FRAME_ENTRY_WORDS * (size_t)instance->options.max_seqs +
            (size_t)instance->options.token_budget;
    if (words > batches->most_words) {
        batches->most_words = words;
        batches->words = arena_array(serve->arena, words, sizeof *batches->words);
    }
    return true;
}

bool batches_add_replicas(struct batches *batches, struct err *err)
{
    struct serve *serve = batches->serve;
    const struct plan *plan = serve->input->plan;
    int old = batches->instance_count, count = 2 * plan->replica_count;

    batches->instances = arena_grow(serve->arena, batches->instances, (size_t)old, (size_t)count,
                                    sizeof *batches->instances);
    for (int32_t r = old / 2; r < plan->replica_count; r++) {
        batches->instances[2 * r + 1] = (struct instance){ 0 };
        if (!add_instance(batches, r, false, err) ||
            (plan_replica_is_split(&plan->replicas[r]) && !add_instance(batches, r, true, err)))
            return false;
    }
    batches->instance_count = count;
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

/* The instance that decodes behind this one; NULL: it does itself. */
static struct instance *partner_of(const struct batches *batches, int32_t number)
{
    return number % 2 == 0 && batches->instances[number + 1].first ? &batches->instances[number + 1]
                                                                   : NULL;
}

bool batches_fit(const struct batches *batches, int32_t replica, size_t request)
{
    const struct workload_request row = workload_at(batches->serve->input->workload, request);
    const struct instance *partner = partner_of(batches, 2 * replica);
    int32_t outputs = outputs_of(batches, request);

    return continuous_fits(&batches->instances[(ptrdiff_t)2 * replica].options, row.prompt_tokens,
                           partner ? 1 : outputs) &&
           (!partner || outputs == 1 ||
            continuous_fits(&partner->options, row.prompt_tokens, outputs));
}

int64_t batches_work_tokens(const struct batches *batches, int32_t replica)
{
    const struct instance *instance = &batches->instances[(ptrdiff_t)2 * replica];
    const struct instance *partner = partner_of(batches, 2 * replica);

    return continuous_work_tokens(instance->continuous) + instance->later_tokens +
           (partner ? continuous_work_tokens(partner->continuous) : 0);
}

void batches_join(struct batches *batches, size_t request)
{
    struct serve *serve = batches->serve;
    const struct workload_request row = workload_at(serve->input->workload, request);
    int32_t outputs = outputs_of(batches, request);
    int32_t number = 2 * serve->table->requests[request].replica;
    struct instance *instance = &batches->instances[number];

    /* nothing is left of an attempt before */
    batches->members[request] =
        (struct member){ .made = arena_array(serve->arena, (size_t)outputs,
                                             sizeof *batches->members[request].made),
                         .held_by = NOBODY };
    if (!partner_of(batches, number) || outputs == 1) {
        continuous_arrive(instance->continuous, row.prompt_tokens, outputs, (int64_t)request);
        return;
    }
    continuous_arrive_kept(instance->continuous, row.prompt_tokens, (int64_t)request);
    instance->later_tokens += outputs - 1;
}

/* ---- from one instance to the other ---- */

/* It has its first token, and what its prompt left is kept. */
static void hand_on(struct batches *batches, int32_t number, size_t request)
{
    const struct workload_request row = workload_at(batches->serve->input->workload, request);
    int32_t outputs = outputs_of(batches, request);

    batches->members[request].held_by = NOBODY;
    batches->instances[number].later_tokens -= outputs - 1;
    continuous_arrive_cached(batches->instances[number + 1].continuous, row.prompt_tokens, outputs,
                             (int64_t)request);
}

/* All of its caches are there, or will be before its next step. */
static void take_over(struct batches *batches, int32_t number, size_t request)
{
    batches->members[request].held_by = number;
    continuous_fetched(batches->instances[number].continuous, (int64_t)request);
    continuous_sent(batches->instances[number - 1].continuous, (int64_t)request);
}

/* Who has got a place and blocks has its caches sent. */
static void fetch_all(struct batches *batches, int32_t number)
{
    struct serve *serve = batches->serve;
    const struct plan_replica *replica = &serve->input->plan->replicas[number / 2];
    const int64_t *tags;
    int32_t count = continuous_fetch(batches->instances[number].continuous, &tags);

    for (int32_t i = 0; i < count; i++) {
        size_t request = (size_t)tags[i];
        const struct workload_request row = workload_at(serve->input->workload, request);
        const struct frame_entry entry = { table_name(serve->table, request), row.prompt_tokens, 0,
                                           row.prompt_tokens + row.output_tokens };
        const struct handovers_of of = { replica, 0, SERVE_NO_BATCH,
                                         batches->members[request].step };

        batches->members[request].receivers = handovers_receivers(replica);
        handovers_begin(serve, &of, &entry, 1);
        if (batches->members[request].receivers == 0)
            take_over(batches, number, request);
    }
}

/* ---- planning ---- */

/* Requests that have caches and do not run any more: the batch takes their caches away. */
static void find_preempted(struct batches *batches, int32_t number, struct flying *flying)
{
    struct instance *instance = &batches->instances[number];
    int64_t preemptions = continuous_counts(instance->continuous)->preemptions;
    size_t request = batches->serve->table->replicas[number / 2].running;

    if (preemptions == instance->preemptions)
        return;
    instance->preemptions = preemptions;
    instance->looks++;
    for (int32_t k = 0; k < continuous_running(instance->continuous); k++)
        batches->members[continuous_running_tag(instance->continuous, k)].seen = instance->looks;
    for (; request != TABLE_NOBODY; request = batches->serve->table->requests[request].next) {
        struct member *member = &batches->members[request];

        if (member->held_by != number || member->seen == instance->looks)
            continue;
        member->held_by = NOBODY;
        assert(flying->part_count < flying->count + instance->options.max_seqs);
        flying->parts[flying->part_count++] =
            (struct part){ .request = request, .name = table_name(batches->serve->table, request) };
    }
}

/* False: there is nothing to compute. */
static bool plan_next(struct batches *batches, int32_t number)
{
    struct serve *serve = batches->serve;
    struct instance *instance = &batches->instances[number];
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
    flying->instance = number;
    flying->count = flying->part_count = batch->count;
    flying->tokens = batch->tokens;
    for (int32_t i = 0; i < batch->count; i++) {
        const struct continuous_entry *entry = &batch->entries[i];
        struct member *member = &batches->members[entry->tag];

        flying->parts[i] =
            (struct part){ (size_t)entry->tag, table_name(serve->table, (size_t)entry->tag),
                           entry->tokens,      entry->past_tokens,
                           member->step++,     entry->makes_token };
        member->held_by = number;
    }
    find_preempted(batches, number, flying);
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
static void plan_all(struct batches *batches, int32_t number)
{
    const struct instance *instance = &batches->instances[number];

    if (!instance->first || !batches->serve->table->replicas[number / 2].is_up)
        return;
    fetch_all(batches, number);
    while (instance->flying_count < instance->options.max_in_flight &&
           room_has(batches->serve, instance->first) && plan_next(batches, number)) {
        room_take(batches->serve, instance->first);
        fetch_all(batches, number);
    }
}

/* Of the replica, whose prompts may be computed by another instance than what is decoded: what has
 * been handed on goes first, as in the simulator. */
static void plan_replica(struct batches *batches, int32_t replica)
{
    plan_all(batches, 2 * replica + 1);
    plan_all(batches, 2 * replica);
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
    const struct plan_stage *first = batches->instances[flying->instance].first;
    struct frame frame = { .type = FRAME_STEP,
                           .stage = first->id,
                           .request = flying->number,
                           .step = first->phase == PLACEMENT_DECODE, /* it waits for caches */
                           .new_tokens = flying->tokens,
                           .entries = flying->part_count,
                           .start_ns = serve_clock_of(serve, serve_worker_of(serve, first)),
                           .finish_ns = serve->table->replicas[flying->instance / 2].generation };
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

/* Which instance has planned the oldest batch that can be sent and has not been; NOBODY. */
static int32_t find_unsent(const struct batches *batches)
{
    int32_t found = NOBODY;
    size_t oldest = SIZE_MAX;

    for (int32_t i = 0; i < batches->instance_count; i++) {
        const struct instance *instance = &batches->instances[i];

        if (!instance->is_blocked && instance->sent_count < instance->flying_count &&
            instance->flying[instance->sent_count] < oldest) {
            oldest = instance->flying[instance->sent_count];
            found = i;
        }
    }
    return found;
}

/* In the order in which they were planned: some devices serve several instances. */
static bool send_planned(struct batches *batches, struct err *err)
{
    int32_t next;

    for (int32_t i = 0; i < batches->instance_count; i++)
        batches->instances[i].is_blocked = !batches->serve->table->replicas[i / 2].is_up;
    while ((next = find_unsent(batches)) != NOBODY) {
        struct instance *instance = &batches->instances[next];

        switch (send_batch(batches, batches->all[instance->flying[instance->sent_count]], err)) {
        case CHANNEL_DONE:
        case CHANNEL_GONE:
            instance->sent_count++;
            break;
        case CHANNEL_LATER:
            instance->is_blocked = true;
            break;
        case CHANNEL_BAD:
            return false;
        }
    }
    return true;
}

bool batches_advance(struct batches *batches, struct err *err)
{
    for (int32_t r = 0; 2 * r < batches->instance_count; r++)
        plan_replica(batches, r);
    return send_planned(batches, err);
}

bool batches_wait_for(const struct batches *batches, int worker)
{
    for (int32_t i = 0; i < batches->instance_count; i++)
        if (batches->instances[i].sent_count < batches->instances[i].flying_count &&
            serve_worker_of(batches->serve, batches->instances[i].first) == worker)
            return true;
    return false;
}

/* ---- what comes back ---- */

static int32_t instance_of(const struct plan_stage *stage)
{
    return 2 * stage->replica + (stage->phase == PLACEMENT_DECODE);
}

/* The batch of a frame, when it is one that passes the stage. */
static const struct flying *find_batch(const struct batches *batches,
                                       const struct plan_stage *stage, const struct frame *frame)
{
    const struct flying *flying;

    if ((uint64_t)frame->request >= batches->count)
        return NULL;
    flying = batches->all[frame->request];
    return flying->instance == instance_of(stage) ? flying : NULL;
}

/* Tokens come in the order of the parts; who has all has ended. */
static void take_tokens(struct batches *batches, const struct flying *flying,
                        const unsigned char *payload, int64_t at_ps)
{
    struct serve *serve = batches->serve;
    struct instance *instance = &batches->instances[flying->instance];
    const struct instance *partner = partner_of(batches, flying->instance);
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
    for (int32_t i = 0; i < ends->finished_count; i++) {
        size_t request = (size_t)ends->finished[i];

        if (partner && outputs_of(batches, request) > 1)
            hand_on(batches, flying->instance, request);
        else
            serve_end(serve, request, TRACE_OK, at_ps);
    }
}

void batches_result(struct batches *batches, const struct plan_stage *stage,
                    const struct channel_message *message, int64_t send_ps)
{
    struct serve *serve = batches->serve;
    struct instance *instance = &batches->instances[instance_of(stage)];
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
    plan_replica(batches, stage->replica);
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
        if (stage->number == 0 && part->step == 0 && stage->phase != PLACEMENT_DECODE &&
            (state->start_ps == TRACE_NONE || record.start_ps < state->start_ps))
            state->start_ps = record.start_ps;
        records_keep(serve->arena, serve->run, &record);
        if (serve->input->keep_transfers && i == 0) /* one row for all, as in the simulator */
            serve_keep_exchanges(serve, stage, &record, message);
        record.is_late = false; /* counted once */
    }
}

void batches_moved(struct batches *batches, size_t request)
{
    const struct table_request *state = &batches->serve->table->requests[request];
    struct member *member = &batches->members[request];

    if (state->state != TABLE_RUNNING || member->receivers == 0 || --member->receivers > 0)
        return;
    take_over(batches, 2 * state->replica + 1, request);
    plan_all(batches, 2 * state->replica);
    plan_all(batches, 2 * state->replica + 1);
}

void batches_lose(struct batches *batches, int32_t replica)
{
    for (int32_t i = 2 * replica; i < 2 * replica + 2; i++) {
        struct instance *instance = &batches->instances[i];
        int64_t tag;

        while (instance->first && continuous_lose(instance->continuous, &tag))
            batches->members[tag].receivers = 0;
        if (instance->first)
            continuous_drop_kept(instance->continuous);
        instance->flying_count = instance->sent_count = 0;
        instance->later_tokens = 0;
    }
}
