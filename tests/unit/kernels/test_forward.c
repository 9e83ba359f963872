/* test_forward.c - a whole layer against the naive one, and a cache against the prefill of all. */
#include "lib/kernels/forward.h"
#include "lib/kernels/reference.h"
#include "tests/unit/kernels/shapes.h"
#include <string.h>

static const struct forward_stamp NO_STAMP = { NULL, NULL };

static struct forward *create(struct arena *arena, const struct forward_shape *shape, int rows,
                              int context)
{
    const struct forward_limits limits = { rows, context, rows < 4 ? rows : 4 };
    struct forward *forward = forward_create(arena, shape, &limits, NULL);

    assert_non_null(forward);
    return forward;
}

/* One sequence alone. */
static void embed_of(struct forward *forward, const struct forward_ends *ends,
                     const int32_t *tokens, const float *patches, float *x, int m, int past)
{
    const struct forward_step step = { .batch = 1, .tokens = m, .past = &past };

    forward_embed(forward, ends, tokens, patches, x, &step, NO_STAMP);
}

static void layer_of(struct forward *forward, const struct forward_layer *layer,
                     const struct forward_kv *kv, float *x, int m, int past)
{
    const struct forward_step step = { .batch = 1, .tokens = m, .past = &past };

    forward_layer(forward, layer, kv, x, &step, NO_STAMP);
}

static int32_t lm_head_of(struct forward *forward, const struct forward_ends *ends, const float *x,
                          int m)
{
    const int past = 0;
    const struct forward_step step = { .batch = 1, .tokens = m, .past = &past };
    int32_t best;

    forward_lm_head(forward, ends, x, &step, &best, NO_STAMP);
    return best;
}

static const struct forward_shape GPT = { .hidden = 48,
                                          .heads = 3,
                                          .kv_heads = 3,
                                          .head_dim = 16,
                                          .ffn_hidden = 100,
                                          .vocab = 211,
                                          .is_causal = true,
                                          .max_context = 64 };
static const struct forward_shape LLAMA = { .hidden = 64,
                                            .heads = 6,
                                            .kv_heads = 2,
                                            .head_dim = 20,
                                            .ffn_hidden = 90,
                                            .vocab = 211,
                                            .is_swiglu = true,
                                            .is_rms = true,
                                            .is_rope = true,
                                            .is_causal = true };
static const struct forward_shape BERT = { .hidden = 48,
                                           .heads = 4,
                                           .kv_heads = 4,
                                           .head_dim = 12,
                                           .ffn_hidden = 70,
                                           .vocab = 99,
                                           .is_pooler = true,
                                           .max_context = 32 };
static const struct forward_shape VIT = { .hidden = 32,
                                          .heads = 2,
                                          .kv_heads = 2,
                                          .head_dim = 16,
                                          .ffn_hidden = 64,
                                          .vocab = 10,
                                          .is_patches = true,
                                          .max_context = 32 };

struct weights {
    struct forward_ends ends;
    struct forward_layer layers[2];
    struct forward_kv kv[2];
};

static struct weights make_weights(struct arena *arena, const struct forward_shape *s, int capacity)
{
    struct weights w;

    w.ends.embed = filled(arena, forward_embed_bytes(s) / 4, 1, 1);
    w.ends.positions = s->is_rope ? NULL : filled(arena, forward_positions_floats(s), 2, 1);
    w.ends.lm_head = filled(arena, forward_lm_head_bytes(s) / 4, 3, 1);
    w.ends.small = filled(arena, forward_small_floats(s), 4, 1);
    for (int l = 0; l < 2; l++) {
        uint64_t seed = 10 + 10 * (uint64_t)l;

        w.layers[l].qkv = filled(arena, forward_qkv_bytes(s) / 4, seed, 0.3f);
        w.layers[l].oproj = filled(arena, forward_oproj_bytes(s) / 4, seed + 1, 0.3f);
        w.layers[l].ffn_up = filled(arena, forward_ffn_up_bytes(s) / 4, seed + 2, 0.3f);
        w.layers[l].ffn_down = filled(arena, forward_ffn_down_bytes(s) / 4, seed + 3, 0.3f);
        w.layers[l].small = filled(arena, forward_small_floats(s), seed + 4, 1);
        w.kv[l].k = empty(arena, forward_kv_floats(s, capacity));
        w.kv[l].v = empty(arena, forward_kv_floats(s, capacity));
        w.kv[l].capacity = capacity;
    }
    return w;
}

static void check_layer(const struct forward_shape *shape, int m, int past)
{
    struct arena *arena = arena_create();
    int capacity = past + m + 3;
    struct weights w = make_weights(arena, shape, capacity);
    struct forward *forward = create(arena, shape, 17, 64);
    int64_t cache = forward_kv_floats(shape, capacity);
    struct forward_kv kv = { filled(arena, cache, 6, 1), filled(arena, cache, 7, 1), capacity };
    struct forward_kv same = { filled(arena, cache, 6, 1), filled(arena, cache, 7, 1), capacity };
    float *x = filled(arena, m * shape->hidden, 8, 1);
    float *expected = filled(arena, m * shape->hidden, 8, 1);

    layer_of(forward, &w.layers[0], &kv, x, m, past);
    reference_layer(arena, shape, &w.layers[0], &same, expected, m, past);
    assert_close(x, expected, m * shape->hidden, 2e-4);
    assert_close(kv.k, same.k, cache, 2e-4);
    assert_int_equal(lm_head_of(forward, &w.ends, x, m),
                     reference_lm_head(arena, shape, &w.ends, expected, m));
    arena_destroy(arena);
}

static void a_layer_equals_the_naive_layer(void **state)
{
    const struct forward_shape *const shapes[] = { &GPT, &LLAMA, &BERT, &VIT };

    (void)state;
    for (int s = 0; s < 4; s++)
        for (int m = 1; m <= 17; m++)
            check_layer(shapes[s], m, m % 3 == 0 ? 29 : 0);
}

static int32_t run_steps(struct forward *forward, const struct forward_shape *shape,
                         const struct weights *w, const int32_t *tokens, int m, int past, float *x)
{
    embed_of(forward, &w->ends, tokens + past, NULL, x, m, past);
    for (int l = 0; l < 2; l++)
        layer_of(forward, &w->layers[l], &w->kv[l], x, m, past);
    (void)shape;
    return lm_head_of(forward, &w->ends, x, m);
}

/* Prefill of 5, a chunk of 4, then one at a time, against the prefill of all at once. */
static void decode_with_cache_equals_prefill_of_the_whole(void **state)
{
    const struct forward_shape *const shapes[] = { &GPT, &LLAMA };

    (void)state;
    for (int s = 0; s < 2; s++) {
        struct arena *arena = arena_create();
        const struct forward_shape *shape = shapes[s];
        struct weights whole = make_weights(arena, shape, 20);
        struct weights steps = make_weights(arena, shape, 33);
        struct forward *forward = create(arena, shape, 20, 40);
        float *all = empty(arena, 20 * shape->hidden), *x = empty(arena, 20 * shape->hidden);
        int32_t tokens[20], token = -1;

        for (int i = 0; i < 20; i++)
            tokens[i] = (i * 37 + 11) % shape->vocab;
        int32_t expected = run_steps(forward, shape, &whole, tokens, 20, 0, all);
        for (int past = 0, m = 5; past < 20; past += m, m = past == 5 ? 4 : 1)
            token = run_steps(forward, shape, &steps, tokens, m, past, x);
        assert_close(x, all + 19 * shape->hidden, shape->hidden, 2e-4);
        assert_int_equal(token, expected);
        arena_destroy(arena);
    }
}

/* Three sequences of different pasts in one step give what each gives alone. */
static void a_batch_equals_its_sequences(void **state)
{
    enum { BATCH = 3, CAPACITY = 24 };
    const struct forward_shape *const shapes[] = { &GPT, &LLAMA };
    const int past[BATCH] = { 7, 0, 19 };

    (void)state;
    for (int s = 0; s < 2; s++)
        for (int tokens = 1; tokens <= 3; tokens += 2) {
            struct arena *arena = arena_create();
            const struct forward_shape *shape = shapes[s];
            const struct forward_step step = { .batch = BATCH, .tokens = tokens, .past = past };
            struct weights w = make_weights(arena, shape, CAPACITY);
            struct forward *forward = create(arena, shape, BATCH * tokens, CAPACITY);
            struct forward *single = create(arena, shape, tokens, CAPACITY);
            int64_t cache = forward_kv_floats(shape, CAPACITY), row = tokens * shape->hidden;
            float *x = empty(arena, BATCH * row), *one = empty(arena, row);
            struct forward_kv kv[BATCH];
            int32_t words[BATCH * 3], best[BATCH];

            for (int i = 0; i < BATCH * tokens; i++)
                words[i] = (i * 53 + 5) % shape->vocab;
            for (int b = 0; b < BATCH; b++)
                kv[b] = (struct forward_kv){ filled(arena, cache, 90 + (uint64_t)b, 1),
                                             filled(arena, cache, 95 + (uint64_t)b, 1), CAPACITY };
            forward_embed(forward, &w.ends, words, NULL, x, &step, NO_STAMP);
            forward_layer(forward, &w.layers[0], kv, x, &step, NO_STAMP);
            forward_lm_head(forward, &w.ends, x, &step, best, NO_STAMP);
            for (int b = 0; b < BATCH; b++) {
                struct forward_kv own = { filled(arena, cache, 90 + (uint64_t)b, 1),
                                          filled(arena, cache, 95 + (uint64_t)b, 1), CAPACITY };

                embed_of(single, &w.ends, words + b * tokens, NULL, one, tokens, past[b]);
                layer_of(single, &w.layers[0], &own, one, tokens, past[b]);
                assert_close(x + b * row, one, row, 2e-4);
                assert_close(kv[b].k, own.k, cache, 2e-4);
                assert_close(kv[b].v, own.v, cache, 2e-4);
                assert_int_equal(best[b], lm_head_of(single, &w.ends, one, tokens));
            }
            arena_destroy(arena);
        }
}

static void vision_embeds_patches_and_adds_positions(void **state)
{
    struct arena *arena = arena_create();
    struct weights w = make_weights(arena, &VIT, 8);
    struct forward *forward = create(arena, &VIT, 5, 8);
    float *patches = filled(arena, 5 * 768, 3, 1), *x = empty(arena, 5 * 32);
    float *expected = empty(arena, 5 * 32);

    (void)state;
    embed_of(forward, &w.ends, NULL, patches, x, 5, 0);
    reference_linear(patches, w.ends.embed, NULL, expected, 5, 32, 768);
    for (int i = 0; i < 5 * 32; i++)
        expected[i] += w.ends.positions[i];
    assert_close(x, expected, 5 * 32, 1e-4);
    arena_destroy(arena);
}

struct seen {
    int count;
    enum op ops[32];
};

static void on_stamp(void *arg, enum op op)
{
    struct seen *seen = arg;

    seen->ops[seen->count++] = op;
}

static void stamps_come_after_each_operator_in_model_order(void **state)
{
    static const enum op expected[] = { OP_EMBED, OP_NORM,     OP_QKV, OP_ROPE,  OP_KVAPPEND,
                                        OP_ATTN,  OP_OPROJ,    OP_ADD, OP_NORM,  OP_FFN_UP,
                                        OP_ACT,   OP_FFN_DOWN, OP_ADD, OP_FNORM, OP_LMHEAD };
    struct arena *arena = arena_create();
    struct weights w = make_weights(arena, &LLAMA, 4);
    struct forward *forward = create(arena, &LLAMA, 2, 4);
    struct seen seen = { 0 };
    struct forward_stamp stamp = { on_stamp, &seen };
    float *x = empty(arena, 2 * LLAMA.hidden);
    const int32_t tokens[] = { 3, 5 };

    (void)state;
    const int past = 0;
    const struct forward_step step = { .batch = 1, .tokens = 2, .past = &past };
    int32_t best;

    forward_embed(forward, &w.ends, tokens, NULL, x, &step, stamp);
    forward_layer(forward, &w.layers[0], &w.kv[0], x, &step, stamp);
    forward_lm_head(forward, &w.ends, x, &step, &best, stamp);
    assert_int_equal(seen.count, 15);
    for (int i = 0; i < 15; i++)
        assert_int_equal(seen.ops[i], expected[i]);
    arena_destroy(arena);
}

static void weight_sizes_are_those_of_gpt2_and_tinyllama(void **state)
{
    const struct forward_shape gpt2 = { .hidden = 768,
                                        .heads = 12,
                                        .kv_heads = 12,
                                        .head_dim = 64,
                                        .ffn_hidden = 3072,
                                        .vocab = 50257,
                                        .max_context = 1024 };
    const struct forward_shape tiny = { .hidden = 2048,
                                        .heads = 32,
                                        .kv_heads = 4,
                                        .head_dim = 64,
                                        .ffn_hidden = 5632,
                                        .vocab = 32000,
                                        .is_swiglu = true,
                                        .is_rope = true };

    (void)state;
    assert_int_equal(forward_qkv_bytes(&gpt2) / 4, 2304 * 768);
    assert_int_equal(forward_oproj_bytes(&gpt2) / 4, 768 * 768);
    assert_int_equal(forward_ffn_up_bytes(&gpt2) / 4, 3072 * 768);
    assert_int_equal(forward_ffn_down_bytes(&gpt2) / 4, 768 * 3072);
    assert_int_equal(forward_embed_bytes(&gpt2) / 4, 50257 * 768);
    assert_int_equal(forward_positions_floats(&gpt2), 1024 * 768);
    assert_int_equal(forward_lm_head_bytes(&gpt2) / 4, 50257 * 768);
    assert_int_equal(forward_small_floats(&gpt2), 8 * 3072);
    assert_int_equal(forward_kv_floats(&gpt2, 10), 12 * 10 * 64);
    assert_int_equal(forward_qkv_bytes(&tiny) / 4, 2560 * 2048);
    assert_int_equal(forward_ffn_up_bytes(&tiny) / 4, 2 * 5632 * 2048);
    assert_int_equal(forward_positions_floats(&tiny), 0);
    assert_int_equal(forward_kv_floats(&tiny, 10), 4 * 10 * 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layer_equals_the_naive_layer),
        cmocka_unit_test(decode_with_cache_equals_prefill_of_the_whole),
        cmocka_unit_test(a_batch_equals_its_sequences),
        cmocka_unit_test(vision_embeds_patches_and_adds_positions),
        cmocka_unit_test(stamps_come_after_each_operator_in_model_order),
        cmocka_unit_test(weight_sizes_are_those_of_gpt2_and_tinyllama),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
