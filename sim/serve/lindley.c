/* lindley.c - the closed form: no events, one pass over the requests in order of arrival.
 *
 * Lindley's recursion (1952) for FIFO servers in series: start = max(ready, free of the devices),
 * free = start + cost + gap, ready = start + cost + the way to the next stage. It is exact when
 * every device meets its jobs in the order in which their requests arrived: when each is fed by
 * one sender alone, on one way, over links that are that sender's alone, and nothing decides by a
 * state that later requests may still change. Its results equal those of the events bit for bit. */
#include "sim/serve/internal.h"

#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/overhead.h"
#include "sim/network/network.h"

/* ---- the guard ---- */

#define NOBODY (-2) /* NETWORK_SOURCE is -1 */

struct guard {
    int32_t *feeder; /* by device: who its jobs come from, or on which route */
    int32_t *sender; /* by link */
};

/* True unless somebody else has been noted there before. */
static bool note(int32_t *who, int32_t sender)
{
    if (*who == NOBODY)
        *who = sender;
    return *who == sender;
}

/* The end of a job that is within the calendar, and its gap, do not saturate: sums of them are
 * exact. Under --rules dlsim what finds its devices taken is late: a job of no length may end
 * before or behind others of its instant. */
static bool jobs_are_plain(const struct lane *lane, const struct site *site)
{
    for (int b = 0; b < lane->size_count; b++)
        if (site->jobs[b].cost_ps + site->jobs[b].gap_ps > ENGINE_LAST_PS - UNITS_MAX_PS ||
            (site->queued_ps > 0 && site->jobs[b].cost_ps == 0))
            return false;
    return true;
}

static bool lane_is_apart(const struct serve *serve, const struct lane *lane,
                          const struct guard *guard)
{
    int32_t device_count = serve->input->plan->cluster->device_count;
    int32_t sender = NETWORK_SOURCE;

    for (int s = 0; s < lane->stage_count; s++) {
        const struct site *site = &lane->sites[s];
        int32_t feeder = site->route_in < 0 ? sender : device_count + site->route_in;

        for (int i = 0; i < site->device_count; i++)
            if (!note(&guard->feeder[site->devices[i]], feeder))
                return false;
        if (site->route_in >= 0 &&
            !note(&guard->sender[network_route_link(serve->network, site->route_in)], sender))
            return false;
        sender = site->device;
        if (site->is_last && site->route_back >= 0 &&
            !note(&guard->sender[network_route_link(serve->network, site->route_back)], sender))
            return false;
    }
    return true;
}

bool lindley_dispatch_is_plain(const struct serve *serve)
{
    const struct plan *plan = serve->input->plan;
    bool is_single = true, is_free = true;

    for (int i = 0; i < plan->service_count; i++)
        is_single = is_single && plan->services[i].replica_count == 1;
    for (int r = 0; r < plan->replica_count; r++)
        is_free = is_free && serve->lanes[r].sites[0].route_in < 0;
    return is_single || dispatch_is_static(serve->options->dispatch) ||
           (serve->options->dispatch == DISPATCH_LEAST_IDLE && is_free);
}

bool lindley_is_apart(const struct serve *serve)
{
    const struct plan *plan = serve->input->plan;
    size_t device_count = (size_t)plan->cluster->device_count;
    size_t link_count = (size_t)network_link_count(serve->network);
    struct guard guard;

    guard.feeder = arena_array(serve->arena, device_count, sizeof(int32_t));
    guard.sender = arena_array(serve->arena, link_count, sizeof(int32_t));
    for (size_t i = 0; i < device_count; i++)
        guard.feeder[i] = NOBODY;
    for (size_t i = 0; i < link_count; i++)
        guard.sender[i] = NOBODY;
    for (int r = 0; r < plan->replica_count; r++)
        if (!serve->lanes[r].is_left_out && !lane_is_apart(serve, &serve->lanes[r], &guard))
            return false;
    return true;
}

bool lindley_applies(const struct serve *serve)
{
    if (serve->options->fast_path != SERVE_FAST_ON || !serve_is_plain(serve) ||
        !lindley_dispatch_is_plain(serve))
        return false;
    for (int r = 0; r < serve->input->plan->replica_count; r++)
        for (int s = 0; s < serve->lanes[r].stage_count; s++)
            if (!serve->lanes[r].is_left_out &&
                !jobs_are_plain(&serve->lanes[r], &serve->lanes[r].sites[s]))
                return false;
    return lindley_is_apart(serve);
}

/* ---- the recursion ---- */

struct pass {            /* what stands beside the devices during the pass */
    int64_t *job_counts; /* by stage of the plan and size: jobs that ran */
    int size_most;
    int64_t last_ps; /* latest instant of any event */
    int64_t event_count;
};

/* One message, or none. Returns when it is there. */
static int64_t hop_ps(struct serve *serve, struct pass *pass, int route, int64_t ready_ps,
                      int64_t bytes)
{
    struct network_sent sent;

    if (route < 0)
        return ready_ps;
    sent = network_book(serve->network, route, ready_ps, bytes);
    pass->event_count++;
    return sent.arrival_ps;
}

/* --rules dlsim: whether the job meets others. One that ends at the very instant is still there
 * when its event comes behind that of the stage before; links and arrivals come behind all. */
static bool is_late(struct serve *serve, const struct site *site, int64_t ready_ps)
{
    bool is_direct = site->stage->number > 0 && site->route_in < 0, is = false;

    for (int i = 0; i < site->device_count; i++) {
        struct station *station = &serve->stations[site->devices[i]];

        is = is || station->booked_ps > ready_ps ||
             (is_direct && station->booked_ps == ready_ps && station->last_slot > (site - 1)->slot);
        station->last_slot = site->slot;
    }
    return is;
}

/* When the job starts, and with it what its devices are booked for. */
static int64_t job_start_ps(struct serve *serve, const struct site *site, int size,
                            int64_t ready_ps)
{
    const struct job *job = &site->jobs[size];
    int64_t start_ps = ready_ps, done_ps;

    for (int i = 0; i < site->device_count; i++) {
        int64_t booked_ps = serve->stations[site->devices[i]].booked_ps;

        start_ps = booked_ps > start_ps ? booked_ps : start_ps;
    }
    if (site->queued_ps > 0 && is_late(serve, site, ready_ps))
        start_ps = engine_after_ps(start_ps, site->queued_ps);
    done_ps = engine_after_ps(engine_after_ps(start_ps, job->cost_ps), job->gap_ps);
    for (int i = 0; i < site->device_count; i++) {
        struct station *station = &serve->stations[site->devices[i]];

        station->booked_ps = done_ps;
        if (start_ps - ready_ps > station->wait_peak_ps)
            station->wait_peak_ps = start_ps - ready_ps;
    }
    return start_ps;
}

/* From the dispatcher to the last byte back; fills start and finish. */
static void request_pass(struct serve *serve, struct pass *pass, const struct lane *lane, int size,
                         int32_t prompt_tokens, struct serve_end *end)
{
    const struct plan *plan = serve->input->plan;
    int64_t ready_ps = end->arrival_ps;
    const struct site *site = lane->sites;

    for (int s = 0; s < lane->stage_count; s++, site++) {
        int64_t start_ps;

        if (site->route_in >= 0)
            ready_ps = hop_ps(serve, pass, site->route_in, ready_ps,
                              s > 0 ? (site - 1)->output_bytes[size]
                                    : plan_input_bytes(plan, site->stage, prompt_tokens));
        start_ps = job_start_ps(serve, site, size, ready_ps);
        if (s == 0)
            end->start_ps = start_ps;
        ready_ps = engine_after_ps(start_ps, site->jobs[size].cost_ps);
        pass->job_counts[site->stage->id * pass->size_most + size]++;
    }
    site--;
    pass->event_count += lane->stage_count;
    if (site->route_back >= 0)
        ready_ps = hop_ps(serve, pass, site->route_back, ready_ps, site->output_bytes[size]);
    end->finish_ps = ready_ps;
}

/* Busy times and gaps by multiplication: sums of equal terms. */
static void stations_fill(struct serve *serve, const struct pass *pass)
{
    for (int r = 0; r < serve->input->plan->replica_count; r++) {
        const struct lane *lane = &serve->lanes[r];

        for (int s = 0; s < lane->stage_count; s++) {
            const struct site *site = &lane->sites[s];

            for (int b = 0; b < lane->size_count; b++) {
                int64_t count = pass->job_counts[site->stage->id * pass->size_most + b];
                const struct job *job = &site->jobs[b];
                struct wide once =
                    wide_mul((uint64_t)(site->device_count - 1), (uint64_t)(count * job->cost_ps));

                serve->extra_ps = wide_add(serve->extra_ps, wide_negate(once));
                for (int i = 0; i < site->device_count; i++) {
                    struct station *station = &serve->stations[site->devices[i]];

                    station->busy_ps += count * job->cost_ps;
                    station->gap_ps += count * job->gap_ps;
                    station->offered_ps +=
                        (uint64_t)count * ((uint64_t)job->cost_ps + (uint64_t)job->gap_ps);
                    station->free_ps = station->booked_ps;
                }
            }
        }
    }
}

static struct pass pass_begin(struct serve *serve)
{
    struct pass pass = { .size_most = 1 };

    for (int r = 0; r < serve->input->plan->replica_count; r++)
        if (serve->lanes[r].size_count > pass.size_most)
            pass.size_most = serve->lanes[r].size_count;
    pass.job_counts =
        arena_array(serve->arena, (size_t)serve->input->plan->stage_count * (size_t)pass.size_most,
                    sizeof(int64_t));
    return pass;
}

static bool request_serve(struct serve *serve, struct pass *pass, struct err *err)
{
    struct arrival arrival;
    struct serve_end end = { .status = TRACE_OK,
                             .first_token_ps = TRACE_NONE,
                             .e2e_ps = TRACE_NONE };
    enum trace_status why;
    const struct lane *lane;

    arrivals_take(&serve->arrivals, &arrival);
    serve->engine->now_ps = arrival.arrival_ps; /* dispatch asks for backlogs of now */
    end.index = arrival.index;
    end.request_id = arrivals_id(&serve->arrivals, arrival.index);
    end.service = serve->input->service_of[arrival.request.service];
    end.arrival_ps = arrival.arrival_ps;
    end.slo_ps = arrival.request.slo_ps;
    lane = serve_choose(serve, end.service, arrival.index, &why);
    serve->result->taken_count++;
    pass->event_count++;
    if (!lane) {
        if (why == TRACE_REFUSED)
            serve_note_refused(serve->result, SERVE_REFUSAL_PLACEMENT, end.request_id, 0);
        end.status = why;
        end.replica = -1;
        end.start_ps = end.finish_ps = TRACE_NONE;
        serve_tell_end(serve, &end);
        return true;
    }
    end.replica = lane->sites[0].replica;
    request_pass(serve, pass, lane, serve_size(lane, arrival.request.batch),
                 arrival.request.prompt_tokens, &end);
    serve->result->late_count += end.finish_ps > serve->options->until_ps;
    if (lane->presence) {
        presence_span(&serve->everyone, end.arrival_ps, end.finish_ps);
        presence_span(lane->presence, end.arrival_ps, end.finish_ps);
        parts_add_wide(&serve->all_ps, end.finish_ps - end.arrival_ps);
    }
    if (end.finish_ps > UNITS_MAX_PS)
        return serve_passes_calendar(err);
    if (end.finish_ps > pass->last_ps)
        pass->last_ps = end.finish_ps;
    if (serve->input->overheads)
        end.e2e_ps = engine_after_ps(end.finish_ps - end.arrival_ps,
                                     delays_response_ps(serve, (uint64_t)end.request_id));
    serve_tell_end(serve, &end);
    return true;
}

bool lindley_run(struct serve *serve, struct err *err)
{
    struct pass pass;

    serve->result->fast_path = SERVE_FAST_ON;
    if (lindley_block_applies(serve))
        return lindley_block_run(serve, err);
    pass = pass_begin(serve);
    while (serve->arrivals.next_ps != ARRIVALS_NEVER)
        if (!request_serve(serve, &pass, err))
            return false;
    if (serve->arrivals.last_ps > pass.last_ps)
        pass.last_ps = serve->arrivals.last_ps;
    stations_fill(serve, &pass);
    serve->engine->now_ps = pass.last_ps;
    serve->engine->event_count = pass.event_count;
    return true;
}
