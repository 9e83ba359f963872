/* handoff.c - KV caches that go from the stages of prompts to those of decode steps, where these
 * are apart.
 *
 * As soon as the source has the first token it has every part of the cache sent from the device
 * that computed it to the one that will read it (plan_move), and sends the next step into the first
 * decode stage at once. A step waits in front of a stage until all of its cache is there. A device
 * holds a part until it has been sent; what it reads itself stays where it is. */
#include "sim/serve/handoff.h"

#include "lib/base/arena.h"
#include "sim/network/network.h"
#include "sim/sliced/sliced.h"
#include <string.h>

struct handoff {    /* of a batch, in its first decode step */
    int32_t flight; /* the first of the batch; NO_FLIGHT = it is lost */
    int32_t replica;
    int32_t left;     /* parts under way; 0 = a free record */
    int32_t next;     /* free record */
    bool *is_done;    /* by move of the replica */
    int32_t *missing; /* by decode stage: parts that it waits for */
    bool is_parked;   /* the batch waits for some of them */
    bool is_failed;   /* a device of them was down */
};

struct handoffs {
    struct handoff *records;
    int32_t count, first_free;
    int32_t most_moves, most_stages;
    int32_t live;
};

/* ---- before time starts ---- */

void handoff_begin(struct serve *serve)
{
    const struct plan *plan = serve->input->plan;
    int32_t moves = 0, stages = 1;
    bool is_split = false;

    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct plan_replica *replica = &plan->replicas[r];

        is_split = is_split || plan_replica_is_split(replica);
        moves = replica->move_count > moves ? replica->move_count : moves;
        stages = replica->decode_count > stages ? replica->decode_count : stages;
    }
    if (!is_split)
        return;
    serve->result->has_kv_moves = true;
    serve->handoffs = arena_alloc(serve->arena, sizeof *serve->handoffs);
    serve->handoffs->first_free = -1;
    serve->handoffs->most_moves = moves > 0 ? moves : 1;
    serve->handoffs->most_stages = stages;
}

/* ---- records ---- */

static void pool_widen(struct serve *serve)
{
    struct handoffs *pool = serve->handoffs;
    int32_t count = arena_wider(pool->count, 16);

    pool->records = arena_grow(serve->arena, pool->records, (size_t)pool->count, (size_t)count,
                               sizeof *pool->records);
    for (int32_t i = count - 1; i >= pool->count; i--) {
        struct handoff *handoff = &pool->records[i];

        handoff->is_done = arena_array(serve->arena, (size_t)pool->most_moves, sizeof(bool));
        handoff->missing = arena_array(serve->arena, (size_t)pool->most_stages, sizeof(int32_t));
        handoff->next = pool->first_free;
        pool->first_free = i;
    }
    pool->count = count;
}

static int32_t record_take(struct serve *serve)
{
    struct handoffs *pool = serve->handoffs;
    int32_t index;

    if (pool->first_free < 0)
        pool_widen(serve);
    index = pool->first_free;
    pool->first_free = pool->records[index].next;
    pool->live++;
    return index;
}

static void record_free(struct serve *serve, int32_t index)
{
    struct handoffs *pool = serve->handoffs;

    pool->records[index].next = pool->first_free;
    pool->first_free = index;
    pool->live--;
}

bool handoff_is_live(const struct serve *serve)
{
    return serve->handoffs && serve->handoffs->live > 0;
}

static const struct plan_move *moves_of(const struct serve *serve, const struct handoff *handoff)
{
    return serve->input->plan->replicas[handoff->replica].moves;
}

/* ---- on the way ---- */

static int64_t batch_tokens(const struct serve *serve, int32_t index)
{
    int64_t tokens = 0;

    for (int32_t i = index; i != NO_FLIGHT; i = serve->flights[i].mate)
        tokens += serve->flights[i].prompt_tokens;
    return tokens;
}

/* Told with the step that waits for it, and as a message of its own kind. */
static void part_tell(const struct serve *serve, const struct handoff *handoff,
                      const struct plan_move *move, int64_t bytes, int64_t send_ps, bool is_late,
                      const struct network_sent *sent)
{
    struct serve_transfer transfer =
        flight_transfer(serve, handoff->flight, bytes, send_ps, is_late, sent);

    transfer.from = move->from;
    transfer.to = move->to;
    transfer.hop = serve->input->plan->stages[move->to_stage]->number;
    transfer.is_inside = true;
    for (int32_t i = handoff->flight; i != NO_FLIGHT;
         i = serve->flights[i].mate, transfer.share++) {
        transfer.request = serve->flights[i].request;
        transfer.request_id = arrivals_id(&serve->arrivals, transfer.request);
        serve->observer.on_transfer(serve->observer.arg, &transfer);
    }
}

static void part_send(struct serve *serve, int32_t number, int32_t m, int route, int64_t bytes)
{
    struct handoff *handoff = &serve->handoffs->records[number];
    int32_t message = HANDOFF_FIRST_MESSAGE + number * serve->handoffs->most_moves + m;

    for (int32_t i = serve->flights[handoff->flight].mate; i != NO_FLIGHT;
         i = serve->flights[i].mate)
        network_carry(serve->network, route, 1, bytes);
    serve->result->kv_moves.messages++;
    serve->result->kv_moves.bytes += bytes;
    if (serve->observer.on_transfer) {
        struct network_sent sent = network_send(serve->network, route, bytes, message);

        if (sent.arrival_ps != NETWORK_LATER) {
            part_tell(serve, handoff, &moves_of(serve, handoff)[m], bytes,
                      engine_now_ps(serve->engine), false, &sent);
            flight_tell_in_link(serve, message, bytes, &sent);
        }
    } else {
        network_post(serve->network, route, bytes, message);
    }
}

/* The part is where it is read, and no longer where it was computed. */
static void part_done(struct serve *serve, int32_t number, int32_t m)
{
    struct handoff *handoff = &serve->handoffs->records[number];
    const struct plan_move *move = &moves_of(serve, handoff)[m];

    handoff->is_done[m] = true;
    handoff->left--;
    if (handoff->flight == NO_FLIGHT)
        return;
    handoff->missing[serve->input->plan->stages[move->to_stage]->number]--;
    memory_shift(serve, move->from, -batch_tokens(serve, handoff->flight) * move->bytes_per_token);
    handoff->is_failed = handoff->is_failed || serve->stations[move->to].is_down;
}

/* The last part has come: the caches are where the rest of their steps are. */
static void settle(struct serve *serve, int32_t number)
{
    struct handoff *handoff = &serve->handoffs->records[number];

    if (handoff->left > 0)
        return;
    for (int32_t i = handoff->flight; i != NO_FLIGHT && !handoff->is_failed;
         i = serve->flights[i].mate) {
        serve->decodes[i].cache = CACHE_AT_DECODE;
        serve->decodes[i].handoff = NO_HANDOFF;
    }
    if (!handoff->is_failed || handoff->flight == NO_FLIGHT)
        record_free(serve, number);
}

void handoff_send(struct serve *serve, int32_t index)
{
    const struct lane *lane = &serve->lanes[serve->flights[index].site->replica];
    const struct plan_replica *replica = &serve->input->plan->replicas[lane->sites[0].replica];
    int32_t number = record_take(serve);
    struct handoff *handoff = &serve->handoffs->records[number];
    int64_t tokens = batch_tokens(serve, index);

    handoff->flight = index;
    handoff->replica = lane->sites[0].replica;
    handoff->left = 0;
    handoff->is_parked = handoff->is_failed = false;
    memset(handoff->missing, 0, (size_t)serve->handoffs->most_stages * sizeof(int32_t));
    memset(handoff->is_done, 0, (size_t)serve->handoffs->most_moves * sizeof(bool));
    for (int32_t i = index; i != NO_FLIGHT; i = serve->flights[i].mate) {
        serve->decodes[i].handoff = number;
        serve->decodes[i].cache = CACHE_MOVES;
        serve->result->kv_moves.requests++;
    }
    for (int32_t m = 0; m < replica->move_count; m++) {
        if (!way_moves(serve, index, m))
            continue;
        handoff->left++;
        handoff->missing[serve->input->plan->stages[replica->moves[m].to_stage]->number]++;
    }
    for (int32_t m = 0; m < replica->move_count; m++) {
        if (!way_moves(serve, index, m))
            continue;
        if (lane->move_routes[m] >= 0)
            part_send(serve, number, m, lane->move_routes[m],
                      tokens * replica->moves[m].bytes_per_token);
        else
            part_done(serve, number, m);
    }
    settle(serve, number);
}

/* It cannot go on: a device that was to have some of its cache was down. */
static void give_up(struct serve *serve, int32_t index)
{
    if (serve->has_rooms)
        room_give(serve, index);
    flight_lose(serve, index, TRACE_FAILED);
}

bool handoff_holds(struct serve *serve, int32_t index)
{
    int32_t number = serve->decodes[index].handoff;
    const struct site *site = serve->flights[index].site;
    struct handoff *handoff;

    if (number == NO_HANDOFF)
        return false;
    handoff = &serve->handoffs->records[number];
    if (handoff->is_failed) {
        give_up(serve, index);
        return true;
    }
    handoff->is_parked = handoff->missing[site->stage->number] > 0;
    return handoff->is_parked;
}

bool handoff_arrive(struct serve *serve, int32_t message, bool is_told, struct err *err)
{
    int32_t number = (message - HANDOFF_FIRST_MESSAGE) / serve->handoffs->most_moves;
    int32_t m = (message - HANDOFF_FIRST_MESSAGE) % serve->handoffs->most_moves;
    struct handoff *handoff = &serve->handoffs->records[number];
    int32_t index = handoff->flight;
    bool goes_on;

    if (is_told && index != NO_FLIGHT) {
        struct network_received received = network_received(serve->network);
        struct network_sent sent = { .link = received.link,
                                     .begin_ps = received.begin_ps,
                                     .end_ps = received.arrival_ps,
                                     .arrival_ps = received.arrival_ps };

        part_tell(serve, handoff, &moves_of(serve, handoff)[m], received.bytes, received.send_ps,
                  true, &sent);
    }
    part_done(serve, number, m);
    goes_on =
        index != NO_FLIGHT && handoff->is_parked &&
        (handoff->is_failed || handoff->missing[serve->flights[index].site->stage->number] == 0);
    if (goes_on)
        handoff->is_parked = false;
    if (goes_on && handoff->is_failed) {
        give_up(serve, index); /* frees the record when nothing is under way any more */
        return true;
    }
    settle(serve, number);
    return !goes_on || flight_enter(serve, index, err);
}

int32_t handoff_flight(const struct serve *serve, int32_t message)
{
    return serve->handoffs->records[(message - HANDOFF_FIRST_MESSAGE) / serve->handoffs->most_moves]
        .flight;
}

/* ---- what is lost ---- */

bool handoff_has_left(const struct serve *serve, int32_t index, int32_t m)
{
    const struct decode *decode = &serve->decodes[index];

    switch (decode->cache) {
    case CACHE_AT_PREFILL:
        return false;
    case CACHE_AT_DECODE:
        return true;
    case CACHE_MOVES:
        break;
    }
    return serve->handoffs->records[decode->handoff].is_done[m];
}

void handoff_drop(struct serve *serve, int32_t number)
{
    struct handoff *handoff = &serve->handoffs->records[number];

    handoff->flight = NO_FLIGHT;
    if (handoff->left == 0)
        record_free(serve, number);
}
