/* naive_loop.h - naive.h's dispatcher, what comes from outside, and the order of events. */
#ifndef ORRERY_TESTS_UNIT_SIM_NAIVE_LOOP_H
#define ORRERY_TESTS_UNIT_SIM_NAIVE_LOOP_H

#include "tests/unit/sim/naive_run.h"

/* ---- dispatch ---- */

static inline bool replica_is_up(int replica)
{
    for (int s = 0; s < naive_stage_count(replica); s++)
        for (int i = 0; i < random_case.replicas[replica].stages[s].device_count; i++)
            if (naive.devices[random_case.replicas[replica].stages[s].devices[i]].is_down)
                return false;
    return true;
}

static inline int64_t naive_outstanding(int replica)
{
    const struct case_replica *own = &random_case.replicas[replica];
    int64_t count = 0;

    for (int i = 0; i < random_case.request_count; i++) {
        const struct naive_request *request = &naive.requests[i];
        const struct case_replica *other;

        if (request->replica < 0 || request->state == NAIVE_ENDED)
            continue;
        other = &random_case.replicas[request->replica]; /* the same one in another epoch counts */
        count += other->service == own->service && other->number == own->number;
    }
    return count;
}

/* What an item costs in a stage, at the pace of the largest batch. */
static inline int64_t share_ps(int replica, int stage, int64_t items)
{
    const int32_t *sizes = random_case.executables[random_case.replicas[replica].executable].sizes;
    int count = random_case.executables[random_case.replicas[replica].executable].size_count;
    int largest = 0;
    int64_t cost_ps;

    while (largest + 1 < count && sizes[largest + 1] <= naive_max_batch(replica))
        largest++;
    cost_ps = naive_time_ps(replica, stage, largest, false);
    return cost_ps == 0 ? 0 : units_mul_div(items, cost_ps, sizes[largest]);
}

/* What gathers in front of a replica. */
static inline int64_t gathered_ps(int replica)
{
    int items;

    prefix_of(replica, INT32_MAX, &items);
    return share_ps(replica, 0, items);
}

/* The stage that dispatch goes by. */
static inline int target_of(int replica)
{
    return random_case.options.dispatch == DISPATCH_LEAST_IDLE ? 0 : naive_stage_count(replica) - 1;
}

/* What a device will have to do for requests that are on their way to it. */
static inline int64_t coming_ps(int device)
{
    int64_t sum_ps = 0;

    for (int i = 0; i < random_case.request_count; i++) {
        const struct naive_request *r = &naive.requests[i];
        bool is_on_way = r->state == NAIVE_DISPATCHED || r->state == NAIVE_AT_SOURCE ||
                         r->state == NAIVE_ON_LINK || r->state == NAIVE_AT_WORKER;
        bool is_formed = r->stage > 0 || r->state == NAIVE_RUNNING || r->state == NAIVE_KEPT;
        int stage;

        if (r->replica < 0 || r->state == NAIVE_ENDED || r->is_follower || r->is_back)
            continue;
        stage = target_of(r->replica);
        if (!stage_has(&random_case.replicas[r->replica].stages[stage], device) ||
            r->stage > stage || (r->stage == stage && !is_on_way))
            continue;
        if (naive_max_batch(r->replica) > 1 && !is_formed)
            sum_ps += share_ps(r->replica, stage, random_case.requests[i].items);
        else
            sum_ps += naive_time_ps(r->replica, stage, r->size, false) +
                      naive_time_ps(r->replica, stage, r->size, true);
    }
    return random_case.options.rules == SERVE_DLSIM ? 0 : sum_ps;
}

/* Until the devices of the stage are done with what is booked and on its way, and with what gathers
 * there. */
static inline int64_t backlog_ps(int replica)
{
    const struct case_stage *stage = &random_case.replicas[replica].stages[target_of(replica)];
    int64_t booked_ps[CASE_DEVICES], most_ps = 0;

    booked_fill(booked_ps);
    for (int i = 0; i < stage->device_count; i++) {
        int64_t time_ps =
            booked_ps[stage->devices[i]] - naive.now_ps + coming_ps(stage->devices[i]);

        most_ps = time_ps > most_ps ? time_ps : most_ps;
    }
    return most_ps + (target_of(replica) == 0 ? gathered_ps(replica) : 0);
}

/* What the rule wants least of, ties to the first; the other rules are lib/policy's. */
static inline int64_t dislike(int replica)
{
    switch (random_case.options.dispatch) {
    case DISPATCH_LEAST_IDLE:
    case DISPATCH_LEAST_LAST_STAGE:
        return backlog_ps(replica);
    case DISPATCH_LEAST_OUTSTANDING:
        return naive_outstanding(replica);
    case DISPATCH_ROUND_ROBIN:
    case DISPATCH_RANDOM:
    case DISPATCH_STICKY:
    case DISPATCH_COUNT:
        break;
    }
    return 0;
}

static inline int names_before(const char kind, int row)
{
    bool is_seen[CASE_REQUESTS] = { false };
    int own = kind == 't' ? random_case.requests[row].session : random_case.requests[row].client;
    int number = 0;

    for (int i = 0; i < random_case.request_count && own >= 0; i++) {
        int name = kind == 't' ? random_case.requests[i].session : random_case.requests[i].client;

        if (name == own)
            return number;
        if (name >= 0 && !is_seen[name])
            number++;
        if (name >= 0)
            is_seen[name] = true;
    }
    return -1;
}

/* Numbers of services are those of their first rows. */
static inline int service_number(int service)
{
    return service; /* epoch 0 has them all, in order */
}

static inline int choose(int request, const int *replicas, int count)
{
    struct dispatch_replica candidates[CASE_REPLICAS] = { { 0 } };
    struct dispatch_request who = { request, names_before('t', request),
                                    names_before('c', request) };
    int service = random_case.requests[request].service, best = -1;

    if (count == 1) /* there is nothing to choose */
        return replica_is_up(replicas[0]) ? 0 : -1;
    for (int i = 0; i < count; i++) {
        candidates[i].is_up = replica_is_up(replicas[i]);
        candidates[i].number = random_case.replicas[replicas[i]].number;
    }
    switch (random_case.options.dispatch) {
    case DISPATCH_RANDOM:
    case DISPATCH_STICKY:
        return dispatch_choose(naive.dispatch, service_number(service), &who, candidates, count);
    case DISPATCH_ROUND_ROBIN:
        for (int k = 0; k < count && best < 0; k++) {
            int turn = (naive.turns[service] + k) % count;

            if (candidates[turn].is_up)
                best = turn;
        }
        if (best >= 0)
            naive.turns[service] = (best + 1) % count;
        return best;
    default:
        for (int i = 0; i < count; i++)
            if (candidates[i].is_up && (best < 0 || dislike(replicas[i]) < dislike(replicas[best])))
                best = i;
        return best;
    }
}

static inline void dispatch_request(int request)
{
    struct naive_request *r = &naive.requests[request];
    int replicas[CASE_REPLICAS], count = 0, best;
    int64_t ready_ps = naive.now_ps + overhead_mean_ps(OVERHEAD_DISPATCH);
    bool is_any_down = false;

    for (int i = 0; i < random_case.replica_count; i++)
        if (random_case.replicas[i].service == random_case.requests[request].service &&
            random_case.replicas[i].epoch == naive.epoch) {
            is_any_down = is_any_down || !replica_is_up(i);
            replicas[count++] = i;
        }
    best = choose(request, replicas, count);
    if (best < 0) {
        end_one(request, is_any_down ? TRACE_FAILED : TRACE_REFUSED);
        return;
    }
    r->replica = replicas[best];
    r->stage = 0;
    r->size = size_for(r->replica, random_case.requests[request].items);
    ready_ps += alone_ps(request, -1);
    if (is_early(r->replica) && !is_in_time(request, walk(request, 0, ready_ps, false))) {
        r->replica = -1;
        end_one(request, TRACE_DROPPED);
        return;
    }
    if (is_early(r->replica))
        (void)walk(request, 0, ready_ps, true);
    if (!hold(request, NAIVE_DISPATCHED, OVERHEAD_DISPATCH))
        launch(request);
}

static inline void arrive(int request)
{
    struct naive_request *r = &naive.requests[request];

    r->arrival_ps = naive.now_ps;
    if (!hold(request, NAIVE_SUBMITTED, OVERHEAD_SUBMIT))
        dispatch_request(request);
}

/* ---- from outside ---- */

static inline void device_fails(int device)
{
    int request = naive.devices[device].running;

    naive.devices[device].is_down = true;
    if (request >= 0) {
        const struct case_stage *stage = naive_stage(request);

        for (int i = 0; i < stage->device_count; i++) {
            struct naive_device *d = &naive.devices[stage->devices[i]];

            d->running = -1;
            if (naive.requests[request].state == NAIVE_KEPT)
                d->free_ps = d->free_ps > naive.now_ps ? d->free_ps : naive.now_ps;
            else
                d->free_ps = naive.now_ps + d->held_ps;
            d->held_ps = 0;
        }
        for (int i = request; i >= 0; i = naive.requests[i].next)
            if (naive.requests[i].start_ps > naive.now_ps) /* it never did */
                naive.requests[i].start_ps = TRACE_NONE;
        end_all(request, TRACE_FAILED);
    }
    for (int i = 0; i < random_case.request_count; i++)
        if ((naive.requests[i].state == NAIVE_QUEUED ||
             naive.requests[i].state == NAIVE_GATHERING) &&
            stage_has(naive_stage(i), device))
            end_all(i, TRACE_FAILED);
}

static inline bool held_before(const struct case_replica *replica, int stage, int device)
{
    for (int i = 0; i < random_case.replica_count; i++) {
        const struct case_replica *other = &random_case.replicas[i];

        if (other->epoch == naive.epoch - 1 && other->service == replica->service &&
            other->executable == replica->executable && stage_has(&other->stages[stage], device))
            return true;
    }
    return false;
}

static inline void epoch_begins(void)
{
    bool is_new[CASE_DEVICES] = { false };

    naive.epoch++;
    for (int i = 0; i < random_case.replica_count; i++)
        for (int s = 0; s < naive_stage_count(i); s++)
            for (int d = 0; d < random_case.device_count; d++)
                if (random_case.replicas[i].epoch == naive.epoch &&
                    stage_has(&random_case.replicas[i].stages[s], d) &&
                    !held_before(&random_case.replicas[i], s, d))
                    is_new[d] = true;
    for (int d = 0; d < random_case.device_count; d++) {
        struct naive_device *device = &naive.devices[d];

        if (!is_new[d] || random_case.options.switch_cost_ps == 0)
            continue;
        naive.promised_ps[d] =
            (naive.promised_ps[d] > naive.now_ps ? naive.promised_ps[d] : naive.now_ps) +
            random_case.options.switch_cost_ps;
        if (device->running >= 0 && naive.requests[device->running].state != NAIVE_KEPT)
            device->held_ps += random_case.options.switch_cost_ps;
        else
            device->free_ps = (device->free_ps > naive.now_ps ? device->free_ps : naive.now_ps) +
                              random_case.options.switch_cost_ps;
    }
}

static inline int64_t control_ps(void)
{
    int64_t time_ps = NAIVE_NEVER;

    if (naive.epoch + 1 < random_case.epoch_count)
        time_ps = random_case.epoch_ps[naive.epoch + 1];
    if (naive.next_event < random_case.event_count &&
        random_case.events[naive.next_event].time_ps < time_ps)
        time_ps = random_case.events[naive.next_event].time_ps;
    return time_ps;
}

static inline void speed_changes(const struct case_event *event)
{
    for (int i = 0; i < random_case.request_count; i++)
        rest_move(i, event->device, -1);
    naive.devices[event->device].halves = event->halves;
    for (int i = 0; i < random_case.request_count; i++)
        rest_move(i, event->device, 1);
}

static inline void control(void)
{
    const struct case_event *event;

    if (naive.epoch + 1 < random_case.epoch_count &&
        random_case.epoch_ps[naive.epoch + 1] == naive.now_ps) {
        epoch_begins();
        return;
    }
    event = &random_case.events[naive.next_event++];
    if (event->kind == EVENT_DOWN)
        device_fails(event->device);
    else if (event->kind == EVENT_SPEED_RATIO)
        speed_changes(event);
    else
        naive.devices[event->device].is_down = false;
}

/* ---- the order of events ---- */

static inline bool is_flying(const struct naive_request *r)
{
    return r->state == NAIVE_ON_LINK || r->state == NAIVE_SUBMITTED ||
           r->state == NAIVE_DISPATCHED || r->state == NAIVE_AT_WORKER;
}

static inline int64_t next_ps(void)
{
    int64_t time_ps = control_ps();
    int row = next_row();

    if (row >= 0 && naive.requests[row].known_ps < time_ps)
        time_ps = naive.requests[row].known_ps;
    for (int i = 0; i < random_case.request_count; i++) {
        const struct naive_request *r = &naive.requests[i];

        if ((is_flying(r) || (r->state == NAIVE_RUNNING && !r->is_follower)) &&
            r->event_ps < time_ps)
            time_ps = r->event_ps;
    }
    for (int d = 0; d < random_case.device_count; d++)
        if (naive.devices[d].free_ps > naive.now_ps && naive.devices[d].free_ps < time_ps)
            time_ps = naive.devices[d].free_ps;
    for (int r = 0; r < random_case.replica_count; r++) {
        int64_t until_ps;
        int size;

        if (batch_of(r, &size, &until_ps) == 0 && until_ps < time_ps && until_ps > naive.now_ps)
            time_ps = until_ps;
    }
    return time_ps;
}

/* The job that ends now whose first device is first. */
static inline int next_completion(void)
{
    int best = -1;

    for (int i = 0; i < random_case.request_count; i++) {
        const struct naive_request *r = &naive.requests[i];

        if (r->state == NAIVE_RUNNING && !r->is_follower && r->event_ps == naive.now_ps &&
            (best < 0 || naive_stage(i)->devices[0] < naive_stage(best)->devices[0]))
            best = i;
    }
    return best;
}

static inline int rank_of(const struct naive_request *r)
{
    return r->state == NAIVE_ON_LINK ? r->route : INT32_MAX;
}

/* Messages by route and sending, then what overheads hold by the order of holding. */
static inline int next_flying(void)
{
    const struct naive_request *best = NULL;

    for (int i = 0; i < random_case.request_count; i++) {
        const struct naive_request *r = &naive.requests[i];

        if (is_flying(r) && r->event_ps == naive.now_ps &&
            (!best || rank_of(r) < rank_of(best) ||
             (rank_of(r) == rank_of(best) && r->order < best->order)))
            best = r;
    }
    return best ? (int)(best - naive.requests) : -1;
}

static inline void land(int request)
{
    switch (naive.requests[request].state) {
    case NAIVE_SUBMITTED:
        dispatch_request(request);
        return;
    case NAIVE_DISPATCHED:
        launch(request);
        return;
    case NAIVE_AT_WORKER:
        enter_queue(request);
        return;
    default:
        if (naive.requests[request].is_back)
            end_all(request, TRACE_OK);
        else
            reach_worker(request);
    }
}

/* One event of this instant; false when there is none left. */
static inline bool happen(void)
{
    int request = next_completion();

    if (request >= 0) {
        complete(request);
        return true;
    }
    request = next_flying();
    if (request >= 0) {
        land(request);
        return true;
    }
    if (control_ps() == naive.now_ps) {
        control();
        return true;
    }
    request = next_row();
    if (request < 0 || naive.requests[request].known_ps != naive.now_ps)
        return false;
    arrive(request);
    return true;
}

static inline void naive_begin(void)
{
    memset(&naive, 0, sizeof(naive));
    naive.dispatch = dispatch_create(fixture.arena, random_case.options.dispatch,
                                     random_case.service_count, random_case.options.seed);
    for (int i = 0; i < random_case.request_count; i++)
        naive.requests[i] = (struct naive_request){ .replica = -1,
                                                    .next = -1,
                                                    .promised_from = -1,
                                                    .known_ps = NAIVE_NEVER,
                                                    .start_ps = TRACE_NONE,
                                                    .finish_ps = TRACE_NONE };
    for (int d = 0; d < CASE_DEVICES; d++)
        naive.devices[d] =
            (struct naive_device){ .running = -1, .halves = random_case.devices[d].halves };
    for (int r = 0; r < random_case.replica_count; r++) {
        int from = -1;

        for (int s = 0; s < naive_stage_count(r); s++) {
            route_of(from, random_case.replicas[r].stages[s].devices[0]);
            from = random_case.replicas[r].stages[s].devices[0];
        }
        route_of(from, -1);
    }
}

static inline bool is_over(void)
{
    for (int i = 0; i < random_case.request_count; i++)
        if (naive.requests[i].state != NAIVE_ENDED && naive.requests[i].state != NAIVE_TO_COME)
            return false;
    return next_row() < 0;
}

static inline void naive_run(void)
{
    naive_begin();
    while (!is_over()) {
        if (next_ps() > naive.now_ps && move_one()) { /* behind all else of the instant */
            start_all();
            continue;
        }
        if (next_ps() == NAIVE_NEVER) {
            naive.is_stuck = true;
            return;
        }
        naive.now_ps = next_ps();
        start_all(); /* behind gaps that end here, and waits of batches */
        (void)happen();
        start_all();
    }
}

#endif
