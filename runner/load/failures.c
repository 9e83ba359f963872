/* failures.c - lost workers, replays, and drills. */
#include "runner/load/failures.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/events.h"
#include "lib/format/workload.h"
#include "lib/policy/copies.h"
#include "lib/policy/plan.h"
#include "lib/policy/source.h"
#include "runner/fleet/assign.h"
#include "runner/fleet/fleet.h"
#include "runner/load/batches.h"
#include "runner/load/fixed.h"
#include "runner/load/internal.h"
#include "runner/load/room.h"
#include "runner/load/table.h"
#include <stdio.h>

struct failures {
    size_t *held; /* requests that wait for a replica; in order */
    size_t held_count;
    size_t next_event;
    int64_t *none_up_ns; /* by service: since when no replica of it is up; 0 = one is */
};

void failures_create(struct serve *serve)
{
    serve->failures = arena_alloc(serve->arena, sizeof *serve->failures);
    serve->failures->none_up_ns =
        arena_array(serve->arena, (size_t)serve->input->plan->service_count,
                    sizeof *serve->failures->none_up_ns);
    serve->failures->held =
        arena_array(serve->arena, serve->table->count, sizeof *serve->failures->held);
}

size_t failures_held(const struct serve *serve)
{
    return serve->failures->held_count;
}

/* ---- who may still come back ---- */

/* The device is up again later in the drill. */
static bool rises_again(const struct serve *serve, int worker)
{
    const struct events *events = serve->input->events;

    for (size_t i = serve->failures->next_event; events && i < events->count; i++)
        if (events->events[i].kind == EVENT_UP &&
            serve->fleet->assignment->worker_of[events->events[i].device] == worker)
            return true;
    return false;
}

/* Every device of it has a worker that is up, or, when some may still come, on the way back, or
 * will be by the drill. */
static bool is_stage_whole(const struct serve *serve, const struct plan_stage *stage, bool may_come)
{
    for (int k = 0; k < stage->device_count; k++) {
        int number = serve->fleet->assignment->worker_of[stage->devices[k]];
        const struct fleet_worker *worker = &serve->fleet->workers[number];

        if ((worker->state != FLEET_UP || worker->is_returning) &&
            !(may_come && (fleet_is_returning(serve->fleet, number) || rises_again(serve, number))))
            return false;
    }
    return true;
}

/* Nothing of before is left of it. Devices that share a copy stand where a lost one has left them,
 * until their replica is lost as well, or was: then they have all begun anew. */
static bool may_be_up(const struct serve *serve, const struct plan_stage *stage)
{
    return is_stage_whole(serve, stage, false) &&
           (stage->device_count == 1 || serve->table->stages[stage->id].lost_generation <
                                            serve->table->replicas[stage->replica].generation);
}

/* So has a copy of each stage. */
static bool may_be_whole(const struct serve *serve, const struct plan_replica *replica)
{
    for (int place = 0; place < copies_place_count(replica); place++) {
        const struct plan_stage *base = copies_base(replica, place);
        bool is_whole = false;

        for (int k = 0; k < base->copy_count; k++)
            is_whole = is_whole || is_stage_whole(serve, base->copies[k], true);
        if (!is_whole)
            return false;
    }
    return true;
}

/* A replica of the service that is down is on the way back, or may be within the time to wait. */
static bool has_hope(const struct serve *serve, int32_t service)
{
    const struct plan *plan = serve->input->plan;
    int64_t since_ns = serve->failures->none_up_ns[service];

    for (int i = 0; i < plan->replica_count; i++)
        if (plan->replicas[i].service == service && !serve->table->replicas[i].is_up &&
            may_be_whole(serve, &plan->replicas[i]))
            return true;
    return serve->input->rejoin_wait_ns > 0 &&
           (since_ns == 0 || clock_now_ns() - since_ns < serve->input->rejoin_wait_ns);
}

/* Nothing is up, and nothing may come back. */
static bool is_over(const struct serve *serve)
{
    for (int32_t i = 0; i < serve->input->plan->service_count; i++)
        if (serve->failures->none_up_ns[i] == 0 || has_hope(serve, i))
            return false;
    return true;
}

/* ---- requests ---- */

static bool may_wait(const struct serve *serve, size_t request)
{
    return has_hope(serve,
                    serve->input->service_of[workload_at(serve->input->workload, request).service]);
}

static void hold(struct serve *serve, size_t request)
{
    serve->failures->held[serve->failures->held_count++] = request;
}

void failures_turn_away(struct serve *serve, size_t request, int64_t at_ps)
{
    enum trace_status why = serve_why_not(serve, request, at_ps);

    if (why == TRACE_FAILED && serve->input->replays && may_wait(serve, request))
        hold(serve, request);
    else
        serve_end(serve, request, why, at_ps);
}

/* It begins anew: placed when failures_look comes by next. */
static void restart(struct serve *serve, size_t request, int64_t at_ps)
{
    way_leave(serve, request);
    table_restart(serve->table, request, at_ps);
    serve->run->replay_count++;
    hold(serve, request);
}

void failures_lose(struct serve *serve, size_t request, int64_t at_ps)
{
    if (!serve->input->replays) {
        serve_end(serve, request, TRACE_FAILED, at_ps);
        return;
    }
    serve_release(serve, request);
    restart(serve, request, at_ps);
}

/* Of a replica that goes on, those that pass what is down. */
static void lose_passing(struct serve *serve, int32_t replica, int64_t at_ps)
{
    size_t request = serve->table->replicas[replica].running;

    while (request != TABLE_NOBODY) {
        size_t next = serve->table->requests[request].next;

        if (!way_is_up(serve, request))
            failures_lose(serve, request, at_ps);
        request = next;
    }
}

/* What ran on a replica that is lost. */
static void lose_requests(struct serve *serve, int32_t replica, int64_t at_ps)
{
    const struct table_replica *state = &serve->table->replicas[replica];

    if (serve->batches)
        batches_lose(serve->batches, replica);
    while (state->running != TABLE_NOBODY)
        if (serve->input->replays)
            restart(serve, state->running, at_ps);
        else
            serve_finish(serve, state->running, TRACE_FAILED, at_ps);
}

/* In the order in which they arrived, whatever made them wait. */
static void sort_held(struct serve *serve)
{
    size_t *held = serve->failures->held;

    for (size_t i = 1; i < serve->failures->held_count; i++) {
        size_t request = held[i], at = i;

        for (; at > 0 && held[at - 1] > request; at--)
            held[at] = held[at - 1];
        held[at] = request;
    }
}

static void place_held(struct serve *serve)
{
    struct failures *failures = serve->failures;
    size_t count = failures->held_count, kept = 0;
    int64_t at_ps = serve_now_ps(serve);

    sort_held(serve);
    failures->held_count = 0;
    for (size_t i = 0; i < count; i++) {
        size_t request = failures->held[i];

        if (serve_place(serve, request, at_ps))
            continue;
        if (serve_why_not(serve, request, at_ps) == TRACE_FAILED && may_wait(serve, request))
            failures->held[kept++] = request;
        else
            serve_end(serve, request, serve_why_not(serve, request, at_ps), at_ps);
    }
    failures->held_count = kept;
}

void failures_give_up(struct serve *serve)
{
    int64_t at_ps = serve_now_ps(serve), span_ps;

    for (int i = 0; i < serve->table->replica_count; i++) {
        serve->table->replicas[i].is_up = false;
        if (serve->batches)
            batches_lose(serve->batches, i);
        while (serve->table->replicas[i].running != TABLE_NOBODY)
            serve_end(serve, serve->table->replicas[i].running, TRACE_FAILED, at_ps);
    }
    while (serve->failures->held_count > 0)
        serve_end(serve, serve->failures->held[--serve->failures->held_count], TRACE_FAILED, at_ps);
    span_ps = serve->run->span_ps; /* what never happened takes no time */
    while (source_peek_ps(serve->source) != SOURCE_NEVER) {
        int64_t arrival_ps;
        size_t request = source_take(serve->source, &arrival_ps);

        table_arrive(serve->table, request, arrival_ps);
        serve_end(serve, request, TRACE_FAILED, arrival_ps);
    }
    serve->run->span_ps = span_ps;
}

/* ---- replicas ---- */

static void count_up(struct serve *serve)
{
    const struct plan *plan = serve->input->plan;

    for (int32_t service = 0; service < plan->service_count; service++) {
        int64_t *none_up_ns = &serve->failures->none_up_ns[service];
        bool is_up = false;

        for (int i = 0; i < plan->replica_count && !is_up; i++)
            is_up = plan->replicas[i].service == service && serve->table->replicas[i].is_up;
        if (is_up)
            *none_up_ns = 0;
        else if (*none_up_ns == 0)
            *none_up_ns = clock_now_ns();
    }
}

/* Steps that nobody wants any more, of whichever worker. Where they leave another one's queue must
 * not be asked of the next attempt, which may be somewhere else. */
static void drop_queued(struct serve *serve)
{
    for (int w = 0; w < serve->fleet->count; w++) {
        struct queue *queue = &serve->queues[w];

        for (size_t left = queue->count; left > 0; left--) {
            size_t request = queue->requests[queue->head];

            queue->head = (queue->head + 1) % queue->capacity;
            queue->count--;
            if (serve->table->requests[request].state == TABLE_RUNNING)
                queue->requests[(queue->head + queue->count++) % queue->capacity] = request;
        }
    }
}

/* The workers that are left forget what they have of it: whatever is still on its way is of a
 * generation that is over. */
static void lose_replica(struct serve *serve, int32_t number, int64_t at_ps)
{
    const struct plan_replica *replica = &serve->input->plan->replicas[number];
    struct table_replica *state = &serve->table->replicas[number];

    state->is_up = false;
    state->generation++;
    for (int i = 0; i < replica->total_count; i++)
        fleet_reset_stage(serve->fleet, replica->stages[i].id, state->generation);
    lose_requests(serve, number, at_ps);
    for (int i = 0; i < replica->total_count; i++) {
        fixed_lose(serve, &replica->stages[i]);
        room_empty(serve, &replica->stages[i]);
    }
}

/* Of a stage that may have other copies. */
static void lose_stage(struct serve *serve, const struct plan_stage *stage, int worker,
                       int64_t at_ps)
{
    struct table_stage *state = &serve->table->stages[stage->id];
    const struct table_replica *replica = &serve->table->replicas[stage->replica];

    state->is_up = false;
    state->lost_ps = at_ps;
    if (replica->is_up) /* else there is nothing of this generation */
        state->lost_generation = replica->generation;
    if (serve_worker_of(serve, stage) != worker)
        return;
    fixed_lose(serve, stage);
    fixed_renumber(serve, stage);
}

static bool has_worker(const struct serve *serve, const struct plan_replica *replica, int worker)
{
    for (int i = 0; i < replica->total_count; i++)
        if (serve_position_of(serve, &replica->stages[i], worker) >= 0)
            return true;
    return false;
}

void failures_bury(struct serve *serve, int worker)
{
    const struct fleet_worker *dead = &serve->fleet->workers[worker];
    const struct plan *plan = serve->input->plan;
    int64_t at_ps = serve_now_ps(serve);

    serve->run->dead_count++;
    fprintf(stderr, "orrery-run: device '%s': worker lost: %s\n", dead->device, dead->trouble);
    for (int i = 0; i < plan->stage_count; i++)
        if (serve_position_of(serve, plan->stages[i], worker) >= 0)
            lose_stage(serve, plan->stages[i], worker, at_ps);
    for (int i = 0; i < plan->replica_count; i++) {
        if (!serve->table->replicas[i].is_up || !has_worker(serve, &plan->replicas[i], worker))
            continue;
        if (way_has_copies_up(serve, i))
            lose_passing(serve, i, at_ps);
        else
            lose_replica(serve, i, at_ps);
    }
    room_lose(serve, worker);
    drop_queued(serve);
    count_up(serve);
    if (is_over(serve))
        failures_give_up(serve);
}

void failures_look(struct serve *serve)
{
    const struct plan *plan = serve->input->plan;
    int back;

    while ((back = fleet_find_returned(serve->fleet)) >= 0) {
        serve->run->return_count++;
        fprintf(stderr, "orrery-run: device '%s': a worker is back\n",
                serve->fleet->workers[back].device);
        for (int i = 0; i < plan->stage_count; i++) {
            if (serve->table->stages[i].is_up || !may_be_up(serve, plan->stages[i]))
                continue;
            serve->table->stages[i].is_up = true;
            room_empty(serve, plan->stages[i]); /* nothing is on its way */
        }
        for (int i = 0; i < plan->replica_count; i++)
            serve->table->replicas[i].is_up = way_has_copies_up(serve, i);
        count_up(serve);
    }
    if (serve->failures->held_count > 0)
        place_held(serve);
    if (is_over(serve))
        failures_give_up(serve);
}

/* ---- the drill ---- */

int64_t failures_next_ns(const struct serve *serve)
{
    const struct events *events = serve->input->events;
    size_t next = serve->failures->next_event;

    if (!events || next >= events->count)
        return INT64_MAX;
    return serve->t0_ns + events->events[next].time_ps / UNITS_PS_PER_NS + 1;
}

/* Whoever falls is replaced at once, out of sight, so that the replica is there at the instant at
 * which its device is up again, as in the simulator. */
static bool fall(struct serve *serve, int worker, const struct event *event, struct err *err)
{
    char when[UNITS_TEXT_BYTES], why[UNITS_TEXT_BYTES + 64];
    int dead;

    snprintf(why, sizeof why, "killed by --events at %s", units_format_human(event->time_ps, when));
    fleet_kill_worker(serve->fleet, worker, why);
    while ((dead = fleet_find_dead(serve->fleet)) >= 0)
        failures_bury(serve, dead);
    if (!rises_again(serve, worker))
        return true;
    serve->fleet->workers[worker].is_held = true;
    return fleet_respawn(serve->fleet, worker, err);
}

bool failures_drill(struct serve *serve, struct err *err)
{
    const struct events *events = serve->input->events;

    while (failures_next_ns(serve) <= clock_now_ns()) {
        const struct event *event = &events->events[serve->failures->next_event++];
        int worker = serve->fleet->assignment->worker_of[event->device];

        if (worker < 0) /* not placed: nothing depends on it */
            continue;
        if (event->kind == EVENT_UP) {
            serve->fleet->workers[worker].is_held = false;
            failures_look(serve);
        } else if (!fall(serve, worker, event, err))
            return false;
    }
    return true;
}

/* ---- after the run ---- */

void failures_forget(struct serve *serve)
{
    struct serve_run *run = serve->run;
    const struct table_request *requests = serve->table->requests;
    size_t kept = 0;

    if (run->replay_count == 0)
        return;
    for (size_t i = 0; i < run->record_count; i++)
        if (run->records[i].receive_ps >= requests[run->records[i].request].begun_ps)
            run->records[kept++] = run->records[i];
    run->record_count = kept;
    kept = 0;
    for (size_t i = 0; i < run->result_count; i++)
        if (run->results[i].receive_ps >= requests[run->results[i].request].begun_ps)
            run->results[kept++] = run->results[i];
    run->result_count = kept;
    kept = 0;
    for (size_t i = 0; i < run->exchange_count; i++)
        if (run->exchanges[i].receive_ps >= requests[run->exchanges[i].request].begun_ps)
            run->exchanges[kept++] = run->exchanges[i];
    run->exchange_count = kept;
}
