/* naive.h - the rules of sim/README.md a second time, as plainly as they can be told: everything is
 * looked for anew at every instant, nothing is kept that could be computed. Written from the rules,
 * not from sim/serve; it knows random_case alone.
 *
 * Not here: decoders, and batches under an objective (when a deadline is looked at would have to be
 * told in the same words). */
#ifndef ORRERY_TESTS_UNIT_SIM_NAIVE_H
#define ORRERY_TESTS_UNIT_SIM_NAIVE_H

#include "tests/unit/sim/random_case.h"

#include "lib/policy/dispatch.h"

#define NAIVE_NEVER INT64_MAX

enum naive_state {
    NAIVE_TO_COME,
    NAIVE_SUBMITTED, /* held by an overhead */
    NAIVE_DISPATCHED,
    NAIVE_AT_SOURCE, /* until the queue of stage 0 has room */
    NAIVE_ON_LINK,
    NAIVE_AT_WORKER,
    NAIVE_GATHERING, /* in front of a stage 0 that takes batches */
    NAIVE_QUEUED,
    NAIVE_RUNNING,
    NAIVE_KEPT, /* its job is done, and its devices wait for room in the next stage */
    NAIVE_ENDED
};

struct naive_request {
    enum naive_state state;
    enum trace_status status;
    int replica, stage, size;
    bool is_back, is_late;
    int next;         /* of the same batch, -1 */
    bool is_follower; /* another request of its batch stands for it */
    int64_t known_ps; /* arrival; NAIVE_NEVER while it waits for others */
    int64_t arrival_ps, start_ps, finish_ps;
    int64_t event_ps;  /* end of a delay, arrival of a message, end of a job */
    int64_t gap_ps;    /* of the running job, as it was when it began */
    long order;        /* of being queued, sent or held */
    long asked;        /* order of asking for room */
    int64_t queued_ps; /* since when it is queued or gathered */
    int route;         /* on a link */
    int promised_from; /* the first stage that it is booked for, -1 = none */
};

struct naive_device {
    int running; /* -1 */
    bool is_down;
    int halves;
    int64_t free_ps, held_ps;
};

struct naive_route { /* in order of first being named by the plan */
    int from, to;    /* devices, -1 = source */
};

struct naive {
    int64_t now_ps;
    long order;
    int epoch, next_event;
    bool is_stuck; /* some wait for what will not come */
    int turns[CASE_SERVICES];
    struct dispatch *dispatch;
    struct naive_request requests[CASE_REQUESTS];
    struct naive_device devices[CASE_DEVICES];
    int64_t promised_ps[CASE_DEVICES];                /* until when, to what is not there yet */
    int64_t port_free_ps[CASE_LINKS][CASE_NODES + 1]; /* by medium, and node + 1 of a switch */
    int route_count;
    struct naive_route routes[CASE_REPLICAS * (CASE_STAGES + 1)];
};

static struct naive naive;

static inline const struct case_replica *naive_replica(int request)
{
    return &random_case.replicas[naive.requests[request].replica];
}

static inline int naive_stage_count(int replica)
{
    return random_case.executables[random_case.replicas[replica].executable].stage_count;
}

static inline const struct case_stage *naive_stage(int request)
{
    return &naive_replica(request)->stages[naive.requests[request].stage];
}

static inline bool stage_has(const struct case_stage *stage, int device)
{
    for (int i = 0; i < stage->device_count; i++)
        if (stage->devices[i] == device)
            return true;
    return false;
}

/* The slowest device sets the pace. */
static inline int64_t naive_time_ps(int replica, int stage, int size, bool is_gap)
{
    const struct case_replica *r = &random_case.replicas[replica];
    int64_t most_ps = 0;

    for (int i = 0; i < r->stages[stage].device_count; i++) {
        int device = r->stages[stage].devices[i];
        const struct case_cost *cost = &random_case.executables[r->executable]
                                            .costs[random_case.devices[device].type][size][stage];
        int64_t time_ps =
            (is_gap ? cost->gap_ps : cost->latency_ps) * 2 / naive.devices[device].halves;

        most_ps = time_ps > most_ps ? time_ps : most_ps;
    }
    return is_gap && random_case.options.rules == SERVE_DLSIM ? 0 : most_ps;
}

static inline int64_t naive_cost_ps(int request)
{
    const struct naive_request *r = &naive.requests[request];

    return naive_time_ps(r->replica, r->stage, r->size, false);
}

static inline int64_t naive_gap_ps(int request)
{
    const struct naive_request *r = &naive.requests[request];

    return naive_time_ps(r->replica, r->stage, r->size, true);
}

static inline int64_t naive_late_ps(int request)
{
    const struct naive_request *r = &naive.requests[request];

    return !r->is_late ? 0 : naive_stage_count(r->replica) > 1 ? 3 * MS : 4 * MS;
}

/* ---- arrivals ---- */

/* The row before of the same client or session, -1 = none. */
static inline int row_before(int row, bool is_session)
{
    const struct case_request *rows = random_case.requests;

    for (int i = row - 1; i >= 0; i--)
        if (is_session ? rows[i].session == rows[row].session : rows[i].client == rows[row].client)
            return i;
    return -1;
}

/* A row waits for the one before of its session, and of its client when it has no time. */
static inline int row_awaits(int row, bool is_session)
{
    const struct case_request *r = &random_case.requests[row];

    if (is_session ? r->session < 0 : r->client < 0 || r->arrival_ps >= 0)
        return -1;
    return row_before(row, is_session);
}

static inline bool row_is_open(int row)
{
    return random_case.requests[row].arrival_ps >= 0 && row_awaits(row, true) < 0;
}

static inline void row_is_known(int row)
{
    const struct case_request *r = &random_case.requests[row];
    int64_t known_ps = r->arrival_ps >= 0 ? r->arrival_ps : 0;
    bool does_wait = false;

    for (int k = 0; k < 2; k++) {
        int before = row_awaits(row, k == 1);

        does_wait = does_wait || before >= 0;
        if (before >= 0 && naive.requests[before].state != NAIVE_ENDED)
            return;
        if (before >= 0 && naive.requests[before].event_ps + r->think_ps > known_ps)
            known_ps = naive.requests[before].event_ps + r->think_ps;
    }
    if (!does_wait && r->arrival_ps < 0)
        known_ps = r->think_ps;
    naive.requests[row].known_ps = known_ps;
}

/* At one instant rows with a time of their own come before those that were waited for. */
static inline int next_row(void)
{
    int best = -1;

    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < random_case.request_count; i++) {
            struct naive_request *r = &naive.requests[i];

            if (r->state != NAIVE_TO_COME || row_is_open(i) != (pass == 0))
                continue;
            if (r->known_ps == NAIVE_NEVER)
                row_is_known(i);
            if (r->known_ps < NAIVE_NEVER &&
                (best < 0 || r->known_ps < naive.requests[best].known_ps))
                best = i;
        }
    return best;
}

/* ---- queues ---- */

static inline void end_one(int request, enum trace_status status)
{
    struct naive_request *r = &naive.requests[request];

    r->state = NAIVE_ENDED;
    r->status = status;
    r->event_ps = naive.now_ps;
    if (status == TRACE_OK)
        r->finish_ps = naive.now_ps;
}

/* Takes what is left of it off the devices that are promised to it (-1), or books it there: of all
 * stages, or of those with a device. */
static inline void rest_move(int request, int device, int sign)
{
    const struct naive_request *r = &naive.requests[request];

    if (r->promised_from < 0 || r->state == NAIVE_ENDED || r->is_back)
        return;
    for (int s = r->stage + (r->state == NAIVE_KEPT); s < naive_stage_count(r->replica); s++) {
        const struct case_stage *stage = &naive_replica(request)->stages[s];

        for (int i = 0; i < stage->device_count; i++)
            if (s >= r->promised_from && (device < 0 || stage_has(stage, device)))
                naive.promised_ps[stage->devices[i]] +=
                    sign * (naive_time_ps(r->replica, s, r->size, false) +
                            naive_time_ps(r->replica, s, r->size, true));
    }
}

/* With all its batch. */
static inline void end_all(int request, enum trace_status status)
{
    if (status != TRACE_OK)
        rest_move(request, -1, -1);
    for (int i = request; i >= 0; i = naive.requests[i].next)
        end_one(i, status);
}

static inline int queue_head(int device)
{
    int head = -1;

    for (int i = 0; i < random_case.request_count; i++)
        if (naive.requests[i].state == NAIVE_QUEUED && stage_has(naive_stage(i), device) &&
            (head < 0 || naive.requests[i].order < naive.requests[head].order))
            head = i;
    return head;
}

/* From when on all devices are free; NAIVE_NEVER while one runs or is down. */
static inline int64_t stage_free_ps(const struct case_stage *stage)
{
    int64_t free_ps = naive.now_ps;

    for (int i = 0; i < stage->device_count; i++) {
        const struct naive_device *device = &naive.devices[stage->devices[i]];

        if (device->running >= 0 || device->is_down)
            return NAIVE_NEVER;
        free_ps = device->free_ps > free_ps ? device->free_ps : free_ps;
    }
    return free_ps;
}

/* When devices would be done with all that runs and waits, in order of queueing. */
static inline void booked_fill(int64_t booked_ps[CASE_DEVICES])
{
    long after = -1;

    for (int d = 0; d < random_case.device_count; d++) {
        const struct naive_device *device = &naive.devices[d];

        booked_ps[d] = device->free_ps;
        if (device->running >= 0 && naive.requests[device->running].state != NAIVE_KEPT)
            booked_ps[d] = naive.requests[device->running].event_ps +
                           naive.requests[device->running].gap_ps + device->held_ps;
        if (booked_ps[d] < naive.now_ps)
            booked_ps[d] = naive.now_ps;
    }
    for (;;) {
        const struct case_stage *stage;
        int64_t start_ps = naive.now_ps;
        int next = -1;

        for (int i = 0; i < random_case.request_count; i++)
            if (naive.requests[i].state == NAIVE_QUEUED && naive.requests[i].order > after &&
                (next < 0 || naive.requests[i].order < naive.requests[next].order))
                next = i;
        if (next < 0)
            return;
        after = naive.requests[next].order;
        stage = naive_stage(next);
        for (int i = 0; i < stage->device_count; i++)
            if (booked_ps[stage->devices[i]] > start_ps)
                start_ps = booked_ps[stage->devices[i]];
        for (int i = 0; i < stage->device_count; i++)
            booked_ps[stage->devices[i]] =
                start_ps + naive_late_ps(next) + naive_cost_ps(next) + naive_gap_ps(next);
    }
}

/* ---- links ---- */

/* Row of links.csv that attaches the node to the medium: its own before that of every node. */
static inline const struct case_link *attachment(int medium, int node)
{
    const struct case_link *every = NULL;

    for (int i = 0; i < random_case.link_count; i++) {
        const struct case_link *link = &random_case.links[i];

        if (link->medium == medium && link->node == node)
            return link;
        if (link->medium == medium && link->node == CASE_EVERY)
            every = link;
    }
    return every;
}

static inline int node_of(int end)
{
    return end < 0 ? CASE_SOURCE : random_case.devices[end].node;
}

struct naive_way {         /* of a message */
    int64_t *port_free_ps; /* of the port that it occupies; NULL: it is free */
    int64_t occupy_ps, latency_ps;
};

static inline struct naive_way way_of(int from, int to, int64_t bytes)
{
    for (int m = 0; m < CASE_LINKS && from != to; m++) {
        const struct case_link *a = attachment(m, node_of(from)), *b = attachment(m, node_of(to));
        struct naive_way way;
        int64_t rate;

        if (!a || !b || (node_of(from) == node_of(to) && a->kind != CASE_BUS))
            continue;
        rate = a->bytes_per_s < b->bytes_per_s ? a->bytes_per_s : b->bytes_per_s;
        way.latency_ps = a->latency_ps > b->latency_ps ? a->latency_ps : b->latency_ps;
        way.port_free_ps = &naive.port_free_ps[m][a->kind == CASE_SWITCH ? node_of(from) + 1 : 0];
        way.occupy_ps = a->per_message_ps + bytes * (UNITS_PS_PER_S / rate);
        return way;
    }
    return (struct naive_way){ NULL, 0, 0 };
}

static inline int64_t bytes_in(int request)
{
    return 4 * (int64_t)random_case.requests[request].prompt_tokens;
}

static inline int64_t bytes_out(int request, int stage)
{
    int type = random_case.devices[naive_replica(request)->stages[stage].devices[0]].type;

    return random_case.executables[naive_replica(request)->executable]
        .costs[type][naive.requests[request].size][stage]
        .output_bytes;
}

/* ---- objectives ---- */

static inline int64_t overhead_mean_ps(enum overhead_where where)
{
    return random_case.overhead_ps[where] > 0 ? random_case.overhead_ps[where] : 0;
}

/* From stage to stage (-1: the source; behind the last: back to it), as if nobody else sent. */
static inline int64_t alone_ps(int request, int stage)
{
    int count = naive_stage_count(naive.requests[request].replica);
    int from = stage < 0 ? -1 : naive_replica(request)->stages[stage].devices[0];
    int to = stage + 1 < count ? naive_replica(request)->stages[stage + 1].devices[0] : -1;
    int64_t bytes = stage < 0 ? bytes_in(request) : bytes_out(request, stage);
    struct naive_way way = way_of(from, to, bytes);

    return way.occupy_ps + way.latency_ps + (to < 0 ? 0 : overhead_mean_ps(OVERHEAD_WORKER));
}

static inline int64_t naive_slo_ps(int request)
{
    return random_case.requests[request].slo_ps > 0 ? random_case.requests[request].slo_ps
                                                    : random_case.options.slo_ps;
}

/* When the source would have its result if it stood before stage `first` then; books the stages on
 * request. */
static inline int64_t walk(int request, int first, int64_t time_ps, bool does_book)
{
    struct naive_request *r = &naive.requests[request];
    int64_t booked_ps[CASE_DEVICES];

    booked_fill(booked_ps);
    for (int s = first; s < naive_stage_count(r->replica); s++) {
        const struct case_stage *stage = &naive_replica(request)->stages[s];

        for (int i = 0; i < stage->device_count; i++) {
            int d = stage->devices[i];

            time_ps = booked_ps[d] > time_ps ? booked_ps[d] : time_ps;
            time_ps = naive.promised_ps[d] > time_ps ? naive.promised_ps[d] : time_ps;
        }
        time_ps += naive_time_ps(r->replica, s, r->size, false);
        for (int i = 0; i < stage->device_count && does_book; i++)
            naive.promised_ps[stage->devices[i]] =
                time_ps + naive_time_ps(r->replica, s, r->size, true);
        time_ps += alone_ps(request, s);
    }
    if (does_book)
        r->promised_from = first;
    return time_ps;
}

/* From the start of its job in stage 0. */
static inline int64_t walk_on(int request, int64_t start_ps, bool does_book)
{
    const struct naive_request *r = &naive.requests[request];

    return walk(request, 1,
                start_ps + naive_time_ps(r->replica, 0, r->size, false) + alone_ps(request, 0),
                does_book);
}

static inline bool is_in_time(int request, int64_t finish_ps)
{
    return naive_slo_ps(request) == 0 ||
           finish_ps <= naive.requests[request].arrival_ps + naive_slo_ps(request);
}

#endif
