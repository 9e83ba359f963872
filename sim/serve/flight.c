/* flight.c - requests in the system: pooled records on their way from hop to hop.
 *
 * The source drives every step of a decoder: it sends the last token to stage 0 as soon as it holds
 * it. The first request of a batch stands for all of them until they end. */
#include "sim/serve/handoff.h"
#include "sim/serve/internal.h"

#include "lib/policy/admit.h"
#include "sim/network/network.h"
#include "sim/serve/batcher.h"
#include "sim/serve/crew.h"

static void pool_widen(struct serve *serve)
{
    int32_t count = arena_wider(serve->flight_count, 64);

    serve->flights = arena_grow(serve->arena, serve->flights, (size_t)serve->flight_count,
                                (size_t)count, sizeof(*serve->flights));
    if (serve->has_models)
        serve->decodes = arena_grow(serve->arena, serve->decodes, (size_t)serve->flight_count,
                                    (size_t)count, sizeof(*serve->decodes));
    if (serve->has_batchers)
        serve->batch_ids = arena_grow(serve->arena, serve->batch_ids, (size_t)serve->flight_count,
                                      (size_t)count, sizeof(*serve->batch_ids));
    if (serve->observer.on_span)
        serve->readies_ps = arena_grow(serve->arena, serve->readies_ps, (size_t)serve->flight_count,
                                       (size_t)count, sizeof(*serve->readies_ps));
    if (serve->has_comings)
        serve->comings_ps = arena_grow(serve->arena, serve->comings_ps, (size_t)serve->flight_count,
                                       (size_t)count, sizeof(*serve->comings_ps));
    if (serve->has_ways)
        serve->ways = arena_grow(serve->arena, serve->ways,
                                 (size_t)serve->flight_count * (size_t)serve->way_places,
                                 (size_t)count * (size_t)serve->way_places, sizeof(*serve->ways));
    if (serve->has_ledger)
        serve->promises = arena_grow(serve->arena, serve->promises, (size_t)serve->flight_count,
                                     (size_t)count, sizeof(*serve->promises));
    if (serve->has_rooms)
        serve->asks = arena_grow(serve->arena, serve->asks, (size_t)serve->flight_count,
                                 (size_t)count, sizeof(*serve->asks));
    for (int32_t i = serve->flight_count; i < count; i++)
        serve->flights[i].mate = i + 1 < count ? i + 1 : NO_FLIGHT;
    serve->first_free = serve->flight_count;
    serve->flight_count = count;
}

static void step_prepare(const struct flight *flight, struct decode *decode)
{
    admit_step_tokens(flight->prompt_tokens, decode->step, &decode->new_tokens,
                      &decode->past_tokens);
}

int32_t flight_reserve(struct serve *serve)
{
    int32_t index;

    if (serve->first_free == NO_FLIGHT)
        pool_widen(serve);
    index = serve->first_free;
    serve->first_free = serve->flights[index].mate;
    return index;
}

int32_t flight_create(struct serve *serve, const struct arrival *arrival, struct site *site)
{
    const struct workload_request *request = &arrival->request;
    int32_t index = flight_reserve(serve);
    struct flight *flight = &serve->flights[index];

    *flight = (struct flight){ .request = arrival->index,
                               .arrival_ps = arrival->arrival_ps,
                               .start_ps = TRACE_NONE,
                               .slo_ps = request->slo_ps,
                               .site = site,
                               .mate = NO_FLIGHT,
                               .items = request->batch,
                               .prompt_tokens = request->prompt_tokens };
    if (serve->batch_ids)
        serve->batch_ids[index] = -1;
    if (serve->promises)
        serve->promises[index] = LEDGER_NOTHING;
    if (site->is_model) {
        struct decode *decode = &serve->decodes[index];

        *decode =
            (struct decode){ .step_count = admit_step_count(site->model, request->output_tokens),
                             .output_tokens = request->output_tokens,
                             .handoff = NO_HANDOFF,
                             .first_token_ps = TRACE_NONE };
        step_prepare(flight, decode);
    }
    return index;
}

void flight_drop(struct serve *serve, int32_t index)
{
    serve->flights[index].site = NULL;
    serve->flights[index].mate = serve->first_free;
    serve->first_free = index;
}

/* Tells of the end of one request and frees its record. */
static void request_end(struct serve *serve, int32_t index, int32_t replica,
                        enum trace_status status)
{
    const struct flight *flight = &serve->flights[index];
    int64_t now_ps = engine_now_ps(serve->engine);
    uint64_t request = flight->request;
    struct serve_end end = { .index = request,
                             .request_id = arrivals_id(&serve->arrivals, request),
                             .service = flight->site->service,
                             .replica = replica,
                             .status = status,
                             .arrival_ps = flight->arrival_ps,
                             .start_ps = flight->start_ps,
                             .first_token_ps = TRACE_NONE,
                             .finish_ps = status == TRACE_OK ? now_ps : TRACE_NONE,
                             .e2e_ps = TRACE_NONE,
                             .slo_ps = flight->slo_ps };

    if (status == TRACE_OK && serve->input->overheads)
        end.e2e_ps = engine_after_ps(now_ps - flight->arrival_ps,
                                     delays_response_ps(serve, (uint64_t)end.request_id));
    if (flight->site->is_model) {
        end.first_token_ps = serve->decodes[index].first_token_ps;
        end.prompt_tokens = flight->prompt_tokens;
        end.output_tokens = serve->decodes[index].output_tokens;
    }
    self_check_change(serve, -1);
    parts_add_wide(&serve->all_ps, now_ps - flight->arrival_ps);
    serve->result->late_count += now_ps > serve->options->until_ps;
    flight_drop(serve, index);
    serve_tell_end(serve, &end);
    arrivals_ended(&serve->arrivals, request, now_ps);
}

void flight_turn_away(struct serve *serve, int32_t index, enum trace_status status)
{
    request_end(serve, index, -1, status);
}

/* The requests of a batch, oldest first. */
static void batch_end(struct serve *serve, int32_t index, enum trace_status status)
{
    int32_t replica = serve->flights[index].site->replica;
    struct lane *lane = &serve->lanes[replica];

    while (index != NO_FLIGHT) {
        int32_t mate = serve->flights[index].mate;

        if (serve->flights[index].site->is_model)
            memory_keep(serve, index, -1);
        if (serve->has_comings)
            coming_drop(serve, index);
        if (lane->has_ways)
            way_leave(serve, index);
        lane->same->outstanding--;
        if (lane->presence)
            presence_leave(lane->presence, engine_now_ps(serve->engine));
        request_end(serve, index, replica, status);
        index = mate;
    }
}

/* Of the flight. */
static const struct site *first_site(const struct serve *serve, int32_t index)
{
    struct site *base = serve->lanes[serve->flights[index].site->replica].sites;

    return serve->has_ways ? way_at(serve, index, base) : base;
}

/* A batch of a model, which came by that stage 0, is over. */
static void batch_close(struct serve *serve, const struct site *first, int64_t batch_id)
{
    if (first->is_model && first->batcher && batch_id >= 0)
        batcher_done(serve, first->batcher);
}

void flight_lose(struct serve *serve, int32_t index, enum trace_status status)
{
    const struct site *first = first_site(serve, index);
    int64_t batch_id = serve_batch_id(serve, index);
    int32_t handoff = serve->handoffs ? serve->decodes[index].handoff : NO_HANDOFF;

    if (serve->has_ledger)
        ledger_drop(serve, index);
    batch_end(serve, index, status);
    if (handoff != NO_HANDOFF)
        handoff_drop(serve, handoff);
    batch_close(serve, first, batch_id);
}

/* ---- batches of models ---- */

struct padded flight_padded(const struct serve *serve, int32_t index)
{
    struct padded padded = { 0, 0, 0 };

    for (; index != NO_FLIGHT; index = serve->flights[index].mate) {
        const struct decode *decode = &serve->decodes[index];

        padded.count++;
        if (decode->new_tokens > padded.new_tokens)
            padded.new_tokens = decode->new_tokens;
        if (decode->past_tokens > padded.past_tokens)
            padded.past_tokens = decode->past_tokens;
    }
    return padded;
}

/* The source holds a token of a decoder. */
static void token_tell(const struct serve *serve, const struct flight *flight,
                       struct decode *decode)
{
    int64_t now_ps = engine_now_ps(serve->engine);

    if (decode->step > 0)
        serve->observer.on_gap(serve->observer.end_arg,
                               &(struct serve_gap){ flight->site->service,
                                                    now_ps - decode->token_ps, 0, 1, 1,
                                                    flight->arrival_ps });
    decode->token_ps = now_ps;
}

/* The source holds the results of a step: *rest becomes those that have another one before them,
 * *done the others, each in order. */
static void step_count_on(const struct serve *serve, int32_t index, int32_t *rest, int32_t *done)
{
    int32_t *last_rest = rest, *last_done = done;

    while (index != NO_FLIGHT) {
        struct flight *flight = &serve->flights[index];
        struct decode *decode = &serve->decodes[index];
        bool is_done = decode->step + 1 >= decode->step_count;

        if (serve->observer.on_gap)
            token_tell(serve, flight, decode);
        if (decode->step++ == 0)
            decode->first_token_ps = engine_now_ps(serve->engine);
        if (!is_done) {
            step_prepare(flight, decode);
            flight->is_back = false;
            flight->site = serve->lanes[flight->site->replica].decode_sites;
            if (serve->has_ways)
                flight->site = way_at(serve, index, flight->site);
        }
        *(is_done ? last_done : last_rest) = index;
        if (is_done)
            last_done = &flight->mate;
        else
            last_rest = &flight->mate;
        index = flight->mate;
    }
    *last_rest = *last_done = NO_FLIGHT;
}

/* ---- hops ---- */

static int64_t batch_bytes(const struct serve *serve, int32_t index)
{
    const struct plan *plan = serve->input->plan;
    const struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;
    struct padded padded = flight_padded(serve, index);
    if (flight->is_back)
        return network_times_bytes(padded.count,
                                   plan_result_bytes(plan, &plan->replicas[site->replica]));
    return plan_input_bytes(plan, site->stage, padded.count * padded.new_tokens);
}

/* Bytes of the message that takes the flight into its stage, or back to the source. */
static int64_t hop_bytes(const struct serve *serve, int32_t index)
{
    const struct plan *plan = serve->input->plan;
    const struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;

    if (!site->is_model && flight->is_back)
        return site->output_bytes[flight->size];
    if (!site->is_model && site->stage->number > 0)
        return way_before(serve, index)->output_bytes[flight->size];
    if (site->is_model && flight->mate != NO_FLIGHT)
        return batch_bytes(serve, index);
    if (flight->is_back)
        return plan_result_bytes(plan, &plan->replicas[site->replica]);
    return plan_input_bytes(plan, site->stage,
                            site->is_model ? serve->decodes[index].new_tokens
                                           : flight->prompt_tokens);
}

struct serve_transfer flight_transfer(const struct serve *serve, int32_t index, int64_t bytes,
                                      int64_t send_ps, bool is_late,
                                      const struct network_sent *sent)
{
    const struct flight *flight = &serve->flights[index];

    return (struct serve_transfer){
        .request = flight->request,
        .request_id = arrivals_id(&serve->arrivals, flight->request),
        .service = flight->site->service,
        .batch_id = serve_batch_id(serve, index),
        .from = NETWORK_SOURCE,
        .to = NETWORK_SOURCE,
        .step = flight->site->is_model ? serve->decodes[index].step : 0,
        .hop = flight->site->stage->number,
        .is_late = is_late,
        .link = sent->link,
        .link_name = network_link_name(serve->network, sent->link),
        .medium = network_link_medium(serve->network, sent->link),
        .bytes = bytes,
        .send_ps = send_ps,
        .begin_ps = sent->begin_ps,
        .end_ps = sent->end_ps,
        .receive_ps = sent->arrival_ps,
    };
}

static void transfer_tell(const struct serve *serve, int32_t index, int64_t bytes, int64_t send_ps,
                          bool is_late, const struct network_sent *sent)
{
    const struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;
    struct serve_transfer transfer = flight_transfer(serve, index, bytes, send_ps, is_late, sent);

    transfer.hop += flight->is_back;
    if (flight->is_back)
        transfer.from = site->device;
    else
        transfer.to = site->device;
    if (!flight->is_back && site->stage->number > 0)
        transfer.from = way_before(serve, index)->device;
    for (int32_t i = index; i != NO_FLIGHT; i = serve->flights[i].mate, transfer.share++) {
        transfer.request = serve->flights[i].request;
        transfer.request_id = arrivals_id(&serve->arrivals, transfer.request);
        serve->observer.on_transfer(serve->observer.arg, &transfer);
    }
}

static void on_use(void *arg, int link, int32_t message, int64_t bytes, int64_t begin_ps,
                   int64_t end_ps)
{
    const struct serve *serve = arg;
    int32_t index = crew_flight(serve, message);
    const struct flight *flight;

    if (index == NO_FLIGHT) /* of a pass that was cut, or of a cache of requests that are lost */
        return;
    flight = &serve->flights[index];
    serve->observer.on_use(
        serve->observer.arg,
        &(struct serve_use){ .request_id = arrivals_id(&serve->arrivals, flight->request),
                             .service = flight->site->service,
                             .step = flight->site->is_model ? serve->decodes[index].step : 0,
                             .link = link,
                             .link_name = network_link_name(serve->network, link),
                             .bytes = bytes,
                             .begin_ps = begin_ps,
                             .end_ps = end_ps });
}

static void on_busy(void *arg, int link, int64_t begin_ps, int64_t end_ps, int64_t busy_ps)
{
    const struct serve *serve = arg;

    serve->observer.on_busy(serve->observer.arg,
                            &(struct serve_busy){ link, begin_ps, end_ps, busy_ps });
}

void flight_tell_in_link(struct serve *serve, int32_t message, int64_t bytes,
                         const struct network_sent *sent)
{
    if (sent->in_link < 0)
        return;
    if (serve->observer.on_use)
        on_use(serve, sent->in_link, message, bytes, sent->flow_ps, sent->end_ps);
    if (serve->observer.on_busy)
        on_busy(serve, sent->in_link, sent->flow_ps, sent->end_ps, sent->end_ps - sent->flow_ps);
}

static void hop_send(struct serve *serve, int32_t index, int route)
{
    int64_t bytes = hop_bytes(serve, index);

    for (int32_t i = serve->flights[index].mate; i != NO_FLIGHT; i = serve->flights[i].mate)
        network_carry(serve->network, route, 1, bytes);
    if (serve->observer.on_transfer) {
        struct network_sent sent = network_send(serve->network, route, bytes, index);

        if (sent.arrival_ps != NETWORK_LATER) {
            transfer_tell(serve, index, bytes, engine_now_ps(serve->engine), false, &sent);
            flight_tell_in_link(serve, index, bytes, &sent);
        }
    } else {
        network_post(serve->network, route, bytes, index);
    }
}

void flight_tell_received(const struct serve *serve, int32_t index)
{
    struct network_received received = network_received(serve->network);
    struct network_sent sent = { .link = received.link,
                                 .begin_ps = received.begin_ps,
                                 .end_ps = received.arrival_ps,
                                 .arrival_ps = received.arrival_ps };

    transfer_tell(serve, index, received.bytes, received.send_ps, true, &sent);
}

void flight_watch(struct serve *serve)
{
    const struct serve_observer *observer = &serve->observer;

    if (observer->on_use || observer->on_busy)
        network_watch(serve->network,
                      &(struct network_watcher){ .arg = serve,
                                                 .on_use = observer->on_use ? on_use : NULL,
                                                 .on_busy = observer->on_busy ? on_busy : NULL });
}

bool flight_launch(struct serve *serve, int32_t index, struct err *err)
{
    if (serve->has_rooms && !room_take(serve, index, serve->flights[index].site))
        return true;
    return flight_go(serve, index, err);
}

bool flight_go(struct serve *serve, int32_t index, struct err *err)
{
    const struct flight *flight = &serve->flights[index];

    if (flight->site->batcher && batcher_takes(serve, index))
        batcher_sent(flight->site->batcher);
    if (serve->tandem)
        return tandem_pass(serve, index, err);
    if (flight->site->route_in < 0)
        return flight_enter(serve, index, err);
    hop_send(serve, index, flight->site->route_in); /* from the source */
    return true;
}

static bool is_before_decode(const struct serve *serve, int32_t index)
{
    return serve->flights[index].site->stage->phase == PLACEMENT_DECODE &&
           serve->decodes[index].step == 1;
}

bool flight_return(struct serve *serve, int32_t index, struct err *err)
{
    struct flight *flight = &serve->flights[index];

    if (flight->site->is_model) {
        const struct site *first = first_site(serve, index);
        int64_t batch_id = serve_batch_id(serve, index);
        int32_t rest, done;

        for (int32_t i = flight->mate; i != NO_FLIGHT; i = serve->flights[i].mate)
            serve->flights[i].site = flight->site; /* the first has moved for all */
        step_count_on(serve, index, &rest, &done);
        if (rest != NO_FLIGHT && serve->handoffs && is_before_decode(serve, rest))
            handoff_send(serve, rest);
        if (rest != NO_FLIGHT && serve->has_comings && !coming_set(serve, rest, err))
            return false;
        if (done != NO_FLIGHT)
            batch_end(serve, done, TRACE_OK);
        if (rest != NO_FLIGHT)
            return flight_launch(serve, rest, err);
        batch_close(serve, first, batch_id);
        return true;
    }
    batch_end(serve, index, TRACE_OK);
    return true;
}

bool flight_leave(struct serve *serve, int32_t index, struct err *err)
{
    struct flight *flight = &serve->flights[index];
    int route;

    if (!flight->site->is_last) {
        flight->site = way_next(serve, index);
        route = way_route_in(serve, index);
        if (route < 0)
            return flight_enter(serve, index, err);
    } else {
        route = flight->site->route_back;
        if (route == CREW_PART)
            return crew_part_done(serve, index, err);
        if (route == CREW_STRAY) {
            crew_stray_done(serve, index);
            return true;
        }
        if (route < 0)
            return flight_return(serve, index, err);
        flight->is_back = true;
    }
    hop_send(serve, index, route);
    return true;
}

bool flight_arrive(struct serve *serve, int32_t index, struct err *err)
{
    return serve->flights[index].is_back ? flight_return(serve, index, err)
                                         : flight_enter(serve, index, err);
}

bool flight_enter(struct serve *serve, int32_t index, struct err *err)
{
    if (serve->flights[index].site->is_plain) {
        if (serve->has_comings)
            coming_enter(serve, index);
        station_push_plain(serve, index);
        return true;
    }
    if (serve->handoffs && serve->flights[index].site->is_model && handoff_holds(serve, index))
        return true;
    if (serve->delays && delays_hold(serve, DELAY_WORKER, index))
        return true;
    return station_push(serve, index, err);
}
