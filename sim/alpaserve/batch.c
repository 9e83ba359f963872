/* batch.c - fixed batches by AlpaServe's rules: a queue a service, and groups that take from the
 * queues when their first stages are free.
 *
 * The event of a group is the next instant at which one of its first stages becomes free, or at
 * which a head has waited long enough. Groups are slots of an engine: at one instant in their
 * order. */
#include "lib/policy/batch.h"
#include "lib/base/arena.h"
#include "lib/base/saturate.h"
#include "sim/alpaserve/groups.h"
#include "sim/alpaserve/internal.h"
#include "sim/engine/engine.h"

#define BLOCK 256 /* arrivals of an open stream that are pulled at once */

struct waiting { /* a request in a queue; records are pooled */
    struct alpaserve_arrival arrival;
    int32_t next_free;
};

struct queue { /* of a service, whichever group serves it */
    struct batch_queue *jobs;
    int64_t items;
};

struct batches {
    struct run *run;
    struct groups *groups;
    struct engine *engine; /* a slot for each group */
    int64_t *event_ps;     /* of each group, ALPASERVE_NEVER = none */
    int64_t *heads_ps;     /* scratch: arrivals of the heads that a group may serve */
    struct queue *queues;  /* by service */
    struct waiting *records;
    int32_t record_count, first_free; /* -1 = none free */
    struct alpaserve_arrival *block;  /* pulled and not taken: at `next` of `count` */
    size_t next, count;
    /* what batch_decide asks about */
    const struct path *path;
    const struct queue *queue;
    int64_t enter_ps, response_ps; /* now and the response of the head */
};

/* ---- queues ---- */

static void queue_push(struct batches *b, const struct alpaserve_arrival *arrival)
{
    struct queue *queue = &b->queues[arrival->service];
    int32_t index = b->first_free;

    if (index < 0) {
        int32_t count = b->record_count ? 2 * b->record_count : 64;

        b->records = arena_grow(b->run->arena, b->records, (size_t)b->record_count, (size_t)count,
                                sizeof *b->records);
        for (int32_t i = b->record_count; i < count; i++)
            b->records[i].next_free = i + 1 < count ? i + 1 : -1;
        index = b->record_count;
        b->record_count = count;
    }
    b->first_free = b->records[index].next_free;
    b->records[index].arrival = *arrival;
    queue->items += arrival->items;
    batch_push(queue->jobs, index);
}

/* The arrival is read before its record is used again. */
static struct alpaserve_arrival queue_take(struct batches *b, struct queue *queue)
{
    int32_t index = batch_take(queue->jobs);

    b->records[index].next_free = b->first_free;
    b->first_free = index;
    queue->items -= b->records[index].arrival.items;
    return b->records[index].arrival;
}

static const struct alpaserve_arrival *queue_head(const struct batches *b,
                                                  const struct queue *queue)
{
    int32_t index = batch_peek(queue->jobs);

    return index < 0 ? NULL : &b->records[index].arrival;
}

static int64_t head_ps(const struct batches *b, int32_t service)
{
    const struct alpaserve_arrival *head = queue_head(b, &b->queues[service]);

    return head ? head->arrival_ps : BATCH_NEVER;
}

/* ---- one batch ---- */

static int32_t items_at(void *arg, int64_t position)
{
    const struct batches *b = arg;

    return b->records[batch_at(b->queue->jobs, position)].arrival.items;
}

static int64_t finish_ps(void *arg, int32_t size)
{
    const struct batches *b = arg;

    return path_predict_ps(b->run, b->path, path_size(b->path, size), b->enter_ps);
}

static bool batch_run(struct batches *b, struct queue *queue, const struct batch_decision *decision,
                      struct err *err)
{
    struct run *run = b->run;
    const struct path *path = b->path;
    int32_t size = path_size(path, decision->size), share = 0;
    int64_t end_ps = path_predict_ps(run, path, size, b->enter_ps);
    int64_t start_ps = run->times_ps[0] - path_latency_ps(path, size)[0];
    int64_t batch_id = run->result->batch_count++;

    path_book(run, path, size, queue_head(b, queue)->arrival_ps + b->response_ps);
    for (int64_t i = 0; i < decision->count; i++) {
        struct alpaserve_arrival arrival = queue_take(b, queue);

        if (run->observer.on_span)
            alpaserve_tell_spans(run, path, size, arrival.index,
                                 arrival.arrival_ps + b->response_ps, batch_id, share++);
        if (!alpaserve_end(run, &arrival, path, TRACE_OK, start_ps, end_ps, err))
            return false;
    }
    return true;
}

static bool drop_head(struct batches *b, struct queue *queue, int64_t now_ps, struct err *err)
{
    struct alpaserve_arrival arrival = queue_take(b, queue);

    return alpaserve_end(b->run, &arrival, NULL, TRACE_DROPPED, 0, now_ps, err);
}

/* Serves the queue with a replica whose first stage is free, after dropping what would be late.
 * *action is BATCH_DROP when nothing was left, *until_ps when to ask again after BATCH_WAIT. */
static bool queue_serve(struct batches *b, const struct path *path, struct queue *queue,
                        int64_t now_ps, enum batch_action *action, int64_t *until_ps,
                        struct err *err)
{
    const struct alpaserve_arrival *head;

    b->path = path;
    b->queue = queue;
    *action = BATCH_DROP;
    while ((head = queue_head(b, queue)) != NULL) {
        struct batch_ask ask = { .now_ps = now_ps,
                                 .count = batch_length(queue->jobs),
                                 .items = queue->items,
                                 .arrival_ps = head->arrival_ps,
                                 .deadline_ps = run_deadline_ps(b->run, head),
                                 .does_drop = true,
                                 .sizes = path->sizes,
                                 .size_count = path->size_count,
                                 .arg = b,
                                 .finish_ps = finish_ps };
        struct batch_decision decision;

        ask.items_at = ask.items > ask.count ? items_at : NULL;
        b->response_ps = alpaserve_response_ps(b->run, head->request_id);
        b->enter_ps = saturate_add(now_ps, b->response_ps);
        decision = batch_decide(&path->batch, &ask);
        *action = decision.action;
        *until_ps = decision.until_ps;
        if (decision.action == BATCH_TAKE)
            return batch_run(b, queue, &decision, err);
        if (decision.action == BATCH_WAIT)
            return true;
        if (!drop_head(b, queue, now_ps, err))
            return false;
    }
    return true;
}

/* ---- groups ---- */

static void event_set(struct batches *b, int32_t group, int64_t time_ps)
{
    b->event_ps[group] = time_ps;
    if (time_ps == ALPASERVE_NEVER)
        engine_clear(b->engine, group);
    else
        engine_set(b->engine, group, time_ps, ENGINE_COMPLETION);
}

/* Of the replicas whose first stage is free now, the one whose last stage is done first; or NULL.
 */
static const struct path *free_path(const struct run *run, const struct choice *choice,
                                    int64_t now_ps)
{
    const struct path *best = NULL;
    int64_t best_ps = 0;

    for (int32_t i = 0; i < choice->count; i++) {
        const struct path *path = choice->paths[i];
        int64_t clock_ps = path_clock_ps(run, path, path->stage_count - 1);

        if (path_clock_ps(run, path, 0) > now_ps || (best && clock_ps >= best_ps))
            continue;
        best = path;
        best_ps = clock_ps;
    }
    return best;
}

/* When the next first stage of the group becomes free; those that are free now wait for nothing. */
static int64_t next_free_ps(const struct batches *b, const struct group *group, int64_t now_ps)
{
    int64_t next_ps = ALPASERVE_NEVER;

    for (int32_t i = 0; i < group->seat_count; i++) {
        const struct choice *choice = &group->seats[i].choice;

        for (int32_t k = 0; k < choice->count; k++) {
            int64_t clock_ps = path_clock_ps(b->run, choice->paths[k], 0);

            if (clock_ps > now_ps && clock_ps < next_ps)
                next_ps = clock_ps;
            if (group->is_uniform)
                return next_ps;
        }
    }
    return next_ps;
}

/* Serves what the free first stages of the group can: the service at `seat` (-1 = none) before the
 * others, these by the age of their heads. Plans the group's next event. */
static bool group_serve(struct batches *b, int32_t index, int64_t now_ps, int32_t seat,
                        struct err *err)
{
    const struct group *group = &b->groups->groups[index];
    int64_t next_ps = ALPASERVE_NEVER, free_ps;

    for (int32_t i = 0; i < group->seat_count; i++)
        b->heads_ps[i] = head_ps(b, group->seats[i].service);
    if (seat < 0)
        seat = batch_oldest(b->heads_ps, group->seat_count);
    for (; seat >= 0; seat = batch_oldest(b->heads_ps, group->seat_count)) {
        int32_t service = group->seats[seat].service;
        const struct path *path = free_path(b->run, &group->seats[seat].choice, now_ps);
        enum batch_action action = BATCH_DROP;
        int64_t until_ps = ALPASERVE_NEVER;

        if (path && !queue_serve(b, path, &b->queues[service], now_ps, &action, &until_ps, err))
            return false;
        b->heads_ps[seat] = action == BATCH_TAKE ? head_ps(b, service) : BATCH_NEVER;
        if (action == BATCH_WAIT && until_ps < next_ps)
            next_ps = until_ps;
        if (action == BATCH_TAKE && group->is_uniform)
            break;
    }
    free_ps = next_free_ps(b, group, now_ps);
    event_set(b, index, free_ps < next_ps ? free_ps : next_ps);
    return true;
}

/* ---- arrivals and epochs ---- */

static int64_t next_arrival_ps(struct batches *b)
{
    const struct alpaserve_source *source = b->run->source;

    if (source->peek_ps)
        return source->peek_ps(source->arg);
    if (b->next == b->count) {
        b->next = 0;
        b->count = source->take(source->arg, b->block, BLOCK);
    }
    return b->next < b->count ? b->block[b->next].arrival_ps : ALPASERVE_NEVER;
}

static bool on_arrival(struct batches *b, struct err *err)
{
    struct run *run = b->run;
    const struct alpaserve_source *source = run->source;
    const struct alpaserve_arrival *arrival = &b->block[b->next];
    const struct choice *choice;
    const struct path *path;
    int64_t now_ps, free_ps;

    if (source->peek_ps)
        (void)source->take(source->arg, b->block, 1);
    else
        b->next++;
    now_ps = arrival->arrival_ps;
    engine_advance(b->engine, now_ps);
    if (run->result->taken_count++ == 0)
        run->result->first_ps = now_ps;
    run->result->last_ps = now_ps;
    choice = &run->now[arrival->service];
    if (arrival->items > choice->max_items)
        return alpaserve_end(run, arrival, NULL, TRACE_REFUSED, 0, now_ps, err);
    path = choice_path(run, choice);
    queue_push(b, arrival);
    free_ps = path_clock_ps(run, path, 0);
    if (free_ps <= now_ps)
        return group_serve(b, path->group, now_ps, path->seat, err);
    if (free_ps < b->event_ps[path->group])
        event_set(b, path->group, free_ps);
    return true;
}

/* Queues go on; what nobody can serve any more is refused. Groups of the epoch look at the queues
 * at once, those of the one before never again. */
static bool on_epoch(struct batches *b, struct err *err)
{
    struct run *run = b->run;
    const int32_t *first = b->groups->epoch_first;
    int64_t now_ps = run->next_epoch_ps;

    for (int32_t g = first[run->epoch]; g < first[run->epoch + 1]; g++)
        event_set(b, g, ALPASERVE_NEVER);
    alpaserve_next_epoch(run);
    for (int s = 0; s < run->plan->service_count; s++) {
        struct queue *queue = &b->queues[s];

        for (int64_t left = batch_length(queue->jobs); left > 0; left--) {
            struct alpaserve_arrival arrival = queue_take(b, queue);

            if (arrival.items <= run->now[s].max_items)
                queue_push(b, &arrival);
            else if (!alpaserve_end(run, &arrival, NULL, TRACE_REFUSED, 0, now_ps, err))
                return false;
        }
    }
    for (int32_t g = first[run->epoch]; g < first[run->epoch + 1]; g++)
        event_set(b, g, now_ps);
    return true;
}

static bool loop(struct batches *b, struct err *err)
{
    for (;;) {
        int64_t arrival_ps = next_arrival_ps(b), event_ps = engine_peek_ps(b->engine);
        int64_t next_ps = arrival_ps < event_ps ? arrival_ps : event_ps;

        if (next_ps == ALPASERVE_NEVER)
            return true;
        if (next_ps >= b->run->next_epoch_ps) {
            if (!on_epoch(b, err))
                return false;
        } else if (arrival_ps < event_ps) {
            if (!on_arrival(b, err))
                return false;
        } else if (!group_serve(b, engine_next(b->engine), event_ps, -1, err)) {
            return false;
        }
    }
}

bool alpaserve_run_batches(struct run *run, struct err *err)
{
    struct batches *b = arena_alloc(run->arena, sizeof *b);
    size_t service_count = (size_t)run->plan->service_count, group_count;

    b->run = run;
    b->first_free = -1;
    b->groups = groups_create(run);
    group_count = (size_t)b->groups->count;
    b->engine = engine_create(run->arena, group_count > 0 ? (int)group_count : 1);
    b->event_ps = arena_array(run->arena, group_count, sizeof *b->event_ps);
    for (size_t i = 0; i < group_count; i++)
        b->event_ps[i] = ALPASERVE_NEVER;
    b->heads_ps = arena_array(run->arena, service_count, sizeof *b->heads_ps);
    b->queues = arena_array(run->arena, service_count, sizeof *b->queues);
    for (size_t i = 0; i < service_count; i++)
        b->queues[i].jobs = batch_queue_create(run->arena, BATCH_FIXED);
    b->block = arena_array(run->arena, BLOCK, sizeof *b->block);
    if (!loop(b, err))
        return false;
    run->result->event_count = engine_event_count(b->engine);
    return true;
}
