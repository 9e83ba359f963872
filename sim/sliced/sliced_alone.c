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
#include "sim/sliced/internal.h"

/* ---- an exchange alone ---- */

struct wave { /* an exchange on the network of its own */
    const struct sliced *sliced;
    const struct sliced_op *op;
    const struct sliced_load *load;
    int32_t left;
    int32_t *deps_left;
    int64_t *sent_ps, *bytes;
    struct trail *trails;
    int32_t *ready, ready_count; /* messages that may be sent now */
    struct trail last;
};

static void wave_arrive(struct wave *wave, int32_t number, const struct trail *trail)
{
    const struct edge *edge = &wave->op->edges[number];

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
static void wave_send(struct wave *wave, struct alone *alone)
{
    struct own_network *own = wave->sliced->set->own;

    for (int32_t i = 0; i < wave->ready_count; i++) {
        int32_t number = wave->ready[i];
        const struct edge *edge = &wave->op->edges[number];

        if (network_route_is_free(own->network, edge->route)) {
            struct trail trail = wave->trails[number];

            wave_arrive(wave, number, &trail);
            continue;
        }
        wave->bytes[number] = sliced_edge_bytes(wave->sliced, wave->op, edge, wave->load);
        wave->sent_ps[number] = engine_now_ps(own->engine);
        alone->messages++;
        alone->bytes = network_add_bytes(alone->bytes, wave->bytes[number]);
        network_post(own->network, edge->route, wave->bytes[number], number);
    }
    wave->ready_count = 0;
}

static void links_note(struct sliced_set *set, struct alone *alone)
{
    struct own_network *own = set->own;
    int count = network_link_count(own->network);

    alone->link_count = 0;
    if (!alone->links)
        alone->links = arena_array(set->arena, (size_t)count, sizeof(*alone->links));
    for (int i = 0; i < count; i++) {
        struct taken now = { i, network_link_busy_ps(own->network, i),
                             network_link_bytes(own->network, i) };
        struct taken *before = &own->links[i];

        if (now.bytes != before->bytes || now.busy_ps != before->busy_ps)
            alone->links[alone->link_count++] =
                (struct taken){ i, now.busy_ps - before->busy_ps, now.bytes - before->bytes };
        *before = now;
    }
}

/* The messages that its end waited for. */
static void passed_note(struct sliced_set *set, struct alone *alone, const struct sliced_op *op)
{
    const struct chain *chain = &set->own->chain;

    if (!alone->passed)
        alone->passed = arena_array(set->arena, (size_t)op->edge_count + 1, sizeof(*alone->passed));
    alone->passed_count = 0;
    for (int32_t i = alone->trail.passed; i > 0; i = chain->list[i].before)
        alone->passed[alone->passed_count++] = chain->list[i];
}

static void wave_run(struct wave *wave, struct alone *alone)
{
    struct own_network *own = wave->sliced->set->own;
    int64_t begin_ps = engine_now_ps(own->engine);
    int64_t begin_count = engine_event_count(own->engine);

    wave_send(wave, alone);
    while (wave->left > 0) {
        int32_t number = network_receive(own->network, engine_next(own->engine));
        struct trail trail;

        if (number == NETWORK_NOTHING)
            continue;
        trail = wave->trails[number];
        sliced_trail_extend(wave->sliced->set, &own->chain, &trail, &wave->op->edges[number],
                            wave->bytes[number],
                            engine_now_ps(own->engine) - wave->sent_ps[number]);
        wave_arrive(wave, number, &trail);
        wave_send(wave, alone);
    }
    alone->time_ps = engine_now_ps(own->engine) - begin_ps;
    alone->events = engine_event_count(own->engine) - begin_count;
    alone->trail = wave->last;
    passed_note(wave->sliced->set, alone, wave->op);
    links_note(wave->sliced->set, alone);
}

static void alone_measure(const struct sliced *sliced, const struct sliced_op *op,
                          struct alone *alone)
{
    struct own_network *own = sliced->set->own;
    struct wave wave = { .sliced = sliced, .op = op, .load = &sliced->load };

    own->chain.count = 0;
    wave.left = op->edge_count;
    wave.deps_left = own->deps_left;
    wave.sent_ps = own->sent_ps;
    wave.bytes = own->bytes;
    wave.trails = own->trails;
    wave.ready = own->ready;
    alone->messages = alone->bytes = 0;
    alone->rows = op_rows(op, &sliced->load);
    for (int32_t i = 0; i < op->edge_count; i++) {
        wave.deps_left[i] = op->edges[i].dep_count;
        wave.trails[i] = (struct trail){ 0 };
        if (op->edges[i].dep_count == 0)
            wave.ready[wave.ready_count++] = i;
    }
    wave_run(&wave, alone);
}

/* What one row takes is kept for ever, and what the last other number of them took. */
const struct alone *alone_of(const struct sliced *sliced, struct sliced_op *op)
{
    int32_t rows = op_rows(op, &sliced->load);
    struct alone *alone = &op->alone[rows > 1];

    if (alone->rows != rows)
        alone_measure(sliced, op, alone);
    return alone;
}

/* ---- a pass ---- */

static bool pieces_price(struct sliced *sliced, struct err *err)
{
    const struct sliced_host *host = &sliced->set->host;

    for (int32_t i = 0; i < sliced->pass->piece_count; i++)
        if (!host->price(host->arg, sliced, sliced->running, i, &sliced->piece_ps[i],
                         &sliced->piece_extrapolated[i], err))
            return false;
    return true;
}

static void computes_add(struct sliced *sliced, const struct pass_step *step)
{
    for (int32_t i = step->first; i < step->first + step->count; i++) {
        struct cursor *cursor = &sliced->cursors[sliced->pass->pieces[i].position];
        int32_t position = sliced->pass->pieces[i].position;
        int64_t cost_ps = engine_after_ps(sliced->piece_ps[i], sliced_lead_ps(sliced, position));

        sliced->alone_extrapolated += sliced->piece_extrapolated[i];
        if (cost_ps == 0)
            continue;
        if (cursor->first_ps == SLICED_NEVER_PS)
            cursor->first_ps = cursor->clock_ps;
        cursor->clock_ps = engine_after_ps(cursor->clock_ps, cost_ps);
        cursor->last_ps = cursor->clock_ps;
        cursor->busy_ps += cost_ps;
        cursor->trail.compute_ps += cost_ps;
        sliced->alone_events++;
    }
}

/* The member that comes last; of two at one instant the one whose event is the later. */
static struct cursor *last_member(const struct sliced *sliced, const struct pass_step *step)
{
    const int32_t *slots = sliced->set->device_slots;
    int32_t last = -1;

    for (int32_t i = step->first; i < step->first + step->count; i++) {
        int32_t position = sliced->pass->members[i].position;
        const struct cursor *cursor = &sliced->cursors[position];

        if (last < 0 || cursor->clock_ps > sliced->cursors[last].clock_ps ||
            (cursor->clock_ps == sliced->cursors[last].clock_ps &&
             slots[sliced_device(sliced, position)] > slots[sliced_device(sliced, last)]))
            last = position;
    }
    return &sliced->cursors[last];
}

/* False: another exchange of the pass is not over. */
static bool exchange_add(struct sliced *sliced, int32_t step, int64_t *over_ps)
{
    struct sliced_op *op = &sliced->ops[step];
    const struct alone *alone = alone_of(sliced, op);
    const struct cursor *last = last_member(sliced, op->step);
    struct trail trail = last->trail;
    int64_t end_ps = engine_after_ps(last->clock_ps, alone->time_ps);

    if (last->clock_ps < *over_ps)
        return false;
    *over_ps = end_ps;
    trail.per_message_ps += alone->trail.per_message_ps;
    trail.bytes_ps += alone->trail.bytes_ps;
    trail.latency_ps += alone->trail.latency_ps;
    trail.passed = chain_add(sliced->set->arena, &sliced->chain,
                             (struct passed){ .before = trail.passed, .route = passed_op(step) });
    for (int32_t i = op->step->first; i < op->step->first + op->step->count; i++) {
        struct cursor *cursor = &sliced->cursors[sliced->pass->members[i].position];

        cursor->clock_ps = end_ps;
        cursor->trail = trail;
    }
    sliced->message_count += alone->messages;
    sliced->message_bytes = network_add_bytes(sliced->message_bytes, alone->bytes);
    sliced->alone_events += alone->events;
    return true;
}

static bool pass_add(struct sliced *sliced, int64_t *end_ps)
{
    int64_t over_ps = 0;

    *end_ps = sliced->begin_ps;
    sliced->alone_events = sliced->alone_extrapolated = 0;
    for (int32_t i = 0; i < sliced->ordinal_count; i++) {
        struct sliced_op *op = &sliced->ops[sliced->steps[i]];

        if (op->step->kind == PASS_COMPUTE)
            computes_add(sliced, op->step);
        else if (!exchange_add(sliced, sliced->steps[i], &over_ps))
            return false;
    }
    for (int32_t i = 0; i < sliced->count; i++)
        if (sliced->cursors[i].clock_ps >= *end_ps) {
            *end_ps = sliced->cursors[i].clock_ps;
            sliced->last = sliced->cursors[i].trail;
        }
    return true;
}

bool alone_begin(struct sliced *sliced)
{
    struct sliced_set *set = sliced->set;
    struct err err = ERR_INIT; /* the events will say it */
    int64_t end_ps, next_ps;

    if (!set->own || !set->host.is_quiet(set->host.arg, sliced, &next_ps) ||
        !pieces_price(sliced, &err))
        return false;
    for (int32_t i = 0; i < sliced->count; i++)
        sliced->cursors[i].clock_ps = sliced->begin_ps;
    if (!pass_add(sliced, &end_ps) || end_ps == sliced->begin_ps ||
        engine_peek_ps(set->engine) <= end_ps || next_ps <= end_ps) {
        sliced->message_count = sliced->message_bytes = 0;
        sliced->chain.count = 0;
        return false;
    }
    engine_set(set->engine, set->first_slot + sliced->number, end_ps, ENGINE_COMPLETION);
    return true;
}

bool sliced_alone_pass(struct sliced *sliced, int32_t who, const struct sliced_load *load,
                       struct sliced_alone *alone, int64_t *busy_ps, struct err *err)
{
    bool is_sum;

    sliced->running = who;
    sliced->load = *load;
    sliced->begin_ps = sliced->message_count = sliced->message_bytes = 0;
    sliced->chain.count = 0;
    for (int32_t i = 0; i < sliced->count; i++)
        sliced->cursors[i] =
            (struct cursor){ .first_ps = SLICED_NEVER_PS, .last_ps = SLICED_NEVER_PS };
    is_sum = pieces_price(sliced, err) &&
             (pass_add(sliced, &alone->time_ps) ||
              err_set(err, ERR_INPUT, "two exchanges of a pass are under way at once"));
    sliced->running = SLICED_NOBODY;
    alone->compute_ps = sliced->last.compute_ps;
    alone->message_count = sliced->message_count;
    alone->message_bytes = sliced->message_bytes;
    for (int32_t i = 0; i < sliced->count; i++)
        busy_ps[i] = sliced->cursors[i].busy_ps;
    return is_sum;
}

/* Messages that the network of the run has not seen, as it counts those that it has. */
static void traffic_note(const struct sliced *sliced, const struct sliced_op *op, int32_t repeats)
{
    struct network *network = sliced->set->network;

    for (int32_t i = 0; i < op->edge_count; i++) {
        const struct edge *edge = &op->edges[i];
        int64_t bytes;

        if (network_route_is_free(network, edge->route))
            continue;
        bytes = sliced_edge_bytes(sliced, op, edge, &sliced->load);
        network_beside(network, edge->route, repeats, bytes);
        network_carry(network, edge->route, -repeats, bytes);
    }
}

/* Every exchange as often as the pass has it. */
static void links_account(const struct sliced *sliced)
{
    struct sliced_set *set = sliced->set;

    for (int32_t s = 0; s < sliced->pass->segment_count; s++) {
        const struct pass_segment *segment = &sliced->pass->segments[s];

        for (int32_t i = 0; i < segment->step_count; i++) {
            struct sliced_op *op = &sliced->ops[segment->first_step + i];
            const struct alone *alone;

            if (op->step->kind == PASS_COMPUTE)
                continue;
            alone = alone_of(sliced, op);
            set->alone_bytes = network_add_bytes(
                set->alone_bytes, network_times_bytes(segment->repeats, alone->bytes));
            traffic_note(sliced, op, segment->repeats);
            for (int32_t k = 0; k < alone->link_count; k++) {
                struct taken *sum = &set->taken[alone->links[k].link];

                sum->busy_ps += segment->repeats * alone->links[k].busy_ps;
                sum->bytes = network_add_bytes(
                    sum->bytes, network_times_bytes(segment->repeats, alone->links[k].bytes));
            }
        }
    }
}

void alone_end(struct sliced *sliced)
{
    struct sliced_set *set = sliced->set;

    for (int32_t i = 0; i < sliced->count; i++)
        if (sliced->cursors[i].last_ps != SLICED_NEVER_PS)
            set->host.account(set->host.arg, sliced, i, sliced->cursors[i].busy_ps,
                              sliced->cursors[i].last_ps);
    set->closed_count++;
    set->extrapolated_costs += sliced->alone_extrapolated;
    set->alone_events += sliced->alone_events - 1; /* this one has been counted */
    links_account(sliced);
}

/* ---- before time starts, and after it ---- */

bool sliced_alone_setup(struct sliced_set *set, const struct cluster *cluster,
                        const struct network_options *options, const struct network_pair *pairs,
                        int count, struct err *err)
{
    struct own_network *own = arena_alloc(set->arena, sizeof(*own));
    size_t most = 1, links;

    for (int32_t i = 0; i < set->count; i++)
        if ((size_t)set->stages[i]->most_edges + 1 > most)
            most = (size_t)set->stages[i]->most_edges + 1;
    own->network = network_open(set->arena, cluster, options, pairs, count, err);
    if (!own->network)
        return false;
    own->engine = engine_create(set->arena, network_slot_count(own->network) + 1);
    network_attach(own->network, own->engine, 0);
    links = (size_t)network_link_count(own->network);
    own->links = arena_array(set->arena, links + 1, sizeof(*own->links));
    own->deps_left = arena_array(set->arena, most, sizeof(*own->deps_left));
    own->ready = arena_array(set->arena, most, sizeof(*own->ready));
    own->sent_ps = arena_array(set->arena, most, sizeof(*own->sent_ps));
    own->bytes = arena_array(set->arena, most, sizeof(*own->bytes));
    own->trails = arena_array(set->arena, most, sizeof(*own->trails));
    set->taken = arena_array(set->arena, links + 1, sizeof(*set->taken));
    set->own = own;
    return true;
}

struct sliced_totals sliced_totals(const struct sliced_set *set)
{
    return (struct sliced_totals){ set->extrapolated_costs, set->closed_count, set->alone_events,
                                   set->alone_bytes,        set->count,        set->sums };
}

void sliced_link(const struct sliced_set *set, int link, int64_t *busy_ps, int64_t *bytes)
{
    *busy_ps = set->own ? set->taken[link].busy_ps : 0;
    *bytes = set->own ? set->taken[link].bytes : 0;
}
