/* serve.c - moves requests from arrival to end; one event at a time.
 *
 * A request in the system is a flight: a pooled record that is always in one step of one stage,
 * queued, running or on a link. The source drives every step of a decoder: it sends the last token
 * to stage 0 as soon as it holds it. */
#include "sim/serve/serve.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/workload.h"
#include "lib/policy/admit.h"
#include "lib/policy/price.h"
#include "lib/policy/source.h"
#include "sim/engine/engine.h"
#include "sim/network/network.h"
#include "sim/serve/internal.h"

const struct site *serve_site(const struct serve *serve, const struct flight *flight)
{
    const struct plan_replica *replica = &serve->input->plan->replicas[flight->replica];

    return &serve->sites[replica->stages[flight->hop].id];
}

static int32_t flight_create(struct serve *serve)
{
    int32_t index = serve->first_free;

    if (index < 0) {
        int32_t count = serve->flight_count ? 2 * serve->flight_count : 64;

        serve->flights = arena_grow(serve->arena, serve->flights, (size_t)serve->flight_count,
                                    (size_t)count, sizeof(*serve->flights));
        for (int32_t i = serve->flight_count; i < count; i++) {
            serve->flights[i].next_free = i + 1 < count ? i + 1 : -1;
            serve->flights[i].replica = -1;
        }
        index = serve->flight_count;
        serve->flight_count = count;
    }
    serve->first_free = serve->flights[index].next_free;
    return index;
}

/* The cache of all tokens that the request will ever have, on every stage of its replica. */
static void cache_change(struct serve *serve, const struct flight *flight, int sign)
{
    const struct plan_replica *replica = &serve->input->plan->replicas[flight->replica];
    const struct workload_request request = workload_at(serve->input->workload, flight->request);
    int64_t tokens = (int64_t)request.prompt_tokens + request.output_tokens;

    for (int s = 0; s < replica->stage_count; s++) {
        const struct site *site = &serve->sites[replica->stages[s].id];
        struct station *station = &serve->stations[site->stage->devices[0]];
        int64_t used_bytes;

        station->kv_bytes += sign * tokens * site->kv_bytes_per_token;
        used_bytes = station->base_bytes + station->kv_bytes;
        if (used_bytes > station->peak_bytes)
            station->peak_bytes = used_bytes;
    }
}

static void end_tell(const struct serve *serve, size_t index, const struct serve_request *request)
{
    const struct workload_request row = workload_at(serve->input->workload, index);
    struct serve_end end = { .index = index,
                             .request_id = row.request_id,
                             .service = serve->input->service_of[row.service],
                             .replica = request->replica,
                             .status = request->status,
                             .arrival_ps = request->arrival_ps,
                             .start_ps = request->start_ps,
                             .first_token_ps = request->first_token_ps,
                             .finish_ps = request->finish_ps,
                             .e2e_ps = TRACE_NONE,
                             .slo_ps = row.slo_ps,
                             .prompt_tokens = row.prompt_tokens,
                             .output_tokens = row.output_tokens };

    serve->observer.on_end(serve->observer.end_arg, &end);
}

static void request_end(struct serve *serve, size_t index, enum trace_status status)
{
    struct serve_request *request = &serve->result->requests[index];
    int64_t now_ps = engine_now_ps(serve->engine);

    request->status = status;
    self_check_change(serve, -1);
    serve->sojourn_ps += (uint64_t)(now_ps - request->arrival_ps);
    if (serve->observer.on_end)
        end_tell(serve, index, request);
    source_ended(serve->source, index, now_ps);
}

/* Bytes of the message that takes the flight into its next stage, or back to the source. */
static int64_t hop_bytes(const struct serve *serve, const struct flight *flight,
                         const struct plan_replica *replica)
{
    const struct plan *plan = serve->input->plan;
    const struct site *before;

    if (flight->hop == 0)
        return plan_input_bytes(plan, &replica->stages[0], flight->new_tokens);
    before = &serve->sites[replica->stages[flight->hop - 1].id];
    if (!before->model)
        return before->output_bytes;
    if (flight->hop == replica->stage_count)
        return plan_result_bytes(plan, replica);
    return plan_input_bytes(plan, &replica->stages[flight->hop], flight->new_tokens);
}

static void transfer_tell(const struct serve *serve, const struct flight *flight,
                          const struct plan_replica *replica, int64_t bytes,
                          const struct network_sent *sent)
{
    struct serve_transfer transfer = {
        .request = flight->request,
        .from = flight->hop == 0 ? NETWORK_SOURCE : replica->stages[flight->hop - 1].devices[0],
        .to = flight->hop == replica->stage_count ? NETWORK_SOURCE
                                                  : replica->stages[flight->hop].devices[0],
        .step = flight->step,
        .hop = flight->hop,
        .link = sent->link,
        .link_name = network_link_name(serve->network, sent->link),
        .medium = network_link_medium(serve->network, sent->link),
        .bytes = bytes,
        .send_ps = engine_now_ps(serve->engine),
        .begin_ps = sent->begin_ps,
        .end_ps = sent->end_ps,
        .receive_ps = sent->arrival_ps,
    };

    serve->observer.on_transfer(serve->observer.arg, &transfer);
}

/* Sends the flight over its hop. *is_there tells that it has arrived already. */
static void hop_send(struct serve *serve, int32_t index, bool *is_there)
{
    const struct flight *flight = &serve->flights[index];
    const struct plan_replica *replica = &serve->input->plan->replicas[flight->replica];
    bool is_back = flight->hop == replica->stage_count;
    const struct plan_stage *end = &replica->stages[is_back ? flight->hop - 1 : flight->hop];
    const struct site *site = &serve->sites[end->id];
    int64_t bytes = hop_bytes(serve, flight, replica);
    struct network_sent sent =
        network_send(serve->network, is_back ? site->route_back : site->route_in, bytes, index);

    *is_there = sent.is_free;
    if (sent.is_free)
        return;
    serve->result->moved_bytes += bytes;
    if (serve->observer.on_transfer)
        transfer_tell(serve, flight, replica, bytes, &sent);
}

static void step_prepare(struct serve *serve, struct flight *flight)
{
    const struct workload_request request = workload_at(serve->input->workload, flight->request);

    flight->hop = 0;
    admit_step_tokens(request.prompt_tokens, flight->step, &flight->new_tokens,
                      &flight->past_tokens);
}

/* The source holds the result of a step. Returns true when the request has ended. */
static bool step_end(struct serve *serve, int32_t index)
{
    struct flight *flight = &serve->flights[index];
    struct serve_request *request = &serve->result->requests[flight->request];
    const struct plan_replica *replica = &serve->input->plan->replicas[flight->replica];

    if (flight->step == 0 && serve->input->plan->services[replica->service].model)
        request->first_token_ps = engine_now_ps(serve->engine);
    if (++flight->step < flight->step_count) {
        step_prepare(serve, flight);
        return false;
    }
    request->finish_ps = engine_now_ps(serve->engine);
    cache_change(serve, flight, -1);
    serve->outstanding[flight->replica]--;
    flight->replica = -1;
    flight->next_free = serve->first_free;
    serve->first_free = index;
    request_end(serve, flight->request, TRACE_OK);
    return true;
}

/* The flight has reached the end of its hop: a stage's queue, or the source, which sends the next
 * step at once. */
static bool flight_arrive(struct serve *serve, int32_t index, struct err *err)
{
    const struct plan *plan = serve->input->plan;
    bool is_there = true;

    while (is_there) {
        struct flight *flight = &serve->flights[index];

        if (flight->hop < plan->replicas[flight->replica].stage_count)
            return station_push(serve, index, err);
        if (step_end(serve, index))
            return true;
        hop_send(serve, index, &is_there);
    }
    return true;
}

static bool flight_send(struct serve *serve, int32_t index, struct err *err)
{
    bool is_there;

    hop_send(serve, index, &is_there);
    return !is_there || flight_arrive(serve, index, err);
}

static int32_t replica_choose(struct serve *serve, int32_t service_index,
                              const struct workload_request *request)
{
    const struct plan *plan = serve->input->plan;
    const struct plan_service *service = &plan->services[service_index];
    struct dispatch_request who = { request->request_id, request->session, request->client };
    int choice;

    for (int i = 0; i < service->replica_count; i++) {
        const struct plan_replica *replica = &plan->replicas[service->replicas[i]];

        serve->candidates[i].is_up = true;
        serve->candidates[i].backlog_ps = station_backlog_ps(serve, &replica->stages[0]);
        serve->candidates[i].outstanding = serve->outstanding[service->replicas[i]];
    }
    choice = dispatch_choose(serve->dispatch, service_index, &who, serve->candidates,
                             service->replica_count);
    return service->replicas[choice];
}

static bool on_arrival(struct serve *serve, struct err *err)
{
    int64_t arrival_ps;
    size_t index = source_take(serve->source, &arrival_ps);
    const struct workload_request request = workload_at(serve->input->workload, index);
    int32_t service = serve->input->service_of[request.service];
    const struct model *model = serve->input->plan->services[service].model;
    struct serve_request *record = &serve->result->requests[index];
    struct flight *flight;
    int32_t flight_index;

    engine_advance(serve->engine, arrival_ps);
    self_check_change(serve, 1);
    serve->result->taken_count++;
    *record = (struct serve_request){ true,       TRACE_FAILED, -1,        arrival_ps,
                                      TRACE_NONE, TRACE_NONE,   TRACE_NONE };
    if (model && !admit_context_ok(model, request.prompt_tokens, request.output_tokens)) {
        request_end(serve, index, TRACE_REFUSED);
        return true;
    }
    flight_index = flight_create(serve);
    flight = &serve->flights[flight_index];
    flight->request = index;
    flight->replica = replica_choose(serve, service, &request);
    flight->step = 0;
    flight->step_count = model ? admit_step_count(model, request.output_tokens) : 1;
    record->replica = flight->replica;
    serve->outstanding[flight->replica]++;
    cache_change(serve, flight, 1);
    step_prepare(serve, flight);
    return flight_send(serve, flight_index, err);
}

static bool on_slot(struct serve *serve, int slot, struct err *err)
{
    const struct plan_stage *stage;
    int32_t index;

    if (slot >= serve->input->plan->cluster->device_count)
        return flight_arrive(serve, network_receive(serve->network, slot), err);
    station_event(serve, slot, &index);
    if (index < 0)
        return true;
    stage = serve_site(serve, &serve->flights[index])->stage;
    serve->flights[index].hop++;
    if (!flight_send(serve, index, err))
        return false;
    for (int i = 0; i < stage->device_count; i++)
        station_start(serve, stage->devices[i]);
    return true;
}

static int64_t next_arrival_ps(const struct serve *serve)
{
    int64_t arrival_ps = source_peek_ps(serve->source);

    if (serve->result->taken_count >= serve->options->max_requests ||
        arrival_ps >= serve->options->until_ps)
        return ENGINE_NEVER;
    return arrival_ps;
}

/* Arrivals are merged with the queue here: at one instant, all else goes first. */
static bool loop(struct serve *serve, struct err *err)
{
    while (engine_now_ps(serve->engine) <= UNITS_MAX_PS) {
        int64_t arrival_ps = next_arrival_ps(serve);
        int slot;

        if (arrival_ps < engine_peek_ps(serve->engine)) {
            if (!on_arrival(serve, err))
                return false;
            continue;
        }
        slot = engine_next(serve->engine);
        if (slot < 0)
            return true;
        if (!on_slot(serve, slot, err))
            return false;
    }
    return err_set(err, ERR_INPUT,
                   "simulated time passes %lld s: use a shorter workload or --until",
                   (long long)(UNITS_MAX_PS / UNITS_PS_PER_S));
}

static void result_fill(const struct serve *serve)
{
    struct serve_result *result = serve->result;
    int device_count = serve->input->plan->cluster->device_count;

    result->end_ps = engine_now_ps(serve->engine);
    result->event_count = engine_event_count(serve->engine);
    result->lacks_kappa = price_without_kappa(serve->price) > 0;
    result->devices = arena_array(serve->arena, (size_t)device_count, sizeof(*result->devices));
    for (int i = 0; i < device_count; i++) {
        const struct station *station = &serve->stations[i];
        int64_t over_ps = station->free_ps - result->end_ps; /* a gap that outlasts the run */

        result->devices[i].busy_ps = station->busy_ps;
        result->devices[i].gap_ps = station->gap_ps - (over_ps > 0 ? over_ps : 0);
        result->devices[i].peak_bytes = station->peak_bytes;
    }
    result->link_count = network_link_count(serve->network);
    result->links = arena_array(serve->arena, (size_t)result->link_count, sizeof(*result->links));
    for (int i = 0; i < result->link_count; i++) {
        result->links[i].name = network_link_name(serve->network, i);
        result->links[i].busy_ps = network_link_busy_ps(serve->network, i);
        result->links[i].bytes = network_link_bytes(serve->network, i);
    }
}

bool serve_run(struct arena *arena, const struct serve_input *input,
               const struct serve_options *options, const struct serve_observer *observer,
               struct serve_result *result, struct err *err)
{
    struct serve *serve = arena_alloc(arena, sizeof(*serve));

    serve->arena = arena;
    serve->input = input;
    serve->options = options;
    serve->result = result;
    serve->first_free = -1;
    if (observer)
        serve->observer = *observer;
    *result = (struct serve_result){ 0 };
    if (!setup_build(serve, err))
        return false;
    result->requests = arena_array(arena, input->workload->count, sizeof(*result->requests));
    serve->source = source_create(arena, input->workload);
    serve->dispatch =
        dispatch_create(arena, options->dispatch, input->plan->service_count, options->seed);
    if (!loop(serve, err))
        return false;
    result_fill(serve);
    return self_check_end(serve, err);
}
