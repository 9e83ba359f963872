/* test_parts.c - the parts of a stage on several devices compute together what one device does. */
#include "runner/worker/parts.h"

#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/kernels/kernels.h"
#include "lib/policy/pass.h"
#include "lib/wire/frame.h"
#include "runner/worker/parts_internal.h"
#include "runner/worker/shard.h"
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
#define ROUNDED_ONE_OF 10
#define SEEDS 30

static int set_up(void **state)
{
    *state = arena_create();
    return 0;
}

static int tear_down(void **state)
{
    arena_destroy(*state);
    return 0;
}

/* ---- placements ---- */

static void add_slice(struct setup_stage *stage, struct setup_slice slice)
{
    assert_true(stage->slice_count < SLICES);
    stage->slices[stage->slice_count++] = slice;
}

static int32_t any(struct rng *rng, int32_t below)
{
    return (int32_t)rng_below(rng, (uint64_t)below);
}

/* Each part of a block of some layers on any device. */
static void scatter_block(struct setup_stage *stage, struct rng *rng, enum model_block block,
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
static void scatter_conn(struct setup_stage *stage, struct rng *rng, int32_t first, int32_t last)
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

static struct setup scattered(struct arena *arena, const struct model *model, uint64_t seed)
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

/* ---- the devices of a stage, without a network ---- */

struct world {
    struct arena *arena;
    struct setup *setups; /* by position */
    struct parts *parts[DEVICES];
    struct forward_kv *caches[DEVICES][SEQS];
    const struct pass *pass;
};

static struct forward_kv *new_caches(struct arena *arena, const struct setup_model *model,
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

static struct world assemble(struct arena *arena, const struct setup *setup)
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

static void exchange(struct world *world, const struct pass_step *step,
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
static void run_batch(struct world *world, enum collective_algorithm algorithm,
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

static void run_pass(struct world *world, enum collective_algorithm algorithm, int32_t tokens,
                     int32_t past)
{
    run_batch(
        world, algorithm,
        &(struct parts_step){ .tokens = tokens, .sequences = 1, .past = &past, .counts = &tokens });
}

/* ---- the same on one device ---- */

static int32_t whole_step(struct shard *shard, const int32_t *tokens, int32_t count, int32_t past)
{
    struct frame frame = { .type = FRAME_STEP,
                           .new_tokens = count,
                           .past_tokens = past,
                           .total_tokens = 32,
                           .payload_bytes = 4 * (int64_t)count };
    unsigned char payload[4 * PROMPT];
    struct shard_output output;
    struct err err = ERR_INIT;
    int32_t token;

    frame_put_words(payload, tokens, (size_t)count);
    if (shard_step(shard, 0, &frame, payload, &output, &err) != SHARD_DONE)
        fail_msg("%s", err.text);
    memcpy(&token, output.words, sizeof token);
    return token;
}

/* All of the stage on its first device. */
static struct setup gathered(struct arena *arena, const struct setup *setup)
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

/* What the output matrix makes of the token that was chosen. */
static float best_value(const struct world *world, int32_t positions)
{
    float best = -INFINITY;

    for (int32_t i = 0; i < positions; i++)
        for (int32_t k = 0; k < world->parts[i]->head_members; k++)
            if (world->parts[i]->best[k].token == *parts_made(world->parts[0]) &&
                world->parts[i]->best[k].value > best)
                best = world->parts[i]->best[k].value;
    return best;
}

static void step_both(struct world *world, const struct setup *setup, const int32_t *tokens,
                      int32_t count, int32_t past)
{
    memcpy(parts_tokens(world->parts[0]), tokens, (size_t)count * sizeof *tokens);
    run_pass(world, setup->collective, count, past);
}

static int steps_of(const struct model *model)
{
    return model->kind == MODEL_DECODER ? 4 : 1;
}

/* Whether it is within the order of sums. */
static bool is_close(const struct model *model, float value, float expected, const char *where)
{
    float difference = fabsf(value - expected) / fabsf(expected);
    float most = model->weight_bits == 8 ? ROUNDED_TOLERANCE : TOLERANCE;

    if (!isfinite(expected) || expected == 0.0F || !(difference <= most))
        fail_msg("%s: %.9g, expected %.9g: differs by %g of it", where, (double)value,
                 (double)expected, (double)difference);
    return difference <= TOLERANCE;
}

/* Returns the number of steps that are beyond the order of sums. */
static int same_as_whole(struct arena *arena, const struct model *model, uint64_t seed)
{
    struct setup setup = scattered(arena, model, seed), all = gathered(arena, &setup);
    struct setup whole = tiny_setup(arena, model, 0, 0, model->layers);
    struct err err = ERR_INIT;
    struct shard *shard = shard_create(arena, &whole, NULL, NULL, &err);
    struct world world = assemble(arena, &setup), one = assemble(arena, &all);
    int32_t tokens[PROMPT], count = PROMPT, past = 0, positions = setup.stages[0].position_count;
    char where[96];
    int rounded = 0;

    assert_non_null(shard);
    for (int i = 0; i < PROMPT; i++)
        tokens[i] = (int32_t)((seed * 31 + (uint64_t)i * 37) % 300);
    for (int step = 0; step < steps_of(model); step++) {
        int32_t expected = whole_step(shard, tokens, count, past);

        step_both(&world, &setup, tokens, count, past);
        step_both(&one, &all, tokens, count, past);
        assert_int_equal(*parts_made(one.parts[0]), expected);
        snprintf(where, sizeof where, "seed %d, step %d", (int)seed, step);
        if (!is_close(model, best_value(&world, positions), best_value(&one, positions), where))
            rounded++;
        past += count;
        tokens[0] = expected;
        count = 1;
    }
    return rounded;
}

/* ---- batches ---- */

static bool cuts_sequence(const struct setup_stage *stage)
{
    for (int i = 0; i < stage->slice_count; i++)
        if (stage->slices[i].blocks & 1u << BLOCK_CONN && stage->slices[i].part_of > 1)
            return true;
    return false;
}

/* The largest value that the output matrix has made for a sequence. */
static float value_of(const struct world *world, int32_t positions, int32_t sequences, int32_t b)
{
    float best = -INFINITY;

    for (int32_t i = 0; i < positions; i++)
        for (int32_t k = 0; k < world->parts[i]->head_members; k++)
            if (world->parts[i]->best[k * sequences + b].value > best)
                best = world->parts[i]->best[k * sequences + b].value;
    return best;
}

/* Three prompts of different lengths at once, then a token of each: as each alone, but for the
 * order of sums. */
static void same_as_alone(struct arena *arena, const struct model *model, uint64_t seed)
{
    struct setup setup = scattered(arena, model, seed);
    struct world many, alone[SEQS];
    int32_t positions = setup.stages[0].position_count, tokens[SEQS * PROMPT], past[SEQS] = { 0 };
    int32_t counts[SEQS] = { 3, 5, 1 };

    if (cuts_sequence(&setup.stages[0]))
        return;
    setup.models[0].max_seqs = SEQS;
    setup.models[0].max_tokens = SEQS * PROMPT;
    many = assemble(arena, &setup);
    for (int b = 0; b < SEQS; b++)
        alone[b] = assemble(arena, &setup);
    for (int i = 0; i < SEQS * PROMPT; i++)
        tokens[i] = (int32_t)((seed * 31 + (uint64_t)i * 37) % 300);
    for (int step = 0; step < 4; step++) {
        int32_t rows = 0;

        memcpy(parts_tokens(many.parts[0]), tokens, sizeof tokens);
        for (int b = 0; b < SEQS; rows += counts[b], b++)
            step_both(&alone[b], &setup, tokens + rows, counts[b], past[b]);
        run_batch(&many, setup.collective,
                  &(struct parts_step){
                      .tokens = rows, .sequences = SEQS, .past = past, .counts = counts });
        for (int b = 0; b < SEQS; b++) {
            char where[96];

            snprintf(where, sizeof where, "seed %d, step %d, sequence %d", (int)seed, step, b);
            is_close(model, value_of(&many, positions, SEQS, b),
                     value_of(&alone[b], positions, 1, 0), where);
            past[b] += counts[b];
            counts[b] = 1;
            tokens[b] = *parts_made(alone[b].parts[0]);
        }
    }
}

static struct model llama(int32_t weight_bits)
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

/* ---- stages that begin and end inside a layer ---- */

static int order_of(unsigned blocks)
{
    return (blocks & 1u << BLOCK_ATTN)     ? 0
           : (blocks & 1u << BLOCK_PROJ)   ? 1
           : (blocks & 1u << BLOCK_FFN_UP) ? 2
                                           : 3;
}

/* Blocks before the cut, or from it on, in model order: 4 a layer. */
static struct setup half_of(struct arena *arena, const struct setup *setup, int cut, bool is_first)
{
    struct setup half = *setup;
    struct setup_stage *stage = arena_alloc(arena, sizeof *stage);
    const struct setup_stage *whole = &setup->stages[0];
    int32_t layers = setup->models[0].model.layers;

    half.stages = stage;
    *stage = *whole;
    stage->id = is_first ? 0 : 1;
    stage->slices = arena_array(arena, SLICES * 4, sizeof *stage->slices);
    stage->slice_count = 0;
    stage->has_embed = is_first;
    stage->has_lm_head = stage->is_last = !is_first;
    stage->layer_first = is_first ? 0 : cut / 4;
    stage->layer_count = is_first ? (cut + 3) / 4 : layers - cut / 4;
    for (int i = 0; i < whole->slice_count; i++) {
        struct setup_slice slice = whole->slices[i];

        if (slice.layer_first < 0) {
            if (is_first == (slice.blocks == 1u << BLOCK_EMBED))
                stage->slices[stage->slice_count++] = slice;
            continue;
        }
        for (int32_t layer = slice.layer_first; layer <= slice.layer_last; layer++) {
            bool is_conn = slice.blocks == 1u << BLOCK_CONN;
            struct setup_slice one = slice;

            one.layer_first = one.layer_last = layer;
            /* of the layer that is cut, norms run where the blocks behind them are */
            if (is_conn ? layer != cut / 4 && (layer < cut / 4) == is_first
                        : (4 * layer + order_of(slice.blocks) < cut) == is_first)
                stage->slices[stage->slice_count++] = one;
        }
    }
    return half;
}

/* What crosses the border: a vector of attention or FFN beside the hidden state, or that alone. */
static void cross(const struct setup *from, struct world *a, struct world *b, int32_t tokens)
{
    const struct model *model = &from->models[0].model;
    struct setup_border border = setup_border_out(&from->stages[0], model);
    size_t state = (size_t)tokens * (size_t)model->hidden * sizeof(float);

    memcpy(parts_state(b->parts[0]), parts_state(a->parts[0]), state);
    if (border.residual == 0)
        return;
    memcpy(border.is_heads ? parts_heads(b->parts[0]) : parts_columns(b->parts[0]),
           border.is_heads ? parts_heads(a->parts[0]) : parts_columns(a->parts[0]),
           (size_t)tokens * (size_t)border.output * sizeof(float));
}

static void same_when_cut(struct arena *arena, const struct model *model, uint64_t seed, int cut)
{
    struct setup setup = scattered(arena, model, seed), all = gathered(arena, &setup);
    struct setup first = half_of(arena, &setup, cut, true);
    struct setup second = half_of(arena, &setup, cut, false);
    struct setup_border out = setup_border_out(&first.stages[0], model);
    struct setup_border in = setup_border_in(&second.stages[0], model);
    struct world one = assemble(arena, &all), a = assemble(arena, &first),
                 b = assemble(arena, &second);
    int32_t positions = setup.stages[0].position_count, count = PROMPT, past = 0;
    int32_t tokens[PROMPT] = { 3, 1, 4, 1, 5, 9, 2 };

    assert_memory_equal(&out, &in, sizeof out);
    for (int step = 0; step < (model->kind == MODEL_DECODER ? 3 : 1); step++) {
        char where[96];

        step_both(&one, &all, tokens, count, past);
        step_both(&a, &first, tokens, count, past);
        cross(&first, &a, &b, count);
        run_pass(&b, second.collective, count, past);
        snprintf(where, sizeof where, "seed %d, cut before block %d, step %d", (int)seed, cut,
                 step);
        is_close(model, best_value(&b, positions), best_value(&one, positions), where);
        past += count;
        tokens[0] = *parts_made(one.parts[0]);
        count = 1;
    }
}

static void stages_that_cut_a_layer_add_up_to_the_model(void **state)
{
    struct model models[3] = { tiny_model(), llama(32), tiny_model() };

    (void)state;
    models[2].kind = MODEL_ENCODER;
    models[2].tied_lm_head = false;
    for (int i = 0; i < 3; i++)
        for (int cut = 1; cut < 16; cut++) {
            struct arena *arena = arena_create();

            same_when_cut(arena, &models[i], (uint64_t)cut + 100, cut);
            arena_destroy(arena);
        }
}

static void same_for_many(const struct model *model)
{
    int rounded = 0, most = SEEDS * steps_of(model) / ROUNDED_ONE_OF;

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct arena *arena = arena_create();

        rounded += same_as_whole(arena, model, seed);
        arena_destroy(arena);
    }
    if (rounded > most)
        fail_msg("%d steps are beyond the order of sums: expected %d at most", rounded, most);
}

static void decoders_with_biases(void **state)
{
    struct model model = tiny_model();

    (void)state;
    same_for_many(&model);
}

static void decoders_with_grouped_heads(void **state)
{
    struct model model = llama(32);

    (void)state;
    same_for_many(&model);
}

static void weights_of_few_bits(void **state)
{
    struct model half = llama(16), quarter = llama(8);

    (void)state;
    same_for_many(&half);
    same_for_many(&quarter);
}

static void encoders_and_vision_models(void **state)
{
    struct model model = tiny_model();

    (void)state;
    model.tied_lm_head = false;
    model.kind = MODEL_ENCODER;
    same_for_many(&model);
    model.kind = MODEL_VISION;
    same_for_many(&model);
}

/* What SETUP may not say. */
static void batches_add_up_to_each_request_alone(void **state)
{
    struct model decoder = tiny_model(), grouped = llama(32);

    for (uint64_t seed = 1; seed <= 40; seed++) {
        same_as_alone(*state, &decoder, seed);
        same_as_alone(*state, &grouped, seed);
    }
}

static void slices_that_are_no_whole_are_refused(void **state)
{
    static const struct {
        int slice;
        struct setup_slice is;
    } cases[] = {
        { 1, { 1u << BLOCK_ATTN, 0, 3, 0, 0, 0, 2, false } }, /* the other half is missing */
        { 1, { 1u << BLOCK_ATTN, 0, 3, 0, 0, 0, 3, false } }, /* four heads in three parts */
        { 1, { 1u << BLOCK_ATTN, 0, 4, 0, 0, 0, 1, false } }, /* a layer that is not there */
        { 1, { 1u << BLOCK_ATTN, -1, -1, 0, 0, 0, 1, false } },
        { 1, { 1u << BLOCK_ATTN, 0, 3, 2, 0, 0, 1, false } }, /* no such position */
        { 1, { 1u << BLOCK_ATTN, 0, 3, 0, 1, 0, 1, false } },
        { 1, { 1u << BLOCK_PROJ, 0, 3, 0, 0, 0, 1, false } }, /* twice, and no attention */
        { 0, { 1u << BLOCK_EMBED, 0, 3, 0, 0, 0, 1, false } },
        { 0, { 0, -1, -1, 0, 0, 0, 1, false } },
        { 5, { 1u << BLOCK_LM_HEAD, -1, -1, 0, 0, 0, 301, false } },
    };
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct setup setup = tiny_setup(arena, &model, 0, 0, model.layers);
    struct setup_stage *stage = &setup.stages[0];
    const struct setup_slice sound[] = {
        { 1u << BLOCK_EMBED, -1, -1, 1, 0, 0, 1, false },
        { 1u << BLOCK_ATTN, 0, 3, 0, 0, 0, 1, false },
        { 1u << BLOCK_PROJ, 0, 3, 1, 0, 0, 1, false },
        { 1u << BLOCK_FFN_UP, 0, 3, 0, 0, 0, 1, false },
        { 1u << BLOCK_FFN_DOWN, 0, 3, 1, 0, 0, 1, false },
        { 1u << BLOCK_LM_HEAD, -1, -1, 0, 0, 0, 1, false },
    };
    struct err err = ERR_INIT;

    stage->position_count = 2;
    stage->slices = arena_array(arena, 6, sizeof *stage->slices);
    stage->slice_count = 6;
    memcpy(stage->slices, sound, sizeof sound);
    assert_true(setup_check_slices(arena, stage, &model, &err));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err refused = ERR_INIT;

        memcpy(stage->slices, sound, sizeof sound);
        stage->slices[cases[i].slice] = cases[i].is;
        if (setup_check_slices(arena, stage, &model, &refused))
            fail_msg("case %d is taken", (int)i);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(decoders_with_biases),
        TEST(decoders_with_grouped_heads),
        TEST(weights_of_few_bits),
        TEST(encoders_and_vision_models),
        TEST(stages_that_cut_a_layer_add_up_to_the_model),
        TEST(batches_add_up_to_each_request_alone),
        TEST(slices_that_are_no_whole_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
