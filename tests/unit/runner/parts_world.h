/* parts_world.h - random placements of a stage on several devices, and these devices without a
 * network. */
#ifndef ORRERY_TESTS_RUNNER_PARTS_WORLD_H
#define ORRERY_TESTS_RUNNER_PARTS_WORLD_H

#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/policy/pass.h"
#include "runner/worker/parts_internal.h"
#include "runner/worker/weights.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#include "tests/unit/runner/shapes.h"

#define SEQS 3
#define PROMPT 7
#define DEVICES 4
#define SLICES 128
/* Of a logit, as a part of it: sums in another order. Each BLAS kernel has its own: the largest
 * difference measured is 2.6e-7, and 4e-6 with noise of 1e-6 in every vector. */
#define TOLERANCE 1e-5F
/* Weights of 8 bits round what few rows multiply to 8 bits as well: a value that lies between two
 * steps may go up in one order and down in another, and what follows is rounded anew. With noise of
 * 1e-7 that moves a logit in 2 of 100 steps, by 3e-3 at most; of 1e-6 in 9 of 100, by 2e-2. So each
 * step holds to the wide bound, and all but a tenth of a run's to the narrow one: a mistake is in
 * every step that it concerns. */
#define ROUNDED_TOLERANCE 3e-2F

static inline int set_up(void **state)
{
    *state = arena_create();
    return 0;
}

static inline int tear_down(void **state)
{
    arena_destroy(*state);
    return 0;
}

/* ---- placements ---- */

static inline void add_slice(struct setup_stage *stage, struct setup_slice slice)
{
    assert_true(stage->slice_count < SLICES);
    stage->slices[stage->slice_count++] = slice;
}

static inline int32_t any(struct rng *rng, int32_t below)
{
    return (int32_t)rng_below(rng, (uint64_t)below);
}

/* Each part of a block of some layers on any device. */
static inline void scatter_block(struct setup_stage *stage, struct rng *rng, enum model_block block,
                                 int32_t first, int32_t last, int32_t most)
{
    int32_t of = 1;

    while (of < most && any(rng, 3) > 0)
        of *= 2;
    for (int32_t part = 0; part < of; part++)
        add_slice(stage, (struct setup_slice){ .blocks = 1u << block,
                                               .layer_first = first,
                                               .layer_last = last,
                                               .position = any(rng, stage->position_count),
                                               .part_first = part,
                                               .part_last = part,
                                               .part_of = of });
}

/* Norms and additions: nobody says where, on one device, or along the sequence. */
static inline void scatter_conn(struct setup_stage *stage, struct rng *rng, int32_t first,
                                int32_t last)
{
    int32_t of = any(rng, 3);

    if (of == 2)
        of = stage->position_count;
    for (int32_t part = 0; part < of; part++)
        add_slice(stage, (struct setup_slice){ .blocks = 1u << BLOCK_CONN,
                                               .layer_first = first,
                                               .layer_last = last,
                                               .position = (part + first) % stage->position_count,
                                               .part_first = part,
                                               .part_last = part,
                                               .part_of = of });
}

static inline struct setup scattered(struct arena *arena, const struct model *model, uint64_t seed)
{
    struct setup setup = tiny_setup(arena, model, 0, 0, model->layers);
    struct setup_stage *stage = &setup.stages[0];
    struct rng rng = rng_stream(seed, 0, 0);
    int32_t half = model->layers / 2;

    stage->slices = arena_array(arena, SLICES, sizeof *stage->slices);
    stage->position_count = 2 + any(&rng, DEVICES - 1);
    setup.collective = (enum collective_algorithm)any(&rng, COLLECTIVE_ALGORITHM_COUNT);
    add_slice(stage, (struct setup_slice){ 1u << BLOCK_EMBED, -1, -1,
                                           any(&rng, stage->position_count), 0, 0, 1, false });
    for (int32_t first = 0; first < model->layers; first += half) {
        int32_t last = first + half - 1;

        scatter_block(stage, &rng, BLOCK_ATTN, first, last, model->kv_heads);
        scatter_block(stage, &rng, BLOCK_PROJ, first, last, model->heads);
        scatter_block(stage, &rng, BLOCK_FFN_UP, first, last, 4);
        scatter_block(stage, &rng, BLOCK_FFN_DOWN, first, last, 4);
        scatter_conn(stage, &rng, first, last);
    }
    scatter_block(stage, &rng, BLOCK_LM_HEAD, -1, -1, model->kind == MODEL_ENCODER ? 1 : 4);
    return setup;
}

/* All of the stage on its first device. */
static inline struct setup gathered(struct arena *arena, const struct setup *setup)
{
    struct setup all = *setup;

    all.stages = arena_alloc(arena, sizeof *all.stages);
    all.stages[0] = setup->stages[0];
    all.stages[0].slices = arena_array(arena, SLICES, sizeof *all.stages[0].slices);
    memcpy(all.stages[0].slices, setup->stages[0].slices,
           (size_t)setup->stages[0].slice_count * sizeof *all.stages[0].slices);
    for (int i = 0; i < all.stages[0].slice_count; i++)
        all.stages[0].slices[i].position = 0;
    return all;
}

/* ---- the devices of a stage, without a network ---- */

struct world {
    struct arena *arena;
    struct setup *setups; /* by position */
    struct parts *parts[DEVICES];
    struct forward_kv *caches[DEVICES][SEQS];
    const struct pass *pass;
};

static inline struct forward_kv *new_caches(struct arena *arena, const struct setup_model *model,
                                            const int *kv_heads, int32_t layers)
{
    struct forward_kv *caches = arena_array(arena, (size_t)layers + 1, sizeof *caches);

    for (int32_t k = 0; k < layers; k++) {
        size_t floats =
            (size_t)kv_heads[k] * (size_t)model->max_total_tokens * (size_t)model->model.head_dim +
            1;

        caches[k] = (struct forward_kv){ arena_array(arena, floats, sizeof(float)),
                                         arena_array(arena, floats, sizeof(float)),
                                         model->max_total_tokens };
    }
    return caches;
}

static inline struct world assemble(struct arena *arena, const struct setup *setup)
{
    struct world world = { .arena = arena };
    const struct setup_model *model = &setup->models[0];
    struct forward_shape shape = weights_shape(model);
    const struct forward_limits limits = { model->max_tokens, model->max_total_tokens, SEQS };

    world.setups = arena_array(arena, DEVICES, sizeof *world.setups);
    for (int32_t i = 0; i < setup->stages[0].position_count; i++) {
        struct setup_stage *stage = arena_alloc(arena, sizeof *stage);
        struct forward *forward = forward_create(arena, &shape, &limits, NULL);
        float *patches;
        struct err err = ERR_INIT;

        *stage = setup->stages[0];
        stage->position = i;
        world.setups[i] = *setup;
        world.setups[i].stages = stage;
        if (!setup_check_slices(arena, stage, &model->model, &err))
            fail_msg("%s", err.text);
        patches =
            weights_floats(arena, setup->seed, (int64_t)model->max_tokens * WEIGHTS_PATCH_VALUES,
                           WEIGHTS_NO_LAYER, WEIGHTS_PATCHES, &err);
        world.parts[i] = parts_create(arena, &world.setups[i], 0, forward, patches, &err);
        assert_non_null(world.parts[i]);
        for (int b = 0; b < SEQS; b++)
            world.caches[i][b] =
                new_caches(arena, model, parts_kv_heads(world.parts[i]), stage->layer_count);
    }
    world.pass = parts_pass(world.parts[0]);
    return world;
}

static inline void exchange(struct world *world, const struct pass_step *step,
                            enum collective_algorithm algorithm, const struct parts_step *of)
{
    const struct exchange *exchange = exchange_build(world->arena, world->pass, step, algorithm);
    unsigned char **sent =
        arena_array(world->arena, (size_t)exchange->message_count + 1, sizeof(unsigned char *));

    for (int32_t i = 0; i < step->count; i++)
        parts_enter(world->parts[world->pass->members[step->first + i].position], step, of);
    for (int32_t slot = 0; slot < exchange->slot_count; slot++) {
        for (int turn = 0; turn < 2; turn++) /* what is sent, before anything is taken */
            for (int32_t i = 0; i < exchange->message_count; i++) {
                const struct exchange_message *message = &exchange->messages[i];
                const struct pass_member *members = &world->pass->members[step->first];
                struct parts *from = world->parts[members[message->from].position];
                struct parts *to = world->parts[members[message->to].position];

                if (message->slot != slot)
                    continue;
                if (turn == 0) {
                    sent[i] = arena_alloc(world->arena,
                                          (size_t)exchange_bytes(world->pass, step, message,
                                                                 of->tokens, of->sequences) +
                                              1);
                    parts_take(from, step, message, of, sent[i]);
                } else {
                    parts_put(to, step, message, of, sent[i]);
                }
            }
    }
}

/* Of several sequences. */
static inline void run_batch(struct world *world, enum collective_algorithm algorithm,
                             const struct parts_step *step_of)
{
    const struct pass *pass = world->pass;
    struct parts_step of = *step_of;

    for (int i = 0; i < DEVICES && world->parts[i]; i++)
        parts_begin(world->parts[i]);
    for (int32_t s = 0; s < pass->segment_count; s++)
        for (int32_t r = 0; r < pass->segments[s].repeats; r++)
            for (int32_t i = 0; i < pass->segments[s].step_count; i++) {
                const struct pass_step *step = &pass->steps[pass->segments[s].first_step + i];

                if (step->kind != PASS_COMPUTE) {
                    exchange(world, step, algorithm, &of);
                    continue;
                }
                for (int32_t k = 0; k < step->count; k++) {
                    const struct pass_piece *piece = &pass->pieces[step->first + k];
                    const struct forward_kv *caches[SEQS];

                    for (int b = 0; b < SEQS; b++)
                        caches[b] = world->caches[piece->position][b];
                    of.kv = caches;
                    parts_compute(world->parts[piece->position], piece, r, &of);
                }
            }
}

static inline void run_pass(struct world *world, enum collective_algorithm algorithm,
                            int32_t tokens, int32_t past)
{
    run_batch(
        world, algorithm,
        &(struct parts_step){ .tokens = tokens, .sequences = 1, .past = &past, .counts = &tokens });
}

static inline void step_both(struct world *world, const struct setup *setup, const int32_t *tokens,
                             int32_t count, int32_t past)
{
    memcpy(parts_tokens(world->parts[0]), tokens, (size_t)count * sizeof *tokens);
    run_pass(world, setup->collective, count, past);
}

static inline int steps_of(const struct model *model)
{
    return model->kind == MODEL_DECODER ? 4 : 1;
}

/* Whether it is within the order of sums. */
static inline bool is_close(const struct model *model, float value, float expected,
                            const char *where)
{
    float difference = fabsf(value - expected) / fabsf(expected);
    float most = model->weight_bits == 8 ? ROUNDED_TOLERANCE : TOLERANCE;

    if (!isfinite(expected) || expected == 0.0F || !(difference <= most))
        fail_msg("%s: %.9g, expected %.9g: differs by %g of it", where, (double)value,
                 (double)expected, (double)difference);
    return difference <= TOLERANCE;
}

static inline struct model llama(int32_t weight_bits)
{
    struct model model = tiny_model();

    model.positions = MODEL_ROPE;
    model.ffn = MODEL_SWIGLU;
    model.norm = MODEL_RMSNORM;
    model.kv_heads = 2;
    model.head_dim = 32;
    model.tied_lm_head = false;
    model.weight_bits = weight_bits;
    return model;
}

#endif
