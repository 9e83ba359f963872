/* test_parts.c - the parts of a stage on several devices compute together what one device does. */
#include "runner/worker/parts.h"

#include "lib/kernels/kernels.h"
#include "lib/wire/frame.h"
#include "runner/worker/shard.h"

#include "tests/unit/runner/parts_world.h"

#define ROUNDED_ONE_OF 10
#define SEEDS 30

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

/* Returns the number of steps that are beyond the order of sums. */
static int same_as_whole(struct arena *arena, const struct model *model, uint64_t seed)
{
    struct setup setup = scattered(arena, model, seed), all = gathered(arena, &setup);
    struct setup whole = tiny_setup(arena, model, 0, 0, model->layers);
    struct err err = ERR_INIT;
    struct shard *shard = shard_create(arena, &whole, NULL, NULL, &err);
    struct world world = assemble(arena, &setup), one = assemble(arena, &all);
    int32_t tokens[PROMPT], count = 1 + (int32_t)(seed % PROMPT), past = 0,
                            positions = setup.stages[0].position_count;
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
        TEST(slices_that_are_no_whole_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
