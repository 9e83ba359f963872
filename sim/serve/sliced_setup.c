/* sliced_setup.c - before time starts: passes of sliced stages, their messages, who talks to whom.
 */
#include "sim/serve/sliced.h"

#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/policy/plan.h"
#include "sim/network/network.h"
#include <assert.h>

static enum collective_kind collective_of(enum pass_kind kind)
{
    switch (kind) {
    case PASS_BROADCAST:
        return COLLECTIVE_BROADCAST;
    case PASS_SCATTER:
        return COLLECTIVE_SCATTER;
    case PASS_GATHER:
        return COLLECTIVE_GATHER;
    case PASS_REDUCE:
        return COLLECTIVE_REDUCE;
    case PASS_ALL_GATHER:
        return COLLECTIVE_ALL_GATHER;
    case PASS_REDUCE_SCATTER:
        return COLLECTIVE_REDUCE_SCATTER;
    case PASS_ALL_REDUCE:
        return COLLECTIVE_ALL_REDUCE;
    case PASS_SEND:
    case PASS_EXCHANGE:
    case PASS_COMPUTE:
    case PASS_KIND_COUNT:
        break;
    }
    return COLLECTIVE_SEND;
}

/* ---- messages of an operation ---- */

/* By whom each message is waited for, from who waits for whom. */
static void nexts_fill(struct serve *serve, struct sliced_op *op, const struct collective *schedule)
{
    int32_t at = 0;

    for (int32_t i = 0; i < schedule->step_count; i++)
        for (int32_t d = 0; d < schedule->steps[i].dep_count; d++)
            op->edges[schedule->deps[schedule->steps[i].first_dep + d]].next_count++;
    op->next = arena_array(serve->arena, (size_t)schedule->dep_count + 1, sizeof(*op->next));
    for (int32_t i = 0; i < op->edge_count; i++) {
        op->edges[i].first_next = at;
        at += op->edges[i].next_count;
        op->edges[i].next_count = 0;
    }
    for (int32_t i = 0; i < schedule->step_count; i++)
        for (int32_t d = 0; d < schedule->steps[i].dep_count; d++) {
            struct sliced_edge *edge = &op->edges[schedule->deps[schedule->steps[i].first_dep + d]];

            op->next[edge->first_next + edge->next_count++] = i;
        }
}

static void schedule_build(struct serve *serve, struct sliced_op *op)
{
    const struct pass_step *step = op->step;
    int64_t *sizes = arena_array(serve->arena, (size_t)step->count, sizeof(*sizes));
    const struct collective *schedule =
        collective_steps_of(serve->arena, collective_of(step->kind), serve->options->collective,
                            step->count, sizes, step->root);

    op->edge_count = schedule->step_count;
    op->slot_count = schedule->slot_count;
    op->edges = arena_array(serve->arena, (size_t)op->edge_count + 1, sizeof(*op->edges));
    for (int32_t i = 0; i < op->edge_count; i++)
        op->edges[i] = (struct sliced_edge){ .from = schedule->steps[i].from,
                                             .to = schedule->steps[i].to,
                                             .slot = schedule->steps[i].slot,
                                             .first_part = schedule->steps[i].first_part,
                                             .part_count = schedule->steps[i].part_count,
                                             .dep_count = schedule->steps[i].dep_count };
    nexts_fill(serve, op, schedule);
}

static void exchange_build(struct serve *serve, const struct pass *pass, struct sliced_op *op)
{
    const struct pass_step *step = op->step;

    op->edge_count = step->message_count;
    op->slot_count = 1;
    op->edges = arena_array(serve->arena, (size_t)op->edge_count + 1, sizeof(*op->edges));
    for (int32_t i = 0; i < op->edge_count; i++) {
        const struct pass_message *message = &pass->messages[step->first_message + i];

        op->edges[i] = (struct sliced_edge){ .from = message->from,
                                             .to = message->to,
                                             .row_bytes = message->row_bytes };
    }
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

static void op_build(struct serve *serve, struct sliced *sliced, int32_t number)
{
    const struct pass *pass = sliced->pass;
    struct sliced_op *op = &sliced->ops[number];
    size_t count;

    op->step = &pass->steps[number];
    if (op->step->kind == PASS_COMPUTE || messages_share(sliced, number))
        return;
    if (op->step->kind == PASS_EXCHANGE)
        exchange_build(serve, pass, op);
    else
        schedule_build(serve, op);
    count = (size_t)op->step->count;
    op->member_of = arena_array(serve->arena, (size_t)sliced->count, sizeof(*op->member_of));
    op->in_count = arena_array(serve->arena, count, sizeof(*op->in_count));
    op->out_count = arena_array(serve->arena, count, sizeof(*op->out_count));
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

static void steps_write_out(struct serve *serve, struct sliced *sliced)
{
    const struct pass *pass = sliced->pass;
    int32_t at = 0;

    for (int32_t s = 0; s < pass->segment_count; s++)
        sliced->ordinal_count += pass->segments[s].step_count * pass->segments[s].repeats;
    sliced->steps =
        arena_array(serve->arena, (size_t)sliced->ordinal_count + 1, sizeof(*sliced->steps));
    sliced->run_of =
        arena_array(serve->arena, (size_t)sliced->ordinal_count + 1, sizeof(*sliced->run_of));
    for (int32_t s = 0; s < pass->segment_count; s++)
        for (int32_t r = 0; r < pass->segments[s].repeats; r++)
            for (int32_t i = 0; i < pass->segments[s].step_count; i++)
                sliced->steps[at++] = pass->segments[s].first_step + i;
    for (int32_t i = 0; i < sliced->ordinal_count; i++)
        sliced->run_of[i] = -1;
}

static void pieces_find(struct serve *serve, struct sliced *sliced)
{
    const struct pass *pass = sliced->pass;
    size_t room = (size_t)pass->step_count * (size_t)sliced->count;

    sliced->piece_of = arena_array(serve->arena, room + 1, sizeof(*sliced->piece_of));
    for (size_t i = 0; i < room; i++)
        sliced->piece_of[i] = -1;
    for (int32_t s = 0; s < pass->step_count; s++)
        for (int32_t i = 0; pass->steps[s].kind == PASS_COMPUTE && i < pass->steps[s].count; i++) {
            int32_t piece = pass->steps[s].first + i;

            sliced->piece_of[s * sliced->count + pass->pieces[piece].position] = piece;
        }
}

static void devices_fill(struct serve *serve, struct sliced *sliced)
{
    const struct cluster *cluster = serve->input->plan->cluster;
    const struct site *site = sliced->site;
    size_t count = (size_t)sliced->count, pieces = (size_t)sliced->pass->piece_count + 1;

    sliced->parts = arena_array(serve->arena, count, sizeof(*sliced->parts));
    sliced->part_flights = arena_array(serve->arena, count, sizeof(*sliced->part_flights));
    sliced->tables = arena_array(serve->arena, count, sizeof(const struct cost_table *));
    sliced->weight_bytes = arena_array(serve->arena, count, sizeof(int64_t));
    sliced->kv_bytes_per_token = arena_array(serve->arena, count, sizeof(int64_t));
    sliced->cursors = arena_array(serve->arena, count, sizeof(*sliced->cursors));
    sliced->list = arena_array(serve->arena, count, sizeof(*sliced->list));
    sliced->piece_ps = arena_array(serve->arena, pieces, sizeof(*sliced->piece_ps));
    sliced->piece_extrapolated = arena_array(serve->arena, pieces, sizeof(int));
    for (int32_t i = 0; i < sliced->count; i++) {
        int32_t device = site->devices[i];

        sliced->tables[i] = cost_set_find(serve->input->costs, cluster->devices[device].type);
        assert(sliced->tables[i]); /* plan.c has looked */
        sliced->weight_bytes[i] = plan_stage_weight_bytes(serve->input->plan, site->stage, device);
        sliced->kv_bytes_per_token[i] =
            plan_device_kv_bytes_per_token(serve->input->plan, site->stage, device);
        sliced->parts[i] = (struct site){ .device = device,
                                          .device_count = 1,
                                          .devices = &site->devices[i],
                                          .stage = site->stage,
                                          .replica = site->replica,
                                          .service = site->service,
                                          .is_last = true,
                                          .route_in = -1,
                                          .route_back = SLICED_PART,
                                          .sliced = sliced,
                                          .position = i };
    }
}

static void stage_build(struct serve *serve, struct site *site, struct pass_options *options)
{
    struct sliced *sliced = arena_alloc(serve->arena, sizeof(*sliced));

    site->sliced = sliced;
    sliced->site = site;
    sliced->number = serve->sliced_count;
    sliced->count = site->device_count;
    sliced->running = NO_FLIGHT;
    sliced->first_free_run = -1;
    sliced->pass = pass_compile(serve->arena, site->stage, site->model, options);
    sliced->ops =
        arena_array(serve->arena, (size_t)sliced->pass->step_count + 1, sizeof(*sliced->ops));
    for (int32_t i = 0; i < sliced->pass->step_count; i++)
        op_build(serve, sliced, i);
    steps_write_out(serve, sliced);
    pieces_find(serve, sliced);
    devices_fill(serve, sliced);
    serve->sliced[serve->sliced_count++] = sliced;
}

void sliced_build(struct serve *serve)
{
    const struct plan *plan = serve->input->plan;
    struct pass_options options = { serve->options->collective == COLLECTIVE_RING,
                                    plan->stage_count };

    serve->sliced = arena_array(serve->arena, (size_t)plan->stage_count, sizeof(struct sliced *));
    for (int i = 0; i < plan->stage_count; i++)
        if (serve->sites[i].is_model && serve->sites[i].device_count > 1)
            stage_build(serve, &serve->sites[i], &options);
    serve->first_free_message = -1;
}

/* ---- the network ---- */

int sliced_pair_count(const struct serve *serve)
{
    int count = 0;

    for (int i = 0; i < serve->sliced_count; i++)
        for (int32_t s = 0; s < serve->sliced[i]->pass->step_count; s++)
            count += serve->sliced[i]->ops[s].edge_count;
    return count;
}

static struct network_pair pair_of(const struct sliced *sliced, const struct sliced_op *op,
                                   const struct sliced_edge *edge)
{
    const struct pass_member *members = &sliced->pass->members[op->step->first];

    return (struct network_pair){ sliced->site->devices[members[edge->from].position],
                                  sliced->site->devices[members[edge->to].position] };
}

int sliced_pairs(const struct serve *serve, struct network_pair *pairs)
{
    int count = 0;

    for (int i = 0; i < serve->sliced_count; i++)
        for (int32_t s = 0; s < serve->sliced[i]->pass->step_count; s++) {
            const struct sliced_op *op = &serve->sliced[i]->ops[s];

            for (int32_t e = 0; e < op->edge_count; e++)
                pairs[count++] = pair_of(serve->sliced[i], op, &op->edges[e]);
        }
    return count;
}

void sliced_routes(struct serve *serve)
{
    for (int i = 0; i < serve->sliced_count; i++)
        for (int32_t s = 0; s < serve->sliced[i]->pass->step_count; s++) {
            const struct sliced_op *op = &serve->sliced[i]->ops[s];

            for (int32_t e = 0; e < op->edge_count; e++) {
                struct network_pair pair = pair_of(serve->sliced[i], op, &op->edges[e]);
                int route = network_route(serve->network, pair.from, pair.to);

                op->edges[e].route = route;
                if (!network_route_is_free(serve->network, route))
                    op->edges[e].per_message_ps = network_hop(serve->network, route, 0).occupy_ps;
            }
        }
}

bool sliced_begin(struct serve *serve, struct err *err)
{
    struct serve_passes *passes;

    if (serve->sliced_count == 0)
        return true;
    if (serve->has_queue_form) {
        const struct site *site = serve->sliced[0]->site;

        return err_set(err, ERR_INPUT,
                       "stage %d of replica %d of service '%s' is a model's on several devices: "
                       "this version does not combine that with --events, --admission late, "
                       "--switch-cost and batches of executables",
                       (int)site->stage->number, (int)serve->lanes[site->replica].number,
                       serve->input->plan->services[site->service].name);
    }
    passes = arena_array(serve->arena, (size_t)serve->sliced_count, sizeof(*passes));
    serve->result->passes = passes;
    serve->result->passes_count = serve->sliced_count;
    for (int i = 0; i < serve->sliced_count; i++) {
        struct sliced *sliced = serve->sliced[i];

        passes[i].stage = sliced->site->stage->id;
        sliced->passes = &passes[i];
        for (int32_t k = 0; k < sliced->count; k++) {
            sliced->parts[k].slot = serve->stations[sliced->parts[k].device].slot;
            sliced->part_flights[k] = flight_reserve(serve);
        }
    }
    return true;
}
