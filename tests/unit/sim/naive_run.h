/* naive_run.h - what happens, in naive.h's plain words: starts, batches, links, dispatch, failures,
 * epochs, and the order of events. */
#ifndef ORRERY_TESTS_UNIT_SIM_NAIVE_RUN_H
#define ORRERY_TESTS_UNIT_SIM_NAIVE_RUN_H

#include "tests/unit/sim/naive.h"

/* ---- batches ---- */

static inline int naive_max_batch(int replica)
{
    const struct batch_options *batch = &random_case.options.batch;

    if (random_case.replicas[replica].max_batch > 0)
        return random_case.replicas[replica].max_batch;
    return batch->kind == BATCH_FIXED ? batch->max_size : 1;
}

/* Decided on, and booked, at dispatch. */
static inline bool is_early(int replica)
{
    return random_case.options.admission == ADMIT_SLO && naive_max_batch(replica) == 1;
}

static inline bool has_bookings(void)
{
    bool has = random_case.options.admission != ADMIT_NONE;

    for (int r = 0; r < random_case.replica_count; r++)
        has = has || naive_max_batch(r) > 1;
    return has;
}

/* The position'th oldest request that waits in front of a replica, -1. */
static inline int gathered(int replica, int position)
{
    long after = -1;
    int found = -1;

    for (int i = 0; i <= position; i++) {
        found = -1;
        for (int k = 0; k < random_case.request_count; k++)
            if (naive.requests[k].state == NAIVE_GATHERING &&
                naive.requests[k].replica == replica && naive.requests[k].order > after &&
                (found < 0 || naive.requests[k].order < naive.requests[found].order))
                found = k;
        if (found < 0)
            return -1;
        after = naive.requests[found].order;
    }
    return found;
}

/* The number of the smallest size that holds so many items. */
static inline int size_for(int replica, int items)
{
    const struct case_executable *executable =
        &random_case.executables[random_case.replicas[replica].executable];
    int size = 0;

    while (executable->sizes[size] < items)
        size++;
    return size;
}

/* How many of the oldest requests have at most so many items together. */
static inline int prefix_of(int replica, int most, int *items)
{
    int count = 0;

    *items = 0;
    for (int i; (i = gathered(replica, count)) >= 0; count++) {
        if (*items + random_case.requests[i].items > most)
            break;
        *items += random_case.requests[i].items;
    }
    return count;
}

/* Of the batch that would leave now: how many requests, and in which size. 0: it waits, until then.
 */
static inline int batch_of(int replica, int *size, int64_t *until_ps)
{
    const struct case_executable *executable =
        &random_case.executables[random_case.replicas[replica].executable];
    int head = gathered(replica, 0), all, count, items, largest = -1;

    *until_ps = NAIVE_NEVER;
    if (head < 0)
        return 0;
    prefix_of(replica, INT32_MAX, &all);
    while (largest + 1 < executable->size_count &&
           executable->sizes[largest + 1] <= naive_max_batch(replica))
        largest++;
    *size = size_for(replica, random_case.requests[head].items);
    if (*size > largest)
        return 1;
    *until_ps = naive.requests[head].queued_ps + random_case.options.batch.wait_ps;
    if (all < executable->sizes[largest] && *until_ps > naive.now_ps)
        return 0;
    count = prefix_of(replica, executable->sizes[*size], &items);
    for (int b = *size + 1; b <= largest && all >= executable->sizes[b]; b++) {
        int more = prefix_of(replica, executable->sizes[b], &items);

        if (items != executable->sizes[b])
            continue;
        *size = b;
        count = more;
    }
    return count;
}

/* ---- starts ---- */

static inline void start_job(int request, int64_t start_ps)
{
    const struct case_stage *stage = naive_stage(request);

    if (naive.requests[request].stage == 0 && has_bookings() &&
        !is_early(naive.requests[request].replica))
        (void)walk_on(request, start_ps, true);
    for (int i = request; i >= 0; i = naive.requests[i].next)
        if (naive.requests[i].start_ps == TRACE_NONE)
            naive.requests[i].start_ps = start_ps;
    naive.requests[request].state = NAIVE_RUNNING;
    naive.requests[request].event_ps = start_ps + naive_cost_ps(request);
    naive.requests[request].gap_ps = naive_gap_ps(request);
    for (int i = 0; i < stage->device_count; i++)
        naive.devices[stage->devices[i]].running = request;
}

static inline void start_batch(int replica, int count, int size)
{
    int requests[CASE_REQUESTS];

    for (int i = 0; i < count; i++)
        requests[i] = gathered(replica, i);
    for (int i = 0; i < count; i++) {
        struct naive_request *r = &naive.requests[requests[i]];

        r->size = size;
        r->is_follower = i > 0;
        r->next = i + 1 < count ? requests[i + 1] : -1;
        r->state = NAIVE_RUNNING;
    }
    start_job(requests[0], naive.now_ps);
}

struct naive_choice { /* what a device would take next */
    int request;      /* of its queue, -1 */
    int replica;      /* whose batch it is, -1 */
    int count, size;  /* of the batch */
};

/* The oldest of what waits: a queued job before a batch, batches in the order of replicas. */
static inline struct naive_choice next_of(int device)
{
    struct naive_choice choice = { queue_head(device), -1, 0, 0 };
    int64_t since_ps = choice.request >= 0 ? naive.requests[choice.request].queued_ps : NAIVE_NEVER;

    for (int r = 0; r < random_case.replica_count; r++) {
        int64_t until_ps;
        int size, count;

        if (!stage_has(&random_case.replicas[r].stages[0], device))
            continue;
        count = batch_of(r, &size, &until_ps);
        if (count == 0 || naive.requests[gathered(r, 0)].queued_ps >= since_ps)
            continue;
        since_ps = naive.requests[gathered(r, 0)].queued_ps;
        choice = (struct naive_choice){ -1, r, count, size };
    }
    return choice;
}

/* It starts when all devices of its stage would take it, and are free. */
static inline bool start_on(int device)
{
    struct naive_choice choice = next_of(device);
    const struct case_stage *stage;

    if (choice.request < 0 && choice.replica < 0)
        return false;
    stage = choice.replica >= 0 ? &random_case.replicas[choice.replica].stages[0]
                                : naive_stage(choice.request);
    if (stage_free_ps(stage) > naive.now_ps)
        return false;
    for (int i = 0; i < stage->device_count; i++) {
        struct naive_choice other = next_of(stage->devices[i]);

        if (other.request != choice.request || other.replica != choice.replica)
            return false;
    }
    if (choice.replica >= 0)
        start_batch(choice.replica, choice.count, choice.size);
    else if (random_case.options.admission == ADMIT_LATE &&
             naive.requests[choice.request].stage == 0 &&
             !is_in_time(
                 choice.request,
                 walk_on(choice.request, naive.now_ps + naive_late_ps(choice.request), false)))
        end_one(choice.request, TRACE_DROPPED);
    else
        start_job(choice.request, naive.now_ps + naive_late_ps(choice.request));
    return true;
}

static inline void start_all(void)
{
    bool has_changed = true;

    while (has_changed) {
        has_changed = false;
        for (int d = 0; d < random_case.device_count; d++)
            has_changed = start_on(d) || has_changed;
    }
}

/* ---- the way of a request ---- */

static inline void enter_queue(int request)
{
    struct naive_request *r = &naive.requests[request];
    const struct case_stage *stage = naive_stage(request);

    for (int i = 0; i < stage->device_count; i++)
        if (naive.devices[stage->devices[i]].is_down) {
            end_all(request, TRACE_FAILED);
            return;
        }
    r->is_late = false;
    if (random_case.options.rules == SERVE_DLSIM)
        for (int i = 0; i < stage->device_count; i++)
            r->is_late = r->is_late || naive.devices[stage->devices[i]].running >= 0 ||
                         queue_head(stage->devices[i]) >= 0;
    r->order = naive.order++;
    r->queued_ps = naive.now_ps;
    r->state = r->stage == 0 && naive_max_batch(r->replica) > 1 ? NAIVE_GATHERING : NAIVE_QUEUED;
    if (r->state == NAIVE_GATHERING)
        r->is_late = false;
}

static inline bool hold(int request, enum naive_state state, enum overhead_where where)
{
    const struct overhead overhead = {
        .is_given = random_case.overhead_ps[where] >= 0,
        .dist = random_case.is_drawn[where] ? OVERHEAD_EXP : OVERHEAD_CONSTANT,
        .mean_ps = random_case.overhead_ps[where],
    };
    struct naive_request *r = &naive.requests[request];
    int64_t delay_ps = overhead_draw(&overhead, random_case.options.seed, where, (uint64_t)request,
                                     where == OVERHEAD_WORKER ? (uint64_t)r->stage : 0);

    if (delay_ps == 0)
        return false;
    r->state = state;
    r->event_ps = naive.now_ps + delay_ps;
    r->order = naive.order++;
    return true;
}

static inline void reach_worker(int request)
{
    if (!hold(request, NAIVE_AT_WORKER, OVERHEAD_WORKER))
        enter_queue(request);
}

/* When a message arrives; NAIVE_NEVER where it is free. */
static inline int64_t send_ps(int from, int to, int64_t bytes)
{
    struct naive_way way = way_of(from, to, bytes);
    int64_t begin_ps;

    if (!way.port_free_ps)
        return NAIVE_NEVER;
    begin_ps = *way.port_free_ps > naive.now_ps ? *way.port_free_ps : naive.now_ps;
    *way.port_free_ps = begin_ps + way.occupy_ps;
    return *way.port_free_ps + way.latency_ps;
}

static inline int route_of(int from, int to)
{
    for (int i = 0; i < naive.route_count; i++)
        if (naive.routes[i].from == from && naive.routes[i].to == to)
            return i;
    naive.routes[naive.route_count] = (struct naive_route){ from, to };
    return naive.route_count++;
}

/* Sends; false: it is there already. */
static inline bool send_request(int request, int from, int to, int64_t bytes)
{
    struct naive_request *r = &naive.requests[request];
    int64_t arrival_ps = send_ps(from, to, bytes);

    if (arrival_ps == NAIVE_NEVER)
        return false;
    r->state = NAIVE_ON_LINK;
    r->event_ps = arrival_ps;
    r->order = naive.order++;
    r->route = route_of(from, to);
    return true;
}

/* ---- bounded queues ---- */

static inline int naive_room(int replica, int stage)
{
    return random_case.replicas[replica].stages[stage].queue_depth *
           (stage == 0 && naive_max_batch(replica) > 1 ? naive_max_batch(replica) : 1);
}

static inline int naive_places(int request, int stage)
{
    int most = naive_max_batch(naive.requests[request].replica);
    int items = random_case.requests[request].items;

    return stage > 0 || most == 1 ? 1 : items < most ? items : most;
}

/* The stage whose queue it waits for: -1 = none. */
static inline int stage_asked(int request)
{
    const struct naive_request *r = &naive.requests[request];

    return r->state == NAIVE_AT_SOURCE ? 0 : r->state == NAIVE_KEPT ? r->stage + 1 : -1;
}

static inline bool fits(int request, int stage)
{
    int replica = naive.requests[request].replica, places = naive_places(request, stage);

    for (int i = 0; i < random_case.request_count; i++) {
        const struct naive_request *r = &naive.requests[i];
        bool is_there = r->state == NAIVE_ON_LINK || r->state == NAIVE_AT_WORKER ||
                        r->state == NAIVE_QUEUED || r->state == NAIVE_GATHERING;

        if (r->replica == replica && r->stage == stage && is_there && !r->is_back &&
            !r->is_follower)
            places += naive_places(i, stage);
    }
    return naive_room(replica, stage) == 0 || places <= naive_room(replica, stage);
}

/* Whether it may go on at once; else it has asked. */
static inline bool may_enter(int request, int stage, enum naive_state waiting)
{
    bool is_first = true;

    for (int i = 0; i < random_case.request_count; i++)
        is_first = is_first && (naive.requests[i].replica != naive.requests[request].replica ||
                                stage_asked(i) != stage);
    if (is_first && fits(request, stage))
        return true;
    naive.requests[request].state = waiting;
    naive.requests[request].asked = naive.order++;
    return false;
}

static inline void go(int request)
{
    if (!send_request(request, -1, naive_stage(request)->devices[0], bytes_in(request)))
        reach_worker(request);
}

static inline void launch(int request)
{
    if (may_enter(request, 0, NAIVE_AT_SOURCE))
        go(request);
}

static inline void leave(int request)
{
    struct naive_request *r = &naive.requests[request];
    int from = naive_stage(request)->devices[0];
    int64_t bytes = bytes_out(request, r->stage);

    if (r->stage + 1 < naive_stage_count(r->replica)) {
        r->stage++;
        if (!send_request(request, from, naive_stage(request)->devices[0], bytes))
            reach_worker(request);
        return;
    }
    r->is_back = true;
    if (!send_request(request, from, -1, bytes))
        end_all(request, TRACE_OK);
}

static inline void devices_release(int request)
{
    const struct case_stage *stage = naive_stage(request);

    for (int i = 0; i < stage->device_count; i++) {
        struct naive_device *device = &naive.devices[stage->devices[i]];

        device->running = -1;
        device->free_ps = device->free_ps > naive.now_ps ? device->free_ps : naive.now_ps;
    }
}

/* Who asked first among those that have room moves; false: nobody has. */
static inline bool move_one(void)
{
    int best = -1;

    for (int i = 0; i < random_case.request_count; i++) {
        int stage = stage_asked(i);
        bool is_first = stage >= 0;

        for (int k = 0; k < random_case.request_count; k++)
            is_first = is_first && (stage_asked(k) != stage ||
                                    naive.requests[k].replica != naive.requests[i].replica ||
                                    naive.requests[k].asked >= naive.requests[i].asked);
        if (is_first && fits(i, stage) &&
            (best < 0 || naive.requests[i].asked < naive.requests[best].asked))
            best = i;
    }
    if (best < 0)
        return false;
    if (naive.requests[best].state == NAIVE_AT_SOURCE) {
        go(best);
    } else {
        devices_release(best);
        leave(best);
    }
    return true;
}

static inline void complete(int request)
{
    struct naive_request *r = &naive.requests[request];
    const struct case_stage *stage = naive_stage(request);
    bool has_next = r->stage + 1 < naive_stage_count(r->replica);
    bool is_kept = has_next && !may_enter(request, r->stage + 1, NAIVE_KEPT);

    for (int i = 0; i < stage->device_count; i++) {
        struct naive_device *device = &naive.devices[stage->devices[i]];

        device->running = is_kept ? request : -1;
        device->free_ps = naive.now_ps + r->gap_ps + device->held_ps;
        device->held_ps = 0;
    }
    if (!is_kept)
        leave(request);
}

#endif
