/* sliced_setup.c - before time starts: passes of sliced stages, their messages, who talks to whom.
 */
#include "lib/format/cluster.h"
#include "sim/sliced/internal.h"

/* ---- messages of an operation ---- */

/* By whom each message is waited for, from who waits for whom. */
static void nexts_fill(struct sliced_set *set, struct sliced_op *op,
                       const struct exchange *exchange)
{
    int32_t at = 0;

    for (int32_t i = 0; i < exchange->message_count; i++)
        for (int32_t d = 0; d < exchange->messages[i].dep_count; d++)
            op->edges[exchange->deps[exchange->messages[i].first_dep + d]].next_count++;
    op->next = arena_array(set->arena, (size_t)exchange->dep_count + 1, sizeof(*op->next));
    for (int32_t i = 0; i < op->edge_count; i++) {
        op->edges[i].first_next = at;
        at += op->edges[i].next_count;
        op->edges[i].next_count = 0;
    }
    for (int32_t i = 0; i < exchange->message_count; i++)
        for (int32_t d = 0; d < exchange->messages[i].dep_count; d++) {
            struct edge *edge = &op->edges[exchange->deps[exchange->messages[i].first_dep + d]];

            op->next[edge->first_next + edge->next_count++] = i;
        }
}

static void messages_build(struct sliced_set *set, const struct pass *pass, struct sliced_op *op)
{
    const struct exchange *exchange = exchange_build(set->arena, pass, op->step, set->collective);

    op->edge_count = exchange->message_count;
    op->slot_count = exchange->slot_count;
    op->edges = arena_array(set->arena, (size_t)op->edge_count + 1, sizeof(*op->edges));
    for (int32_t i = 0; i < op->edge_count; i++)
        op->edges[i] = (struct edge){ .from = exchange->messages[i].from,
                                      .to = exchange->messages[i].to,
                                      .slot = exchange->messages[i].slot,
                                      .dep_count = exchange->messages[i].dep_count,
                                      .message = &exchange->messages[i] };
    nexts_fill(set, op, exchange);
}

/* Operations of one kind among the same devices have the same messages, but for their sizes. */
static bool is_alike(const struct pass *pass, const struct pass_step *a, const struct pass_step *b)
{
    if (a->kind != b->kind || a->kind == PASS_EXCHANGE || a->count != b->count ||
        a->root != b->root)
        return false;
    for (int32_t i = 0; i < a->count; i++)
        if (pass->members[a->first + i].position != pass->members[b->first + i].position)
            return false;
    return true;
}

static bool messages_share(struct sliced *sliced, int32_t number)
{
    const struct pass *pass = sliced->pass;

    for (int32_t i = 0; i < number; i++)
        if (is_alike(pass, &pass->steps[i], &pass->steps[number])) {
            sliced->ops[number] = sliced->ops[i];
            sliced->ops[number].step = &pass->steps[number];
            return true;
        }
    return false;
}

static void op_build(struct sliced_set *set, struct sliced *sliced, int32_t number)
{
    const struct pass *pass = sliced->pass;
    struct sliced_op *op = &sliced->ops[number];
    size_t count;

    op->step = &pass->steps[number];
    if (op->step->kind == PASS_COMPUTE || messages_share(sliced, number))
        return;
    messages_build(set, pass, op);
    count = (size_t)op->step->count;
    op->member_of = arena_array(set->arena, (size_t)sliced->count, sizeof(*op->member_of));
    op->in_count = arena_array(set->arena, count, sizeof(*op->in_count));
    op->out_count = arena_array(set->arena, count, sizeof(*op->out_count));
    for (int32_t i = 0; i < sliced->count; i++)
        op->member_of[i] = -1;
    for (int32_t i = 0; i < op->step->count; i++)
        op->member_of[pass->members[op->step->first + i].position] = i;
    for (int32_t i = 0; i < op->edge_count; i++) {
        op->in_count[op->edges[i].to]++;
        op->out_count[op->edges[i].from]++;
    }
    if (op->edge_count > sliced->most_edges)
        sliced->most_edges = op->edge_count;
}

/* ---- a stage ---- */

static void steps_write_out(struct sliced_set *set, struct sliced *sliced)
{
    const struct pass *pass = sliced->pass;
    int32_t at = 0;

    for (int32_t s = 0; s < pass->segment_count; s++)
        sliced->ordinal_count += pass->segments[s].step_count * pass->segments[s].repeats;
    sliced->steps =
        arena_array(set->arena, (size_t)sliced->ordinal_count + 1, sizeof(*sliced->steps));
    sliced->run_of =
        arena_array(set->arena, (size_t)sliced->ordinal_count + 1, sizeof(*sliced->run_of));
    for (int32_t s = 0; s < pass->segment_count; s++)
        for (int32_t r = 0; r < pass->segments[s].repeats; r++)
            for (int32_t i = 0; i < pass->segments[s].step_count; i++)
                sliced->steps[at++] = pass->segments[s].first_step + i;
    for (int32_t i = 0; i < sliced->ordinal_count; i++)
        sliced->run_of[i] = -1;
}

static void pieces_find(struct sliced_set *set, struct sliced *sliced)
{
    const struct pass *pass = sliced->pass;
    size_t room = (size_t)pass->step_count * (size_t)sliced->count;

    sliced->piece_of = arena_array(set->arena, room + 1, sizeof(*sliced->piece_of));
    for (size_t i = 0; i < room; i++)
        sliced->piece_of[i] = -1;
    for (int32_t s = 0; s < pass->step_count; s++)
        for (int32_t i = 0; pass->steps[s].kind == PASS_COMPUTE && i < pass->steps[s].count; i++) {
            int32_t piece = pass->steps[s].first + i;

            sliced->piece_of[s * sliced->count + pass->pieces[piece].position] = piece;
        }
}

struct sliced_set *sliced_create(struct arena *arena, enum collective_algorithm collective,
                                 bool has_overlap, int32_t first_piece)
{
    struct sliced_set *set = arena_alloc(arena, sizeof(*set));

    set->arena = arena;
    set->collective = collective;
    set->has_overlap = has_overlap;
    set->pass = (struct pass_options){ .has_all_reduce = collective == COLLECTIVE_RING,
                                       .next_id = first_piece };
    set->first_free_message = -1;
    return set;
}

static void scratch_reserve(struct sliced_set *set, struct sliced *sliced)
{
    size_t count = (size_t)sliced->count, pieces = (size_t)sliced->pass->piece_count + 1;

    sliced->cursors = arena_array(set->arena, count, sizeof(*sliced->cursors));
    sliced->list = arena_array(set->arena, count, sizeof(*sliced->list));
    sliced->piece_ps = arena_array(set->arena, pieces, sizeof(*sliced->piece_ps));
    sliced->piece_extrapolated = arena_array(set->arena, pieces, sizeof(int));
}

struct sliced *sliced_add(struct sliced_set *set, const struct plan_stage *stage,
                          const struct model *model, bool has_batches)
{
    struct sliced *sliced = arena_alloc(set->arena, sizeof(*sliced));

    if (set->count == set->room) {
        int32_t room = arena_wider(set->room, 8);

        set->stages = arena_grow(set->arena, set->stages, (size_t)set->room, (size_t)room,
                                 sizeof(struct sliced *));
        set->room = room;
    }
    sliced->set = set;
    sliced->stage = stage;
    sliced->number = set->count;
    sliced->count = stage->device_count;
    sliced->running = SLICED_NOBODY;
    sliced->first_free_run = -1;
    set->pass.has_batches = has_batches;
    sliced->pass = pass_compile(set->arena, stage, model, &set->pass);
    sliced->ops =
        arena_array(set->arena, (size_t)sliced->pass->step_count + 1, sizeof(*sliced->ops));
    for (int32_t i = 0; i < sliced->pass->step_count; i++)
        op_build(set, sliced, i);
    steps_write_out(set, sliced);
    pieces_find(set, sliced);
    scratch_reserve(set, sliced);
    set->stages[set->count++] = sliced;
    return sliced;
}

int32_t sliced_number(const struct sliced *sliced)
{
    return sliced->number;
}

const struct plan_stage *sliced_plan(const struct sliced *sliced)
{
    return sliced->stage;
}

const struct pass *sliced_pass(const struct sliced *sliced)
{
    return sliced->pass;
}

/* ---- the network ---- */

int sliced_pair_count(const struct sliced_set *set)
{
    int count = 0;

    for (int i = 0; i < set->count; i++)
        for (int32_t s = 0; s < set->stages[i]->pass->step_count; s++)
            count += set->stages[i]->ops[s].edge_count;
    return count;
}

static struct network_pair pair_of(const struct sliced *sliced, const struct sliced_op *op,
                                   const struct edge *edge)
{
    const struct pass_member *members = &sliced->pass->members[op->step->first];

    return (struct network_pair){ sliced_device(sliced, members[edge->from].position),
                                  sliced_device(sliced, members[edge->to].position) };
}

int sliced_pairs(const struct sliced_set *set, struct network_pair *pairs)
{
    int count = 0;

    for (int i = 0; i < set->count; i++)
        for (int32_t s = 0; s < set->stages[i]->pass->step_count; s++) {
            const struct sliced_op *op = &set->stages[i]->ops[s];

            for (int32_t e = 0; e < op->edge_count; e++)
                pairs[count++] = pair_of(set->stages[i], op, &op->edges[e]);
        }
    return count;
}

void sliced_routes(struct sliced_set *set, struct network *network)
{
    set->network = network;
    for (int i = 0; i < set->count; i++)
        for (int32_t s = 0; s < set->stages[i]->pass->step_count; s++) {
            const struct sliced_op *op = &set->stages[i]->ops[s];

            for (int32_t e = 0; e < op->edge_count; e++) {
                struct network_pair pair = pair_of(set->stages[i], op, &op->edges[e]);
                int route = network_route(network, pair.from, pair.to);

                op->edges[e].route = route;
                if (!network_route_is_free(network, route))
                    op->edges[e].per_message_ps = network_hop(network, route, 0).occupy_ps;
            }
        }
}

int sliced_slot_count(const struct sliced_set *set)
{
    return set->count;
}

void sliced_attach(struct sliced_set *set, const struct cluster *cluster, struct engine *engine,
                   int first_slot, const int32_t *device_slots, const struct sliced_host *host)
{
    set->engine = engine;
    set->first_slot = first_slot;
    set->device_slots = device_slots;
    set->host = *host;
    set->sums = arena_array(set->arena, (size_t)set->count + 1, sizeof(*set->sums));
    set->crossed =
        arena_array(set->arena, (size_t)cluster->medium_count + 1, sizeof(*set->crossed));
    for (int32_t i = 0; i < set->count; i++) {
        set->sums[i].stage = set->stages[i]->stage->id;
        set->stages[i]->sums = &set->sums[i];
    }
}
