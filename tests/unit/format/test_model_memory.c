/* test_model_memory.c - bytes of slices: parts that add up, what cannot be cut, and the activations
 * of a step counted by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/format/model.h"
#include "tests/unit/scratch.h"

#define WHOLE ((struct model_part){ 0, 0, 1 })

static const struct model *get(struct scratch *scratch, const char *name)
{
    struct model_catalogue *catalogue =
        model_catalogue_load(scratch->arena, NULL, scratch_err(scratch));
    const struct model *model = model_find(catalogue, name, &scratch->err);

    assert_non_null(model);
    return model;
}

/* ---- weights and caches ---- */

static void parts_of_a_block_add_up_to_it(void **state)
{
    struct scratch *scratch = *state;
    struct model_catalogue *catalogue =
        model_catalogue_load(scratch->arena, NULL, scratch_err(scratch));
    int checked = 0;

    for (int m = 0; m < model_count(catalogue); m++)
        for (int block = 0; block < BLOCK_COUNT; block++)
            for (int32_t of = 2; of <= 12 && block != BLOCK_CONN; of++) {
                const struct model *model = model_at(catalogue, m);
                int64_t weights = 0, kv = 0, tied = 0;

                if (!model_can_cut(model, (enum model_block)block, of))
                    continue;
                for (int32_t i = 0; i < of; i++) {
                    struct model_part part = { i, i, of };

                    weights += model_part_weight_bytes(model, (enum model_block)block, part);
                    kv += model_part_kv_bytes_per_token(model, part);
                    tied += model_part_tied_bytes(model, part);
                }
                assert_int_equal(weights, model_block_weight_bytes(model, (enum model_block)block));
                assert_int_equal(tied, model_tied_bytes(model));
                if (block == BLOCK_ATTN)
                    assert_int_equal(kv, model_kv_bytes_per_token(model));
                checked++;
            }
    assert_true(checked > 100);
}

static void a_part_is_in_exact_proportion(void **state)
{
    const struct model *llama = get(*state, "llama-2-7b");
    const struct model_part half = { 8, 23, 32 };

    for (int block = BLOCK_ATTN; block <= BLOCK_FFN_DOWN; block++)
        assert_int_equal(2 * model_part_weight_bytes(llama, (enum model_block)block, half),
                         model_block_weight_bytes(llama, (enum model_block)block));
    assert_int_equal(2 * model_part_kv_bytes_per_token(llama, half),
                     model_kv_bytes_per_token(llama));
    assert_int_equal(model_part_weight_bytes(llama, BLOCK_LM_HEAD, WHOLE),
                     model_block_weight_bytes(llama, BLOCK_LM_HEAD));
}

/* 34 bytes for 32 weights of a matrix; vectors are f32. */
static void q8_0_keeps_a_scale_for_each_block(void **state)
{
    struct model model = *get(*state, "gpt2");

    model.weight_bits = 8;
    assert_int_equal(model_block_weight_bytes(&model, BLOCK_ATTN),
                     2304 * (768 / 32 * 34) + 4 * 2304);
    assert_int_equal(model_block_weight_bytes(&model, BLOCK_CONN), 4 * 4 * 768);
    assert_int_equal(model_tied_bytes(&model), 50257 * (768 / 32 * 34));
    assert_int_equal(model_block_weight_count(&model, BLOCK_ATTN), 2304 * 768 + 2304);
    model.hidden = 40; /* a row of 40 takes two blocks */
    model.norm = MODEL_RMSNORM;
    assert_int_equal(model_block_weight_bytes(&model, BLOCK_FFN_UP), 3072 * 2 * 34);
}

static void norms_are_needed_whole_by_every_part_of_the_sequence(void **state)
{
    const struct model *llama = get(*state, "llama-2-7b");
    const struct model_part part = { 2, 2, 5 };

    assert_true(model_can_cut(llama, BLOCK_CONN, 5));
    assert_int_equal(model_part_weight_bytes(llama, BLOCK_CONN, part), 2 * 4096 * 4);
}

static void only_what_divides_can_be_cut(void **state)
{
    const struct model *tinyllama = get(*state, "tinyllama-1.1b"); /* 32 heads, 4 KV heads */
    const struct model *bert = get(*state, "bert-base");

    assert_true(model_can_cut(tinyllama, BLOCK_ATTN, 4));
    assert_false(model_can_cut(tinyllama, BLOCK_ATTN, 8));
    assert_true(model_can_cut(tinyllama, BLOCK_PROJ, 8));
    assert_false(model_can_cut(tinyllama, BLOCK_PROJ, 5));
    assert_true(model_can_cut(tinyllama, BLOCK_FFN_UP, 5632));
    assert_false(model_can_cut(tinyllama, BLOCK_FFN_DOWN, 3));
    assert_true(model_can_cut(tinyllama, BLOCK_LM_HEAD, 7));
    assert_false(model_can_cut(tinyllama, BLOCK_LM_HEAD, 32001));
    assert_false(model_can_cut(tinyllama, BLOCK_EMBED, 2));
    assert_false(model_can_cut(bert, BLOCK_LM_HEAD, 2)); /* a pooler */
    for (int block = 0; block < BLOCK_COUNT; block++)
        assert_true(model_can_cut(bert, (enum model_block)block, 1));
    assert_false(model_can_cut(bert, BLOCK_CONN, 0));
}

/* ---- activations ---- */

/* 2 heads of 4, hidden 8, ffn 16, vocab 10. */
static const struct model tiny = { .name = "tiny",
                                   .kind = MODEL_DECODER,
                                   .layers = 1,
                                   .hidden = 8,
                                   .heads = 2,
                                   .kv_heads = 2,
                                   .head_dim = 4,
                                   .ffn_hidden = 16,
                                   .vocab = 10,
                                   .weight_bits = 8,
                                   .kv_bits = 16 };

static void activations_are_those_of_the_chain_of_kernels(void **state)
{
    const struct model_step step = { 6, 2, 9 };
    const struct model_part half = { 1, 1, 2 };
    struct model gated = tiny;
    struct model vision = tiny;

    (void)state;
    gated.ffn = MODEL_SWIGLU;
    vision.kind = MODEL_VISION;
    /* the stream; its norm; q, k, v; what heads make of them; scores of a head */
    assert_int_equal(model_part_work_bytes(&tiny, BLOCK_ATTN, WHOLE, &step),
                     4 * (6 * (8 + 8 + 24 + 8) + 6 * 9));
    assert_int_equal(model_part_work_bytes(&tiny, BLOCK_ATTN, half, &step),
                     4 * (6 * (8 + 8 + 12 + 4) + 6 * 9));
    assert_int_equal(model_part_work_bytes(&tiny, BLOCK_PROJ, WHOLE, &step), 4 * 6 * (8 + 8 + 8));
    assert_int_equal(model_part_work_bytes(&tiny, BLOCK_FFN_UP, WHOLE, &step),
                     4 * 6 * (8 + 8 + 16));
    assert_int_equal(model_part_work_bytes(&gated, BLOCK_FFN_UP, half, &step),
                     4 * 6 * (8 + 8 + 24));
    assert_int_equal(model_part_work_bytes(&tiny, BLOCK_FFN_DOWN, half, &step),
                     4 * 6 * (8 + 8 + 8));
    assert_int_equal(model_part_work_bytes(&tiny, BLOCK_CONN, WHOLE, &step), 4 * 6 * (8 + 8));
    /* a row of each of the two sequences */
    assert_int_equal(model_part_work_bytes(&tiny, BLOCK_LM_HEAD, WHOLE, &step),
                     4 * (6 * 8 + 2 * (8 + 10)));
    assert_int_equal(model_part_work_bytes(&tiny, BLOCK_EMBED, WHOLE, &step), 4 * 6 * 8);
    assert_int_equal(model_part_work_bytes(&vision, BLOCK_EMBED, WHOLE, &step), 4 * 6 * (8 + 768));
}

static void scores_have_no_more_rows_than_keys(void **state)
{
    const struct model_step step = { 12, 4, 3 }; /* four sequences of three tokens */

    (void)state;
    assert_int_equal(model_part_work_bytes(&tiny, BLOCK_ATTN, WHOLE, &step), 4 * (12 * 48 + 3 * 3));
}

static void what_is_too_large_to_count_is_the_largest_number(void **state)
{
    const struct model_step step = { INT64_MAX / 8, 1, INT64_MAX / 8 };

    (void)state;
    assert_int_equal(model_part_work_bytes(&tiny, BLOCK_ATTN, WHOLE, &step), INT64_MAX);
    assert_int_equal(model_part_work_bytes(&tiny, BLOCK_EMBED, WHOLE, &step), INT64_MAX);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)
    const struct CMUnitTest tests[] = {
        TEST(parts_of_a_block_add_up_to_it),
        TEST(a_part_is_in_exact_proportion),
        TEST(q8_0_keeps_a_scale_for_each_block),
        TEST(norms_are_needed_whole_by_every_part_of_the_sequence),
        TEST(only_what_divides_can_be_cut),
        TEST(activations_are_those_of_the_chain_of_kernels),
        TEST(scores_have_no_more_rows_than_keys),
        TEST(what_is_too_large_to_count_is_the_largest_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
