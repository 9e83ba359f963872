/* sliced.c - a pass of a sliced stage: devices compute, send and wait, each at its own pace. */
#include "sim/sliced/sliced.h"

#include "sim/sliced/internal.h"

#define SENT (-1) /* of op_run.deps_left */

/* ---- pools ---- */

static void runs_widen(struct sliced *sliced)
{
    int32_t count = arena_wider(sliced->run_count, 4);
    size_t edges = (size_t)sliced->most_edges, devices = (size_t)sliced->count;
    struct arena *arena = sliced->set->arena;

    sliced->runs = arena_grow(arena, sliced->runs, (size_t)sliced->run_count, (size_t)count,
                              sizeof(*sliced->runs));
    for (int32_t i = sliced->run_count; i < count; i++) {
        struct op_run *run = &sliced->runs[i];

        run->deps_left = arena_array(arena, edges + 1, sizeof(int32_t));
        run->in_left = arena_array(arena, devices, sizeof(int32_t));
        run->out_left = arena_array(arena, devices, sizeof(int32_t));
        run->has_entered = arena_array(arena, devices, sizeof(bool));
        run->next = i + 1 < count ? i + 1 : -1;
    }
    sliced->first_free_run = sliced->run_count;
    sliced->run_count = count;
}

/* The operation of that ordinal, which begins with the first device that reaches it. */
static int32_t run_of(struct sliced *sliced, int32_t ordinal)
{
    const struct sliced_op *op = &sliced->ops[sliced->steps[ordinal]];
    struct op_run *run;

    if (sliced->run_of[ordinal] >= 0)
        return sliced->run_of[ordinal];
    if (sliced->first_free_run < 0)
        runs_widen(sliced);
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
    struct op_run *run = &sliced->runs[index];

    if (run->inside > 0 || run->left > 0)
        return;
    sliced->run_of[run->ordinal] = -1;
    run->next = sliced->first_free_run;
    sliced->first_free_run = index;
}

static int32_t message_create(struct sliced_set *set)
{
    int32_t index;

    if (set->first_free_message < 0) {
        int32_t count = arena_wider(set->message_count, 64);

        set->messages = arena_grow(set->arena, set->messages, (size_t)set->message_count,
                                   (size_t)count, sizeof(*set->messages));
        for (int32_t i = set->message_count; i < count; i++) {
            set->messages[i].sliced = -1;
            set->messages[i].next = i + 1 < count ? i + 1 : -1;
        }
        set->first_free_message = set->message_count;
        set->message_count = count;
    }
    index = set->first_free_message;
    set->first_free_message = set->messages[index].next;
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
static void member_check(struct sliced *sliced, int32_t index, int32_t member,
                         const struct trail *trail)
{
    struct op_run *run = &sliced->runs[index];
    const struct sliced_op *op = &sliced->ops[run->op];
    int32_t position = sliced->pass->members[op->step->first + member].position;
    struct cursor *cursor = &sliced->cursors[position];
    bool is_through = sliced->set->has_overlap
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

static void members_check(struct sliced *sliced, int32_t index, const struct trail *trail)
{
    int32_t count = sliced->ops[sliced->runs[index].op].step->count;

    for (int32_t i = 0; i < count; i++)
        member_check(sliced, index, i, trail);
}

/* ---- messages ---- */

static void message_tell(const struct sliced *sliced, int32_t number, const struct sliced_op *op,
                         const struct edge *edge, int64_t bytes, int64_t send_ps, bool is_late,
                         const struct network_sent *sent)
{
    const struct sliced_host *host = &sliced->set->host;
    const struct pass_member *members = &sliced->pass->members[op->step->first];

    host->on_message(host->arg, sliced,
                     &(struct sliced_message){ .number = SLICED_FIRST_MESSAGE + number,
                                               .from = members[edge->from].position,
                                               .to = members[edge->to].position,
                                               .bytes = bytes,
                                               .send_ps = send_ps,
                                               .is_late = is_late,
                                               .sent = sent });
}

static void edge_arrive(struct sliced *sliced, int32_t index, int32_t number,
                        const struct trail *trail);

static void edge_send(struct sliced *sliced, int32_t index, int32_t number,
                      const struct trail *trail)
{
    struct sliced_set *set = sliced->set;
    struct op_run *run = &sliced->runs[index];
    const struct sliced_op *op = &sliced->ops[run->op];
    const struct edge *edge = &op->edges[number];
    int64_t bytes = sliced_edge_bytes(sliced, op, edge, &sliced->load);
    int64_t now_ps = engine_now_ps(set->engine);
    struct network_sent sent;
    int32_t message;

    run->deps_left[number] = SENT;
    run->out_left[edge->from]--;
    if (network_route_is_free(set->network, edge->route)) {
        edge_arrive(sliced, index, number, trail);
        return;
    }
    sliced->message_count++;
    sliced->message_bytes = network_add_bytes(sliced->message_bytes, bytes);
    network_carry(set->network, edge->route, -1, bytes); /* see sliced_share */
    message = message_create(set);
    set->messages[message] = (struct message){ .sliced = sliced->number,
                                               .run = index,
                                               .edge = number,
                                               .send_ps = now_ps,
                                               .bytes = bytes,
                                               .trail = *trail };
    sent = network_send(set->network, edge->route, bytes, SLICED_FIRST_MESSAGE + message);
    if (set->host.on_message && sent.arrival_ps != NETWORK_LATER)
        message_tell(sliced, message, op, edge, bytes, now_ps, false, &sent);
}

/* The message has arrived: those that waited for it are sent. */
static void edge_arrive(struct sliced *sliced, int32_t index, int32_t number,
                        const struct trail *trail)
{
    struct op_run *run = &sliced->runs[index];
    const struct sliced_op *op = &sliced->ops[run->op];
    const struct edge *edge = &op->edges[number];

    run->left--;
    run->in_left[edge->to]--;
    for (int32_t i = 0; i < edge->next_count; i++) {
        int32_t next = op->next[edge->first_next + i];

        if (--run->deps_left[next] == 0 && run->has_entered[op->edges[next].from])
            edge_send(sliced, index, next, trail);
    }
    if (sliced->set->has_overlap) {
        member_check(sliced, index, edge->to, trail);
        member_check(sliced, index, edge->from, trail);
    } else {
        members_check(sliced, index, trail);
    }
}

/* ---- a device's way ---- */

/* With overlap its messages leave as soon as it is there; without, all wait for the last. */
static void op_enter(struct sliced *sliced, int32_t position, int32_t member)
{
    const bool has_overlap = sliced->set->has_overlap;
    struct cursor *cursor = &sliced->cursors[position];
    int32_t index = run_of(sliced, cursor->ordinal);
    struct op_run *run = &sliced->runs[index];
    const struct sliced_op *op = &sliced->ops[run->op];
    struct trail trail = cursor->trail;

    cursor->is_waiting = true;
    run->has_entered[member] = true;
    run->entered++;
    if (has_overlap || run->entered == op->step->count)
        for (int32_t i = 0; i < op->edge_count; i++)
            if (run->deps_left[i] == 0 && (op->edges[i].from == member || !has_overlap))
                edge_send(sliced, index, i, &trail);
    members_check(sliced, index, &trail);
    run_settle(sliced, index);
}

/* Of the pass that runs. */
static bool piece_price(const struct sliced *sliced, int32_t piece, int64_t *cost_ps,
                        int *extrapolated, struct err *err)
{
    const struct sliced_host *host = &sliced->set->host;

    if (!host->price(host->arg, sliced, sliced->running, piece, cost_ps, extrapolated, err))
        return false;
    *cost_ps =
        engine_after_ps(*cost_ps, sliced_lead_ps(sliced, sliced->pass->pieces[piece].position));
    return true;
}

bool sliced_reprice(const struct sliced *sliced, int32_t piece, int64_t *cost_ps, struct err *err)
{
    int extrapolated; /* counted when it was queued */

    return piece_price(sliced, piece, cost_ps, &extrapolated, err);
}

/* takes_no_time: it is done already. */
static bool piece_begin(struct sliced *sliced, int32_t position, int32_t piece, bool *takes_no_time,
                        struct err *err)
{
    struct sliced_set *set = sliced->set;
    struct cursor *cursor = &sliced->cursors[position];
    int64_t cost_ps;
    int extrapolated;

    if (!piece_price(sliced, piece, &cost_ps, &extrapolated, err))
        return false;
    set->extrapolated_costs += extrapolated;
    *takes_no_time = cost_ps == 0;
    if (*takes_no_time) {
        cursor->ordinal++;
        return true;
    }
    cursor->ready_ps = engine_now_ps(set->engine);
    return set->host.compute(set->host.arg, sliced, sliced->running, piece, cost_ps, err);
}

/* As far as it comes now. */
static bool device_advance(struct sliced *sliced, int32_t position, struct err *err)
{
    struct cursor *cursor = &sliced->cursors[position];

    while (cursor->ordinal < sliced->ordinal_count) {
        int32_t step = sliced->steps[cursor->ordinal];
        const struct sliced_op *op = &sliced->ops[step];
        bool goes_on = true;

        if (op->step->kind == PASS_COMPUTE) {
            int32_t piece = sliced->piece_of[step * sliced->count + position];

            if (piece < 0)
                cursor->ordinal++;
            else if (!piece_begin(sliced, position, piece, &goes_on, err))
                return false;
        } else if (op->member_of[position] < 0) {
            cursor->ordinal++;
        } else {
            op_enter(sliced, position, op->member_of[position]);
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
            (struct cursor){ .first_ps = SLICED_NEVER_PS, .last_ps = SLICED_NEVER_PS };
}

static bool pass_begin(struct sliced *sliced, int32_t who, struct err *err)
{
    struct sliced_set *set = sliced->set;

    sliced->running = who;
    if (!set->host.begin(set->host.arg, sliced, who, &sliced->load, err))
        return false;
    sliced->through = 0;
    sliced->begin_ps = engine_now_ps(set->engine);
    sliced->message_count = sliced->message_bytes = 0;
    sliced->chain.count = 0;
    cursors_reset(sliced);
    if (alone_begin(sliced))
        return true;
    cursors_reset(sliced);
    for (int32_t i = 0; i < sliced->count; i++)
        list_add(sliced, i);
    return true;
}

static void pass_count(const struct sliced *sliced)
{
    struct sliced_sums *sum =
        sliced->load.is_decode ? &sliced->sums->decode : &sliced->sums->prefill;

    sum->count++;
    sum->time_ps += engine_now_ps(sliced->set->engine) - sliced->begin_ps;
    sum->compute_ps += sliced->last.compute_ps;
    sum->per_message_ps += sliced->last.per_message_ps;
    sum->bytes_ps += sliced->last.bytes_ps;
    sum->latency_ps += sliced->last.latency_ps;
    sum->wait_ps += sliced->last.wait_ps;
    sum->messages += sliced->message_count;
    sum->bytes = network_add_bytes(sum->bytes, sliced->message_bytes);
}

int64_t sliced_compute_ps(const struct sliced *sliced)
{
    return sliced->last.compute_ps;
}

static bool pass_end(struct sliced *sliced, struct err *err)
{
    const struct sliced_host *host = &sliced->set->host;
    int32_t who = sliced->running;

    pass_count(sliced);
    chain_cross(sliced);
    sliced->running = SLICED_NOBODY;
    return host->end(host->arg, sliced, who, err);
}

/* Lets all devices go on that may; a pass that ends makes room for the next. */
static bool work(struct sliced *sliced, struct err *err)
{
    sliced->is_working = true;
    do {
        if (sliced->running == SLICED_NOBODY &&
            !pass_begin(sliced, ring_take(&sliced->waiting), err))
            return false;
        while (sliced->list_count > 0) {
            int32_t position = sliced->list[--sliced->list_count];

            sliced->cursors[position].is_listed = false;
            if (!device_advance(sliced, position, err))
                return false;
        }
        if (sliced->through == sliced->count && !pass_end(sliced, err))
            return false;
    } while (sliced->running == SLICED_NOBODY && sliced->waiting.count > 0 && !sliced->is_held);
    sliced->is_working = false;
    return true;
}

bool sliced_push(struct sliced *sliced, int32_t who, struct err *err)
{
    ring_push(&sliced->waiting, sliced->set->arena, who);
    return sliced->running != SLICED_NOBODY || sliced->is_working || sliced->is_held ||
           work(sliced, err);
}

void sliced_hold(struct sliced *sliced)
{
    sliced->is_held = true;
}

bool sliced_release(struct sliced *sliced, struct err *err)
{
    sliced->is_held = false;
    return sliced->running != SLICED_NOBODY || sliced->is_working || sliced->waiting.count == 0 ||
           work(sliced, err);
}

int32_t sliced_running(const struct sliced *sliced)
{
    return sliced->running;
}

int32_t sliced_waiting(const struct sliced *sliced)
{
    return (int32_t)sliced->waiting.count;
}

int32_t sliced_waiting_at(const struct sliced *sliced, int32_t i)
{
    return ring_at(&sliced->waiting, (uint32_t)i);
}

bool sliced_is_free(const struct sliced *sliced)
{
    return sliced->running == SLICED_NOBODY && sliced->waiting.count == 0 && !sliced->is_held;
}

bool sliced_computed(struct sliced *sliced, int32_t position, int64_t begin_ps, struct err *err)
{
    struct cursor *cursor = &sliced->cursors[position];

    if (cursor->first_ps == SLICED_NEVER_PS)
        cursor->first_ps = begin_ps;
    cursor->last_ps = engine_now_ps(sliced->set->engine);
    cursor->trail.wait_ps += begin_ps - cursor->ready_ps;
    cursor->trail.compute_ps += cursor->last_ps - begin_ps;
    cursor->ordinal++;
    list_add(sliced, position);
    return work(sliced, err);
}

bool sliced_event(struct sliced_set *set, int number, struct err *err)
{
    struct sliced *sliced = set->stages[number];

    alone_end(sliced);
    sliced->through = sliced->count;
    return work(sliced, err);
}

void sliced_span(const struct sliced *sliced, int32_t position, int64_t *begin_ps, int64_t *end_ps)
{
    const struct cursor *cursor = &sliced->cursors[position];
    bool computes = cursor->first_ps != SLICED_NEVER_PS;

    *begin_ps = computes ? cursor->first_ps : sliced->begin_ps;
    *end_ps = computes ? cursor->last_ps : sliced->begin_ps;
}

static void message_free(struct sliced_set *set, int32_t index)
{
    set->messages[index].sliced = -1;
    set->messages[index].next = set->first_free_message;
    set->first_free_message = index;
}

int32_t sliced_message_of(const struct sliced_set *set, int32_t number)
{
    int32_t sliced = set->messages[number - SLICED_FIRST_MESSAGE].sliced;

    return sliced < 0 ? SLICED_NOBODY : set->stages[sliced]->running;
}

static void message_tell_received(const struct sliced *sliced, int32_t number,
                                  const struct sliced_op *op, const struct edge *edge)
{
    struct network_received received = network_received(sliced->set->network);
    struct network_sent sent = { .link = received.link,
                                 .in_link = -1,
                                 .begin_ps = received.begin_ps,
                                 .end_ps = received.arrival_ps,
                                 .arrival_ps = received.arrival_ps };

    message_tell(sliced, number, op, edge, received.bytes, received.send_ps, true, &sent);
}

bool sliced_arrive(struct sliced_set *set, int32_t number, bool is_told, struct err *err)
{
    int32_t index = number - SLICED_FIRST_MESSAGE;
    struct message message = set->messages[index];
    struct sliced *sliced;
    const struct sliced_op *op;

    message_free(set, index);
    if (message.sliced < 0) {
        set->stray_count--;
        return true;
    }
    sliced = set->stages[message.sliced];
    op = &sliced->ops[sliced->runs[message.run].op];
    sliced_trail_extend(set, &sliced->chain, &message.trail, &op->edges[message.edge],
                        message.bytes, engine_now_ps(set->engine) - message.send_ps);
    if (is_told && set->host.on_message)
        message_tell_received(sliced, index, op, &op->edges[message.edge]);
    edge_arrive(sliced, message.run, message.edge, &message.trail);
    run_settle(sliced, message.run);
    return work(sliced, err);
}

/* ---- what goes wrong ---- */

void sliced_cut(struct sliced *sliced)
{
    struct sliced_set *set = sliced->set;

    sliced->waiting.count = 0;
    sliced->is_held = false;
    if (sliced->running == SLICED_NOBODY)
        return;
    for (int32_t i = 0; i < set->message_count; i++)
        if (set->messages[i].sliced == sliced->number) {
            set->messages[i].sliced = -1; /* it is freed when it arrives */
            set->stray_count++;
        }
    for (int32_t i = 0; i < sliced->ordinal_count; i++) {
        int32_t run = sliced->run_of[i];

        if (run < 0)
            continue;
        sliced->run_of[i] = -1;
        sliced->runs[run].next = sliced->first_free_run;
        sliced->first_free_run = run;
    }
    sliced->list_count = 0;
    sliced->running = SLICED_NOBODY;
}

bool sliced_has_strays(const struct sliced_set *set)
{
    return set->stray_count > 0;
}

const char *sliced_waits_for(const struct sliced *sliced)
{
    const struct sliced_set *set = sliced->set;

    for (int32_t i = 0; i < set->message_count; i++) {
        int link = set->messages[i].sliced == sliced->number
                       ? network_where(set->network, SLICED_FIRST_MESSAGE + i)
                       : -1;

        if (link >= 0)
            return arena_printf(set->arena, "its devices talk over link %.64s",
                                network_link_name(set->network, link));
    }
    return "its devices wait for one another";
}
