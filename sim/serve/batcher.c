/* batcher.c - requests that wait in front of a stage 0 until they leave it as a batch.
 *
 * What leaves when is decided by lib/policy/batch; here are the queue, the clock and the costs. A
 * batch goes through all stages of its replica as one job. */
#include "sim/serve/batcher.h"
#include "sim/serve/crew.h"

#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include "lib/policy/copies.h"

struct batcher {
    struct site *site;
    const struct lane *lane;
    struct ring waiting;
    int64_t items;            /* of all that wait */
    int64_t heavy_count;      /* of those with several items */
    int32_t under_way, limit; /* of a decoder: batches that have not ended, and how many may be; 0 =
                                 no limit */
    /* Places of batches that have ended: of this instant, and by how many requests must have come
     * first. */
    int32_t ended_now, ended;
    int64_t *ended_after;
    int64_t sent, come; /* requests, from the source */
    int64_t alone_ps;   /* of a model: what all that wait would take alone */
    struct batch_options options;
    int size_count;                 /* of the lane's sizes, those that may be filled */
    struct batch_decision decision; /* when it was last asked */
    const struct serve *serve;      /* for the policy's questions */
};

/* A device knows the batchers of its stages 0, in order of replicas. */
static void station_attach(struct serve *serve, struct batcher *batcher, int32_t device)
{
    struct station *station = &serve->stations[device];
    size_t count = (size_t)station->batcher_count;

    station->batchers =
        arena_grow(serve->arena, station->batchers, count, count + 1, sizeof(struct batcher *));
    station->batchers[station->batcher_count++] = batcher;
}

/* A model computes any number of requests at once. */
static void sizes_make(const struct serve *serve, struct lane *lane)
{
    int32_t *sizes = arena_array(serve->arena, (size_t)lane->max_batch, sizeof(*sizes));

    for (int32_t i = 0; i < lane->max_batch; i++)
        sizes[i] = i + 1;
    lane->sizes = sizes;
    lane->size_count = lane->max_batch;
}

/* In front of one of the stages 0 of a replica. */
static void build(struct serve *serve, const struct lane *lane, struct site *site)
{
    struct batcher *batcher = arena_alloc(serve->arena, sizeof(*batcher));

    batcher->site = site;
    batcher->lane = lane;
    batcher->serve = serve;
    batcher->options = serve->options->batch;
    batcher->options.kind = BATCH_FIXED;
    batcher->options.max_size = lane->max_batch;
    batcher->size_count = batch_size_count(lane->max_batch, lane->sizes, lane->size_count);
    if (site->is_model && site->model->kind == MODEL_DECODER)
        batcher->limit = copies_batches(&serve->input->plan->replicas[site->replica]);
    batcher->ended_after = arena_array(serve->arena, (size_t)batcher->limit + 1, sizeof(int64_t));
    batcher->decision.action = BATCH_WAIT;
    site->batcher = batcher;
    for (int i = 0; i < site->device_count && !site->crew; i++)
        station_attach(serve, batcher, site->devices[i]);
    serve->has_batchers = true;
}

void batcher_build(struct serve *serve)
{
    for (int r = 0; r < serve->input->plan->replica_count; r++) {
        struct lane *lane = &serve->lanes[r];

        if (lane->max_batch == 1 || serve->options->batch.kind == BATCH_CONTINUOUS)
            continue;
        if (lane->sites[0].is_model)
            sizes_make(serve, lane);
        for (int32_t s = 0; s < lane->site_count; s++)
            if (lane->sites[s].base == lane->sites)
                build(serve, lane, &lane->sites[s]);
    }
}

bool batcher_waits(const struct batcher *batcher)
{
    return batcher->waiting.count > 0;
}

int64_t batcher_waiting(const struct batcher *batcher)
{
    return batcher->waiting.count;
}

const struct site *batcher_site(const struct batcher *batcher)
{
    return batcher->site;
}

static int timer_slot(const struct serve *serve, const struct batcher *batcher)
{
    return serve->batcher_slot + batcher->site->stage->id;
}

bool batcher_push(struct serve *serve, struct batcher *batcher, int32_t index, struct err *err)
{
    struct flight *flight = &serve->flights[index];
    int64_t extrapolated_costs = serve->result->extrapolated_costs;

    if (batcher->site->is_model) { /* nothing is computed of this: it does not count */
        if (batcher->site->crew ? !crew_estimate(serve, batcher->site->crew, index,
                                                 &serve->decodes[index].cost_ps, err)
                                : !station_price(serve, index, err))
            return false;
        serve->result->extrapolated_costs = extrapolated_costs;
        batcher->alone_ps = engine_after_ps(batcher->alone_ps, serve->decodes[index].cost_ps);
    }

    flight->job_ps = engine_now_ps(serve->engine);
    ring_push(&batcher->waiting, serve->arena, index);
    batcher->items += flight->items;
    batcher->heavy_count += flight->items > 1;
    if (batcher->site->crew)
        return crew_look(serve, batcher->site->crew, err);
    station_start(serve, batcher->site->device);
    return true;
}

static int32_t head_remove(struct serve *serve, struct batcher *batcher)
{
    int32_t index = ring_take(&batcher->waiting);

    batcher->items -= serve->flights[index].items;
    batcher->heavy_count -= serve->flights[index].items > 1;
    if (batcher->site->is_model)
        batcher->alone_ps -= serve->decodes[index].cost_ps;
    return index;
}

/* The head is lost. Until it leaves nobody knows in which batch: it counts as its share of the
 * largest one, or for itself where it is larger. */
static void head_lose(struct serve *serve, struct batcher *batcher, enum trace_status status)
{
    int32_t index = head_remove(serve, batcher);
    const struct lane *lane = batcher->lane;
    int32_t items = serve->flights[index].items;
    int largest = batcher->size_count > 0 ? batcher->size_count - 1 : 0;
    int size = serve_size(lane, items);
    struct job job = { 0, 0 };

    if (!batcher->site->is_model)
        job = batcher->site->jobs[size > largest ? size : largest];
    if (size <= largest) {
        job.cost_ps = job.cost_ps > 0 ? units_mul_div(items, job.cost_ps, lane->sizes[largest]) : 0;
        job.gap_ps = job.gap_ps > 0 ? units_mul_div(items, job.gap_ps, lane->sizes[largest]) : 0;
    }
    queue_form_lose(serve, index, job, status);
}

/* ---- the policy's questions ---- */

static int32_t items_at(void *arg, int64_t position)
{
    const struct batcher *batcher = arg;

    return batcher->serve->flights[ring_at(&batcher->waiting, (uint32_t)position)].items;
}

static int size_number(const struct lane *lane, int32_t size)
{
    int number = 0;

    while (number + 1 < lane->size_count && lane->sizes[number] < size)
        number++;
    return number;
}

/* When the source would have the results. */
static int64_t finish_ps(void *arg, int32_t size)
{
    const struct batcher *batcher = arg;
    const struct serve *serve = batcher->serve;
    int number = size_number(batcher->lane, size);
    int64_t back_ps;

    if (batcher->site->is_model) /* no objective is looked at: nothing is predicted */
        return engine_now_ps(serve->engine);
    back_ps = ledger_back_ps(serve, ring_peek(&batcher->waiting), number);
    return saturate_add(ledger_predict_ps(serve, ring_peek(&batcher->waiting), number,
                                          engine_now_ps(serve->engine)),
                        back_ps);
}

static struct batch_decision ask(struct serve *serve, struct batcher *batcher)
{
    const struct flight *head = &serve->flights[ring_peek(&batcher->waiting)];
    int64_t slo_ps = head->slo_ps > 0 ? head->slo_ps : serve->options->slo_ps;
    int needed = serve_size(batcher->lane, head->items) + 1;
    bool is_alone = needed > batcher->size_count; /* larger than what may be filled */
    struct batch_ask ask = {
        .now_ps = engine_now_ps(serve->engine),
        .count = is_alone ? 1 : batcher->waiting.count,
        .items = is_alone ? batcher->lane->sizes[needed - 1] : batcher->items, /* full */
        .arrival_ps = head->job_ps,
        .deadline_ps = slo_ps > 0 && !batcher->site->is_model
                           ? admit_deadline_ps(head->arrival_ps, slo_ps)
                           : BATCH_NEVER,
        .does_drop = serve->options->admission != ADMIT_NONE,
        .sizes = batcher->lane->sizes,
        .size_count = is_alone ? needed : batcher->size_count,
        .arg = batcher,
        .items_at = batcher->heavy_count > 0 ? items_at : NULL,
        .finish_ps = finish_ps,
    };

    return batch_decide(&batcher->options, &ask);
}

/* What it kept waiting on its devices may go. Those of a sliced stage wait for no batch. */
static void wake(struct serve *serve, const struct batcher *batcher, int32_t looker)
{
    if (!batcher->site->crew)
        queue_form_wake(serve, batcher->site, looker);
}

/* Whether its requests may leave now; drops the heads that are lost. What they kept waiting on its
 * devices may then go, but for the one that is being looked at. */
static bool may_leave(struct serve *serve, struct batcher *batcher, int32_t looker)
{
    if (batcher->limit > 0 && batcher->under_way == batcher->limit)
        return false; /* batcher_done looks again */
    while (batcher->waiting.count > 0) {
        bool could_leave = batcher->decision.action == BATCH_TAKE;

        batcher->decision = ask(serve, batcher);
        switch (batcher->decision.action) {
        case BATCH_TAKE:
            return true;
        case BATCH_DROP:
            head_lose(serve, batcher, TRACE_DROPPED);
            wake(serve, batcher, looker);
            break;
        case BATCH_WAIT:
            if (could_leave)
                wake(serve, batcher, looker);
            if (batcher->decision.until_ps != BATCH_NEVER)
                engine_set(serve->engine, timer_slot(serve, batcher), batcher->decision.until_ps,
                           ENGINE_EXOGENOUS);
            return false;
        }
    }
    return false;
}

bool batcher_is_older(struct serve *serve, struct batcher *batcher, int64_t ready_ps)
{
    return may_leave(serve, batcher, -1) &&
           serve->flights[ring_peek(&batcher->waiting)].job_ps < ready_ps;
}

struct batcher *batcher_oldest(struct serve *serve, int32_t device, int64_t ready_ps,
                               int32_t looker)
{
    const struct station *station = &serve->stations[device];
    struct batcher *oldest = NULL;

    for (int b = 0; b < station->batcher_count; b++) {
        struct batcher *batcher = station->batchers[b];
        int64_t head_ps;

        if (!may_leave(serve, batcher, looker))
            continue;
        head_ps = serve->flights[ring_peek(&batcher->waiting)].job_ps;
        if (head_ps < ready_ps) {
            ready_ps = head_ps;
            oldest = batcher;
        }
    }
    return oldest;
}

int32_t batcher_take(struct serve *serve, struct batcher *batcher)
{
    int16_t size = (int16_t)size_number(batcher->lane, batcher->decision.size);
    int32_t first = NO_FLIGHT, last = NO_FLIGHT;

    for (int64_t i = 0; i < batcher->decision.count; i++) {
        int32_t index = head_remove(serve, batcher);
        bool has_cache = batcher->lane->has_ways && batcher->site->is_model;

        if (has_cache) /* on all that it might have passed */
            memory_keep(serve, index, -1);
        serve->flights[index].size = size;
        serve->batch_ids[index] = serve->next_batch_id;
        if (last == NO_FLIGHT)
            first = index;
        else
            serve->flights[last].mate = index;
        if (batcher->lane->has_ways && index != first)
            way_join(serve, index, first);
        if (has_cache)
            memory_keep(serve, index, 1);
        last = index;
    }
    serve->next_batch_id++;
    batcher->under_way++;
    batcher->decision.action = BATCH_WAIT;
    engine_clear(serve->engine, timer_slot(serve, batcher));
    if (serve->has_comings)
        coming_batch(serve, first);
    return first;
}

void batcher_done(struct serve *serve, struct batcher *batcher)
{
    if (batcher->limit == 0) {
        batcher->under_way--;
        return;
    }
    if (batcher->ended_now++ == 0)
        ring_push(&serve->ended, serve->arena, batcher->site->stage->id);
}

/* Places whose turn it is are free. */
static void free_places(struct serve *serve, struct batcher *batcher)
{
    int32_t count = 0;

    while (count < batcher->ended && batcher->ended_after[count] <= batcher->come)
        count++;
    if (count == 0)
        return;
    batcher->ended -= count;
    batcher->under_way -= count;
    for (int32_t i = 0; i < batcher->ended; i++)
        batcher->ended_after[i] = batcher->ended_after[i + count];
    if (batcher->waiting.count == 0)
        return;
    if (batcher->site->crew) /* looks behind all else of this instant */
        engine_set(serve->engine, timer_slot(serve, batcher), engine_now_ps(serve->engine),
                   ENGINE_EXOGENOUS);
    else
        queue_form_wake(serve, batcher->site, -1);
}

void batcher_sent(struct batcher *batcher)
{
    batcher->sent++;
}

void batcher_came(struct serve *serve, struct batcher *batcher)
{
    batcher->come++;
    free_places(serve, batcher);
}

void batcher_free_one(struct serve *serve)
{
    struct batcher *batcher = serve->sites[ring_take(&serve->ended)].batcher;

    for (; batcher->ended_now > 0; batcher->ended_now--)
        batcher->ended_after[batcher->ended++] = batcher->sent;
    free_places(serve, batcher);
}

void batcher_timer(struct serve *serve, int number)
{
    const struct site *site = &serve->sites[number];

    if (!site->crew)
        station_start(serve, site->device);
    else if (!serve->has_failed)
        serve->has_failed = !crew_look(serve, site->crew, &serve->failure);
}

int64_t batcher_work_ps(const struct batcher *batcher, const struct site *site, int64_t items)
{
    int largest = batcher->size_count > 0 ? batcher->size_count - 1 : 0;
    int64_t cost_ps = site->jobs[largest].cost_ps;

    return cost_ps > 0 ? units_mul_div(items, cost_ps, batcher->lane->sizes[largest]) : 0;
}

int64_t batcher_backlog_ps(const struct batcher *batcher)
{
    if (batcher->site->is_model)
        return batcher->alone_ps;
    return batcher_work_ps(batcher, batcher->site, batcher->items);
}

void batcher_fail(struct serve *serve, struct batcher *batcher)
{
    engine_clear(serve->engine, timer_slot(serve, batcher));
    while (batcher->waiting.count > 0)
        head_lose(serve, batcher, TRACE_FAILED);
}
