/* heads_measured.c - see heads_measured.h. */
#include "sim/place/heads_measured.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "sim/network/network.h"
#include "sim/place/heads_internal.h"
#include "sim/place/heads_rows.h"
#include "sim/place/problem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_BYTES 4
/* A speed ratio is applied step by step in a run, to sums here, and each message is rounded: so
 * many ps a layer and step, and one for each device. */
#define ROUNDING_PS 8

struct layer_costs {                           /* by device of the list; ps, of one layer */
    double *heads;                             /* [device][heads] */
    double *projections, *ffns, *conns, *ends; /* ends: embed and lm_head, once */
};

struct heads_measured {
    const struct problem *problem;
    const struct problem_input *input;
    int32_t device_count;
    int32_t *devices, *kinds;
    bool has_holes;
    struct layer_costs layer;
    struct heads_problem uniform; /* all layers alike */
};

/* ---- devices ---- */

struct ranked {
    int64_t time_ps;
    int32_t device;
};

static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->time_ps != y->time_ps)
        return x->time_ps < y->time_ps ? -1 : 1;
    return (x->device > y->device) - (x->device < y->device);
}

static int compare_devices(const void *a, const void *b)
{
    int32_t x = ((const struct ranked *)a)->device, y = ((const struct ranked *)b)->device;

    return (x > y) - (x < y);
}

static void devices_fill(struct arena *arena, struct heads_measured *m)
{
    int32_t count = m->input->cluster->device_count, units = problem_unit_count(m->problem);
    struct ranked *ranked = arena_array(arena, (size_t)count, sizeof *ranked);

    for (int32_t d = 0; d < count; d++)
        ranked[d] = (struct ranked){ problem_units_ps(m->problem, d, 0, units - 1), d };
    m->device_count = count < HEADS_MAX_DEVICES ? count : HEADS_MAX_DEVICES;
    qsort(ranked, (size_t)count, sizeof *ranked, compare_ranked);
    qsort(ranked, (size_t)m->device_count, sizeof *ranked, compare_devices);
    m->devices = arena_array(arena, (size_t)m->device_count, sizeof *m->devices);
    m->kinds = arena_array(arena, (size_t)m->device_count, sizeof *m->kinds);
    for (int32_t d = 0; d < m->device_count; d++) {
        m->devices[d] = ranked[d].device;
        m->kinds[d] = problem_kind_of(m->problem, ranked[d].device);
    }
}

/* ---- a layer ---- */

/* Infinite where it was not measured. */
static double block_ps(const struct heads_measured *m, int32_t device, enum model_block block,
                       int32_t units)
{
    int64_t time_ps;

    return problem_block_ps(m->problem, m->devices[device], block, units, &time_ps)
               ? (double)time_ps
               : HUGE_VAL;
}

static void layer_fill(struct arena *arena, struct heads_measured *m)
{
    const struct model *model = m->input->model;
    size_t devices = (size_t)m->device_count, width = (size_t)model->kv_heads + 1;
    struct layer_costs *c = &m->layer;

    c->heads = arena_array(arena, devices * width, sizeof(double));
    c->projections = arena_array(arena, devices, sizeof(double));
    c->ffns = arena_array(arena, devices, sizeof(double));
    c->conns = arena_array(arena, devices, sizeof(double));
    c->ends = arena_array(arena, devices, sizeof(double));
    for (int32_t d = 0; d < m->device_count; d++) {
        double *heads = &c->heads[(size_t)d * width];
        int32_t like = 0; /* the first of its kind: costs the same */

        while (m->kinds[like] != m->kinds[d])
            like++;
        memcpy(heads, &c->heads[(size_t)like * width], width * sizeof *heads);
        for (int32_t n = 1; n <= model->kv_heads && like == d; n++) {
            heads[n] = block_ps(m, d, BLOCK_ATTN, n);
            m->has_holes = m->has_holes || isinf(heads[n]);
        }
        c->projections[d] = block_ps(m, d, BLOCK_PROJ, model->heads);
        c->ffns[d] = block_ps(m, d, BLOCK_FFN_UP, model->ffn_hidden) +
                     block_ps(m, d, BLOCK_FFN_DOWN, model->ffn_hidden);
        c->conns[d] = block_ps(m, d, BLOCK_CONN, 1);
        c->ends[d] = block_ps(m, d, BLOCK_EMBED, 1) + block_ps(m, d, BLOCK_LM_HEAD, model->vocab);
    }
}

/* ---- all layers alike ---- */

/* From a device of the list to another: the rows of a prompt, then one a step. */
static double message_ps(const struct heads_measured *m, int32_t from, int32_t to, int32_t rows,
                         int64_t values)
{
    if (from == to)
        return 0;
    return (double)problem_message(m->problem, m->devices[from], m->devices[to], rows,
                                   VALUE_BYTES * values)
        .time_ps;
}

static double held_bytes(const struct model *model, enum model_block block)
{
    return (double)model_block_weight_bytes(model, block);
}

/* The most that any block has of activations at once: whatever a device is given, it needs no more
 * beside its weights and caches. */
static double most_work_bytes(const struct problem_input *input)
{
    const struct model_part whole = { 0, 0, 1 };
    const struct model_step first = { input->prompt_tokens, 1, input->prompt_tokens };
    const struct model_step last = { 1, 1, (int64_t)input->prompt_tokens + input->output_tokens };
    int64_t most = 0;

    for (int block = 0; block < BLOCK_COUNT; block++) {
        int64_t a = model_part_work_bytes(input->model, (enum model_block)block, whole, &first);
        int64_t b = model_part_work_bytes(input->model, (enum model_block)block, whole, &last);

        most = a > most ? a : most;
        most = b > most ? b : most;
    }
    return (double)most;
}

/* Of so many layers; ends: with both ends of the model. */
static struct heads_resource memory_of(const struct heads_measured *m, const double *rooms,
                                       int32_t layers, bool has_ends)
{
    const struct model *model = m->input->model;
    double tokens =
        model->kind == MODEL_DECODER
            ? (double)(m->input->prompt_tokens + m->input->output_tokens) * m->input->sequences
            : 0;
    double attn = held_bytes(model, BLOCK_ATTN) + tokens * (double)model_kv_bytes_per_token(model);
    double ends = held_bytes(model, BLOCK_EMBED) + held_bytes(model, BLOCK_LM_HEAD) -
                  (double)model_tied_bytes(model);

    return (struct heads_resource){
        rooms, layers * attn / model->kv_heads, layers * held_bytes(model, BLOCK_PROJ),
        layers * (held_bytes(model, BLOCK_FFN_UP) + held_bytes(model, BLOCK_FFN_DOWN)),
        has_ends ? ends : 0
    };
}

struct costs { /* of a heads_problem, to be filled */
    double *heads, *gather, *projections, *ffns, *pass, *feed, *end_costs, *enter;
    int32_t *ends;
};

static struct costs costs_create(struct arena *arena, const struct heads_measured *m,
                                 struct heads_problem *problem)
{
    size_t devices = (size_t)m->device_count, width = (size_t)m->input->model->kv_heads + 1;
    struct costs c = { .heads = arena_array(arena, devices * width, sizeof(double)),
                       .gather = arena_array(arena, devices * devices * width, sizeof(double)),
                       .projections = arena_array(arena, devices, sizeof(double)),
                       .ffns = arena_array(arena, devices, sizeof(double)),
                       .pass = arena_array(arena, devices * devices, sizeof(double)),
                       .feed = arena_array(arena, devices * devices, sizeof(double)),
                       .end_costs = arena_array(arena, devices * devices, sizeof(double)),
                       .enter = arena_array(arena, devices * devices, sizeof(double)),
                       .ends = arena_array(arena, devices, sizeof(int32_t)) };

    *problem = (struct heads_problem){ .head_count = m->input->model->kv_heads,
                                       .device_count = m->device_count,
                                       .kinds = m->kinds,
                                       .head_costs = c.heads,
                                       .gather_costs = c.gather,
                                       .projection_costs = c.projections,
                                       .ffn_costs = c.ffns,
                                       .pass_costs = c.pass,
                                       .feed_costs = c.feed,
                                       .end_count = m->device_count,
                                       .ends = c.ends,
                                       .end_costs = c.end_costs,
                                       .enter_costs = c.enter,
                                       .resource_count = 1 };
    for (int32_t d = 0; d < m->device_count; d++)
        c.ends[d] = d;
    return c;
}

/* kept_bytes: of each device, for something else. */
static double *rooms_with(struct arena *arena, const struct heads_measured *m, double kept_bytes)
{
    double *rooms = arena_array(arena, (size_t)m->device_count, sizeof *rooms);

    for (int32_t d = 0; d < m->device_count; d++) {
        const struct cluster_device *device = &m->input->cluster->devices[m->devices[d]];

        rooms[d] = device->memory_bytes > 0
                       ? (double)(device->memory_bytes - device->reserved_bytes) - kept_bytes
                       : HUGE_VAL;
    }
    return rooms;
}

/* Norms run where the block behind them begins: any device may have any of them. */
static double *rooms_of(struct arena *arena, const struct heads_measured *m)
{
    return rooms_with(arena, m,
                      most_work_bytes(m->input) +
                          m->input->model->layers * held_bytes(m->input->model, BLOCK_CONN));
}

/* What leads to and from a device, of so many layers. */
static void ways_fill(const struct heads_measured *m, const struct costs *c, int32_t layers,
                      int32_t from, int32_t to)
{
    const struct model *model = m->input->model;
    int32_t rows = m->input->prompt_tokens, group = model->heads / model->kv_heads;
    size_t at = (size_t)from * (size_t)m->device_count + (size_t)to;
    size_t width = (size_t)model->kv_heads + 1;
    double whole_ps = message_ps(m, from, to, rows, model->hidden);

    for (int32_t n = 1; n <= model->kv_heads; n++)
        c->gather[at * width + (size_t)n] =
            layers * message_ps(m, from, to, rows, (int64_t)n * group * model->head_dim);
    c->pass[at] = layers * whole_ps;
    c->feed[at] = (layers - 1) * whole_ps;
    c->enter[at] = whole_ps;
    c->end_costs[at] = m->layer.ends[from] + message_ps(m, to, from, 1, model->hidden) +
                       (double)problem_entry(m->problem, m->devices[from]).time_ps +
                       (double)problem_exit(m->problem, m->devices[from]).time_ps;
}

static void problem_fill(struct arena *arena, const struct heads_measured *m, int32_t layers,
                         struct heads_problem *problem)
{
    struct costs c = costs_create(arena, m, problem);
    size_t width = (size_t)problem->head_count + 1;

    for (int32_t d = 0; d < m->device_count; d++) {
        for (size_t n = 1; n < width; n++)
            c.heads[(size_t)d * width + n] = layers * m->layer.heads[(size_t)d * width + n];
        c.projections[d] = layers * m->layer.projections[d];
        c.ffns[d] = layers * (m->layer.ffns[d] + m->layer.conns[d]);
        for (int32_t to = 0; to < m->device_count; to++)
            ways_fill(m, &c, layers, d, to);
    }
}

const struct heads_measured *heads_measure(struct arena *arena, const struct problem *problem)
{
    struct heads_measured *m = arena_alloc(arena, sizeof *m);

    m->problem = problem;
    m->input = problem_input(problem);
    devices_fill(arena, m);
    layer_fill(arena, m);
    problem_fill(arena, m, m->input->model->layers, &m->uniform);
    m->uniform.resources[0] = memory_of(m, rooms_of(arena, m), m->input->model->layers, true);
    return m;
}

bool heads_has_holes(const struct heads_measured *m)
{
    return m->has_holes;
}

const int32_t *heads_devices(const struct heads_measured *m, int32_t *count)
{
    *count = m->device_count;
    return m->devices;
}

const struct heads_problem *heads_problem_of(const struct heads_measured *m)
{
    return &m->uniform;
}

/* ---- placements ---- */

static struct heads_answer answer_of(struct arena *arena, const struct heads_problem *problem,
                                     enum heads_how how, bool (*is_over)(void *arg),
                                     void *is_over_arg)
{
    struct heads_answer answer = heads_greedy(arena, problem);

    if (how == HEADS_EXACT || !answer.is_feasible) /* sizes with holes in them: greedy may miss */
        answer = heads_solve(arena, problem, is_over, is_over_arg);
    return answer;
}

/* What the layer has taken of each device. */
static void rooms_take(const struct heads_problem *problem, const struct heads_answer *answer,
                       double *rooms)
{
    const struct heads_resource *memory = &problem->resources[0];

    for (int32_t d = 0; d < problem->device_count; d++)
        rooms[d] -= answer->counts[d] * memory->head;
    rooms[answer->projection] -= memory->projection;
    rooms[answer->ffn] -= memory->ffn;
    rooms[answer->end] -= memory->end;
}

static bool is_same_cut(const struct heads_run *a, const struct heads_run *b, int32_t head_count)
{
    return a->projection == b->projection && a->ffn == b->ffn &&
           memcmp(a->owners, b->owners, (size_t)head_count * sizeof *a->owners) == 0;
}

/* How the layer was cut before; else `other`. */
static const struct heads_run *run_at(const struct heads_plan *plan, int32_t layer,
                                      const struct heads_run *other)
{
    for (int32_t r = 0; plan && r < plan->run_count; r++)
        if (layer <= plan->runs[r].layer_last)
            return &plan->runs[r];
    return other;
}

/* Behind the first layer: both ends stay where they are, and the layer gets what the FFN before it
 * has made. */
static void layer_continue(struct arena *arena, const struct heads_measured *m,
                           const struct heads_answer *before, int32_t end, const double *rooms,
                           struct heads_problem *layer)
{
    int32_t *ends = arena_alloc(arena, sizeof *ends);

    *ends = end;
    layer->end_count = 1;
    layer->ends = ends;
    layer->end_costs = arena_array(arena, (size_t)m->device_count, sizeof(double));
    layer->enter_costs = &layer->pass_costs[heads_at(layer, before->ffn, 0)];
    layer->resources[0] = memory_of(m, rooms, 1, false);
}

/* Each layer as if it were the only one, in the room that is left. */
static struct heads_found find_by_layers(struct arena *arena, const struct heads_measured *m,
                                         enum heads_how how, const struct heads_plan *before,
                                         bool (*is_over)(void *arg), void *is_over_arg)
{
    struct heads_found found = { .plan = arena_alloc(arena, sizeof *found.plan) };
    int32_t layers = m->input->model->layers, end = 0;
    double *rooms = rooms_of(arena, m);
    struct heads_problem layer;
    struct heads_run *runs;

    found.plan->runs = runs = arena_array(arena, (size_t)layers, sizeof *runs);
    problem_fill(arena, m, 1, &layer);
    layer.kinds = NULL; /* what is left differs */
    layer.resources[0] = memory_of(m, rooms, 1, true);
    for (int32_t l = 0; l < layers; l++) {
        struct heads_answer answer = answer_of(arena, &layer, how, is_over, is_over_arg);
        int32_t last = found.plan->run_count;

        if (!answer.is_feasible)
            return found;
        end = l == 0 ? answer.end : end;
        found.plan->end = m->devices[end];
        found.cost_ps += answer.cost;
        rooms_take(&layer, &answer, rooms);
        runs[last] = heads_run_of(arena, &layer, &answer, m->devices, l, l,
                                  run_at(before, l, l > 0 ? &runs[last - 1] : NULL));
        if (l > 0 && is_same_cut(&runs[last - 1], &runs[last], layer.head_count))
            runs[last - 1].layer_last = l;
        else
            found.plan->run_count++;
        layer_continue(arena, m, &answer, end, rooms, &layer);
    }
    found.is_feasible = true;
    return found;
}

struct heads_found heads_found_of(struct arena *arena, const struct heads_measured *m,
                                  struct heads_answer answer, const struct heads_plan *before)
{
    struct heads_found found = { .is_feasible = answer.is_feasible,
                                 .is_uniform = true,
                                 .cost_ps = answer.cost };

    if (!answer.is_feasible)
        return found;
    found.plan = arena_alloc(arena, sizeof *found.plan);
    found.plan->end = m->devices[answer.end];
    found.plan->run_count = 1;
    found.plan->runs = arena_alloc(arena, sizeof *found.plan->runs);
    *found.plan->runs = heads_run_of(arena, &m->uniform, &answer, m->devices, 0,
                                     m->input->model->layers - 1, run_at(before, 0, NULL));
    return found;
}

struct heads_found heads_find(struct arena *arena, const struct heads_measured *m,
                              enum heads_how how, const struct heads_plan *before,
                              bool (*is_over)(void *arg), void *is_over_arg)
{
    struct heads_answer answer = answer_of(arena, &m->uniform, how, is_over, is_over_arg);

    if (!answer.is_feasible)
        return find_by_layers(arena, m, how, before, is_over, is_over_arg);
    return heads_found_of(arena, m, answer, before);
}

/* ---- the bound ---- */

static double least_of(const double *costs, int32_t count)
{
    double least = HUGE_VAL;

    for (int32_t i = 0; i < count; i++)
        least = costs[i] < least ? costs[i] : least;
    return least;
}

/* Of a layer without its heads, on the cheapest conn; memory as if it were the only layer. ways_ps:
 * by device of the projection, what messages of heads take anyhow. */
static struct costs relax(struct arena *arena, const struct heads_measured *m,
                          const double *ways_ps, struct heads_problem *relaxed)
{
    struct costs c = costs_create(arena, m, relaxed);
    double conn_ps = least_of(m->layer.conns, m->device_count);

    relaxed->projection_costs = m->layer.projections;
    relaxed->resources[0] = memory_of(m, rooms_with(arena, m, 0), 1, false);
    relaxed->end_count = 1;
    for (int32_t d = 0; d < m->device_count; d++) {
        c.ffns[d] = m->layer.ffns[d] + conn_ps;
        for (int32_t to = 0; to < m->device_count; to++)
            c.pass[heads_at(relaxed, d, to)] =
                message_ps(m, d, to, m->input->prompt_tokens, m->input->model->hidden) + ways_ps[d];
    }
    return c;
}

/* All heads on one device: they go to the projection together. */
static double together_ps(struct arena *arena, const struct heads_measured *m,
                          bool (*is_over)(void *arg), void *is_over_arg)
{
    const struct model *model = m->input->model;
    double *none_ps = arena_array(arena, (size_t)m->device_count, sizeof *none_ps);
    struct heads_problem relaxed;
    struct costs c = relax(arena, m, none_ps, &relaxed);
    size_t width = (size_t)relaxed.head_count + 1, all = width - 1;

    for (int32_t d = 0; d < m->device_count; d++) {
        for (size_t n = 1; n < width; n++)
            c.heads[(size_t)d * width + n] =
                n == all ? m->layer.heads[(size_t)d * width + n] : HUGE_VAL;
        for (int32_t to = 0; to < m->device_count; to++)
            c.gather[heads_at(&relaxed, d, to) * width + all] = message_ps(
                m, d, to, m->input->prompt_tokens, (int64_t)model->heads * model->head_dim);
    }
    return heads_solve(arena, &relaxed, is_over, is_over_arg).bound;
}

/* On several: what they work on reaches one more device whole, whatever way it takes, and one
 * head's output at least goes to the projection from elsewhere. Where messages pass beside
 * computing, as with --overlap, neither has to take any time. */
static double apart_ps(struct arena *arena, const struct heads_measured *m, bool has_overlap,
                       bool (*is_over)(void *arg), void *is_over_arg)
{
    const struct model *model = m->input->model;
    int32_t rows = m->input->prompt_tokens, devices = m->device_count;
    int64_t head_values = (int64_t)model->heads / model->kv_heads * model->head_dim;
    double *ways_ps = arena_array(arena, (size_t)devices, sizeof *ways_ps), feed_ps = HUGE_VAL;
    struct heads_problem relaxed;

    for (int32_t from = 0; from < devices; from++)
        for (int32_t to = 0; to < devices; to++)
            if (from != to)
                feed_ps = fmin(feed_ps, message_ps(m, from, to, rows, model->hidden));
    for (int32_t p = 0; p < devices && !has_overlap; p++) {
        double gather_ps = HUGE_VAL;

        for (int32_t from = 0; from < devices; from++)
            if (from != p)
                gather_ps = fmin(gather_ps, message_ps(m, from, p, rows, head_values));
        ways_ps[p] = feed_ps + gather_ps;
    }
    (void)relax(arena, m, ways_ps, &relaxed);
    relaxed.head_costs = m->layer.heads;
    return heads_solve(arena, &relaxed, is_over, is_over_arg).bound;
}

int64_t heads_bound_ps(struct arena *arena, const struct heads_measured *m, bool has_overlap,
                       bool (*is_over)(void *arg), void *is_over_arg)
{
    const struct problem_input *input = m->input;
    int32_t layers = input->model->layers;
    int64_t steps = input->model->kind == MODEL_DECODER ? input->output_tokens : 1;
    double least_end_ps = HUGE_VAL, bound_ps;

    for (int32_t d = 0; d < m->device_count; d++)
        least_end_ps =
            fmin(least_end_ps, m->layer.ends[d] +
                                   (double)problem_entry(m->problem, m->devices[d]).time_ps +
                                   (double)problem_exit(m->problem, m->devices[d]).time_ps);
    bound_ps = fmin(together_ps(arena, m, is_over, is_over_arg),
                    apart_ps(arena, m, has_overlap, is_over, is_over_arg));
    bound_ps = layers * bound_ps + least_end_ps -
               (double)(ROUNDING_PS + m->device_count) * (double)layers * (double)steps;
    if (m->device_count < input->cluster->device_count) /* some were not looked at */
        return 0;
    return bound_ps > 0 && bound_ps < (double)INT64_MAX ? (int64_t)bound_ps : 0;
}
