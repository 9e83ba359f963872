/* crew.c - passes of sliced stages among the other jobs of their devices: what they cost, whose
 * they are, and what observers are told of them. */
#include "sim/serve/crew.h"

#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/overhead.h"
#include "lib/policy/price.h"
#include "lib/policy/wake.h"
#include "sim/network/network.h"
#include "sim/serve/batcher.h"
#include "sim/serve/handoff.h"

static struct crew *crew_of(const struct serve *serve, const struct sliced *sliced)
{
    return serve->crews[sliced_number(sliced)];
}

/* ---- what a pass is of ---- */

/* Of a batch: all its requests, each as the longest of them. */
static struct sliced_load load_of(const struct serve *serve, int32_t index)
{
    struct padded padded = flight_padded(serve, index);

    return (struct sliced_load){ padded.count * padded.new_tokens, padded.count,
                                 serve->decodes[index].step > 0 };
}

static bool begin(void *arg, const struct sliced *sliced, int32_t who, struct sliced_load *load,
                  struct err *err)
{
    struct serve *serve = arg;

    (void)sliced;
    (void)err;
    if (serve->has_rooms)
        room_give(serve, who);
    *load = load_of(serve, who);
    return true;
}

static bool piece_price(struct serve *serve, const struct crew *crew, int32_t index, int32_t piece,
                        int64_t *time_ps, int *extrapolated, struct err *err)
{
    struct padded padded = flight_padded(serve, index);
    const struct pass_piece *of = &sliced_pass(crew->sliced)->pieces[piece];
    int32_t device = crew->site->devices[of->position];

    return price_piece_batch(serve->price, of, crew->site->model, crew->tables[of->position],
                             serve->input->plan->cluster->devices[device].threads,
                             serve->speeds[device], padded.count, padded.new_tokens,
                             padded.past_tokens, time_ps, extrapolated, err);
}

static bool price(void *arg, const struct sliced *sliced, int32_t who, int32_t piece,
                  int64_t *time_ps, int *extrapolated, struct err *err)
{
    struct serve *serve = arg;

    return piece_price(serve, crew_of(serve, sliced), who, piece, time_ps, extrapolated, err);
}

static int64_t lead_ps(void *arg, const struct sliced *sliced, int32_t position, int32_t sequences)
{
    const struct serve *serve = arg;
    int32_t device = crew_of(serve, sliced)->site->devices[position];

    return price_scale(overhead_step_ps(serve->input->overheads, sequences), serve->speeds[device]);
}

/* ---- its pieces, as jobs of their devices ---- */

static bool compute(void *arg, const struct sliced *sliced, int32_t who, int32_t piece,
                    int64_t cost_ps, struct err *err)
{
    struct serve *serve = arg;
    struct crew *crew = crew_of(serve, sliced);
    int32_t position = sliced_pass(sliced)->pieces[piece].position;
    int32_t index = crew->flights[position];

    (void)err;
    crew->pieces[position] = piece;
    crew->parts[position].job.cost_ps = cost_ps;
    serve->flights[index] = (struct flight){ .request = serve->flights[who].request,
                                             .arrival_ps = engine_now_ps(serve->engine),
                                             .start_ps = TRACE_NONE,
                                             .site = &crew->parts[position],
                                             .mate = NO_FLIGHT,
                                             .items = 1 };
    station_queue(serve, index);
    return true;
}

void crew_tell_piece(const struct serve *serve, enum serve_span_kind kind, int32_t index,
                     int64_t start_ps)
{
    const struct site *part = serve->flights[index].site;
    int32_t who = sliced_running(part->crew->sliced);
    const struct flight *flight = &serve->flights[who];

    serve->observer.on_span(
        serve->observer.arg,
        &(struct serve_span){ .kind = kind,
                              .request = flight->request,
                              .request_id = arrivals_id(&serve->arrivals, flight->request),
                              .batch_id = serve_batch_id(serve, who),
                              .stage = part->stage->id,
                              .device = part->device,
                              .position = part->position,
                              .step = serve->decodes[who].step,
                              .start_ps = start_ps,
                              .finish_ps = engine_now_ps(serve->engine) });
}

bool crew_part_done(struct serve *serve, int32_t index, struct err *err)
{
    struct flight *flight = &serve->flights[index];
    const struct site *part = flight->site;

    if (serve->observer.on_span)
        crew_tell_piece(serve, SERVE_SPAN_PIECE, index, flight->job_ps);
    parts_add(serve, engine_now_ps(serve->engine) - flight->job_ps, -1); /* the pass has it */
    flight->site = NULL;
    return sliced_computed(part->crew->sliced, part->position, flight->job_ps, err);
}

bool crew_reprice(struct serve *serve, int32_t index, struct err *err)
{
    struct site *part = serve->flights[index].site;

    return sliced_reprice(part->crew->sliced, part->crew->pieces[part->position],
                          &part->job.cost_ps, err);
}

/* ---- its end ---- */

/* A row for each request and device: from the begin of its first piece to the end of its last. */
static void tell_pass(const struct serve *serve, const struct crew *crew, int32_t index)
{
    struct serve_span span = { .kind = SERVE_SPAN_PASS,
                               .batch_id = serve_batch_id(serve, index),
                               .stage = crew->site->stage->id,
                               .step = serve->decodes[index].step };

    for (int32_t r = index; r != NO_FLIGHT; r = serve->flights[r].mate, span.share++) {
        /* Behind stage 0 of the first step the first of a batch stands for all. */
        int32_t waiter = crew->site->batcher && span.step == 0 ? r : index;

        span.request = serve->flights[r].request;
        span.request_id = arrivals_id(&serve->arrivals, span.request);
        for (int32_t i = 0; i < crew->site->device_count; i++) {
            sliced_span(crew->sliced, i, &span.start_ps, &span.finish_ps);
            span.position = i;
            span.device = crew->site->devices[i];
            span.wait_ps = span.start_ps - serve->readies_ps[waiter];
            serve->observer.on_span(serve->observer.arg, &span);
        }
    }
}

static int64_t first_ps(const struct serve *serve, const struct crew *crew)
{
    int64_t first = engine_now_ps(serve->engine);

    for (int32_t i = 0; i < crew->site->device_count; i++) {
        int64_t begin_ps, end_ps;

        sliced_span(crew->sliced, i, &begin_ps, &end_ps);
        if (begin_ps < end_ps && begin_ps < first)
            first = begin_ps;
    }
    return first;
}

static bool end(void *arg, const struct sliced *sliced, int32_t who, struct err *err)
{
    struct serve *serve = arg;
    struct crew *crew = crew_of(serve, sliced);
    int64_t start_ps = first_ps(serve, crew);

    for (int32_t i = who; i != NO_FLIGHT; i = serve->flights[i].mate)
        if (serve->flights[i].start_ps == TRACE_NONE)
            serve->flights[i].start_ps = start_ps;
    if (serve->observer.on_span)
        tell_pass(serve, crew, who);
    parts_add(serve, sliced_compute_ps(sliced), flight_padded(serve, who).count);
    if (serve->has_rooms && !crew->site->is_last && !room_take(serve, who, way_next(serve, who))) {
        crew->kept = who;
        sliced_hold(crew->sliced);
        return true;
    }
    return flight_leave(serve, who, err) && crew_look(serve, crew, err);
}

/* ---- the closed form ---- */

/* Requests in the pass, and those that wait for the stage. */
static int64_t count_of(const struct serve *serve, const struct crew *crew)
{
    int64_t count = flight_padded(serve, sliced_running(crew->sliced)).count;

    for (int32_t i = 0; i < sliced_waiting(crew->sliced); i++)
        count += flight_padded(serve, sliced_waiting_at(crew->sliced, i)).count;
    for (uint32_t i = 0; i < crew->queue.count; i++)
        count += flight_padded(serve, ring_at(&crew->queue, i)).count;
    return count + (crew->site->batcher ? batcher_waiting(crew->site->batcher) : 0);
}

/* Nobody is there but the request of the pass, and those that wait for the same stage; its devices
 * are idle. */
static bool is_quiet(void *arg, const struct sliced *sliced, int64_t *next_ps)
{
    const struct serve *serve = arg;
    const struct crew *crew = crew_of(serve, sliced);
    int64_t now_ps = engine_now_ps(serve->engine);

    *next_ps = serve->arrivals.next_ps;
    if (serve->in_system != count_of(serve, crew) || handoff_is_live(serve))
        return false;
    for (int32_t i = 0; i < crew->site->device_count; i++) {
        const struct station *station = &serve->stations[crew->site->devices[i]];

        if (station->running != NO_FLIGHT || station->queue.count > 0 || station->free_ps > now_ps)
            return false;
        if (serve->wakes && wake_could_ps(&serve->wakes[crew->site->devices[i]]) < *next_ps)
            *next_ps = wake_could_ps(&serve->wakes[crew->site->devices[i]]);
    }
    return true;
}

static void account(void *arg, const struct sliced *sliced, int32_t position, int64_t busy_ps,
                    int64_t end_ps)
{
    struct serve *serve = arg;
    struct station *station = &serve->stations[crew_of(serve, sliced)->site->devices[position]];

    station->busy_ps += busy_ps;
    station->offered_ps += (uint64_t)busy_ps;
    parts_add(serve, busy_ps, -1);
    station->free_ps = station->booked_ps = end_ps;
    if (serve->wakes)
        serve->wakes[crew_of(serve, sliced)->site->devices[position]].awake_ps = end_ps;
}

/* ---- messages ---- */

void crew_on_message(void *arg, const struct sliced *sliced, const struct sliced_message *message)
{
    struct serve *serve = arg;
    const struct site *site = crew_of(serve, sliced)->site;
    struct serve_transfer transfer =
        flight_transfer(serve, sliced_running(sliced), message->bytes, message->send_ps,
                        message->is_late, message->sent);

    transfer.from = site->devices[message->from];
    transfer.to = site->devices[message->to];
    transfer.is_inside = true;
    serve->observer.on_transfer(serve->observer.arg, &transfer);
    if (!message->is_late)
        flight_tell_in_link(serve, message->number, message->bytes, message->sent);
}

int32_t crew_flight(const struct serve *serve, int32_t message)
{
    if (message >= HANDOFF_FIRST_MESSAGE && message < SLICED_FIRST_MESSAGE)
        return handoff_flight(serve, message);
    return message < SLICED_FIRST_MESSAGE ? message : sliced_message_of(serve->sliced, message);
}

/* ---- begin and end ---- */

static void part_reserve(struct serve *serve, struct crew *crew, int32_t position,
                         const int32_t *slots)
{
    crew->parts[position].slot = crew->strays[position].slot = slots[crew->parts[position].device];
    crew->flights[position] = crew_part_flight(serve);
}

void crew_begin(struct serve *serve)
{
    const struct sliced_host host = {
        .arg = serve,
        .begin = begin,
        .price = price,
        .lead_ps = lead_ps,
        .compute = compute,
        .end = end,
        .is_quiet = is_quiet,
        .account = account,
        .on_message = serve->observer.on_transfer ? crew_on_message : NULL,
    };
    int32_t *slots;

    if (serve->crew_count == 0 || serve->options->batch.kind == BATCH_CONTINUOUS)
        return;
    slots = arena_array(serve->arena, (size_t)serve->input->plan->cluster->device_count,
                        sizeof(*slots));
    for (int i = 0; i < serve->input->plan->cluster->device_count; i++)
        slots[i] = serve->stations[i].slot;
    sliced_attach(serve->sliced, serve->input->plan->cluster, serve->engine, serve->sliced_slot,
                  slots, &host);
    for (int i = 0; i < serve->crew_count; i++)
        for (int32_t k = 0; k < serve->crews[i]->site->device_count; k++)
            part_reserve(serve, serve->crews[i], k, slots);
}

void crew_result(const struct serve *serve)
{
    struct serve_result *result = serve->result;
    struct sliced_totals totals = sliced_totals(serve->sliced);

    if (serve->crew_count == 0)
        return;
    result->passes = totals.stages;
    result->passes_count = totals.stage_count;
    result->closed_count = totals.closed_count;
    result->event_count += totals.event_count;
    result->extrapolated_costs += totals.extrapolated_costs;
    result->moved_bytes = network_add_bytes(result->moved_bytes, totals.moved_bytes);
    for (int i = 0; i < result->link_count; i++) {
        int64_t busy_ps, bytes;

        sliced_link(serve->sliced, i, &busy_ps, &bytes);
        result->links[i].busy_ps += busy_ps;
        result->links[i].bytes = network_add_bytes(result->links[i].bytes, bytes);
    }
}

/* ---- what is to come ---- */

int64_t crew_backlog_ps(const struct serve *serve, const struct crew *crew)
{
    int64_t now_ps = engine_now_ps(serve->engine);

    return crew->booked_ps > now_ps ? crew->booked_ps - now_ps : 0;
}

static bool slowest(struct serve *serve, const struct crew *crew, const struct pass_step *step,
                    int32_t index, int64_t *slowest_ps, struct err *err)
{
    *slowest_ps = 0;
    for (int32_t i = step->first; i < step->first + step->count; i++) {
        int extrapolated; /* counted when it is computed */
        int64_t time_ps;

        if (!piece_price(serve, crew, index, i, &time_ps, &extrapolated, err))
            return false;
        *slowest_ps = time_ps > *slowest_ps ? time_ps : *slowest_ps;
    }
    return true;
}

bool crew_estimate(struct serve *serve, const struct crew *crew, int32_t index, int64_t *time_ps,
                   struct err *err)
{
    const struct pass *pass = sliced_pass(crew->sliced);
    struct sliced_load load = load_of(serve, index);

    *time_ps = 0;
    for (int32_t s = 0; s < pass->segment_count; s++) {
        const struct pass_segment *segment = &pass->segments[s];

        for (int32_t i = segment->first_step; i < segment->first_step + segment->step_count; i++) {
            int64_t step_ps;

            if (pass->steps[i].kind != PASS_COMPUTE)
                step_ps = sliced_exchange_ps(crew->sliced, i, &load);
            else if (!slowest(serve, crew, &pass->steps[i], index, &step_ps, err))
                return false;
            for (int32_t r = 0; r < segment->repeats; r++)
                *time_ps = engine_after_ps(*time_ps, step_ps);
        }
    }
    return true;
}

/* It will keep the stage that long, as far as is known. */
static bool book(struct serve *serve, struct crew *crew, int32_t index, struct err *err)
{
    int64_t now_ps = engine_now_ps(serve->engine), alone_ps;

    if (!crew_estimate(serve, crew, index, &alone_ps, err))
        return false;
    if (crew->booked_ps < now_ps)
        crew->booked_ps = now_ps;
    crew->booked_ps = engine_after_ps(crew->booked_ps, alone_ps);
    return true;
}

bool crew_push(struct serve *serve, int32_t index, struct err *err)
{
    struct crew *crew = serve->flights[index].site->crew;

    if (!book(serve, crew, index, err))
        return false;
    if (!crew->site->batcher)
        return sliced_push(crew->sliced, index, err);
    serve->flights[index].job_ps = engine_now_ps(serve->engine);
    ring_push(&crew->queue, serve->arena, index);
    return crew_look(serve, crew, err);
}

bool crew_look(struct serve *serve, struct crew *crew, struct err *err)
{
    struct batcher *batcher = crew->site->batcher;

    while (batcher && sliced_is_free(crew->sliced) && !queue_form_is_down(serve, crew->site)) {
        int32_t index = ring_peek(&crew->queue);

        if (batcher_is_older(serve, batcher,
                             index == NO_FLIGHT ? ENGINE_NEVER : serve->flights[index].job_ps)) {
            index = batcher_take(serve, batcher);
            if (!book(serve, crew, index, err))
                return false;
        } else if (index == NO_FLIGHT) {
            return true;
        } else {
            ring_take(&crew->queue);
        }
        if (!sliced_push(crew->sliced, index, err))
            return false;
    }
    return true;
}

bool crew_let_go(struct serve *serve, struct crew *crew, struct err *err)
{
    crew->kept = NO_FLIGHT;
    return sliced_release(crew->sliced, err) && crew_look(serve, crew, err);
}

const char *crew_waits_for(const struct serve *serve, int32_t index)
{
    const struct sliced *sliced = serve->flights[index].site->crew->sliced;
    int32_t running = sliced_running(sliced);

    if (running == index)
        return sliced_waits_for(sliced);
    if (running == SLICED_NOBODY)
        return "waits for its stage";
    return arena_printf(serve->arena, "behind request %lld",
                        (long long)arrivals_id(&serve->arrivals, serve->flights[running].request));
}
