/* serve.c - one thread that sleeps until the next arrival or message.
 *
 * Latency counts from the intended arrival, however late the coordinator wakes: no coordinated
 * omission. A step that cannot be sent yet waits in the coordinator, which never blocks. */
#include "runner/load/serve.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include "lib/format/workload.h"
#include "lib/policy/admit.h"
#include "lib/policy/copies.h"
#include "lib/policy/plan.h"
#include "lib/policy/source.h"
#include "runner/fleet/assign.h"
#include "runner/fleet/fleet.h"
#include "runner/load/batches.h"
#include "runner/load/failures.h"
#include "runner/load/fixed.h"
#include "runner/load/handovers.h"
#include "runner/load/internal.h"
#include "runner/load/monitor.h"
#include "runner/load/records.h"
#include "runner/load/room.h"
#include "runner/load/table.h"
#include "runner/load/update.h"
#include <stdio.h>

#define TICK_NS INT64_C(100000000)
#define STOP_NS INT64_C(5000000000)    /* for the last records of a run */
#define STALL_NS INT64_C(120000000000) /* of no step and no message: one is lost */
#define LOOK_NS INT64_C(50000000)      /* between two looks at the workers */
#define MAX_MESSAGES 64                /* between two looks at the arrivals */

int64_t serve_now_ps(const struct serve *serve)
{
    return (clock_now_ns() - serve->t0_ns) * UNITS_PS_PER_NS;
}

static const struct plan_service *service_of(const struct serve *serve, size_t request)
{
    int32_t service = workload_at(serve->input->workload, request).service;

    return &serve->input->plan->services[serve->input->service_of[service]];
}

const struct model *serve_model(const struct serve *serve, size_t request)
{
    return service_of(serve, request)->model;
}

int serve_worker_of(const struct serve *serve, const struct plan_stage *stage)
{
    return serve->fleet->assignment->worker_of[stage->devices[0]];
}

/* ---- requests ---- */

void serve_release(struct serve *serve, size_t request)
{
    const struct table_request *state = &serve->table->requests[request];

    if (state->replica >= 0) {
        const struct plan_replica *replica = &serve->input->plan->replicas[state->replica];

        for (int i = 0; i < replica->total_count; i++) /* its way is told late of a fixed batch */
            for (int k = 0; k < replica->stages[i].device_count; k++)
                fleet_release(serve->fleet,
                              serve->fleet->assignment->worker_of[replica->stages[i].devices[k]],
                              table_name(serve->table, request), fixed_sent_count(serve, request));
    }
}

void serve_finish(struct serve *serve, size_t request, enum trace_status status, int64_t at_ps)
{
    const struct table_request *state = &serve->table->requests[request];
    int64_t ended_ps = at_ps > state->arrival_ps ? at_ps : state->arrival_ps;

    if (state->state != TABLE_ENDED)
        table_end(serve->table, request, status, ended_ps);
    way_leave(serve, request);
    if (status == TRACE_OK)
        monitor_ended(serve, ended_ps - state->arrival_ps);
    if (ended_ps > serve->run->span_ps)
        serve->run->span_ps = ended_ps;
    source_ended(serve->source, request, ended_ps);
}

void serve_end(struct serve *serve, size_t request, enum trace_status status, int64_t at_ps)
{
    serve_finish(serve, request, status, at_ps);
    serve_release(serve, request);
}

/* The replicas of a service that take requests at an instant: first <= i < end. */
struct span {
    int first, end;
};

static struct span span_at(const struct serve *serve, const struct plan_service *service,
                           int64_t at_ps)
{
    const struct plan *plan = serve->input->plan;
    int epoch = 0;

    while (epoch + 1 < plan->epoch_count && plan->epochs[epoch + 1].from_ps <= at_ps)
        epoch++;
    return (struct span){ service->epoch_first[epoch], service->epoch_first[epoch + 1] };
}

static int32_t choose_replica(struct serve *serve, size_t request,
                              const struct dispatch_request *asked, int64_t at_ps)
{
    const struct workload_request row = workload_at(serve->input->workload, request);
    const struct plan_service *service = service_of(serve, request);
    const struct span span = span_at(serve, service, at_ps);
    int chosen;

    for (int i = span.first; i < span.end; i++) {
        int32_t number = service->replicas[i];
        const struct table_replica *replica = &serve->table->replicas[number];
        struct dispatch_replica *choice = &serve->choices[i - span.first];

        *choice =
            (struct dispatch_replica){ replica->is_up, way_backlog_ps(serve, number),
                                       replica->outstanding, way_last_backlog_ps(serve, number),
                                       serve->input->plan->replicas[number].number };
        if (serve->batches) { /* every token takes time, and only its order counts */
            choice->is_up = replica->is_up && batches_fit(serve->batches, number, request);
            choice->backlog_ps = choice->last_backlog_ps =
                batches_work_tokens(serve->batches, number);
        }
    }
    chosen = dispatch_choose(serve->dispatch, serve->input->service_of[row.service], asked,
                             serve->choices, span.end - span.first);
    return chosen < 0 ? -1 : service->replicas[span.first + chosen];
}

enum trace_status serve_why_not(const struct serve *serve, size_t request, int64_t at_ps)
{
    const struct plan_service *service = service_of(serve, request);
    const struct span span = span_at(serve, service, at_ps);

    for (int i = span.first; i < span.end; i++)
        if (serve->batches && serve->table->replicas[service->replicas[i]].is_up)
            return TRACE_REFUSED;
    return span.first < span.end ? TRACE_FAILED : TRACE_REFUSED;
}

bool serve_place(struct serve *serve, size_t request, int64_t at_ps)
{
    const struct workload_request row = workload_at(serve->input->workload, request);
    const struct dispatch_request asked = { row.request_id, row.session, row.client };
    int32_t replica = choose_replica(serve, request, &asked, at_ps);

    if (replica < 0)
        return false;
    table_start(serve->table, request, replica,
                admit_step_count(serve_model(serve, request), row.output_tokens));
    if (serve->batches) {
        batches_join(serve->batches, request);
        return true;
    }
    way_choose(serve, request, &asked);
    serve_enqueue(serve, request);
    return true;
}

static void arrive(struct serve *serve)
{
    int64_t arrival_ps;
    size_t request = source_take(serve->source, &arrival_ps);
    const struct workload_request row = workload_at(serve->input->workload, request);
    const struct model *model = service_of(serve, request)->model;

    table_arrive(serve->table, request, arrival_ps);
    if (!admit_context_ok(model, row.prompt_tokens, row.output_tokens))
        serve_end(serve, request, TRACE_REFUSED, arrival_ps);
    else if (!serve_place(serve, request, arrival_ps))
        failures_turn_away(serve, request, arrival_ps);
}

int64_t serve_take_arrivals(struct serve *serve, int64_t until_ps)
{
    int64_t arrival_ps;

    while ((arrival_ps = source_peek_ps(serve->source)) != SOURCE_NEVER && arrival_ps <= until_ps)
        arrive(serve);
    return arrival_ps;
}

int32_t serve_position_of(const struct serve *serve, const struct plan_stage *stage, int worker)
{
    for (int i = 0; i < stage->device_count; i++)
        if (serve->fleet->assignment->worker_of[stage->devices[i]] == worker)
            return i;
    return -1;
}

/* ---- messages in ---- */

/* The plan's stage that a frame names, when it is one of the worker's and the request is there: of
 * a batch batches.c knows it. */
static const struct plan_stage *stage_of(const struct serve *serve, int worker,
                                         const struct frame *frame)
{
    const struct plan *plan = serve->input->plan;

    bool is_fixed;

    if (frame->stage >= plan->stage_count ||
        serve_position_of(serve, plan->stages[frame->stage], worker) < 0)
        return NULL;
    is_fixed = fixed_has(serve, plan->stages[frame->stage]->replica);
    if ((frame->entries > 0) != (serve->batches != NULL || is_fixed))
        return NULL;
    if (!serve->batches && !(is_fixed && frame->type == FRAME_RESULT) &&
        serve->table->requests[frame->request].replica != plan->stages[frame->stage]->replica)
        return NULL;
    return plan->stages[frame->stage];
}

/* Each device on the way will have told of the step. */
static void expect_records(struct serve *serve, const struct plan_stage *stage, int64_t way,
                           int32_t count)
{
    const struct plan_replica *replica = &serve->input->plan->replicas[stage->replica];

    int first = copies_place(replica, stage) - stage->number;

    for (int i = first; i < first + plan_chain_count(replica, stage); i++)
        serve->expected_count += (size_t)count * (size_t)copies_at(replica, way, i)->device_count;
}

static void hand_over(struct serve *serve, const struct plan_stage *last, size_t request)
{
    const struct workload_request row = workload_at(serve->input->workload, request);
    const struct frame_entry entry = { table_name(serve->table, request), row.prompt_tokens, 0,
                                       row.prompt_tokens + row.output_tokens };

    const struct handovers_of of = { &serve->input->plan->replicas[last->replica],
                                     serve->table->requests[request].way, SERVE_NO_BATCH,
                                     serve->table->requests[request].step };

    handovers_begin(serve, &of, &entry, 1);
}

static void on_result(struct serve *serve, int worker, const struct channel_message *message)
{
    const struct frame *frame = &message->frame;
    const struct plan_stage *stage = stage_of(serve, worker, frame);
    int64_t at_ps = serve_now_ps(serve), offset_ns = serve->fleet->workers[worker].offset_ns;
    int32_t token;

    if (!stage || serve_worker_of(serve, stage) != worker)
        return;
    if (serve->batches) {
        expect_records(serve, stage, frame->way, 1);
        batches_result(serve->batches, stage, message,
                       serve_stamp_ps(serve, frame->start_ns, offset_ns));
        return;
    }
    if (frame->entries > 0) {
        expect_records(serve, stage, frame->way, frame->entries);
        fixed_result(serve, stage, message, serve_stamp_ps(serve, frame->start_ns, offset_ns));
        return;
    }
    if (frame->payload_bytes != 4)
        return;
    frame_get_words(&token, message->payload, 1);
    switch (table_result(serve->table, (size_t)frame->request, frame->step, token, at_ps)) {
    case TABLE_STALE:
        return;
    case TABLE_STEP:
        if (handovers_follow(serve, stage))
            hand_over(serve, stage, (size_t)frame->request);
        serve_enqueue(serve, (size_t)frame->request);
        break;
    case TABLE_FINISHED:
        serve_end(serve, (size_t)frame->request, TRACE_OK, at_ps);
        break;
    }
    expect_records(serve, stage, frame->way, 1);
    if (serve->input->keep_transfers)
        records_keep_result(
            serve->arena, serve->run,
            &(struct serve_record){ .request = (size_t)frame->request,
                                    .step = frame->step,
                                    .batch = SERVE_NO_BATCH,
                                    .stage = stage->number + 1,
                                    .stage_id = stage->id,
                                    .send_ps = serve_stamp_ps(serve, frame->start_ns, offset_ns),
                                    .receive_ps = at_ps });
}

/* The facts that replicas and copies are chosen by, from the first device of a stage. */
static void count_record(struct serve *serve, const struct plan_stage *stage,
                         const struct serve_record *record)
{
    int64_t took_ps = record->has_computed ? record->finish_ps - record->start_ps : 0;

    if (record->batch != SERVE_NO_BATCH) /* its share */
        took_ps /= record->batch_count;
    if (record->position == 0 && !serve->batches)
        table_computed(serve->table, record->request, stage->id, took_ps);
}

static void on_record(struct serve *serve, int worker, const struct channel_message *message)
{
    const struct frame *frame = &message->frame;
    const struct plan_stage *stage = stage_of(serve, worker, frame);
    struct table_request *request;
    struct serve_record record;

    if (!stage || frame->payload_bytes < FRAME_RECORD_BYTES ||
        (frame->payload_bytes - FRAME_RECORD_BYTES) % FRAME_TOLD_BYTES != 0)
        return;
    serve->told_count++;
    record = serve_record_of(serve, stage, serve_position_of(serve, stage, worker), message);
    if (frame->entries > 0 && !serve->batches && !fixed_record(serve, stage, message, &record))
        return;
    if (record.position == 0)
        room_left(serve, stage, frame->way);
    count_record(serve, stage, &record);
    if (record.has_computed && record.share == 0)
        monitor_computed(serve, worker, record.start_ps, record.finish_ps);
    if (serve->batches) {
        batches_record(serve->batches, stage, record.position, message);
        return;
    }
    request = &serve->table->requests[frame->request];
    if (request->state == TABLE_ENDED && request->status == TRACE_FAILED)
        fleet_release(serve->fleet, worker, table_name(serve->table, (size_t)frame->request), 0);
    if (stage->number == 0 && frame->step == 0 && record.has_computed &&
        (request->start_ps == TRACE_NONE || record.start_ps < request->start_ps))
        request->start_ps = record.start_ps;
    records_keep(serve->arena, serve->run, &record);
    if (serve->input->keep_transfers)
        serve_keep_exchanges(serve, stage, &record, message);
}

static void on_refusal(struct serve *serve, int worker, const struct frame *frame)
{
    const struct plan_stage *stage = stage_of(serve, worker, frame);

    if (!stage || serve->batches || serve->table->requests[frame->request].state != TABLE_RUNNING)
        return;
    handovers_forget(serve, (size_t)frame->request);
    serve_end(serve, (size_t)frame->request, TRACE_REFUSED, serve_now_ps(serve));
}

static void on_message(struct serve *serve, int worker, const struct channel_message *message)
{
    serve->progress_ns = clock_now_ns();
    if (message->frame.type == FRAME_RESULT)
        on_result(serve, worker, message);
    else if (message->frame.type == FRAME_RECORD)
        on_record(serve, worker, message);
    else if (message->frame.type == FRAME_CREDIT)
        room_credit(serve, worker, &message->frame);
    else if (message->frame.type == FRAME_REFUSE)
        on_refusal(serve, worker, &message->frame);
    else if (message->frame.type == FRAME_MOVED)
        handovers_told(serve, worker, message);
}

/* Returns whether the socket is empty now. */
static bool receive(struct serve *serve)
{
    for (int i = 0; i < MAX_MESSAGES; i++) {
        struct channel_message message;
        int worker = fleet_receive(serve->fleet, &message);

        if (worker < 0)
            return true;
        if (serve_find_request(serve, &message.frame))
            on_message(serve, worker, &message);
        else if (message.frame.type == FRAME_RECORD) /* begun behind its RELEASE: nobody's */
            fleet_release(serve->fleet, worker, message.frame.request, 0);
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
        if ((serve->queues[i].is_blocked || fixed_waits_for(serve, i) ||
             (serve->batches && batches_wait_for(serve->batches, i))) &&
            serve->fleet->workers[i].state == FLEET_UP)
            waits[count++] = (struct channel_wait){ serve->fleet->workers[i].push, true, false };
    return channel_wait(serve->fleet->hub, waits, count, until_ns, err);
}

static void look_for_trouble(struct serve *serve)
{
    int dead, signal_number = fleet_take_signal();

    while ((dead = fleet_find_dead(serve->fleet)) >= 0)
        failures_bury(serve, dead);
    failures_look(serve);
    monitor_look(serve);
    update_look(serve);
    serve->input->look(serve->input->arg);
    if (signal_number != 0) {
        serve->run->signal_number = signal_number;
        fprintf(stderr,
                "orrery-run: interrupted by %s: requests that have not finished have failed\n",
                fleet_signal_name(signal_number));
        failures_give_up(serve);
    }
    if (serve->table->running_count == 0 || !fleet_is_idle(serve->fleet))
        serve->progress_ns = clock_now_ns();
    if (clock_now_ns() - serve->progress_ns > STALL_NS) {
        fprintf(stderr,
                "orrery-run: %zu requests are under way, but no worker has had anything "
                "to do for 2 min: the network has lost a message\n",
                serve->table->running_count);
        failures_give_up(serve);
    }
}

static bool serve_load(struct serve *serve, struct err *err)
{
    while (serve->table->ended_count < serve->table->count) {
        int64_t until_ns = clock_now_ns() + TICK_NS, arrival_ps;

        if (!failures_drill(serve, err))
            return false;
        arrival_ps = serve_take_arrivals(serve, serve_now_ps(serve));
        for (int i = 0; i < serve->fleet->count; i++)
            if (serve->fleet->workers[i].state == FLEET_UP &&
                (!fixed_flush(serve, i, err) || !serve_flush(serve, i, err)))
                return false;
        fixed_release_ended(serve);
        if (serve->batches && !batches_advance(serve->batches, err))
            return false;
        if (serve->table->ended_count == serve->table->count)
            break;
        if (failures_next_ns(serve) < until_ns)
            until_ns = failures_next_ns(serve);
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
           serve->told_count >= serve->expected_count;
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
    if (!is_settled(serve)) {
        serve->run->missing_count = serve->expected_count - serve->told_count;
        fprintf(stderr,
                "orrery-run: %zu of %zu records of workers have not come: the tables lack rows\n",
                serve->run->missing_count, serve->expected_count);
    }
    return true;
}

bool serve_run(struct arena *arena, const struct serve_input *input, struct serve_run *run,
               struct err *err)
{
    const struct plan *plan = input->plan;
    struct serve_input own = *input; /* an update changes its plan */
    struct serve serve = { .arena = arena, .input = &own, .fleet = input->fleet, .run = run };
    int32_t longest = 1;

    *run = (struct serve_run){ 0 };
    for (size_t i = 0; i < input->workload->count; i++)
        if (workload_at(input->workload, i).prompt_tokens > longest)
            longest = workload_at(input->workload, i).prompt_tokens;
    serve.table = run->table =
        table_create(arena, input->workload->count, plan->replica_count, plan->stage_count);
    serve.source = source_create(arena, input->workload);
    serve.dispatch = dispatch_create(arena, input->dispatch, plan->service_count, input->seed);
    serve.choices = arena_array(arena, (size_t)plan->replica_count, sizeof *serve.choices);
    serve.worker_count = input->fleet->count;
    serve.queues = arena_array(arena, (size_t)input->fleet->count, sizeof *serve.queues);
    way_create(&serve);
    room_create(&serve);
    serve.tokens = arena_array(arena, (size_t)longest, sizeof *serve.tokens);
    if (input->batching && !(serve.batches = batches_create(&serve, err)))
        return false;
    fixed_create(&serve);
    failures_create(&serve);
    monitor_create(&serve);
    serve.own = &own;
    serve.t0_ns = serve.progress_ns = clock_now_ns();
    if (!serve_load(&serve, err))
        return false;
    update_end(&serve);
    if (!serve_stop(&serve, err))
        return false;
    input->look(input->arg);
    failures_forget(&serve);
    records_sort(run);
    return true;
}
