/* book.c - a run under --rules alpaserve: this folder's arrivals, observers and results on one
 * side, sim/alpaserve on the other.
 *
 * These rules know neither links nor gaps nor failures, and of overheads the response alone: what
 * they would pass over is refused, but for links and gaps, which a report warns of. */
#include "sim/serve/internal.h"

#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/overhead.h"
#include "sim/alpaserve/alpaserve.h"

static struct alpaserve_arrival arrival_of(const struct serve *serve, const struct arrival *arrival)
{
    return (struct alpaserve_arrival){
        .index = arrival->index,
        .request_id = arrivals_id(&serve->arrivals, arrival->index),
        .arrival_ps = arrival->arrival_ps,
        .slo_ps = arrival->request.slo_ps,
        .service = serve->input->service_of[arrival->request.service],
        .items = arrival->request.batch,
    };
}

static size_t take(void *arg, struct alpaserve_arrival *arrivals, size_t room)
{
    struct serve *serve = arg;
    size_t count = 0;

    while (count < room && serve->arrivals.next_ps != ARRIVALS_NEVER) {
        struct arrival arrival;

        arrivals_take(&serve->arrivals, &arrival);
        arrivals[count++] = arrival_of(serve, &arrival);
        if (serve->arrivals.source)
            break;
    }
    return count;
}

static int64_t peek(void *arg)
{
    const struct serve *serve = arg;

    return serve->arrivals.next_ps;
}

static void ended(void *arg, size_t index, int64_t end_ps)
{
    struct serve *serve = arg;

    arrivals_ended(&serve->arrivals, index, end_ps);
}

static void on_span(void *arg, const struct alpaserve_span *span)
{
    const struct serve *serve = arg;

    serve->observer.on_span(
        serve->observer.arg,
        &(struct serve_span){ .request = span->index,
                              .request_id = arrivals_id(&serve->arrivals, span->index),
                              .batch_id = span->batch_id,
                              .stage = span->stage,
                              .device = span->device,
                              .position = span->position,
                              .share = span->share,
                              .start_ps = span->start_ps,
                              .finish_ps = span->finish_ps,
                              .wait_ps = span->wait_ps });
}

static void on_end(void *arg, const struct alpaserve_end *end)
{
    struct serve *serve = arg;
    bool is_ok = end->status == TRACE_OK;

    if (end->status == TRACE_REFUSED)
        serve_note_refused(serve->result, SERVE_REFUSAL_PLACEMENT, end->request_id, 0);
    serve->result->late_count += end->end_ps > serve->options->until_ps;
    serve_tell_end(
        serve, &(struct serve_end){ .index = end->index,
                                    .request_id = end->request_id,
                                    .service = end->service,
                                    .replica = end->replica,
                                    .status = end->status,
                                    .arrival_ps = end->arrival_ps,
                                    .start_ps = end->start_ps,
                                    .first_token_ps = TRACE_NONE,
                                    .finish_ps = end->finish_ps,
                                    .e2e_ps = is_ok ? end->finish_ps - end->arrival_ps : TRACE_NONE,
                                    .slo_ps = end->slo_ps });
}

static bool check(const struct serve *serve, struct err *err)
{
    const struct overheads *overheads = serve->input->overheads;
    bool has_others = overheads && (overheads->at[OVERHEAD_SUBMIT].is_given ||
                                    overheads->at[OVERHEAD_DISPATCH].is_given ||
                                    overheads->at[OVERHEAD_WORKER].is_given);

    if (serve->has_models)
        return err_set(err, ERR_USAGE,
                       "--rules alpaserve: for executables alone; the placement "
                       "has a model");
    if (serve->input->events)
        return err_set(err, ERR_USAGE, "--rules alpaserve: knows no events");
    return !has_others ||
           err_set(err, ERR_USAGE, "--rules alpaserve: knows the overhead of the response alone");
}

/* How long each epoch takes each device, as alpaserve_input.switch_ps. */
static int64_t *switches(struct serve *serve)
{
    const struct plan *plan = serve->input->plan;
    int32_t device_count = plan->cluster->device_count;
    int64_t *switch_ps = arena_array(serve->arena, (size_t)plan->epoch_count * (size_t)device_count,
                                     sizeof(*switch_ps));

    for (int32_t e = 1; e < plan->epoch_count; e++) {
        control_switched(serve, e, serve->scratch_switched);
        for (int32_t i = 0; i < device_count; i++)
            if (serve->scratch_switched[i]) {
                switch_ps[e * device_count + i] = serve->options->switch_cost_ps;
                serve->result->migrations++;
            }
    }
    return switch_ps;
}

/* What an epoch takes, until the run ends. */
static void gap_fill(struct serve *serve, const struct alpaserve_gap *gap, int64_t end_ps)
{
    struct station *station = &serve->stations[gap->device];
    int64_t to_ps = gap->to_ps < end_ps ? gap->to_ps : end_ps;

    if (to_ps <= gap->from_ps)
        return;
    station->gap_ps += to_ps - gap->from_ps;
    station->switched_ps += (uint64_t)(to_ps - gap->from_ps);
    if (serve->observer.on_span)
        station_tell_switch(serve, gap->device, gap->from_ps, to_ps);
}

static void stations_fill(struct serve *serve, const struct alpaserve_result *booked)
{
    serve->result->taken_count = (size_t)booked->taken_count;
    serve->engine->now_ps = booked->end_ps;
    serve->engine->event_count = booked->event_count;
    for (int i = 0; i < serve->input->plan->cluster->device_count; i++) {
        struct station *station = &serve->stations[i];

        station->busy_ps = booked->busy_ps[i];
        station->offered_ps = (uint64_t)booked->busy_ps[i];
        station->wait_peak_ps = booked->wait_peak_ps[i];
    }
    for (int32_t i = 0; i < booked->gap_count; i++)
        gap_fill(serve, &booked->gaps[i], booked->end_ps);
}

bool book_run(struct serve *serve, struct err *err)
{
    const struct plan *plan = serve->input->plan;
    bool *is_left_out = arena_array(serve->arena, (size_t)plan->replica_count, sizeof(bool));
    struct alpaserve_input input = { plan, serve->input->costs, serve->input->overheads,
                                     is_left_out, NULL };
    struct alpaserve_options options = { serve->options->batch, serve->options->slo_ps,
                                         serve->options->seed };
    struct alpaserve_source source = { .arg = serve, .take = take };
    struct alpaserve_observer observer = { .arg = serve, .end_arg = serve, .on_end = on_end };
    struct alpaserve_result booked;

    if (!check(serve, err))
        return false;
    for (int r = 0; r < plan->replica_count; r++)
        is_left_out[r] = serve->lanes[r].is_left_out;
    input.switch_ps = switches(serve);
    if (serve->arrivals.source) {
        source.peek_ps = peek;
        source.ended = ended;
    }
    if (serve->observer.on_span)
        observer.on_span = on_span;
    if (!alpaserve_run(serve->arena, &input, &options, &source, &observer, &booked, err))
        return false;
    if (booked.end_ps > UNITS_MAX_PS)
        return serve_passes_calendar(err);
    stations_fill(serve, &booked);
    return true;
}
