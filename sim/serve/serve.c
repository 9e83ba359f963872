/* serve.c - the event loop: arrivals, dispatch, and whose event comes next. */
#include "sim/serve/serve.h"

#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/policy/price.h"
#include "lib/policy/wake.h"
#include "sim/llm/llm.h"
#include "sim/network/network.h"
#include "sim/serve/batcher.h"
#include "sim/serve/crew.h"
#include "sim/serve/handoff.h"
#include "sim/serve/internal.h"

#define ASK_EVERY 1024 /* events, between looks at the clock */

const char *const serve_rules_names[SERVE_RULES_COUNT] = {
    [SERVE_DEFAULT] = "default",
    [SERVE_DLSIM] = "dlsim",
    [SERVE_ALPASERVE] = "alpaserve",
};
const char *const serve_network_names[SERVE_NETWORK_COUNT] = {
    [SERVE_NETWORK_AUTO] = "auto",
    [SERVE_NETWORK_FIFO] = "fifo",
    [SERVE_NETWORK_FLOWS] = "flows",
};
const char *const serve_memory_names[SERVE_MEMORY_COUNT] = {
    [SERVE_MEMORY_ERROR] = "error",
    [SERVE_MEMORY_REFUSE] = "refuse",
    [SERVE_MEMORY_WARN] = "warn",
};

const char *const serve_fast_names[SERVE_FAST_COUNT] = {
    [SERVE_FAST_OFF] = "off",
    [SERVE_FAST_EVENTS] = "events",
    [SERVE_FAST_ON] = "on",
};

const char *const serve_failure_names[SERVE_FAILURE_COUNT] = {
    [SERVE_FAILURE_LOST] = "lost", [SERVE_FAILURE_DOWN] = "down"
};

static void note_failed(struct serve_result *result, const struct serve_end *end)
{
    struct serve_failed *failed =
        &result->failed[end->replica < 0 ? SERVE_FAILURE_DOWN : SERVE_FAILURE_LOST];

    if (failed->count++ == 0) {
        failed->first_id = end->request_id;
        failed->first_arrival_ps = end->arrival_ps;
    }
}

void serve_tell_end(struct serve *serve, const struct serve_end *end)
{
    serve->told_count++;
    if (end->status == TRACE_FAILED)
        note_failed(serve->result, end);
    if (serve->result->requests) {
        serve->retold_count += serve->result->requests[end->index].is_taken;
        serve->result->requests[end->index] = (struct serve_request){
            true,          end->status,         end->replica,   end->arrival_ps,
            end->start_ps, end->first_token_ps, end->finish_ps, end->e2e_ps
        };
    }
    if (serve->observer.on_end)
        serve->observer.on_end(serve->observer.end_arg, end);
}

/* ---- dispatch ---- */

static void candidate_fill(const struct serve *serve, const struct lane *lane,
                           struct dispatch_replica *candidate)
{
    candidate->is_up = lane->down_count == 0 && !lane->is_left_out;
    candidate->outstanding = lane->same->outstanding;
    candidate->number = lane->number;
    switch (serve->options->dispatch) {
    case DISPATCH_LEAST_IDLE:
        candidate->backlog_ps = way_backlog_ps(serve, lane->sites);
        break;
    case DISPATCH_LEAST_LAST_STAGE:
        candidate->last_backlog_ps =
            way_backlog_ps(serve, &lane->decode_sites[lane->decode_count - 1]);
        break;
    case DISPATCH_ROUND_ROBIN:
    case DISPATCH_LEAST_OUTSTANDING:
    case DISPATCH_RANDOM:
    case DISPATCH_STICKY:
    case DISPATCH_COUNT:
        break;
    }
}

static struct dispatch_request asker(const struct serve *serve, uint64_t request)
{
    const struct workload *workload = serve->input->workload;
    struct dispatch_request who = { arrivals_id(&serve->arrivals, request), -1, -1 };

    if (workload && workload->session_ids)
        who.session = workload->session_ids[request];
    if (workload && workload->client_ids)
        who.client = workload->client_ids[request];
    return who;
}

struct lane *serve_choose(struct serve *serve, int32_t service_index, uint64_t request,
                          enum trace_status *why)
{
    const struct plan_service *service = &serve->input->plan->services[service_index];
    int32_t first = service->epoch_first[serve->epoch];
    int32_t count = service->epoch_first[serve->epoch + 1] - first;
    struct dispatch_request who = { (int64_t)request, -1, -1 };
    bool is_down = false;
    int choice;

    if (count == 1) {
        struct lane *only = &serve->lanes[service->replicas[first]];

        *why = only->is_left_out ? TRACE_REFUSED : TRACE_FAILED;
        return only->down_count == 0 && !only->is_left_out ? only : NULL;
    }
    if (serve->options->dispatch == DISPATCH_STICKY)
        who = asker(serve, request);
    for (int32_t i = 0; i < count; i++) {
        const struct lane *lane = &serve->lanes[service->replicas[first + i]];

        candidate_fill(serve, lane, &serve->candidates[i]);
        is_down = is_down || (!lane->is_left_out && lane->down_count > 0);
    }
    choice = dispatch_choose(serve->dispatch, service_index, &who, serve->candidates, count);
    *why = is_down ? TRACE_FAILED : TRACE_REFUSED;
    return choice < 0 ? NULL : &serve->lanes[service->replicas[first + choice]];
}

int serve_size(const struct lane *lane, int32_t items)
{
    int size = 0;

    while (size + 1 < lane->size_count && lane->sizes[size] < items)
        size++;
    return size;
}

static void choose_way(struct serve *serve, int32_t index)
{
    uint64_t request = serve->flights[index].request;
    struct dispatch_request who = { (int64_t)request, -1, -1 };

    if (serve->options->dispatch == DISPATCH_STICKY)
        who = asker(serve, request);
    way_choose(serve, index, &who);
}

bool serve_dispatch(struct serve *serve, int32_t index, struct err *err)
{
    struct flight *flight = &serve->flights[index];
    enum trace_status why;
    struct lane *lane = serve_choose(serve, flight->site->service, flight->request, &why);
    bool is_model;

    if (!lane) {
        if (why == TRACE_REFUSED)
            memory_refuse(serve, index, SERVE_REFUSAL_PLACEMENT);
        else
            flight_turn_away(serve, index, why);
        return true;
    }
    flight->site = lane->sites;
    flight->size = (int16_t)serve_size(lane, flight->items);
    if (lane->has_ways)
        choose_way(serve, index);
    is_model = flight->site->is_model;
    if (serve->has_ledger && !ledger_admit(serve, index)) {
        if (lane->has_ways)
            way_leave(serve, index);
        flight_turn_away(serve, index, TRACE_DROPPED);
        return true;
    }
    if (is_model && serve->options->memory != SERVE_MEMORY_WARN &&
        !memory_has_room(serve, lane, index, err)) {
        if (serve->options->memory == SERVE_MEMORY_ERROR)
            return false;
        if (lane->has_ways)
            way_leave(serve, index);
        memory_refuse(serve, index, SERVE_REFUSAL_MEMORY);
        return true;
    }
    lane->same->outstanding++;
    if (lane->presence)
        presence_enter(lane->presence, engine_now_ps(serve->engine));
    if (is_model)
        memory_keep(serve, index, 1);
    if (serve->has_comings && !coming_set(serve, index, err))
        return false;
    if (serve->delays && delays_hold(serve, DELAY_DISPATCH, index))
        return true;
    return flight_launch(serve, index, err);
}

static bool on_arrival(struct serve *serve, struct err *err)
{
    const struct plan *plan = serve->input->plan;
    struct arrival arrival;
    const struct plan_service *service;
    int32_t index;

    arrivals_take(&serve->arrivals, &arrival);
    engine_advance(serve->engine, arrival.arrival_ps);
    self_check_change(serve, 1);
    serve->result->taken_count++;
    service = &plan->services[serve->input->service_of[arrival.request.service]];
    index = flight_create(serve, &arrival, serve->lanes[service->replicas[0]].sites);
    if (service->model && !admit_context_ok(service->model, arrival.request.prompt_tokens,
                                            arrival.request.output_tokens)) {
        memory_refuse(serve, index, SERVE_REFUSAL_CONTEXT);
        return true;
    }
    if (serve->delays && delays_hold(serve, DELAY_SUBMIT, index))
        return true;
    return serve_dispatch(serve, index, err);
}

/* ---- the loop ---- */

static bool on_network(struct serve *serve, int slot, struct err *err)
{
    int32_t message = network_receive(serve->network, slot);
    bool is_told = serve->observer.on_transfer && network_slot_is_late(serve->network, slot);

    if (message == NETWORK_NOTHING)
        return true;
    if (message >= SLICED_FIRST_MESSAGE)
        return sliced_arrive(serve->sliced, message, is_told, err);
    if (message >= HANDOFF_FIRST_MESSAGE)
        return handoff_arrive(serve, message, is_told, err);
    if (is_told)
        flight_tell_received(serve, message);
    return flight_arrive(serve, message, err);
}

static bool on_slot(struct serve *serve, int slot, struct err *err)
{
    if (serve->tandem)
        return tandem_return(serve, slot, err);
    if (slot < serve->network_slot)
        return station_event(serve, serve->slot_devices[slot], err);
    if (slot < serve->control_slot)
        return on_network(serve, slot, err);
    if (slot == serve->control_slot)
        return control_event(serve, err);
    if (slot == serve->delay_slot)
        return delays_event(serve, err);
    if (slot >= serve->sliced_slot)
        return sliced_event(serve->sliced, slot - serve->sliced_slot, err);
    batcher_timer(serve, slot - serve->batcher_slot);
    return true;
}

/* Epochs and failures alone do not keep a run going. */
static bool is_over(const struct serve *serve)
{
    return serve->in_system == 0 && serve->arrivals.next_ps == ARRIVALS_NEVER &&
           !crew_has_strays(serve) && !handoff_is_live(serve);
}

bool serve_passes_calendar(struct err *err)
{
    return err_set(err, ERR_INPUT,
                   "simulated time passes %lld s: use a shorter workload (of a run, --until)",
                   (long long)(UNITS_MAX_PS / UNITS_PS_PER_S));
}

bool serve_go_on(const struct serve *serve, uint32_t *ticks, struct err *err)
{
    const struct serve_input *input = serve->input;

    return ++*ticks % ASK_EVERY != 0 || !input->is_stopped ||
           !input->is_stopped(input->is_stopped_arg) ||
           err_set(err, ERR_USAGE, "given up: the time was over");
}

static bool is_last_of_instant(const struct serve *serve)
{
    int64_t now_ps = engine_now_ps(serve->engine);

    return serve->arrivals.next_ps > now_ps && engine_peek_ps(serve->engine) > now_ps;
}

/* Arrivals are merged with the queue here: at one instant, all else goes first. */
static bool loop(struct serve *serve, struct err *err)
{
    uint32_t ticks = 0;

    serve->is_looped = true;
    while (!is_over(serve)) {
        int slot;

        if (!serve_go_on(serve, &ticks, err))
            return false;
        if (serve->noted.count > 0 && is_last_of_instant(serve)) {
            if (!room_move_one(serve, err))
                return false;
        } else if (serve->ended.count > 0 && is_last_of_instant(serve)) {
            batcher_free_one(serve);
        } else if (serve->arrivals.next_ps < engine_peek_ps(serve->engine)) {
            if (!on_arrival(serve, err))
                return false;
        } else {
            slot = engine_next(serve->engine);
            if (slot < 0)
                return true; /* the self-check says who is blocked */
            if (!on_slot(serve, slot, err))
                return false;
        }
        if (serve->has_failed) {
            *err = serve->failure;
            return false;
        }
        if (engine_now_ps(serve->engine) > UNITS_MAX_PS)
            return serve_passes_calendar(err);
    }
    return true;
}

/* ---- begin and end ---- */

static int64_t came_ps(const struct station *station)
{
    if (station->missed_ps > INT64_MAX || station->offered_ps > INT64_MAX - station->missed_ps)
        return INT64_MAX;
    return (int64_t)(station->offered_ps + station->missed_ps);
}

static void devices_fill(const struct serve *serve)
{
    struct serve_result *result = serve->result;
    int device_count = serve->input->plan->cluster->device_count;

    result->devices = arena_array(serve->arena, (size_t)device_count, sizeof(*result->devices));
    for (int i = 0; i < device_count; i++) {
        const struct station *station = &serve->stations[i];
        int64_t over_ps = station->free_ps - result->end_ps; /* a gap that outlasts the run */
        struct serve_device *device = &result->devices[i];

        device->busy_ps = station->busy_ps;
        device->gap_ps = station->gap_ps - (over_ps > 0 ? over_ps : 0);
        device->offered_ps = came_ps(station);
        device->peak_bytes = serve->memories[i].peak_bytes;
        device->kv_peak_bytes = serve->memories[i].kv_peak_bytes;
        device->kv_mean_bytes = memory_kv_mean_bytes(serve, i);
        device->wait_peak_ps = station->wait_peak_ps;
    }
}

static void result_fill(struct serve *serve)
{
    struct serve_result *result = serve->result;
    int replica_count = serve->input->plan->replica_count;
    bool *is_left_out = arena_array(serve->arena, (size_t)replica_count, sizeof(bool));

    for (int r = 0; r < replica_count; r++)
        is_left_out[r] = serve->lanes[r].is_left_out;
    result->is_left_out = is_left_out;

    result->end_ps = engine_now_ps(serve->engine);
    result->event_count = engine_event_count(serve->engine);
    result->arrival_span_ps = serve->arrivals.last_ps - serve->arrivals.first_ps;
    result->lacks_kappa = price_without_kappa(serve->price) > 0 ||
                          (result->continuous && result->continuous->without_kappa > 0);
    result->extrapolated_ops = price_extrapolated_ops(serve->price) |
                               (result->continuous ? result->continuous->extrapolated_ops : 0);
    devices_fill(serve);
    for (int i = 0; serve->wakes && i < serve->input->plan->cluster->device_count; i++) {
        result->wake_count += serve->wakes[i].count;
        result->wake_ps += serve->wakes[i].time_ps;
    }
    result->link_count = network_link_count(serve->network);
    result->links = arena_array(serve->arena, (size_t)result->link_count, sizeof(*result->links));
    for (int i = 0; i < result->link_count; i++) {
        result->links[i].name = network_link_name(serve->network, i);
        result->links[i].busy_ps = network_link_busy_ps(serve->network, i);
        result->links[i].bytes = network_link_bytes(serve->network, i);
    }
    result->moved_bytes = network_moved_bytes(serve->network);
    crew_result(serve);
    result->has_circuits = network_has_circuits(serve->network);
    result->circuits = network_circuits(serve->network);
    parts_fill(serve);
}

static bool begin(struct serve *serve, struct err *err)
{
    const struct serve_input *input = serve->input;
    const struct serve_options *options = serve->options;

    for (int i = 0; i < input->plan->service_count; i++)
        serve->has_models = serve->has_models || input->plan->services[i].model;
    if (!setup_build(serve, err))
        return false;
    serve->has_late_drop = options->admission == ADMIT_LATE;
    room_begin(serve);
    serve->has_queue_form = serve->has_batchers || serve->has_rooms || serve->has_late_drop ||
                            control_changes_devices(serve) ||
                            (input->plan->epoch_count > 1 && options->switch_cost_ps > 0);
    if (options->keeps_requests)
        serve->result->requests =
            arena_array(serve->arena, input->workload->count, sizeof(*serve->result->requests));
    arrivals_begin(&serve->arrivals, serve->arena, input, options);
    serve->dispatch =
        dispatch_create(serve->arena, options->dispatch, input->plan->service_count, options->seed);
    delays_begin(serve);
    handoff_begin(serve);
    coming_begin(serve);
    ledger_begin(serve);
    parts_begin(serve);
    for (int i = 0; i < input->plan->stage_count; i++)
        serve->sites[i].is_plain = !serve->has_queue_form && !serve->delays &&
                                   !serve->observer.on_span && !serve->sites[i].is_model &&
                                   serve->sites[i].device_count == 1;
    control_begin(serve);
    flight_watch(serve);
    crew_begin(serve);
    return true;
}

/* ---- what shorter ways share ---- */

bool serve_is_undisturbed(const struct serve *serve)
{
    return !serve->has_queue_form && !serve->delays && !serve->has_ways &&
           serve->input->plan->epoch_count == 1 && serve->options->admission == ADMIT_NONE &&
           !serve->observer.on_span && !serve->observer.on_transfer &&
           network_is_bookable(serve->network);
}

bool serve_is_plain(const struct serve *serve)
{
    return serve_is_undisturbed(serve) && !serve->has_models && !serve->arrivals.source;
}

bool serve_tells_blocks(const struct serve *serve)
{
    return !serve->options->keeps_requests && !serve->input->overheads &&
           (!serve->observer.on_end || serve->observer.on_block);
}

void serve_tell_block(struct serve *serve, const struct serve_block *block)
{
    serve->told_count += (int64_t)block->count;
    if (block->count > 0 && serve->observer.on_block)
        serve->observer.on_block(serve->observer.end_arg, block);
}

size_t serve_arrivals(struct serve *serve, size_t room, int64_t *room_ps, int32_t *services,
                      const int64_t **arrivals_ps)
{
    const int32_t *service_of = serve->input->service_of;
    size_t count = arrivals_block(&serve->arrivals, room, room_ps, services, arrivals_ps);

    for (size_t i = 0; i < count; i++)
        services[i] = service_of[services[i]];
    return count;
}

/* ---- the run ---- */

/* The shortest way that is exact. */
static bool run_plainest(struct serve *serve, struct err *err)
{
    if (lindley_applies(serve))
        return lindley_run(serve, err);
    tandem_begin(serve);
    if (serve->tandem) {
        if (!loop(serve, err))
            return false;
        tandem_fill(serve);
        return true;
    }
    return express_applies(serve) ? express_run(serve, err) : loop(serve, err);
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
    serve->first_free = NO_FLIGHT;
    if (observer)
        serve->observer = *observer;
    *result = (struct serve_result){ 0 };
    if (!begin(serve, err))
        return false;
    if (options->batch.kind == BATCH_CONTINUOUS) {
        if (!continuous_run(serve, err))
            return false;
    } else if (options->rules == SERVE_ALPASERVE) {
        if (!book_run(serve, err))
            return false;
    } else if (!run_plainest(serve, err)) {
        return false;
    }
    result_fill(serve);
    return self_check_end(serve, err);
}
