/* scene.h - random heterogeneous clusters, their costs, and what they are asked to serve: the
 * problems on which planners are held against each other (unit/sim/test_search.c,
 * bench/bench_place_search.c).
 *
 * Everything is drawn from one seed, and every range stands here:
 *
 *   types       1 to 4 a cluster. A type computes 4 to 64 GFLOP/s and reads 3 to 40 GB/s
 *               (log-uniform); a call of an operator takes 2 to 20 us more. 1, 2, 4 or 8 GB.
 *   boards      2 to SCENE_MOST_BOARDS, or as asked (log-uniform), each of a type drawn at random;
 * three in ten run at a speed_ratio of 0.5 to 0.95, in steps of 0.05; 200 MB are reserved. links a
 * switch (four in five) with 100 Mbit/s or 1 Gbit/s by type, 0.1 to 1 ms and 10 to 50 us a message;
 * or one wifi medium of 50 to 300 Mbit/s, 1 to 3 ms, 50 to 200 us. The source has 1 Gbit/s on the
 * switch. models      gpt2-medium, tinyllama-1.1b, vit-large, of 1.4, 4.4 and 1.2 GB requests
 * SCENE_REQUESTS, Poisson; prompts of 16 to 128 tokens, outputs of 4 to 32 (uniform); at a rate of
 * 0.2 to 0.9 (uniform) of the sum of the speeds of all boards, as if each of them held the model
 * and got all of its requests for nothing objective   latency of 2 to 8 times (log-uniform) what
 * the mean request takes alone on the fastest board, as if it held the model
 *
 * An operator takes the larger of its FLOP over the type's and its bytes (weights, or what it reads
 * and writes) over the type's, and the time of a call. Costs are there for whole blocks and for 1/2
 * and 1/4 of them, where heads divide. */
#ifndef ORRERY_TESTS_SCENE_H
#define ORRERY_TESTS_SCENE_H

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "lib/format/names.h"
#include "lib/format/workload.h"
#include "sim/judge/judge.h"
#include "sim/place/place.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCENE_MOST_BOARDS 64
#define SCENE_MOST_TYPES 4
#define SCENE_REQUESTS 200
#define SCENE_MODELS 3

static const char *const scene_models[SCENE_MODELS] = { "gpt2-medium", "tinyllama-1.1b",
                                                        "vit-large" };

struct scene_type {
    char name[8];
    double flop_per_s, bytes_per_s, call_s;
    int64_t memory_bytes;
    double bits_per_s;
};

struct scene {
    struct arena *arena;
    struct cluster cluster;
    struct cost_set costs;
    struct model_catalogue *catalogue;
    const struct model *model;
    struct workload *workload;
    struct problem_input input;
    const struct problem *problem;
    struct judge *judge;
    struct place_ask ask;
    int type_count;
    struct scene_type types[SCENE_MOST_TYPES];
    int64_t slo_ps;
    double rate_per_s;
};

static inline double scene_uniform(struct rng *rng, double low, double high)
{
    return low + (high - low) * rng_uniform(rng);
}

static inline double scene_log(struct rng *rng, double low, double high)
{
    return low * dmath_exp(dmath_log(high / low) * rng_uniform(rng));
}

static inline int scene_int(struct rng *rng, int low, int high)
{
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

/* ---- costs ---- */

struct scene_text { /* that grows; the same key once */
    struct arena *arena;
    struct names *keys;
    char *text;
    size_t used, room;
};

static inline void scene_add(struct scene_text *to, const char *row)
{
    size_t length = strlen(row);

    if (to->used + length + 1 > to->room) {
        size_t room = 2 * (to->used + length + 1);

        to->text = arena_grow(to->arena, to->text, to->room, room, 1);
        to->room = room;
    }
    memcpy(to->text + to->used, row, length + 1);
    to->used += length;
}

/* What a call takes, of so many rows, and keys for attention. */
static inline double scene_ns(const struct scene_type *type, const struct model_op *op)
{
    double m = op->m_tokens, n = op->gemm_n, k = op->gemm_k, flop = 0, bytes = 0, s;

    switch (op->op) {
    case OP_QKV:
    case OP_OPROJ:
    case OP_FFN_UP:
    case OP_FFN_DOWN:
    case OP_LMHEAD:
        flop = 2 * m * n * k;
        bytes = 4 * (n * k + m * (n + k));
        break;
    case OP_ATTN:
        flop = 4.0 * m * op->kv_len * op->heads * op->head_dim;
        bytes = 8.0 * op->kv_len * op->kv_heads * op->head_dim + 8 * m * op->heads * op->head_dim;
        break;
    case OP_ROPE:
    case OP_KVAPPEND:
        bytes = 8.0 * m * (op->heads + op->kv_heads) * op->head_dim;
        break;
    case OP_EMBED:
        flop = 2 * m * n * k;
        bytes = 8 * m * n + 4 * n * k;
        break;
    case OP_NORM:
    case OP_ADD:
    case OP_ACT:
    case OP_FNORM:
    case OP_COUNT:
        bytes = 12 * m * n;
        break;
    }
    s = flop / type->flop_per_s > bytes / type->bytes_per_s ? flop / type->flop_per_s
                                                            : bytes / type->bytes_per_s;
    return 1e9 * (s + type->call_s);
}

static inline void scene_row(struct scene_text *to, const struct scene_type *type,
                             const struct model_op *op)
{
    char key[192], shape[64] = ",,,", row[256];
    int32_t known = names_count(to->keys);

    if (op->heads > 0)
        (void)snprintf(shape, sizeof shape, "%d,%d,%d,%.0d", op->heads, op->kv_heads, op->head_dim,
                       op->op == OP_ATTN ? op->kv_len : 0);
    (void)snprintf(key, sizeof key, "%s,%s,1,%d,%.0d,%.0d,%s", op_name(op->op),
                   op->phase == OP_ANY ? "" : op_phase_name(op->phase), op->m_tokens, op->gemm_n,
                   op->gemm_k, shape);
    if (names_put(to->keys, key) < known)
        return;
    (void)snprintf(row, sizeof row, "%s,%.0f\n", key, scene_ns(type, op));
    scene_add(to, row);
}

/* Rows of all operators of a model for so many tokens. */
static inline void scene_rows(struct scene_text *to, const struct scene_type *type,
                              const struct model *model, int32_t tokens, int32_t past)
{
    for (int block = 0; block < BLOCK_COUNT; block++) {
        struct model_op ops[MODEL_MAX_OPS];
        int count = model_block_ops(model, (enum model_block)block, tokens, past, ops);

        for (int i = 0; i < count; i++)
            if (past == 0 || ops[i].op == OP_ATTN)
                scene_row(to, type, &ops[i]);
    }
}

static inline struct cost_table *scene_table(struct scene *scene, const struct scene_type *type,
                                             struct err *err)
{
    static const int32_t tokens[] = { 1, 4, 16, 64, 128, 256 }, pasts[] = { 1, 15, 63, 127, 255 };
    struct scene_text text = { .arena = scene->arena, .keys = names_create(scene->arena) };

    scene_add(&text, "kernel,phase,threads,m_tokens,gemm_n,gemm_k,heads,kv_heads,head_dim,kv_len,"
                     "mean_ns\n");
    for (int32_t parts = 1; parts <= 4; parts *= 2) {
        struct err none = ERR_INIT;
        const struct model *slice = model_slice(scene->arena, scene->model, parts, &none);

        if (!slice)
            break;
        for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
            scene_rows(&text, type, slice, tokens[i], 0);
        for (size_t i = 0; i < sizeof pasts / sizeof pasts[0]; i++)
            if (slice->kind == MODEL_DECODER)
                scene_rows(&text, type, slice, 1, pasts[i]);
    }
    return cost_load_text(scene->arena, type->name, text.text, NULL, err);
}

/* ---- the cluster ---- */

static inline void scene_types(struct scene *scene, struct rng *rng)
{
    scene->type_count = scene_int(rng, 1, SCENE_MOST_TYPES);
    for (int t = 0; t < scene->type_count; t++) {
        struct scene_type *type = &scene->types[t];

        (void)snprintf(type->name, sizeof type->name, "type%d", t);
        type->flop_per_s = scene_log(rng, 4e9, 64e9);
        type->bytes_per_s = scene_log(rng, 3e9, 40e9);
        type->call_s = scene_uniform(rng, 2e-6, 20e-6);
        type->memory_bytes = INT64_C(1000000000) << scene_int(rng, 0, 3);
        type->bits_per_s = scene_int(rng, 0, 1) ? 1e9 : 1e8;
    }
}

static inline void scene_boards(struct scene *scene, struct rng *rng, int least, int most)
{
    struct cluster *cluster = &scene->cluster;

    cluster->path = "scene";
    cluster->device_count = (int)scene_log(rng, least, (double)most + 1);
    cluster->devices =
        arena_array(scene->arena, (size_t)cluster->device_count, sizeof *cluster->devices);
    for (int d = 0; d < cluster->device_count; d++) {
        const struct scene_type *type = &scene->types[scene_int(rng, 0, scene->type_count - 1)];
        int steps = scene_int(rng, 0, 9) < 3 ? scene_int(rng, 1, 10) : 0;

        cluster->devices[d] = (struct cluster_device){ .type = type->name,
                                                       .memory_bytes = type->memory_bytes,
                                                       .reserved_bytes = 200000000,
                                                       .threads = 1,
                                                       .speed_ratio = (20 - steps) / 20.0,
                                                       .address = "",
                                                       .idle_w = -1,
                                                       .busy_w = -1,
                                                       .flop_per_s = -1,
                                                       .encode_value_ps = -1,
                                                       .decode_value_ps = -1,
                                                       .line = d + 3 };
        cluster->devices[d].name = arena_printf(scene->arena, "b%02d", d);
        cluster->devices[d].node = cluster->devices[d].name;
    }
}

static inline double scene_bits(const struct scene *scene, int device)
{
    int t = 0;

    while (strcmp(scene->types[t].name, scene->cluster.devices[device].type) != 0)
        t++;
    return scene->types[t].bits_per_s;
}

static inline void scene_links(struct scene *scene, struct rng *rng)
{
    struct cluster *cluster = &scene->cluster;
    bool is_wifi = scene_int(rng, 0, 4) == 0;
    struct cluster_attachment all = { .efficiency_ratio = 0.94 };
    struct cluster_medium *medium = arena_alloc(scene->arena, sizeof *medium);
    int count = cluster->device_count + 1;

    all.bits_per_s = is_wifi ? scene_uniform(rng, 50e6, 300e6) : 1e9;
    all.latency_ps =
        (int64_t)(1e6 * scene_uniform(rng, is_wifi ? 1000 : 100, is_wifi ? 3000 : 1000));
    all.per_message_ps = (int64_t)(1e6 * scene_uniform(rng, is_wifi ? 50 : 10, is_wifi ? 200 : 50));
    *medium = (struct cluster_medium){ .name = is_wifi ? "wifi" : "lan",
                                       .kind = is_wifi ? CLUSTER_WIFI : CLUSTER_SWITCH,
                                       .attachment_count = count };
    medium->attachments = arena_array(scene->arena, (size_t)count, sizeof all);
    for (int n = 0; n < count; n++) {
        medium->attachments[n] = all;
        medium->attachments[n].node = n == 0 ? CLUSTER_SOURCE : cluster->devices[n - 1].node;
        medium->attachments[n].line = n + 3;
        if (n > 0 && !is_wifi)
            medium->attachments[n].bits_per_s = scene_bits(scene, n - 1);
    }
    cluster->media = medium;
    cluster->medium_count = 1;
    cluster->has_links = cluster->has_source = true;
    cluster_index(scene->arena, cluster);
}

/* ---- what it is asked ---- */

static inline void scene_workload(struct scene *scene, struct rng *rng)
{
    struct workload_builder *builder = workload_build(scene->arena, "scene");
    struct workload_request request = { .session = -1, .client = -1, .batch = 1 };
    bool is_decoder = scene->model->kind == MODEL_DECODER;
    double now_s = 0;

    request.service = workload_builder_service(builder, "s");
    for (int i = 0; i < SCENE_REQUESTS; i++) {
        now_s += rng_exponential(rng, 1 / scene->rate_per_s);
        request.request_id = i;
        request.arrival_ps = (int64_t)(now_s * 1e12);
        request.prompt_tokens = is_decoder ? scene_int(rng, 16, 128) : scene->model->max_context;
        request.output_tokens = is_decoder ? scene_int(rng, 4, 32) : 1;
        workload_builder_add(builder, &request);
    }
    scene->workload = workload_builder_finish(builder);
}

static inline void scene_ask(struct scene *scene)
{
    struct judge_input judged;

    judged = (struct judge_input){ .cluster = &scene->cluster,
                                   .costs = &scene->costs,
                                   .catalogue = scene->catalogue,
                                   .workload = scene->workload,
                                   .serve = { .fast_path = SERVE_FAST_ON,
                                              .memory = SERVE_MEMORY_REFUSE,
                                              .seed = 1,
                                              .until_ps = INT64_MAX,
                                              .max_requests = SIZE_MAX },
                                   .slo_ps = scene->slo_ps };
    scene->judge = judge_create(scene->arena, &judged);
    scene->ask = (struct place_ask){ .problems = &scene->problem,
                                     .problem_count = 1,
                                     .objective = PLACE_GOODPUT,
                                     .seed = 1,
                                     .judge = scene->judge };
}

/* Draws scene `number` of a seed with so many boards. False: err says why not. */
static inline bool scene_draw(struct arena *arena, uint64_t seed, int number, int model,
                              int least_boards, int most_boards, struct scene *scene,
                              struct err *err)
{
    struct rng rng = rng_stream(seed, RNG_TEST, (uint64_t)number);
    struct cost_table **tables = arena_array(arena, SCENE_MOST_TYPES, sizeof *tables);
    double speed_per_s = 0, best_s = 1e9;

    *scene = (struct scene){ .arena = arena };
    scene->catalogue = model_catalogue_load(arena, NULL, err);
    scene->model = scene->catalogue ? model_find(scene->catalogue, scene_models[model], err) : NULL;
    if (!scene->model)
        return false;
    scene_types(scene, &rng);
    for (int t = 0; t < scene->type_count; t++)
        if (!(tables[t] = scene_table(scene, &scene->types[t], err)))
            return false;
    scene->costs = (struct cost_set){ scene->type_count, tables };
    scene_boards(scene, &rng, least_boards, most_boards);
    scene_links(scene, &rng);
    scene->input = (struct problem_input){
        .cluster = &scene->cluster,
        .costs = &scene->costs,
        .service = "s",
        .model = scene->model,
        .prompt_tokens = scene->model->kind == MODEL_DECODER ? 72 : scene->model->max_context,
        .output_tokens = scene->model->kind == MODEL_DECODER ? 18 : 1,
        .sequences = 1
    };
    scene->problem = problem_create(arena, &scene->input, err);
    if (!scene->problem)
        return false;
    for (int d = 0; d < scene->cluster.device_count; d++) {
        double s = 1e-12 * (double)problem_units_ps(scene->problem, d, 0,
                                                    problem_unit_count(scene->problem) - 1);

        speed_per_s += 1 / s;
        best_s = s < best_s ? s : best_s;
    }
    scene->rate_per_s = speed_per_s * scene_uniform(&rng, 0.2, 0.9);
    scene->slo_ps = (int64_t)(1e12 * best_s * scene_log(&rng, 2, 8));
    scene_workload(scene, &rng);
    scene_ask(scene);
    return true;
}

#endif
