/* sliced_alone.c - the closed form of a pass that meets nobody.
 *
 * Without overlap devices that exchange something wait for one another before and behind it, so
 * that an exchange begins on idle links and takes the same every time: what it takes is found once
 * for each number of tokens, by sending its messages on a network of their own. A pass is then a
 * sum: of each device what it computes, of each exchange the latest of its members and what it
 * takes.
 *
 * That is exact when nothing else can happen until the pass has ended: all other requests wait for
 * the same stage, and neither an arrival nor any event is due before. It is not when two exchanges
 * of the pass itself lie beside each other; such a pass is left to the events. */
#include "sim/serve/sliced.h"

#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/policy/price.h"
#include "sim/network/network.h"
#include <string.h>

/* ---- an exchange alone ---- */

struct wave { /* an exchange on the network of its own */
    struct serve *serve;
    const struct sliced *sliced;
    const struct sliced_op *op;
    int32_t tokens, left;
    int32_t *deps_left;
    int64_t *sent_ps, *bytes;
    struct sliced_trail *trails;
    int32_t *ready, ready_count; /* messages that may be sent now */
    struct sliced_trail last;
};

static void wave_arrive(struct wave *wave, int32_t number, const struct sliced_trail *trail)
{
    const struct sliced_edge *edge = &wave->op->edges[number];

    wave->left--;
    wave->last = *trail;
    for (int32_t i = 0; i < edge->next_count; i++) {
        int32_t next = wave->op->next[edge->first_next + i];

        if (--wave->deps_left[next] == 0) {
            wave->trails[next] = *trail;
            wave->ready[wave->ready_count++] = next;
        }
    }
}

/* In the order in which they became ready, as the events do. */
static void wave_send(struct wave *wave, struct sliced_alone *alone)
{
    struct sliced_network *own = wave->serve->alone_network;

    for (int32_t i = 0; i < wave->ready_count; i++) {
        int32_t number = wave->ready[i];
        const struct sliced_edge *edge = &wave->op->edges[number];

        if (network_route_is_free(own->network, edge->route)) {
            struct sliced_trail trail = wave->trails[number];

            wave_arrive(wave, number, &trail);
            continue;
        }
        wave->bytes[number] = sliced_edge_bytes(wave->sliced, wave->op, edge, wave->tokens);
        wave->sent_ps[number] = engine_now_ps(own->engine);
        alone->messages++;
        alone->bytes = network_add_bytes(alone->bytes, wave->bytes[number]);
        network_post(own->network, edge->route, wave->bytes[number], number);
    }
    wave->ready_count = 0;
}

static void links_note(struct serve *serve, struct sliced_alone *alone)
{
    struct sliced_network *own = serve->alone_network;
    int count = network_link_count(own->network);

    alone->link_count = 0;
    if (!alone->links)
        alone->links = arena_array(serve->arena, (size_t)count, sizeof(*alone->links));
    for (int i = 0; i < count; i++) {
        struct sliced_link now = { i, network_link_busy_ps(own->network, i),
                                   network_link_bytes(own->network, i) };
        struct sliced_link *before = &own->links[i];

        if (now.bytes != before->bytes || now.busy_ps != before->busy_ps)
            alone->links[alone->link_count++] =
                (struct sliced_link){ i, now.busy_ps - before->busy_ps, now.bytes - before->bytes };
        *before = now;
    }
}

static void wave_run(struct wave *wave, struct sliced_alone *alone)
{
    struct sliced_network *own = wave->serve->alone_network;
    int64_t begin_ps = engine_now_ps(own->engine);
    int64_t begin_count = engine_event_count(own->engine);

    wave_send(wave, alone);
    while (wave->left > 0) {
        int32_t number = network_receive(own->network, engine_next(own->engine));
        struct sliced_trail trail;

        if (number == NETWORK_NOTHING)
            continue;
        trail = wave->trails[number];
        sliced_trail_extend(wave->serve, &trail, &wave->op->edges[number], wave->bytes[number],
                            engine_now_ps(own->engine) - wave->sent_ps[number]);
        wave_arrive(wave, number, &trail);
        wave_send(wave, alone);
    }
    alone->time_ps = engine_now_ps(own->engine) - begin_ps;
    alone->events = engine_event_count(own->engine) - begin_count;
    alone->trail = wave->last;
    links_note(wave->serve, alone);
}

static void alone_measure(struct serve *serve, const struct sliced *sliced,
                          const struct sliced_op *op, int32_t tokens, struct sliced_alone *alone)
{
    struct wave wave = { .serve = serve, .sliced = sliced, .op = op, .tokens = tokens };
    struct sliced_network *own = serve->alone_network;

    wave.left = op->edge_count;
    wave.deps_left = own->deps_left;
    wave.sent_ps = own->sent_ps;
    wave.bytes = own->bytes;
    wave.trails = own->trails;
    wave.ready = own->ready;
    alone->messages = alone->bytes = 0;
    alone->tokens = tokens;
    for (int32_t i = 0; i < op->edge_count; i++) {
        wave.deps_left[i] = op->edges[i].dep_count;
        wave.trails[i] = (struct sliced_trail){ 0 };
        if (op->edges[i].dep_count == 0)
            wave.ready[wave.ready_count++] = i;
    }
    wave_run(&wave, alone);
}

/* What one token takes is kept for ever, and what the last other number of them took. */
static const struct sliced_alone *alone_of(struct serve *serve, const struct sliced *sliced,
                                           struct sliced_op *op, int32_t tokens)
{
    int32_t rows = op->step->is_last_row ? 1 : tokens;
    struct sliced_alone *alone = &op->alone[rows > 1];

    if (alone->tokens != rows)
        alone_measure(serve, sliced, op, rows, alone);
    return alone;
}

/* ---- a pass ---- */

/* Nobody is there but the request of the pass, and those that wait for the same stage; its devices
 * are idle. */
static bool is_quiet(const struct serve *serve, const struct sliced *sliced)
{
    int64_t now_ps = engine_now_ps(serve->engine);

    if (!serve->alone_network || serve->in_system != 1 + (int64_t)sliced->waiting.count)
        return false;
    for (int32_t i = 0; i < sliced->count; i++) {
        const struct station *station = &serve->stations[sliced->site->devices[i]];

        if (station->running != NO_FLIGHT || station->queue.count > 0 || station->free_ps > now_ps)
            return false;
    }
    return true;
}

static bool pieces_price(struct serve *serve, struct sliced *sliced)
{
    const struct decode *decode = &serve->decodes[sliced->running];
    const struct pass *pass = sliced->pass;
    struct err err = ERR_INIT; /* the events will say it */

    for (int32_t i = 0; i < pass->piece_count; i++) {
        const struct pass_piece *piece = &pass->pieces[i];
        int32_t device = sliced->site->devices[piece->position];

        if (!price_piece(serve->price, piece, sliced->site->model, sliced->tables[piece->position],
                         serve->input->plan->cluster->devices[device].threads,
                         serve->speeds[device], decode->new_tokens, decode->past_tokens,
                         &sliced->piece_ps[i], &sliced->piece_extrapolated[i], &err))
            return false;
    }
    return true;
}

static void computes_add(struct sliced *sliced, const struct pass_step *step)
{
    for (int32_t i = step->first; i < step->first + step->count; i++) {
        struct sliced_cursor *cursor = &sliced->cursors[sliced->pass->pieces[i].position];
        int64_t cost_ps = sliced->piece_ps[i];

        sliced->alone_extrapolated += sliced->piece_extrapolated[i];
        if (cost_ps == 0)
            continue;
        if (cursor->first_ps == TRACE_NONE)
            cursor->first_ps = cursor->clock_ps;
        cursor->clock_ps = engine_after_ps(cursor->clock_ps, cost_ps);
        cursor->last_ps = cursor->clock_ps;
        cursor->busy_ps += cost_ps;
        cursor->trail.compute_ps += cost_ps;
        sliced->alone_events++;
    }
}

/* The member that comes last; of two at one instant the one whose event is the later. */
static struct sliced_cursor *last_member(const struct serve *serve, struct sliced *sliced,
                                         const struct pass_step *step)
{
    int32_t last = -1;

    for (int32_t i = step->first; i < step->first + step->count; i++) {
        int32_t position = sliced->pass->members[i].position;
        const struct sliced_cursor *cursor = &sliced->cursors[position];

        if (last < 0 || cursor->clock_ps > sliced->cursors[last].clock_ps ||
            (cursor->clock_ps == sliced->cursors[last].clock_ps &&
             serve->stations[sliced->site->devices[position]].slot >
                 serve->stations[sliced->site->devices[last]].slot))
            last = position;
    }
    return &sliced->cursors[last];
}

/* False: another exchange of the pass is not over. */
static bool exchange_add(struct serve *serve, struct sliced *sliced, struct sliced_op *op,
                         int32_t tokens, int64_t *over_ps)
{
    const struct sliced_alone *alone = alone_of(serve, sliced, op, tokens);
    const struct sliced_cursor *last = last_member(serve, sliced, op->step);
    struct sliced_trail trail = last->trail;
    int64_t end_ps = engine_after_ps(last->clock_ps, alone->time_ps);

    if (last->clock_ps < *over_ps)
        return false;
    *over_ps = end_ps;
    trail.per_message_ps += alone->trail.per_message_ps;
    trail.bytes_ps += alone->trail.bytes_ps;
    trail.latency_ps += alone->trail.latency_ps;
    for (int32_t i = op->step->first; i < op->step->first + op->step->count; i++) {
        struct sliced_cursor *cursor = &sliced->cursors[sliced->pass->members[i].position];

        cursor->clock_ps = end_ps;
        cursor->trail = trail;
    }
    sliced->message_count += alone->messages;
    sliced->message_bytes = network_add_bytes(sliced->message_bytes, alone->bytes);
    sliced->alone_events += alone->events;
    return true;
}

static bool pass_add(struct serve *serve, struct sliced *sliced, int64_t *end_ps)
{
    int32_t tokens = serve->decodes[sliced->running].new_tokens;
    int64_t over_ps = 0;

    *end_ps = sliced->begin_ps;
    sliced->alone_events = sliced->alone_extrapolated = 0;
    for (int32_t i = 0; i < sliced->ordinal_count; i++) {
        struct sliced_op *op = &sliced->ops[sliced->steps[i]];

        if (op->step->kind == PASS_COMPUTE)
            computes_add(sliced, op->step);
        else if (!exchange_add(serve, sliced, op, tokens, &over_ps))
            return false;
    }
    for (int32_t i = 0; i < sliced->count; i++)
        if (sliced->cursors[i].clock_ps >= *end_ps) {
            *end_ps = sliced->cursors[i].clock_ps;
            sliced->last = sliced->cursors[i].trail;
        }
    return true;
}

bool sliced_alone_begin(struct serve *serve, struct sliced *sliced)
{
    int64_t end_ps;

    if (!is_quiet(serve, sliced) || !pieces_price(serve, sliced))
        return false;
    for (int32_t i = 0; i < sliced->count; i++)
        sliced->cursors[i].clock_ps = sliced->begin_ps;
    if (!pass_add(serve, sliced, &end_ps) || end_ps == sliced->begin_ps ||
        engine_peek_ps(serve->engine) <= end_ps || serve->arrivals.next_ps <= end_ps) {
        sliced->message_count = sliced->message_bytes = 0;
        return false;
    }
    engine_set(serve->engine, serve->sliced_slot + sliced->number, end_ps, ENGINE_COMPLETION);
    return true;
}

/* Every exchange as often as the pass has it. */
static void links_account(struct serve *serve, const struct sliced *sliced)
{
    int32_t tokens = serve->decodes[sliced->running].new_tokens;

    for (int32_t s = 0; s < sliced->pass->segment_count; s++) {
        const struct pass_segment *segment = &sliced->pass->segments[s];

        for (int32_t i = 0; i < segment->step_count; i++) {
            struct sliced_op *op = &sliced->ops[segment->first_step + i];
            const struct sliced_alone *alone;

            if (op->step->kind == PASS_COMPUTE)
                continue;
            alone = alone_of(serve, sliced, op, tokens);
            serve->alone_bytes = network_add_bytes(
                serve->alone_bytes, network_times_bytes(segment->repeats, alone->bytes));
            for (int32_t k = 0; k < alone->link_count; k++) {
                struct sliced_link *sum = &serve->alone_links[alone->links[k].link];

                sum->busy_ps += segment->repeats * alone->links[k].busy_ps;
                sum->bytes = network_add_bytes(
                    sum->bytes, network_times_bytes(segment->repeats, alone->links[k].bytes));
            }
        }
    }
}

void sliced_alone_end(struct serve *serve, struct sliced *sliced)
{
    for (int32_t i = 0; i < sliced->count; i++) {
        struct station *station = &serve->stations[sliced->site->devices[i]];
        const struct sliced_cursor *cursor = &sliced->cursors[i];

        if (cursor->last_ps == TRACE_NONE)
            continue;
        station->busy_ps += cursor->busy_ps;
        station->offered_ps += (uint64_t)cursor->busy_ps;
        station->free_ps = station->booked_ps = cursor->last_ps;
    }
    serve->result->closed_count++;
    serve->result->extrapolated_costs += sliced->alone_extrapolated;
    serve->alone_events += sliced->alone_events - 1; /* this one has been counted */
    links_account(serve, sliced);
}

/* ---- before time starts, and after it ---- */

bool sliced_alone_setup(struct serve *serve, const struct network_options *options,
                        const struct network_pair *pairs, int count, struct err *err)
{
    struct sliced_network *own;
    size_t most = 1, links;

    if (serve->sliced_count == 0 || serve->options->fast_path != SERVE_FAST_ON ||
        serve->options->has_overlap || serve->input->events || serve->observer.on_transfer ||
        network_has_circuits(serve->network))
        return true;
    for (int i = 0; i < serve->sliced_count; i++)
        if ((size_t)serve->sliced[i]->most_edges + 1 > most)
            most = (size_t)serve->sliced[i]->most_edges + 1;
    own = arena_alloc(serve->arena, sizeof(*own));
    own->network =
        network_open(serve->arena, serve->input->plan->cluster, options, pairs, count, err);
    if (!own->network)
        return false;
    own->engine = engine_create(serve->arena, network_slot_count(own->network) + 1);
    network_attach(own->network, own->engine, 0);
    links = (size_t)network_link_count(own->network);
    own->links = arena_array(serve->arena, links + 1, sizeof(*own->links));
    own->deps_left = arena_array(serve->arena, most, sizeof(*own->deps_left));
    own->ready = arena_array(serve->arena, most, sizeof(*own->ready));
    own->sent_ps = arena_array(serve->arena, most, sizeof(*own->sent_ps));
    own->bytes = arena_array(serve->arena, most, sizeof(*own->bytes));
    own->trails = arena_array(serve->arena, most, sizeof(*own->trails));
    serve->alone_links = arena_array(serve->arena, links + 1, sizeof(*serve->alone_links));
    serve->alone_network = own;
    return true;
}

void sliced_alone_result(const struct serve *serve)
{
    struct serve_result *result = serve->result;

    result->event_count += serve->alone_events;
    if (!serve->alone_network)
        return;
    for (int i = 0; i < result->link_count; i++) {
        result->links[i].busy_ps += serve->alone_links[i].busy_ps;
        result->links[i].bytes =
            network_add_bytes(result->links[i].bytes, serve->alone_links[i].bytes);
    }
    result->moved_bytes = network_add_bytes(result->moved_bytes, serve->alone_bytes);
}
