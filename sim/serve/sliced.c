/* sliced.c - a pass of a sliced stage: devices compute, send and wait, each at its own pace. */
#include "sim/serve/sliced.h"

#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/policy/price.h"
#include "sim/network/network.h"

#define SENT (-1) /* of sliced_run.deps_left */

static int32_t new_tokens_of(const struct serve *serve, const struct sliced *sliced)
{
    return serve->decodes[sliced->running].new_tokens;
}

/* ---- pools ---- */

static void runs_widen(struct serve *serve, struct sliced *sliced)
{
    int32_t count = arena_wider(sliced->run_count, 4);
    size_t edges = (size_t)sliced->most_edges, devices = (size_t)sliced->count;

    sliced->runs = arena_grow(serve->arena, sliced->runs, (size_t)sliced->run_count, (size_t)count,
                              sizeof(*sliced->runs));
    for (int32_t i = sliced->run_count; i < count; i++) {
        struct sliced_run *run = &sliced->runs[i];

        run->deps_left = arena_array(serve->arena, edges + 1, sizeof(int32_t));
        run->in_left = arena_array(serve->arena, devices, sizeof(int32_t));
        run->out_left = arena_array(serve->arena, devices, sizeof(int32_t));
        run->has_entered = arena_array(serve->arena, devices, sizeof(bool));
        run->next = i + 1 < count ? i + 1 : -1;
    }
    sliced->first_free_run = sliced->run_count;
    sliced->run_count = count;
}

/* The operation of that ordinal, which begins with the first device that reaches it. */
static int32_t run_of(struct serve *serve, struct sliced *sliced, int32_t ordinal)
{
    const struct sliced_op *op = &sliced->ops[sliced->steps[ordinal]];
    struct sliced_run *run;

    if (sliced->run_of[ordinal] >= 0)
        return sliced->run_of[ordinal];
    if (sliced->first_free_run < 0)
        runs_widen(serve, sliced);
    sliced->run_of[ordinal] = sliced->first_free_run;
    run = &sliced->runs[sliced->first_free_run];
    sliced->first_free_run = run->next;
    run->op = sliced->steps[ordinal];
    run->ordinal = ordinal;
    run->inside = op->step->count;
    run->entered = 0;
    run->left = op->edge_count;
    for (int32_t i = 0; i < op->edge_count; i++)
        run->deps_left[i] = op->edges[i].dep_count;
    for (int32_t i = 0; i < op->step->count; i++) {
        run->in_left[i] = op->in_count[i];
        run->out_left[i] = op->out_count[i];
        run->has_entered[i] = false;
    }
    return sliced->run_of[ordinal];
}

static void run_settle(struct sliced *sliced, int32_t index)
{
    struct sliced_run *run = &sliced->runs[index];

    if (run->inside > 0 || run->left > 0)
        return;
    sliced->run_of[run->ordinal] = -1;
    run->next = sliced->first_free_run;
    sliced->first_free_run = index;
}

static int32_t message_create(struct serve *serve)
{
    int32_t index;

    if (serve->first_free_message < 0) {
        int32_t count = arena_wider(serve->message_count, 64);

        serve->messages = arena_grow(serve->arena, serve->messages, (size_t)serve->message_count,
                                     (size_t)count, sizeof(*serve->messages));
        for (int32_t i = serve->message_count; i < count; i++) {
            serve->messages[i].sliced = -1;
            serve->messages[i].next = i + 1 < count ? i + 1 : -1;
        }
        serve->first_free_message = serve->message_count;
        serve->message_count = count;
    }
    index = serve->first_free_message;
    serve->first_free_message = serve->messages[index].next;
    return index;
}

/* ---- devices that may go on ---- */

static void list_add(struct sliced *sliced, int32_t position)
{
    if (sliced->cursors[position].is_listed)
        return;
    sliced->cursors[position].is_listed = true;
    sliced->list[sliced->list_count++] = position;
}

/* With overlap a member is through when all that it awaits is there and all that it sends is on its
 * way; without, when everything has arrived everywhere. */
static void member_check(const struct serve *serve, struct sliced *sliced, int32_t index,
                         int32_t member, const struct sliced_trail *trail)
{
    struct sliced_run *run = &sliced->runs[index];
    const struct sliced_op *op = &sliced->ops[run->op];
    int32_t position = sliced->pass->members[op->step->first + member].position;
    struct sliced_cursor *cursor = &sliced->cursors[position];
    bool is_through = serve->options->has_overlap
                          ? run->in_left[member] == 0 && run->out_left[member] == 0
                          : run->left == 0 && run->entered == op->step->count;

    if (!is_through || !cursor->is_waiting || cursor->ordinal != run->ordinal)
        return;
    cursor->is_waiting = false;
    cursor->trail = *trail;
    cursor->ordinal++;
    run->inside--;
    list_add(sliced, position);
}

static void members_check(const struct serve *serve, struct sliced *sliced, int32_t index,
                          const struct sliced_trail *trail)
{
    int32_t count = sliced->ops[sliced->runs[index].op].step->count;

    for (int32_t i = 0; i < count; i++)
        member_check(serve, sliced, index, i, trail);
}

/* ---- messages ---- */

/* What the message adds to the time since the pass began. Waiting for links, its own or another's
 * messages', counts as what the message is made of. */
void sliced_trail_extend(const struct serve *serve, struct sliced_trail *trail,
                         const struct sliced_edge *edge, int64_t bytes, int64_t took_ps)
{
    struct network_hop hop;
    int64_t bytes_ps, wait_ps;

    if (network_route_is_free(serve->network, edge->route))
        return;
    hop = network_hop(serve->network, edge->route, bytes);
    bytes_ps = hop.occupy_ps - edge->per_message_ps;
    wait_ps = took_ps - hop.occupy_ps - hop.latency_ps;
    if (hop.occupy_ps > 0) {
        int64_t of_messages_ps = edge->per_message_ps > 0
                                     ? units_mul_div(wait_ps, edge->per_message_ps, hop.occupy_ps)
                                     : 0;

        trail->per_message_ps += edge->per_message_ps + of_messages_ps;
        trail->bytes_ps += bytes_ps + wait_ps - of_messages_ps;
        trail->latency_ps += hop.latency_ps;
    } else {
        trail->latency_ps += took_ps;
    }
}

static void edge_arrive(struct serve *serve, struct sliced *sliced, int32_t index, int32_t number,
                        const struct sliced_trail *trail);

static void edge_send(struct serve *serve, struct sliced *sliced, int32_t index, int32_t number,
                      const struct sliced_trail *trail)
{
    struct sliced_run *run = &sliced->runs[index];
    const struct sliced_op *op = &sliced->ops[run->op];
    const struct sliced_edge *edge = &op->edges[number];
    int64_t bytes = sliced_edge_bytes(sliced, op, edge, new_tokens_of(serve, sliced));
    int64_t now_ps = engine_now_ps(serve->engine);
    struct network_sent sent;
    int32_t message;

    run->deps_left[number] = SENT;
    run->out_left[edge->from]--;
    if (network_route_is_free(serve->network, edge->route)) {
        edge_arrive(serve, sliced, index, number, trail);
        return;
    }
    sliced->message_count++;
    sliced->message_bytes = network_add_bytes(sliced->message_bytes, bytes);
    message = message_create(serve);
    serve->messages[message] = (struct sliced_message){ .sliced = sliced->number,
                                                        .run = index,
                                                        .edge = number,
                                                        .send_ps = now_ps,
                                                        .bytes = bytes,
                                                        .trail = *trail };
    sent = network_send(serve->network, edge->route, bytes, SLICED_FIRST_MESSAGE + message);
    if (serve->observer.on_transfer && sent.arrival_ps != NETWORK_LATER) {
        sliced_tell_message(serve, sliced, op, edge, bytes, now_ps, false, &sent);
        flight_tell_in_link(serve, SLICED_FIRST_MESSAGE + message, bytes, &sent);
    }
}

/* The message has arrived: those that waited for it are sent. */
static void edge_arrive(struct serve *serve, struct sliced *sliced, int32_t index, int32_t number,
                        const struct sliced_trail *trail)
{
    struct sliced_run *run = &sliced->runs[index];
    const struct sliced_op *op = &sliced->ops[run->op];
    const struct sliced_edge *edge = &op->edges[number];

    run->left--;
    run->in_left[edge->to]--;
    for (int32_t i = 0; i < edge->next_count; i++) {
        int32_t next = op->next[edge->first_next + i];

        if (--run->deps_left[next] == 0 && run->has_entered[op->edges[next].from])
            edge_send(serve, sliced, index, next, trail);
    }
    if (serve->options->has_overlap) {
        member_check(serve, sliced, index, edge->to, trail);
        member_check(serve, sliced, index, edge->from, trail);
    } else {
        members_check(serve, sliced, index, trail);
    }
}

/* ---- a device's way ---- */

/* With overlap its messages leave as soon as it is there; without, all wait for the last. */
static void op_enter(struct serve *serve, struct sliced *sliced, int32_t position, int32_t member)
{
    struct sliced_cursor *cursor = &sliced->cursors[position];
    int32_t index = run_of(serve, sliced, cursor->ordinal);
    struct sliced_run *run = &sliced->runs[index];
    const struct sliced_op *op = &sliced->ops[run->op];
    struct sliced_trail trail = cursor->trail;

    cursor->is_waiting = true;
    run->has_entered[member] = true;
    run->entered++;
    if (serve->options->has_overlap || run->entered == op->step->count)
        for (int32_t i = 0; i < op->edge_count; i++)
            if (run->deps_left[i] == 0 &&
                (op->edges[i].from == member || !serve->options->has_overlap))
                edge_send(serve, sliced, index, i, &trail);
    members_check(serve, sliced, index, &trail);
    run_settle(sliced, index);
}

/* True: it takes no time. */
static bool piece_begin(struct serve *serve, struct sliced *sliced, int32_t position, int32_t piece,
                        bool *takes_no_time, struct err *err)
{
    struct sliced_cursor *cursor = &sliced->cursors[position];
    const struct decode *decode = &serve->decodes[sliced->running];
    struct site *part = &sliced->parts[position];
    int32_t index = sliced->part_flights[position];
    int extrapolated;

    if (!price_piece(serve->price, &sliced->pass->pieces[piece], sliced->site->model,
                     sliced->tables[position],
                     serve->input->plan->cluster->devices[part->device].threads,
                     serve->speeds[part->device], decode->new_tokens, decode->past_tokens,
                     &part->job.cost_ps, &extrapolated, err))
        return false;
    serve->result->extrapolated_costs += extrapolated;
    *takes_no_time = part->job.cost_ps == 0;
    if (*takes_no_time) {
        cursor->ordinal++;
        return true;
    }
    cursor->ready_ps = engine_now_ps(serve->engine);
    serve->flights[index] = (struct flight){ .request = serve->flights[sliced->running].request,
                                             .arrival_ps = cursor->ready_ps,
                                             .start_ps = TRACE_NONE,
                                             .site = part,
                                             .mate = NO_FLIGHT,
                                             .items = 1 };
    station_push_plain(serve, index);
    return true;
}

/* As far as it comes now. */
static bool device_advance(struct serve *serve, struct sliced *sliced, int32_t position,
                           struct err *err)
{
    struct sliced_cursor *cursor = &sliced->cursors[position];

    while (cursor->ordinal < sliced->ordinal_count) {
        int32_t step = sliced->steps[cursor->ordinal];
        const struct sliced_op *op = &sliced->ops[step];
        bool goes_on = true;

        if (op->step->kind == PASS_COMPUTE) {
            int32_t piece = sliced->piece_of[step * sliced->count + position];

            if (piece < 0)
                cursor->ordinal++;
            else if (!piece_begin(serve, sliced, position, piece, &goes_on, err))
                return false;
        } else if (op->member_of[position] < 0) {
            cursor->ordinal++;
        } else {
            op_enter(serve, sliced, position, op->member_of[position]);
            goes_on = false;
        }
        if (!goes_on)
            return true;
    }
    if (++sliced->through == sliced->count)
        sliced->last = cursor->trail;
    return true;
}

/* ---- passes ---- */

static void cursors_reset(struct sliced *sliced)
{
    for (int32_t i = 0; i < sliced->count; i++)
        sliced->cursors[i] =
            (struct sliced_cursor){ .first_ps = TRACE_NONE, .last_ps = TRACE_NONE };
}

static void pass_begin(struct serve *serve, struct sliced *sliced, int32_t index)
{
    sliced->running = index;
    sliced->through = 0;
    sliced->begin_ps = engine_now_ps(serve->engine);
    sliced->message_count = sliced->message_bytes = 0;
    cursors_reset(sliced);
    if (sliced_alone_begin(serve, sliced))
        return;
    cursors_reset(sliced);
    for (int32_t i = 0; i < sliced->count; i++)
        list_add(sliced, i);
}

static void pass_count(struct serve *serve, const struct sliced *sliced)
{
    const struct decode *decode = &serve->decodes[sliced->running];
    struct serve_pass *sum = decode->step == 0 ? &sliced->passes->prefill : &sliced->passes->decode;

    sum->count++;
    sum->time_ps += engine_now_ps(serve->engine) - sliced->begin_ps;
    sum->compute_ps += sliced->last.compute_ps;
    sum->per_message_ps += sliced->last.per_message_ps;
    sum->bytes_ps += sliced->last.bytes_ps;
    sum->latency_ps += sliced->last.latency_ps;
    sum->wait_ps += sliced->last.wait_ps;
    sum->messages += sliced->message_count;
    sum->bytes = network_add_bytes(sum->bytes, sliced->message_bytes);
}

static bool pass_end(struct serve *serve, struct sliced *sliced, struct err *err)
{
    int32_t index = sliced->running;
    struct flight *flight = &serve->flights[index];

    pass_count(serve, sliced);
    if (flight->start_ps == TRACE_NONE) {
        flight->start_ps = engine_now_ps(serve->engine);
        for (int32_t i = 0; i < sliced->count; i++)
            if (sliced->cursors[i].first_ps != TRACE_NONE &&
                sliced->cursors[i].first_ps < flight->start_ps)
                flight->start_ps = sliced->cursors[i].first_ps;
    }
    if (serve->observer.on_span)
        sliced_tell_pass(serve, sliced);
    sliced->running = NO_FLIGHT;
    return flight_leave(serve, index, err);
}

/* Lets all devices go on that may; a pass that ends makes room for the next. */
static bool work(struct serve *serve, struct sliced *sliced, struct err *err)
{
    sliced->is_working = true;
    do {
        if (sliced->running == NO_FLIGHT)
            pass_begin(serve, sliced, ring_take(&sliced->waiting));
        while (sliced->list_count > 0) {
            int32_t position = sliced->list[--sliced->list_count];

            sliced->cursors[position].is_listed = false;
            if (!device_advance(serve, sliced, position, err))
                return false;
        }
        if (sliced->through == sliced->count && !pass_end(serve, sliced, err))
            return false;
    } while (sliced->running == NO_FLIGHT && sliced->waiting.count > 0);
    sliced->is_working = false;
    return true;
}

bool sliced_push(struct serve *serve, int32_t index, struct err *err)
{
    struct sliced *sliced = serve->flights[index].site->sliced;
    const struct decode *decode = &serve->decodes[index];
    int64_t now_ps = engine_now_ps(serve->engine), alone_ps;

    if (!sliced_estimate(serve, sliced, decode->new_tokens, decode->past_tokens, &alone_ps, err))
        return false;
    if (sliced->booked_ps < now_ps)
        sliced->booked_ps = now_ps;
    sliced->booked_ps = engine_after_ps(sliced->booked_ps, alone_ps);
    ring_push(&sliced->waiting, serve->arena, index);
    return sliced->running != NO_FLIGHT || sliced->is_working || work(serve, sliced, err);
}

bool sliced_part_done(struct serve *serve, int32_t index, struct err *err)
{
    struct flight *flight = &serve->flights[index];
    struct site *part = flight->site;
    struct sliced *sliced = part->sliced;
    struct sliced_cursor *cursor = &sliced->cursors[part->position];

    if (cursor->first_ps == TRACE_NONE)
        cursor->first_ps = flight->job_ps;
    cursor->last_ps = engine_now_ps(serve->engine);
    cursor->trail.wait_ps += flight->job_ps - cursor->ready_ps;
    cursor->trail.compute_ps += cursor->last_ps - flight->job_ps;
    cursor->ordinal++;
    if (serve->observer.on_span)
        sliced_tell_piece(serve, sliced, part->position, flight->job_ps);
    flight->site = NULL;
    list_add(sliced, part->position);
    return work(serve, sliced, err);
}

bool sliced_event(struct serve *serve, int number, struct err *err)
{
    struct sliced *sliced = serve->sliced[number];

    sliced_alone_end(serve, sliced);
    sliced->through = sliced->count;
    return work(serve, sliced, err);
}

int32_t sliced_flight(const struct serve *serve, int32_t message)
{
    if (message < SLICED_FIRST_MESSAGE)
        return message;
    return serve->sliced[serve->messages[message - SLICED_FIRST_MESSAGE].sliced]->running;
}

bool sliced_arrive(struct serve *serve, int32_t number, bool is_told, struct err *err)
{
    struct sliced_message *message = &serve->messages[number - SLICED_FIRST_MESSAGE];
    struct sliced *sliced = serve->sliced[message->sliced];
    int32_t run = message->run, edge_number = message->edge;
    const struct sliced_op *op = &sliced->ops[sliced->runs[run].op];
    struct sliced_trail trail = message->trail;

    sliced_trail_extend(serve, &trail, &op->edges[edge_number], message->bytes,
                        engine_now_ps(serve->engine) - message->send_ps);
    if (is_told)
        sliced_tell_received(serve, sliced, op, &op->edges[edge_number]);
    message->sliced = -1;
    message->next = serve->first_free_message;
    serve->first_free_message = number - SLICED_FIRST_MESSAGE;
    edge_arrive(serve, sliced, run, edge_number, &trail);
    run_settle(sliced, run);
    return work(serve, sliced, err);
}
