/* heads_formula.c - what heads, projections and FFNs cost by Kafetzis' formulas, and his planners
 * on them. */
#include "sim/place/heads_formula.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "sim/kafetzis/formula.h"
#include "sim/kafetzis/routes.h"
#include "sim/place/heads_internal.h"
#include <math.h>

#define LAYER_ENDS 1 /* both stand where they cost nothing */

struct writer {
    const struct heads_formula *of;
    struct heads_problem *problem;
    struct kafetzis_shape shape;
    struct kafetzis_routes *routes;
    double *head_costs, *gather_costs, *projection_costs, *ffn_costs, *pass_costs, *feed_costs;
    double *memory_rooms, *flop_rooms;
    int32_t group; /* heads of a part */
};

static double compute_s(const struct writer *w, enum kafetzis_block block, int32_t count,
                        int32_t device)
{
    const struct cluster_device *where = &w->of->cluster->devices[device];

    return w->of->model->layers * (count * kafetzis_flop(&w->shape, block, w->of->prompt_tokens) /
                                   (where->flop_per_s * where->speed_ratio));
}

/* times: how often in a step; infinite: no route. */
static double send_s(const struct writer *w, enum kafetzis_block block, int32_t count,
                     int32_t times, int32_t from, int32_t to)
{
    const struct kafetzis_route *route = kafetzis_route(w->routes, from, to);
    double bytes = count * kafetzis_sent_bytes(&w->shape, block, w->of->prompt_tokens);

    if (times == 0)
        return 0;
    return route ? times * kafetzis_route_s(route, bytes) : HUGE_VAL;
}

static void device_fill(const struct writer *w, int32_t device)
{
    const struct cluster_device *where = &w->of->cluster->devices[device];
    struct heads_problem *p = w->problem;
    int32_t layers = w->of->model->layers;
    size_t width = (size_t)p->head_count + 1;

    for (int32_t n = 1; n <= p->head_count; n++)
        w->head_costs[(size_t)device * width + (size_t)n] =
            compute_s(w, KAFETZIS_HEAD, n * w->group, device);
    w->projection_costs[device] = compute_s(w, KAFETZIS_PROJECTION, 1, device);
    w->ffn_costs[device] = compute_s(w, KAFETZIS_FFN, 1, device);
    for (int32_t to = 0; to < p->device_count; to++) {
        for (int32_t n = 1; n <= p->head_count; n++)
            w->gather_costs[heads_at(p, device, to) * width + (size_t)n] =
                send_s(w, KAFETZIS_HEAD, n * w->group, layers, device, to);
        w->pass_costs[heads_at(p, device, to)] =
            send_s(w, KAFETZIS_PROJECTION, 1, layers, device, to);
        w->feed_costs[heads_at(p, device, to)] = send_s(w, KAFETZIS_FFN, 1, layers - 1, device, to);
    }
    w->memory_rooms[device] =
        where->memory_bytes > 0 ? (double)(where->memory_bytes - where->reserved_bytes) : HUGE_VAL;
    w->flop_rooms[device] = where->flop_per_s * where->speed_ratio;
}

static struct heads_resource memory_of(const struct writer *w)
{
    int32_t tokens = w->of->prompt_tokens, layers = w->of->model->layers;
    double head = kafetzis_memory_bytes(&w->shape, KAFETZIS_HEAD, tokens) +
                  kafetzis_cache_bytes(&w->shape, w->of->step);

    return (struct heads_resource){
        w->memory_rooms, layers * w->group * head,
        layers * kafetzis_memory_bytes(&w->shape, KAFETZIS_PROJECTION, tokens),
        layers * kafetzis_memory_bytes(&w->shape, KAFETZIS_FFN, tokens), 0
    };
}

static struct heads_resource flop_of(const struct writer *w)
{
    int32_t tokens = w->of->prompt_tokens, layers = w->of->model->layers;

    return (struct heads_resource){ w->flop_rooms,
                                    layers * w->group *
                                        kafetzis_flop(&w->shape, KAFETZIS_HEAD, tokens),
                                    layers * kafetzis_flop(&w->shape, KAFETZIS_PROJECTION, tokens),
                                    layers * kafetzis_flop(&w->shape, KAFETZIS_FFN, tokens), 0 };
}

static bool check(const struct heads_formula *of, struct err *err)
{
    const struct cluster *cluster = of->cluster;
    const struct model *model = of->model;

    if (model->heads * model->head_dim != model->hidden)
        return err_set(err, ERR_INPUT,
                       "model '%s': %d heads of %d do not make up its width %d: --rules kafetzis "
                       "needs heads x head_dim = hidden",
                       model->name, model->heads, model->head_dim, model->hidden);
    if (cluster->device_count > HEADS_MAX_DEVICES)
        return err_set(err, ERR_INPUT, "%s has %d devices: heads are placed on up to %d",
                       cluster->path, cluster->device_count, HEADS_MAX_DEVICES);
    for (int d = 0; d < cluster->device_count; d++)
        if (!(cluster->devices[d].flop_per_s > 0))
            return err_set(err, ERR_INPUT,
                           "%s/devices.csv:%ld: device '%s' has no flop_per_s, which --rules "
                           "kafetzis needs",
                           cluster->path, cluster->devices[d].line, cluster->devices[d].name);
    return true;
}

const struct heads_problem *heads_formula(struct arena *arena, const struct heads_formula *of,
                                          struct err *err)
{
    static const int32_t nowhere[LAYER_ENDS] = { -1 };
    struct heads_problem *problem = arena_alloc(arena, sizeof *problem);
    size_t devices = (size_t)of->cluster->device_count, width = (size_t)of->model->kv_heads + 1;
    struct writer w = { .of = of, .problem = problem };

    if (!check(of, err))
        return NULL;
    w.shape =
        (struct kafetzis_shape){ of->model->heads, of->model->hidden, of->model->weight_bits / 8 };
    w.group = of->model->heads / of->model->kv_heads;
    w.routes = kafetzis_routes_create(arena, of->cluster);
    w.head_costs = arena_array(arena, devices * width, sizeof(double));
    w.gather_costs = arena_array(arena, devices * devices * width, sizeof(double));
    w.projection_costs = arena_array(arena, devices, sizeof(double));
    w.ffn_costs = arena_array(arena, devices, sizeof(double));
    w.pass_costs = arena_array(arena, devices * devices, sizeof(double));
    w.feed_costs = arena_array(arena, devices * devices, sizeof(double));
    w.memory_rooms = arena_array(arena, devices, sizeof(double));
    w.flop_rooms = arena_array(arena, devices, sizeof(double));
    *problem = (struct heads_problem){ .head_count = of->model->kv_heads,
                                       .device_count = of->cluster->device_count,
                                       .head_costs = w.head_costs,
                                       .gather_costs = w.gather_costs,
                                       .projection_costs = w.projection_costs,
                                       .ffn_costs = w.ffn_costs,
                                       .pass_costs = w.pass_costs,
                                       .feed_costs = w.feed_costs,
                                       .end_count = LAYER_ENDS,
                                       .ends = nowhere,
                                       .end_costs = arena_array(arena, devices, sizeof(double)),
                                       .enter_costs = arena_array(arena, devices, sizeof(double)),
                                       .resource_count = HEADS_RESOURCES };
    for (int32_t d = 0; d < problem->device_count; d++)
        device_fill(&w, d);
    problem->resources[0] = memory_of(&w);
    problem->resources[1] = flop_of(&w);
    return problem;
}

/* ---- his planners ---- */

/* What the devices of an answer that is not complete would hold with one block more. */
struct filler {
    const struct heads_problem *problem;
    struct heads_answer *answer;
    double *held[HEADS_RESOURCES];
};

static bool try_block(struct filler *f, int32_t device, enum kafetzis_block block)
{
    const struct heads_problem *p = f->problem;
    double need[HEADS_RESOURCES];

    for (int r = 0; r < p->resource_count; r++) {
        const struct heads_resource *of = &p->resources[r];
        double block_need = block == KAFETZIS_HEAD         ? of->head
                            : block == KAFETZIS_PROJECTION ? of->projection
                                                           : of->ffn;

        need[r] = f->held[r][device] + block_need;
        if (need[r] > of->rooms[device])
            return false;
    }
    for (int r = 0; r < p->resource_count; r++)
        f->held[r][device] = need[r];
    if (block == KAFETZIS_HEAD)
        f->answer->counts[device]++;
    else if (block == KAFETZIS_PROJECTION)
        f->answer->projection = device;
    else
        f->answer->ffn = device;
    return true;
}

/* Heads, the projection, the FFN: each on the first device that has room, from the first one on or
 * from the one behind the last choice. */
static struct heads_answer fill_in_order(struct arena *arena, const struct heads_problem *p,
                                         bool does_rotate)
{
    struct heads_answer answer = { .counts = arena_array(arena, (size_t)p->device_count,
                                                         sizeof(int32_t)) };
    struct filler filler = { .problem = p, .answer = &answer };
    int32_t next = 0;

    for (int r = 0; r < p->resource_count; r++)
        filler.held[r] = arena_array(arena, (size_t)p->device_count, sizeof(double));
    for (int32_t i = 0; i < p->head_count + 2; i++) {
        enum kafetzis_block block = i < p->head_count    ? KAFETZIS_HEAD
                                    : i == p->head_count ? KAFETZIS_PROJECTION
                                                         : KAFETZIS_FFN;
        int32_t tried = 0;

        while (tried < p->device_count &&
               !try_block(&filler, (next + tried) % p->device_count, block))
            tried++;
        if (tried == p->device_count)
            return answer;
        if (does_rotate)
            next = (next + tried + 1) % p->device_count;
    }
    answer.cost = heads_cost(p, &answer);
    answer.is_feasible = !isinf(answer.cost);
    return answer;
}

static struct heads_answer plan_greedy(struct arena *arena, const struct heads_problem *problem,
                                       bool (*is_over)(void *arg), void *is_over_arg)
{
    (void)is_over;
    (void)is_over_arg;
    return fill_in_order(arena, problem, false);
}

static struct heads_answer plan_round_robin(struct arena *arena,
                                            const struct heads_problem *problem,
                                            bool (*is_over)(void *arg), void *is_over_arg)
{
    (void)is_over;
    (void)is_over_arg;
    return fill_in_order(arena, problem, true);
}

static struct heads_answer plan_aware(struct arena *arena, const struct heads_problem *problem,
                                      bool (*is_over)(void *arg), void *is_over_arg)
{
    (void)is_over;
    (void)is_over_arg;
    return heads_greedy(arena, problem);
}

static struct heads_answer plan_single(struct arena *arena, const struct heads_problem *problem,
                                       bool (*is_over)(void *arg), void *is_over_arg)
{
    (void)is_over;
    (void)is_over_arg;
    return heads_single(arena, problem);
}

const struct heads_rule heads_rules[] = {
    { "single", "all of it on the one device that is fastest", plan_single },
    { "greedy", "heads, projection, FFN: each on the first device with room", plan_greedy },
    { "round-robin", "each on the next device with room", plan_round_robin },
    { "resource-aware", "load-aware: head by head to where the step stays shortest", plan_aware },
    { "exact-heads", "the shortest step of all", heads_solve },
};
const int heads_rule_count = (int)(sizeof heads_rules / sizeof heads_rules[0]);
