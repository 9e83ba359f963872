/* fixed.c - results and later steps of fixed batches. */
#include "runner/load/fixed.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/format/workload.h"
#include "lib/policy/admit.h"
#include "lib/policy/copies.h"
#include "lib/policy/plan.h"
#include "runner/fleet/fleet.h"
#include "runner/load/failures.h"
#include "runner/load/handovers.h"
#include "runner/load/internal.h"
#include "runner/load/records.h"
#include "runner/load/room.h"
#include "runner/load/table.h"

#define MOST_BATCHES 64 /* of a replica for each request: more are no batches of this run */

struct next { /* a step that waits to be sent */
    struct frame frame;
    int32_t *words; /* entries, and a token of each */
    struct next *next;
};

struct instance { /* of a stage 0, each copy of which makes batches of its own */
    int32_t size;
    int64_t *ids; /* of the batches that its worker has numbered; -1 = not told of yet */
    int64_t room;
    int64_t sent; /* first steps, to the worker that stage 0 has now */
};

struct fixed {
    int instance_count;
    struct instance *instances; /* by stage of the plan */
    int64_t next_id;
    size_t *ended; /* requests whose workers have not been told */
    size_t ended_count;
    struct next **heads, **ends; /* by worker: steps in order */
    bool *are_blocked;           /* by worker: the first could not be sent */
};

void fixed_extend(struct serve *serve)
{
    struct fixed *fixed = serve->fixed;
    const struct plan *plan = serve->input->plan;

    fixed->instances = arena_grow(serve->arena, fixed->instances, (size_t)fixed->instance_count,
                                  (size_t)plan->stage_count, sizeof *fixed->instances);
    for (int i = fixed->instance_count; i < plan->stage_count; i++)
        fixed->instances[i] = (struct instance){ .size = batching_fixed_size(
                                                     serve->input->batch,
                                                     &plan->replicas[plan->stages[i]->replica]) };
    fixed->instance_count = plan->stage_count;
}

void fixed_add_workers(struct serve *serve, int old_count)
{
    struct fixed *fixed = serve->fixed;
    size_t old = (size_t)old_count, count = (size_t)serve->fleet->count;

    fixed->heads = arena_grow(serve->arena, fixed->heads, old, count, sizeof(struct next *));
    fixed->ends = arena_grow(serve->arena, fixed->ends, old, count, sizeof(struct next *));
    fixed->are_blocked = arena_grow(serve->arena, fixed->are_blocked, old, count, sizeof(bool));
}

void fixed_create(struct serve *serve)
{
    serve->fixed = arena_alloc(serve->arena, sizeof *serve->fixed);
    fixed_add_workers(serve, 0);
    serve->fixed->ended = arena_array(serve->arena, serve->table->count, sizeof(size_t));
    fixed_extend(serve);
}

bool fixed_has(const struct serve *serve, int32_t replica)
{
    return serve->fixed->instances[serve->input->plan->replicas[replica].stages[0].id].size > 1;
}

/* Of which the batch of a frame is one. */
static struct instance *instance_of(const struct serve *serve, const struct plan_stage *stage,
                                    int64_t way)
{
    const struct plan_replica *replica = &serve->input->plan->replicas[stage->replica];

    return &serve->fixed->instances[copies_at(replica, way, 0)->id];
}

/* They are numbered in the order in which they are told of. -1: none can have that number. */
static int64_t id_of(const struct serve *serve, struct instance *instance, int64_t number)
{
    if (number < 0 || number >= MOST_BATCHES * (int64_t)serve->table->count)
        return -1;
    if (number >= instance->room) {
        int64_t room = instance->room > 0 ? instance->room : 64;

        while (room <= number)
            room *= 2;
        instance->ids = arena_grow(serve->arena, instance->ids, (size_t)instance->room,
                                   (size_t)room, sizeof *instance->ids);
        for (int64_t i = instance->room; i < room; i++)
            instance->ids[i] = -1;
        instance->room = room;
    }
    if (instance->ids[number] < 0)
        instance->ids[number] = serve->fixed->next_id++;
    return instance->ids[number];
}

int64_t fixed_batch_id(const struct serve *serve, const struct plan_stage *stage,
                       const struct frame *frame)
{
    return id_of(serve, instance_of(serve, stage, frame->way), frame->request);
}

void fixed_lose(struct serve *serve, const struct plan_stage *stage)
{
    serve->fixed->instances[stage->id].sent = 0;
}

void fixed_renumber(struct serve *serve, const struct plan_stage *stage)
{
    struct instance *instance = &serve->fixed->instances[stage->id];

    for (int64_t i = 0; i < instance->room; i++)
        instance->ids[i] = -1;
}

void fixed_sent(struct serve *serve, size_t request)
{
    serve->fixed->instances[way_stage(serve, request, 0)->id].sent +=
        serve->table->requests[request].step == 0;
}

int64_t fixed_sent_count(const struct serve *serve, size_t request)
{
    return serve->fixed->instances[way_stage(serve, request, 0)->id].sent;
}

void fixed_release_ended(struct serve *serve)
{
    struct fixed *fixed = serve->fixed;

    for (size_t i = 0; i < fixed->ended_count; i++)
        serve_release(serve, fixed->ended[i]);
    fixed->ended_count = 0;
}

/* ---- steps ---- */

/* Where all steps but the first go. */
static int later_place(const struct plan_replica *replica)
{
    return plan_replica_is_split(replica) ? replica->stage_count : 0;
}

static void push(struct serve *serve, int worker, struct next *next)
{
    struct fixed *fixed = serve->fixed;

    if (fixed->heads[worker])
        fixed->ends[worker]->next = next;
    else
        fixed->heads[worker] = next;
    fixed->ends[worker] = next;
}

/* Its replica is up, and all of its requests are as they were. */
static bool is_wanted(const struct serve *serve, const struct next *next)
{
    for (int32_t i = 0; i < next->frame.entries; i++) {
        struct frame_entry entry;
        size_t request;

        frame_get_entry(next->words + FRAME_ENTRY_WORDS * (ptrdiff_t)i, &entry);
        if (!table_find(serve->table, entry.request, &request) ||
            serve->table->requests[request].state != TABLE_RUNNING)
            return false;
    }
    return true;
}

/* In front of its own batches it has a place for what is left of each. */
static bool has_room(const struct serve *serve, const struct plan_stage *first)
{
    return first->phase != PLACEMENT_DECODE || room_has(serve, first);
}

static enum channel_result send_next(struct serve *serve, int worker, struct next *next,
                                     struct err *err)
{
    next->frame.start_ns = serve_clock_of(serve, worker);
    return channel_send_words(serve->fleet->workers[worker].push, NULL, &next->frame, next->words,
                              err);
}

/* Steps leave in order, but for those whose stage has no room. */
bool fixed_flush(struct serve *serve, int worker, struct err *err)
{
    struct fixed *fixed = serve->fixed;
    struct next **at = &fixed->heads[worker], *kept = NULL;

    fixed->are_blocked[worker] = false;
    while (*at) {
        struct next *next = *at;
        const struct plan_stage *first = serve->input->plan->stages[next->frame.stage];
        bool is_kept =
            is_wanted(serve, next) && (fixed->are_blocked[worker] || !has_room(serve, first));

        if (!is_kept && is_wanted(serve, next)) {
            enum channel_result result = send_next(serve, worker, next, err);

            if (result == CHANNEL_BAD)
                return false;
            is_kept = fixed->are_blocked[worker] = result == CHANNEL_LATER;
            if (!is_kept && first->phase == PLACEMENT_DECODE)
                room_take(serve, first);
        }
        if (is_kept) {
            kept = next;
            at = &next->next;
        } else {
            *at = next->next;
        }
    }
    fixed->ends[worker] = kept;
    return true;
}

bool fixed_waits_for(const struct serve *serve, int worker)
{
    return serve->fixed->are_blocked[worker];
}

/* Caches of what is left of a batch of prompts go to where they are read. */
static void hand_over(struct serve *serve, const struct plan_stage *last, const struct next *next,
                      int32_t count)
{
    struct arena *arena = arena_create();
    struct frame_entry *entries = arena_array(arena, (size_t)count, sizeof *entries);

    for (int32_t i = 0; i < count; i++) {
        frame_get_entry(next->words + FRAME_ENTRY_WORDS * (ptrdiff_t)i, &entries[i]);
        entries[i].tokens = entries[i].past_tokens; /* of its prompt */
        entries[i].past_tokens = 0;
    }
    handovers_begin(serve,
                    &(struct handovers_of){ &serve->input->plan->replicas[last->replica],
                                            next->frame.way, next->frame.request,
                                            next->frame.step },
                    entries, count);
    arena_destroy(arena);
}

/* The next step of those that are left, in their order; their requests are in next->words. */
static void go_on(struct serve *serve, const struct plan_stage *last, const struct frame *result,
                  struct next *next, int32_t count, const int32_t *tokens)
{
    const struct plan_replica *replica = &serve->input->plan->replicas[last->replica];
    const struct plan_stage *first = copies_at(replica, result->way, later_place(replica));

    for (int32_t i = 0; i < count; i++)
        next->words[FRAME_ENTRY_WORDS * (ptrdiff_t)count + i] = tokens[i];
    next->frame = (struct frame){ .type = FRAME_STEP,
                                  .stage = first->id,
                                  .request = result->request,
                                  .step = result->step + 1,
                                  .new_tokens = count,
                                  .entries = count,
                                  .finish_ns = serve->table->replicas[last->replica].generation,
                                  .way = result->way,
                                  .payload_bytes = INT64_C(4) * (FRAME_ENTRY_WORDS + 1) * count };
    if (handovers_follow(serve, last))
        hand_over(serve, last, next, count);
    push(serve, serve_worker_of(serve, first), next);
}

/* ---- what comes back ---- */

static void keep_result(struct serve *serve, const struct plan_stage *stage,
                        const struct frame *frame, size_t request, int64_t send_ps, int64_t at_ps)
{
    if (serve->input->keep_transfers)
        records_keep_result(
            serve->arena, serve->run,
            &(struct serve_record){
                .request = request,
                .step = frame->step,
                .batch = id_of(serve, instance_of(serve, stage, frame->way), frame->request),
                .batch_count = frame->entries,
                .batch_tokens = frame->new_tokens,
                .stage = stage->number + 1,
                .stage_id = stage->id,
                .send_ps = send_ps,
                .receive_ps = at_ps });
}

/* The token of a request; true: it has another step before it, whose entry is put there. */
static bool take_token(struct serve *serve, const struct plan_stage *stage, size_t request,
                       const struct frame *result, int32_t token, int64_t at_ps, int32_t *words)
{
    const struct workload_request row = workload_at(serve->input->workload, request);
    struct frame_entry entry = { .total_tokens = row.prompt_tokens + row.output_tokens };

    if (serve->table->requests[request].state != TABLE_RUNNING ||
        serve->table->requests[request].replica != stage->replica)
        return false;
    if (!way_take(serve, request, result->way, serve->table->requests[request].arrival_ps)) {
        failures_lose(serve, request, at_ps);
        return false;
    }
    switch (table_result(serve->table, request, result->step, token, at_ps)) {
    case TABLE_STALE:
        return false;
    case TABLE_FINISHED:
        serve_finish(serve, request, TRACE_OK, at_ps);
        serve->fixed->ended[serve->fixed->ended_count++] = request;
        return false;
    case TABLE_STEP:
        break;
    }
    entry.request = table_name(serve->table, request);
    admit_step_tokens(row.prompt_tokens, result->step + 1, &entry.tokens, &entry.past_tokens);
    frame_put_entry(words, &entry);
    table_sent(
        serve->table, request,
        way_stage(serve, request, later_place(&serve->input->plan->replicas[stage->replica]))->id);
    return true;
}

void fixed_result(struct serve *serve, const struct plan_stage *stage,
                  const struct channel_message *message, int64_t send_ps)
{
    const struct frame *frame = &message->frame;
    int64_t at_ps = serve_now_ps(serve), count = frame->entries, left = 0;
    struct next *next;
    int32_t *tokens;

    if (frame->payload_bytes != INT64_C(4) * (FRAME_ENTRY_WORDS + 1) * count ||
        count > instance_of(serve, stage, frame->way)->size ||
        id_of(serve, instance_of(serve, stage, frame->way), frame->request) < 0)
        return;
    next = arena_alloc(serve->arena, sizeof *next);
    next->words = arena_array(serve->arena, (size_t)(FRAME_ENTRY_WORDS + 1) * (size_t)count,
                              sizeof *next->words);
    tokens = arena_array(serve->arena, (size_t)count, sizeof *tokens);
    for (int64_t i = 0; i < count; i++) {
        int32_t words[FRAME_ENTRY_WORDS], token;
        struct frame_entry entry;
        size_t request;

        frame_get_words(words, message->payload + INT64_C(4) * FRAME_ENTRY_WORDS * i,
                        FRAME_ENTRY_WORDS);
        frame_get_words(&token, message->payload + 4 * (FRAME_ENTRY_WORDS * count + i), 1);
        frame_get_entry(words, &entry);
        if (!table_find(serve->table, entry.request, &request))
            continue;
        keep_result(serve, stage, frame, request, send_ps, at_ps);
        if (take_token(serve, stage, request, frame, token, at_ps,
                       next->words + FRAME_ENTRY_WORDS * left))
            tokens[left++] = token;
    }
    if (left > 0)
        go_on(serve, stage, frame, next, (int32_t)left, tokens);
}

bool fixed_record(struct serve *serve, const struct plan_stage *stage,
                  const struct channel_message *message, struct serve_record *record)
{
    const struct frame *frame = &message->frame;
    const struct table_request *state = &serve->table->requests[record->request];

    record->batch = id_of(serve, instance_of(serve, stage, frame->way),
                          frame_get_int64(message->payload + 16) / 2);
    record->batch_count = frame->entries;
    record->batch_tokens = frame->new_tokens;
    record->share = frame->past_tokens;
    record->is_late = record->is_late && record->share == 0; /* counted once */
    record->came_alone = stage->number == 0 && frame->step == 0;
    if (record->batch < 0)
        return false;
    /* it goes the way of the oldest, which its worker tells here */
    if (state->state == TABLE_RUNNING &&
        !way_take(serve, record->request, frame->way, record->start_ps))
        failures_lose(serve, record->request, serve_now_ps(serve));
    return true;
}
