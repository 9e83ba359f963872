/* heads_measured.c - see heads_measured.h. */
#include "sim/place/heads_measured.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "sim/network/network.h"
#include "sim/place/heads_measured_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_BYTES 4

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
double heads_message_ps(const struct heads_measured *m, int32_t from, int32_t to, int32_t rows,
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
struct heads_resource heads_memory(const struct heads_measured *m, const double *rooms,
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

struct heads_costs heads_costs_create(struct arena *arena, const struct heads_measured *m,
                                      struct heads_problem *problem)
{
    size_t devices = (size_t)m->device_count, width = (size_t)m->input->model->kv_heads + 1;
    struct heads_costs c = { .heads = arena_array(arena, devices * width, sizeof(double)),
                             .gather =
                                 arena_array(arena, devices * devices * width, sizeof(double)),
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
double *heads_rooms_with(struct arena *arena, const struct heads_measured *m, double kept_bytes)
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
double *heads_rooms(struct arena *arena, const struct heads_measured *m)
{
    return heads_rooms_with(arena, m,
                            most_work_bytes(m->input) +
                                m->input->model->layers * held_bytes(m->input->model, BLOCK_CONN));
}

/* What leads to and from a device, of so many layers. */
static void ways_fill(const struct heads_measured *m, const struct heads_costs *c, int32_t layers,
                      int32_t from, int32_t to)
{
    const struct model *model = m->input->model;
    int32_t rows = m->input->prompt_tokens, group = model->heads / model->kv_heads;
    size_t at = (size_t)from * (size_t)m->device_count + (size_t)to;
    size_t width = (size_t)model->kv_heads + 1;
    double whole_ps = heads_message_ps(m, from, to, rows, model->hidden);

    for (int32_t n = 1; n <= model->kv_heads; n++)
        c->gather[at * width + (size_t)n] =
            layers * heads_message_ps(m, from, to, rows, (int64_t)n * group * model->head_dim);
    c->pass[at] = layers * whole_ps;
    c->feed[at] = (layers - 1) * whole_ps;
    c->enter[at] = whole_ps;
    c->end_costs[at] = m->layer.ends[from] + heads_message_ps(m, to, from, 1, model->hidden) +
                       (double)problem_entry(m->problem, m->devices[from]).time_ps +
                       (double)problem_exit(m->problem, m->devices[from]).time_ps;
}

void heads_problem_fill(struct arena *arena, const struct heads_measured *m, int32_t layers,
                        struct heads_problem *problem, struct heads_costs *costs)
{
    struct heads_costs c = heads_costs_create(arena, m, problem);
    size_t width = (size_t)problem->head_count + 1;

    for (int32_t d = 0; d < m->device_count; d++) {
        for (size_t n = 1; n < width; n++)
            c.heads[(size_t)d * width + n] = layers * m->layer.heads[(size_t)d * width + n];
        c.projections[d] = layers * m->layer.projections[d];
        c.ffns[d] = layers * (m->layer.ffns[d] + m->layer.conns[d]);
        for (int32_t to = 0; to < m->device_count; to++)
            ways_fill(m, &c, layers, d, to);
    }
    *costs = c;
}

const struct heads_measured *heads_measure(struct arena *arena, const struct problem *problem)
{
    struct heads_measured *m = arena_alloc(arena, sizeof *m);
    struct heads_costs costs;

    m->problem = problem;
    m->input = problem_input(problem);
    devices_fill(arena, m);
    layer_fill(arena, m);
    heads_problem_fill(arena, m, m->input->model->layers, &m->uniform, &costs);
    m->uniform.resources[0] = heads_memory(m, heads_rooms(arena, m), m->input->model->layers, true);
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
