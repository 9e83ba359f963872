/* serve.c - one thread that sleeps until the next arrival or message.
 *
 * Latency counts from the intended arrival, however late the coordinator wakes: no coordinated
 * omission. A step that cannot be sent yet waits in the coordinator, which never blocks. */
#include "runner/load/serve.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include "lib/format/workload.h"
#include "lib/policy/admit.h"
#include "lib/policy/plan.h"
#include "lib/policy/source.h"
#include "runner/fleet/assign.h"
#include "runner/fleet/fleet.h"
#include "runner/load/records.h"
#include "runner/load/table.h"
#include <stdio.h>
#include <stdlib.h>

#define TICK_NS INT64_C(100000000)
#define STOP_NS INT64_C(5000000000) /* for the last records of a run */
#define STALL_NS                                                                                   \
    INT64_C(120000000000)         /* nothing computes and nothing arrives: a message is lost       \
                                   */
#define LOOK_NS INT64_C(50000000) /* between two looks at the workers */
#define RECORD_BYTES 24           /* of a RECORD, in front of what it tells of exchanges */
#define RECORD_TOLD_BYTES 32      /* of each of these */
#define MAX_MESSAGES 64           /* between two looks at the arrivals */

struct queue { /* requests whose next step is to be sent to a worker's stage 0 */
    size_t *requests;
    size_t head, count, capacity; /* a ring */
};

struct serve {
    struct arena *arena;
    const struct serve_input *input;
    struct fleet *fleet;
    struct table *table;
    struct source *source;
    struct dispatch *dispatch;
    struct dispatch_replica *choices; /* scratch: replicas of a service */
    struct queue *queues;             /* one a worker */
    int32_t *tokens;                  /* scratch: a prompt */
    struct serve_run *run;
    size_t expected_count; /* records of steps whose results have come */
    int64_t t0_ns;
    int64_t progress_ns; /* when a message about a request last came */
};

static int64_t now_ps(const struct serve *serve)
{
    return (clock_now_ns() - serve->t0_ns) * UNITS_PS_PER_NS;
}

/* A stamp of a worker's clock, on the run's time line. */
static int64_t stamp_ps(const struct serve *serve, int64_t stamp_ns, int64_t offset_ns)
{
    int64_t since_ns = stamp_ns - offset_ns - serve->t0_ns;
    const int64_t limit_ns = UNITS_MAX_PS / UNITS_PS_PER_NS;

    if (since_ns > limit_ns || since_ns < -limit_ns)
        return 0; /* no clock of ours: a broken worker must not overflow anything */
    return since_ns * UNITS_PS_PER_NS;
}

static const struct plan_service *service_of(const struct serve *serve, size_t request)
{
    int32_t service = workload_at(serve->input->workload, request).service;

    return &serve->input->plan->services[serve->input->service_of[service]];
}

/* Of its first device, by which steps come and go. */
static int worker_of(const struct serve *serve, const struct plan_stage *stage)
{
    return serve->fleet->assignment->worker_of[stage->devices[0]];
}

/* ---- steps out ---- */

static void enqueue(struct serve *serve, size_t request)
{
    const struct plan_replica *replica =
        &serve->input->plan->replicas[serve->table->requests[request].replica];
    struct queue *queue = &serve->queues[worker_of(serve, &replica->stages[0])];

    if (queue->count == queue->capacity) {
        size_t capacity = queue->capacity ? 2 * queue->capacity : 64;
        size_t *grown = arena_array(serve->arena, capacity, sizeof *grown);

        for (size_t i = 0; i < queue->count; i++)
            grown[i] = queue->requests[(queue->head + i) % queue->capacity];
        queue->requests = grown;
        queue->capacity = capacity;
        queue->head = 0;
    }
    queue->requests[(queue->head + queue->count++) % queue->capacity] = request;
    table_sent(serve->table, serve->table->requests[request].replica);
}

/* Prompts are drawn from a stream of the request's own, so that they do not depend on order. */
static void fill_tokens(struct serve *serve, size_t request, int32_t count)
{
    const struct workload_request row = workload_at(serve->input->workload, request);
    const struct model *model = service_of(serve, request)->model;
    struct rng rng = rng_stream(serve->input->seed, RNG_INPUT_TOKENS, (uint64_t)row.request_id);

    for (int32_t i = 0; i < count; i++)
        serve->tokens[i] = (int32_t)rng_below(&rng, (uint64_t)model->vocab);
}

static enum channel_result send_step(struct serve *serve, struct channel *push, size_t request,
                                     struct err *err)
{
    const struct workload_request row = workload_at(serve->input->workload, request);
    const struct table_request *state = &serve->table->requests[request];
    struct frame frame = { .type = FRAME_STEP,
                           .stage = serve->input->plan->replicas[state->replica].stages[0].id,
                           .request = (int64_t)request,
                           .step = state->step,
                           .total_tokens = row.prompt_tokens + row.output_tokens };

    admit_step_tokens(row.prompt_tokens, state->step, &frame.new_tokens, &frame.past_tokens);
    if (state->step == 0)
        fill_tokens(serve, request, frame.new_tokens);
    else
        serve->tokens[0] = state->token;
    frame.payload_bytes = 4 * (int64_t)frame.new_tokens;
    frame.start_ns = clock_now_ns();
    return channel_send_words(push, NULL, &frame, serve->tokens, err);
}

static bool flush_queue(struct serve *serve, int worker, struct err *err)
{
    struct queue *queue = &serve->queues[worker];

    while (queue->count > 0) {
        size_t request = queue->requests[queue->head];

        if (serve->table->requests[request].state == TABLE_RUNNING) {
            switch (send_step(serve, serve->fleet->workers[worker].push, request, err)) {
            case CHANNEL_DONE:
            case CHANNEL_GONE:
                break;
            case CHANNEL_LATER:
                return true;
            case CHANNEL_BAD:
                return false;
            }
        }
        queue->head = (queue->head + 1) % queue->capacity;
        queue->count--;
    }
    return true;
}

/* ---- requests ---- */

/* No longer anybody's: its caches go, and its client may send the next one. */
static void end_request(struct serve *serve, size_t request, enum trace_status status,
                        int64_t at_ps)
{
    const struct table_request *state = &serve->table->requests[request];
    int64_t ended_ps = at_ps > state->arrival_ps ? at_ps : state->arrival_ps;

    if (state->state != TABLE_ENDED)
        table_end(serve->table, request, status, ended_ps);
    if (state->replica >= 0) {
        const struct plan_replica *replica = &serve->input->plan->replicas[state->replica];

        for (int i = 0; i < replica->stage_count; i++)
            for (int k = 0; k < replica->stages[i].device_count; k++)
                fleet_release(serve->fleet,
                              serve->fleet->assignment->worker_of[replica->stages[i].devices[k]],
                              (int64_t)request);
    }
    if (ended_ps > serve->run->span_ps)
        serve->run->span_ps = ended_ps;
    source_ended(serve->source, request, ended_ps);
}

static int32_t choose_replica(struct serve *serve, size_t request)
{
    const struct workload_request row = workload_at(serve->input->workload, request);
    const struct plan_service *service = service_of(serve, request);
    struct dispatch_request asked = { row.request_id, row.session, row.client };
    int chosen;

    for (int i = 0; i < service->replica_count; i++) {
        const struct table_replica *replica = &serve->table->replicas[service->replicas[i]];

        serve->choices[i] = (struct dispatch_replica){
            replica->is_up, table_backlog_ps(serve->table, service->replicas[i]),
            replica->outstanding, table_last_backlog_ps(serve->table, service->replicas[i]),
            serve->input->plan->replicas[service->replicas[i]].number
        };
    }
    chosen = dispatch_choose(serve->dispatch, serve->input->service_of[row.service], &asked,
                             serve->choices, service->replica_count);
    return chosen < 0 ? -1 : service->replicas[chosen];
}

static void arrive(struct serve *serve)
{
    int64_t arrival_ps;
    size_t request = source_take(serve->source, &arrival_ps);
    const struct workload_request row = workload_at(serve->input->workload, request);
    const struct model *model = service_of(serve, request)->model;
    int32_t replica;

    table_arrive(serve->table, request, arrival_ps);
    if (!admit_context_ok(model, row.prompt_tokens, row.output_tokens)) {
        end_request(serve, request, TRACE_REFUSED, arrival_ps);
        return;
    }
    replica = choose_replica(serve, request);
    if (replica < 0) {
        end_request(serve, request, TRACE_FAILED, arrival_ps);
        return;
    }
    table_start(serve->table, request, replica, admit_step_count(model, row.output_tokens));
    enqueue(serve, request);
}

/* Nothing can go on: what runs has failed now, and what has not arrived fails as it would have. */
static void give_up(struct serve *serve)
{
    int64_t at_ps = now_ps(serve), span_ps;

    for (int i = 0; i < serve->table->replica_count; i++) {
        serve->table->replicas[i].is_up = false;
        while (serve->table->replicas[i].running != TABLE_NOBODY)
            end_request(serve, serve->table->replicas[i].running, TRACE_FAILED, at_ps);
    }
    span_ps = serve->run->span_ps; /* what never happened takes no time */
    while (source_peek_ps(serve->source) != SOURCE_NEVER) {
        int64_t arrival_ps;
        size_t request = source_take(serve->source, &arrival_ps);

        table_arrive(serve->table, request, arrival_ps);
        end_request(serve, request, TRACE_FAILED, arrival_ps);
    }
    serve->run->span_ps = span_ps;
}

/* Of the worker in the stage; -1: it has no part in it. */
static int32_t position_of(const struct serve *serve, const struct plan_stage *stage, int worker)
{
    for (int i = 0; i < stage->device_count; i++)
        if (serve->fleet->assignment->worker_of[stage->devices[i]] == worker)
            return i;
    return -1;
}

static void bury(struct serve *serve, int worker)
{
    const struct fleet_worker *dead = &serve->fleet->workers[worker];
    const struct plan *plan = serve->input->plan;
    int64_t at_ps = now_ps(serve);
    int up_count = 0;

    serve->run->dead_count++;
    fprintf(stderr, "orrery-run: device '%s': worker lost: %s\n", dead->device, dead->trouble);
    for (int i = 0; i < plan->stage_count; i++)
        if (position_of(serve, plan->stages[i], worker) >= 0)
            serve->table->replicas[plan->stages[i]->replica].is_up = false;
    for (int i = 0; i < plan->replica_count; i++) {
        up_count += serve->table->replicas[i].is_up;
        while (!serve->table->replicas[i].is_up &&
               serve->table->replicas[i].running != TABLE_NOBODY)
            end_request(serve, serve->table->replicas[i].running, TRACE_FAILED, at_ps);
    }
    if (up_count == 0)
        give_up(serve);
}

/* ---- messages in ---- */

/* The plan's stage that a frame names, when it is one of the worker's and the request is known. */
static const struct plan_stage *stage_of(const struct serve *serve, int worker,
                                         const struct frame *frame)
{
    const struct plan *plan = serve->input->plan;

    if (frame->stage >= plan->stage_count || (uint64_t)frame->request >= serve->table->count ||
        position_of(serve, plan->stages[frame->stage], worker) < 0 ||
        serve->table->requests[frame->request].replica != plan->stages[frame->stage]->replica)
        return NULL;
    return plan->stages[frame->stage];
}

static void on_result(struct serve *serve, int worker, const struct channel_message *message)
{
    const struct frame *frame = &message->frame;
    const struct plan_stage *stage = stage_of(serve, worker, frame);
    int64_t at_ps = now_ps(serve), offset_ns = serve->fleet->workers[worker].offset_ns;
    int32_t token;

    if (!stage || frame->payload_bytes != 4 || worker_of(serve, stage) != worker)
        return;
    frame_get_words(&token, message->payload, 1);
    switch (table_result(serve->table, (size_t)frame->request, frame->step, token, at_ps)) {
    case TABLE_STALE:
        return;
    case TABLE_STEP:
        enqueue(serve, (size_t)frame->request);
        break;
    case TABLE_FINISHED:
        end_request(serve, (size_t)frame->request, TRACE_OK, at_ps);
        break;
    }
    for (int i = 0; i < serve->input->plan->replicas[stage->replica].stage_count; i++)
        serve->expected_count +=
            (size_t)serve->input->plan->replicas[stage->replica].stages[i].device_count;
    if (serve->input->keep_transfers)
        records_keep_result(
            serve->arena, serve->run,
            &(struct serve_record){ .request = (size_t)frame->request,
                                    .step = frame->step,
                                    .stage = stage->number + 1,
                                    .stage_id = stage->id,
                                    .send_ps = stamp_ps(serve, frame->start_ns, offset_ns),
                                    .receive_ps = at_ps });
}

static const struct plan_stage *before(const struct serve *serve, const struct plan_stage *stage)
{
    return &serve->input->plan->replicas[stage->replica].stages[stage->number - 1];
}

/* The messages that a device of the stage has taken in the step. */
static void on_exchanges(struct serve *serve, const struct plan_stage *stage, int32_t position,
                         const struct channel_message *message)
{
    const struct fleet *fleet = serve->fleet;
    const int32_t *workers = fleet->assignment->worker_of;
    int64_t offset_ns = fleet->workers[workers[stage->devices[position]]].offset_ns;

    for (int64_t at = RECORD_BYTES; at < message->frame.payload_bytes; at += RECORD_TOLD_BYTES) {
        const unsigned char *told = message->payload + at;
        int64_t from = frame_get_int64(told), bytes = frame_get_int64(told + 8);

        if (from < 0 || from >= stage->device_count || from == position || bytes < 0 ||
            bytes > FRAME_MAX_PAYLOAD_BYTES)
            continue;
        records_keep_exchange(
            serve->arena, serve->run,
            &(struct serve_exchange){
                .request = (size_t)message->frame.request,
                .step = message->frame.step,
                .stage = stage->number,
                .stage_id = stage->id,
                .from = (int32_t)from,
                .to = position,
                .bytes = bytes,
                .send_ps = stamp_ps(serve, frame_get_int64(told + 16),
                                    fleet->workers[workers[stage->devices[from]]].offset_ns),
                .receive_ps = stamp_ps(serve, frame_get_int64(told + 24), offset_ns),
            });
    }
}

/* The facts that replicas are chosen by, from the first device of a stage. */
static void count_record(struct serve *serve, const struct plan_stage *stage,
                         const struct serve_record *record)
{
    int64_t took_ps = record->finish_ps - record->start_ps;

    if (record->position > 0)
        return;
    if (stage->number == 0)
        table_computed(serve->table, stage->replica, took_ps);
    if (stage->number + 1 == serve->input->plan->replicas[stage->replica].stage_count)
        table_computed_last(serve->table, stage->replica, took_ps);
}

static void on_record(struct serve *serve, int worker, const struct channel_message *message)
{
    const struct frame *frame = &message->frame;
    const struct plan_stage *stage = stage_of(serve, worker, frame);
    int64_t offset_ns = serve->fleet->workers[worker].offset_ns, sender_ns = 0;
    struct table_request *request;
    struct serve_record record;

    if (!stage || frame->payload_bytes < RECORD_BYTES ||
        (frame->payload_bytes - RECORD_BYTES) % RECORD_TOLD_BYTES != 0)
        return;
    if (stage->number > 0) /* the sender's clock is that of the stage before */
        sender_ns = serve->fleet->workers[worker_of(serve, before(serve, stage))].offset_ns;
    request = &serve->table->requests[frame->request];
    record = (struct serve_record){
        .request = (size_t)frame->request,
        .step = frame->step,
        .stage = stage->number,
        .stage_id = stage->id,
        .position = position_of(serve, stage, worker),
        .has_computed = frame->start_ns > 0,
        .is_late = frame_get_int64(message->payload + 16) != 0,
        .start_ps = stamp_ps(serve, frame->start_ns, offset_ns),
        .finish_ps = stamp_ps(serve, frame->finish_ns, offset_ns),
        .send_ps = stamp_ps(serve, frame_get_int64(message->payload), sender_ns),
        .receive_ps = stamp_ps(serve, frame_get_int64(message->payload + 8), offset_ns),
    };
    count_record(serve, stage, &record);
    if (stage->number == 0 && frame->step == 0 && record.has_computed &&
        (request->start_ps == TRACE_NONE || record.start_ps < request->start_ps))
        request->start_ps = record.start_ps;
    records_keep(serve->arena, serve->run, &record);
    if (serve->input->keep_transfers)
        on_exchanges(serve, stage, record.position, message);
}

static void on_refusal(struct serve *serve, int worker, const struct frame *frame)
{
    const struct plan_stage *stage = stage_of(serve, worker, frame);

    if (!stage || serve->table->requests[frame->request].state != TABLE_RUNNING)
        return;
    if (stage->number == 0)
        table_dropped(serve->table, stage->replica);
    end_request(serve, (size_t)frame->request, TRACE_REFUSED, now_ps(serve));
}

static void on_message(struct serve *serve, int worker, const struct channel_message *message)
{
    serve->progress_ns = clock_now_ns();
    if (message->frame.type == FRAME_RESULT)
        on_result(serve, worker, message);
    else if (message->frame.type == FRAME_RECORD)
        on_record(serve, worker, message);
    else if (message->frame.type == FRAME_REFUSE)
        on_refusal(serve, worker, &message->frame);
}

/* Returns whether the socket is empty now. */
static bool receive(struct serve *serve)
{
    for (int i = 0; i < MAX_MESSAGES; i++) {
        struct channel_message message;
        int worker = fleet_receive(serve->fleet, &message);

        if (worker < 0)
            return true;
        on_message(serve, worker, &message);
        channel_message_close(&message);
    }
    return false;
}

/* ---- the loop ---- */

static bool wait_for_news(struct serve *serve, int64_t until_ns, struct err *err)
{
    struct channel_wait waits[CHANNEL_MAX_WAITS] = { { serve->fleet->router, false, false } };
    int count = 1;

    for (int i = 0; i < serve->fleet->count && count < CHANNEL_MAX_WAITS; i++)
        if (serve->queues[i].count > 0 && serve->fleet->workers[i].state == FLEET_UP)
            waits[count++] = (struct channel_wait){ serve->fleet->workers[i].push, true, false };
    return channel_wait(serve->fleet->hub, waits, count, until_ns, err);
}

static void look_for_trouble(struct serve *serve)
{
    int dead, signal_number = fleet_take_signal();

    while ((dead = fleet_find_dead(serve->fleet)) >= 0)
        bury(serve, dead);
    if (signal_number != 0) {
        serve->run->signal_number = signal_number;
        fprintf(stderr,
                "orrery-run: interrupted by %s: requests that have not finished have failed\n",
                fleet_signal_name(signal_number));
        give_up(serve);
    }
    if (serve->table->running_count == 0 || !fleet_is_idle(serve->fleet))
        serve->progress_ns = clock_now_ns();
    if (clock_now_ns() - serve->progress_ns > STALL_NS) {
        fprintf(stderr,
                "orrery-run: %zu requests are under way, but no worker has had anything "
                "to do for 2 min: the network has lost a message\n",
                serve->table->running_count);
        give_up(serve);
    }
}

static bool serve_load(struct serve *serve, struct err *err)
{
    while (serve->table->ended_count < serve->table->count) {
        int64_t until_ns = clock_now_ns() + TICK_NS, arrival_ps;

        while ((arrival_ps = source_peek_ps(serve->source)) != SOURCE_NEVER &&
               arrival_ps <= now_ps(serve))
            arrive(serve);
        for (int i = 0; i < serve->fleet->count; i++)
            if (serve->fleet->workers[i].state == FLEET_UP && !flush_queue(serve, i, err))
                return false;
        if (serve->table->ended_count == serve->table->count)
            break;
        if (arrival_ps != SOURCE_NEVER &&
            serve->t0_ns + arrival_ps / UNITS_PS_PER_NS + 1 < until_ns)
            until_ns = serve->t0_ns + arrival_ps / UNITS_PS_PER_NS + 1;
        if (!wait_for_news(serve, until_ns, err))
            return false;
        /* a worker is not given up while its heartbeat may be in the socket, unless that never
         * empties: peers take turns there, so that half a second of others' messages is enough */
        if (clock_now_ns() - serve->fleet->looked_ns > (receive(serve) ? LOOK_NS : 10 * LOOK_NS))
            look_for_trouble(serve);
    }
    return true;
}

/* A device that shares a stage may be behind the one that sent the last result. */
static bool is_settled(const struct serve *serve)
{
    return serve->run->dead_count > 0 || serve->table->by_status[TRACE_FAILED] > 0 ||
           serve->run->record_count >= serve->expected_count;
}

/* Workers send what they still have, and then their last word. */
static bool serve_stop(struct serve *serve, struct err *err)
{
    int64_t deadline_ns = clock_now_ns() + STOP_NS;
    bool is_told = false;

    while (!fleet_is_stopped(serve->fleet) && clock_now_ns() < deadline_ns) {
        if (!is_told && (is_settled(serve) || clock_now_ns() > deadline_ns - STOP_NS / 2)) {
            fleet_stop(serve->fleet);
            is_told = true;
        }
        struct channel_wait wait = { serve->fleet->router, false, false };

        if (!channel_wait(serve->fleet->hub, &wait, 1, clock_now_ns() + TICK_NS, err))
            return false;
        while (!receive(serve))
            continue;
        fleet_find_dead(serve->fleet);
    }
    return true;
}

bool serve_run(struct arena *arena, const struct serve_input *input, struct serve_run *run,
               struct err *err)
{
    const struct plan *plan = input->plan;
    struct serve serve = { .arena = arena, .input = input, .fleet = input->fleet, .run = run };
    int32_t longest = 1;

    *run = (struct serve_run){ 0 };
    for (size_t i = 0; i < input->workload->count; i++)
        if (workload_at(input->workload, i).prompt_tokens > longest)
            longest = workload_at(input->workload, i).prompt_tokens;
    serve.table = run->table = table_create(arena, input->workload->count, plan->replica_count);
    serve.source = source_create(arena, input->workload);
    serve.dispatch = dispatch_create(arena, input->dispatch, plan->service_count, input->seed);
    serve.choices = arena_array(arena, (size_t)plan->replica_count, sizeof *serve.choices);
    serve.queues = arena_array(arena, (size_t)input->fleet->count, sizeof *serve.queues);
    serve.tokens = arena_array(arena, (size_t)longest, sizeof *serve.tokens);
    serve.t0_ns = serve.progress_ns = clock_now_ns();
    if (!serve_load(&serve, err) || !serve_stop(&serve, err))
        return false;
    records_sort(run);
    return true;
}
