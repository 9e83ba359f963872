/* test_shard.c - steps of a real, tiny model: the same tokens wherever its layers are, and a bad
 * frame never reaches a kernel. */
#include "runner/worker/kv.h"
#include "runner/worker/shard.h"

#include "lib/base/err.h"
#include "lib/kernels/kernels.h"
#include "lib/wire/frame.h"
#include "runner/fleet/assign.h"
#include "tests/unit/runner/shapes.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#define PROMPT 5
#define OUTPUT 6

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

/* One stage of layers first..first+count-1 of the model, alone in a shard. */
static struct shard *cut(struct arena *arena, const struct model *model, int32_t stage,
                         int32_t first, int32_t count)
{
    struct setup *setup = arena_alloc(arena, sizeof *setup);
    struct err err = ERR_INIT;
    struct shard *shard;

    *setup = tiny_setup(arena, model, stage, first, count);
    shard = shard_create(arena, setup, NULL, NULL, &err);
    if (!shard)
        fail_msg("%s", err.text);
    return shard;
}

/* A step through the shards in turn, the output of one being the input of the next; what the last
 * of them puts out, and its length. */
static const unsigned char *pass_through(struct arena *arena, struct shard *const *shards,
                                         int count, const struct frame *step, const int32_t *tokens,
                                         size_t *bytes)
{
    unsigned char *payload = arena_alloc(arena, (size_t)step->new_tokens * 4);

    *bytes = (size_t)step->new_tokens * 4;
    frame_put_words(payload, tokens, (size_t)step->new_tokens);
    for (int i = 0; i < count; i++) {
        struct err err = ERR_INIT;
        struct frame frame = *step;
        struct shard_output output;

        frame.stage = i;
        frame.payload_bytes = (int64_t)*bytes;
        assert_int_equal(shard_step(shards[i], 0, &frame, payload, &output, &err), SHARD_DONE);
        *bytes = output.bytes;
        payload = arena_alloc(arena, *bytes);
        frame_put_words(payload, output.words, *bytes / 4);
    }
    return payload;
}

static int32_t step_through(struct arena *arena, struct shard *const *shards, int count,
                            int64_t request, const int32_t *tokens, int32_t new_tokens,
                            int32_t past_tokens)
{
    struct frame frame = { .type = FRAME_STEP,
                           .request = request,
                           .new_tokens = new_tokens,
                           .past_tokens = past_tokens,
                           .total_tokens = PROMPT + OUTPUT };
    size_t bytes;
    const unsigned char *payload = pass_through(arena, shards, count, &frame, tokens, &bytes);
    int32_t token;

    assert_int_equal(bytes, 4);
    frame_get_words(&token, payload, 1);
    return token;
}

static void generate(struct arena *arena, struct shard *const *shards, int count, int64_t request,
                     int32_t seed, int32_t out[OUTPUT])
{
    int32_t prompt[PROMPT];

    for (int32_t i = 0; i < PROMPT; i++)
        prompt[i] = (seed + i * 37) % 300;
    out[0] = step_through(arena, shards, count, request, prompt, PROMPT, 0);
    for (int i = 1; i < OUTPUT; i++)
        out[i] = step_through(arena, shards, count, request, &out[i - 1], 1, PROMPT + i - 1);
    for (int i = 0; i < count; i++)
        shard_release(shards[i], request);
}

static void same_tokens_wherever_cut(struct arena *arena, const struct model *model)
{
    struct shard *whole[1] = { cut(arena, model, 0, 0, 4) };
    struct shard *halves[2] = { cut(arena, model, 0, 0, 2), cut(arena, model, 1, 2, 2) };
    struct shard *uneven[3] = { cut(arena, model, 0, 0, 1), cut(arena, model, 1, 1, 2),
                                cut(arena, model, 2, 3, 1) };
    int32_t a[OUTPUT], b[OUTPUT], c[OUTPUT];

    for (int32_t seed = 1; seed <= 3; seed++) {
        generate(arena, whole, 1, seed, seed, a);
        generate(arena, halves, 2, seed, seed, b);
        generate(arena, uneven, 3, seed, seed, c);
        assert_memory_equal(a, b, sizeof a);
        assert_memory_equal(a, c, sizeof a);
    }
}

static void a_pipeline_makes_the_tokens_of_the_whole_model(void **state)
{
    struct model model = tiny_model();

    same_tokens_wherever_cut(*state, &model);
}

/* Tokens are coarse: the activations are compared to the bit. */
static void activations_do_not_depend_on_the_cut_but_on_the_prompt(void **state)
{
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct shard *together[1] = { cut(arena, &model, 0, 0, 3) };
    struct shard *apart[3] = { cut(arena, &model, 0, 0, 1), cut(arena, &model, 1, 1, 1),
                               cut(arena, &model, 2, 2, 1) };
    const int32_t prompts[2][PROMPT] = { { 1, 2, 3, 4, 5 }, { 1, 2, 3, 4, 6 } };
    const unsigned char *a[2], *b;
    size_t bytes;

    for (int i = 0; i < 2; i++) {
        struct frame prefill = { .request = i, .new_tokens = PROMPT, .total_tokens = PROMPT + 1 };
        struct frame decode = {
            .request = i, .new_tokens = 1, .past_tokens = PROMPT, .total_tokens = PROMPT + 1
        };

        a[i] = pass_through(arena, together, 1, &prefill, prompts[i], &bytes);
        assert_int_equal(bytes, PROMPT * 64 * 4);
        b = pass_through(arena, apart, 3, &prefill, prompts[i], &bytes);
        assert_memory_equal(a[i], b, bytes);
        a[i] = pass_through(arena, together, 1, &decode, prompts[0], &bytes);
        assert_int_equal(bytes, 64 * 4);
        b = pass_through(arena, apart, 3, &decode, prompts[0], &bytes);
        assert_memory_equal(a[i], b, bytes);
    }
    /* the same last token, but another one in the cache */
    assert_memory_not_equal(a[0], a[1], bytes);
}

static void so_does_one_with_rope_swiglu_and_grouped_heads(void **state)
{
    struct model model = tiny_model();

    model.positions = MODEL_ROPE;
    model.ffn = MODEL_SWIGLU;
    model.norm = MODEL_RMSNORM;
    model.kv_heads = 2;
    model.tied_lm_head = false;
    same_tokens_wherever_cut(*state, &model);
}

static void interleaved_requests_do_not_disturb_each_other(void **state)
{
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct shard *shard[1] = { cut(arena, &model, 0, 0, 4) };
    int32_t alone[2][OUTPUT], mixed[2][OUTPUT], prompt[2][PROMPT];

    generate(arena, shard, 1, 1, 100, alone[0]);
    generate(arena, shard, 1, 2, 200, alone[1]);
    for (int32_t i = 0; i < PROMPT; i++) {
        prompt[0][i] = (100 + i * 37) % 300;
        prompt[1][i] = (200 + i * 37) % 300;
    }
    for (int r = 0; r < 2; r++)
        mixed[r][0] = step_through(arena, shard, 1, 10 + r, prompt[r], PROMPT, 0);
    for (int i = 1; i < OUTPUT; i++)
        for (int r = 0; r < 2; r++)
            mixed[r][i] =
                step_through(arena, shard, 1, 10 + r, &mixed[r][i - 1], 1, PROMPT + i - 1);
    assert_memory_equal(alone, mixed, sizeof alone);
}

static void encoders_and_vision_models_run_in_one_step(void **state)
{
    static const enum model_kind kinds[] = { MODEL_ENCODER, MODEL_VISION };
    struct arena *arena = *state;
    const int32_t tokens[PROMPT] = { 1, 2, 3, 4, 5 };

    for (size_t i = 0; i < 2; i++) {
        struct model model = tiny_model();
        struct shard *shard[1];
        int32_t answer;

        model.kind = kinds[i];
        model.tied_lm_head = false;
        shard[0] = cut(arena, &model, 0, 0, 4);
        answer = step_through(arena, shard, 1, 0, tokens, PROMPT, 0);
        assert_in_range(answer, 0, model.kind == MODEL_ENCODER ? model.hidden - 1 : 299);
    }
}

static void a_bad_step_is_refused_by_reason(void **state)
{
    static const struct {
        int32_t new_tokens, past_tokens, total_tokens;
        int64_t payload_bytes;
        int32_t token;
        const char *words;
    } cases[] = {
        { 0, 0, 8, 0, 0, "a step of 0 tokens" },
        { 13, 0, 32, 52, 0, "at most 12 on 32" }, /* more than any prompt of the workload */
        { 4, 0, 33, 16, 0, "at most 12 on 32" },
        { 4, 5, 8, 16, 0, "a step of 4 tokens on 5 of 8" },
        { 4, 0, 8, 12, 0, "12 bytes of input: expected 16" },
        { 4, 0, 8, 20, 0, "20 bytes of input: expected 16" },
        { 4, 0, 8, 16, 300, "token 300: expected 0 to 299" },
        { 4, 0, 8, 16, -1, "token -1: expected 0 to 299" },
    };
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct shard *shard = cut(arena, &model, 0, 0, 4);

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = ERR_INIT;
        int32_t tokens[16] = { cases[i].token };
        unsigned char payload[64];
        struct shard_output output;
        struct frame frame = { .type = FRAME_STEP,
                               .new_tokens = cases[i].new_tokens,
                               .past_tokens = cases[i].past_tokens,
                               .total_tokens = cases[i].total_tokens,
                               .payload_bytes = cases[i].payload_bytes };

        frame_put_words(payload, tokens, 16);
        assert_int_equal(shard_step(shard, 0, &frame, payload, &output, &err), SHARD_BAD);
        if (!strstr(err.text, cases[i].words))
            fail_msg("'%s' does not hold '%s'", err.text, cases[i].words);
    }
}

static void a_later_step_of_a_released_request_is_stale(void **state)
{
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct shard *shard = cut(arena, &model, 0, 0, 4);
    struct frame frame = { .type = FRAME_STEP,
                           .request = 3,
                           .new_tokens = 1,
                           .past_tokens = 5,
                           .total_tokens = 8,
                           .payload_bytes = 4 };
    unsigned char payload[4] = { 1, 0, 0, 0 };
    struct shard_output output;
    struct err err = ERR_INIT;

    assert_int_equal(shard_step(shard, 0, &frame, payload, &output, &err), SHARD_STALE);
    assert_int_equal(err.kind, ERR_NONE);
}

static void a_request_that_outgrows_its_cache_is_refused(void **state)
{
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct shard *shard = cut(arena, &model, 0, 0, 4);
    struct frame frame = {
        .type = FRAME_STEP, .new_tokens = 2, .total_tokens = 4, .payload_bytes = 8
    };
    unsigned char payload[8] = { 1 };
    struct shard_output output;
    struct err err = ERR_INIT;

    assert_int_equal(shard_step(shard, 0, &frame, payload, &output, &err), SHARD_DONE);
    frame.past_tokens = 4;
    frame.total_tokens = 8; /* said 4 before */
    assert_int_equal(shard_step(shard, 0, &frame, payload, &output, &err), SHARD_BAD);
    assert_non_null(strstr(err.text, "outgrew its cache of 4"));
}

static void a_model_that_no_machine_holds_is_a_clear_error(void **state)
{
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct setup setup;
    struct err err = ERR_INIT;

    model.hidden = 1 << 20;
    model.ffn_hidden = 1 << 20;
    model.layers = 1000;
    setup = tiny_setup(arena, &model, 0, 0, 1000);
    assert_true(shard_need_bytes(&setup) > INT64_C(1) << 50);
    assert_null(shard_create(arena, &setup, NULL, NULL, &err));
    assert_int_equal(err.kind, ERR_SYSTEM);
    assert_non_null(strstr(err.text, "of memory"));
    assert_non_null(strstr(err.text, "are available"));
}

static enum shard_result begin_request(struct shard *shard, int64_t request)
{
    struct frame frame = { .type = FRAME_STEP,
                           .request = request,
                           .new_tokens = 1,
                           .total_tokens = 32,
                           .payload_bytes = 4 };
    const unsigned char payload[4] = { 1, 0, 0, 0 };
    struct shard_output output;
    struct err err = ERR_INIT;

    return shard_step(shard, 0, &frame, payload, &output, &err);
}

static void a_cache_over_the_budget_is_refused_until_one_is_released(void **state)
{
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct setup setup = tiny_setup(arena, &model, 0, 0, 4);
    struct err err = ERR_INIT;
    struct shard *shard;

    setup.memory_bytes = shard_need_bytes(&setup); /* of one request, however much there is */
    shard = shard_create(arena, &setup, NULL, NULL, &err);
    assert_non_null(shard);
    assert_int_equal(begin_request(shard, 0), SHARD_DONE);
    assert_int_equal(begin_request(shard, 1), SHARD_REFUSED);
    shard_release(shard, 0);
    assert_int_equal(begin_request(shard, 1), SHARD_DONE);

    setup.memory_bytes--;
    assert_null(shard_create(arena, &setup, NULL, NULL, &err));
    assert_non_null(strstr(err.text, "of memory"));
}

static void batches_find_memory_for_all_their_caches(void **state)
{
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct setup setup = tiny_setup(arena, &model, 0, 0, 4);
    int64_t one_bytes = shard_cache_bytes(&setup), need_bytes = shard_need_bytes(&setup);
    struct err err = ERR_INIT;
    struct shard *shard;

    setup.stages[0].cache_count = 5;
    assert_true(one_bytes > 0);
    assert_int_equal(shard_need_bytes(&setup), need_bytes + 4 * one_bytes);
    setup.memory_bytes = shard_need_bytes(&setup);
    shard = shard_create(arena, &setup, NULL, NULL, &err);
    assert_non_null(shard);
    for (int64_t i = 0; i < 5; i++)
        assert_int_equal(begin_request(shard, i), SHARD_DONE);
    assert_int_equal(begin_request(shard, 5), SHARD_REFUSED);
    setup.stages[0].cache_count = INT32_MAX; /* more than can be counted is more than there is */
    assert_true(shard_need_bytes(&setup) > INT64_C(1) << 40);
    setup.models[0].max_total_tokens = 1 << 30;
    assert_true(shard_need_bytes(&setup) > INT64_C(1) << 46);
}

static void who_makes_one_step_keeps_no_cache(void **state)
{
    static const enum model_kind kinds[] = { MODEL_ENCODER, MODEL_VISION };
    struct arena *arena = *state;

    for (size_t i = 0; i < 2; i++) {
        struct model model = tiny_model();
        struct setup setup;
        struct err err = ERR_INIT;
        struct shard *shard;

        model.kind = kinds[i];
        model.tied_lm_head = false;
        setup = tiny_setup(arena, &model, 0, 0, 4);
        setup.memory_bytes = shard_need_bytes(&setup);
        shard = shard_create(arena, &setup, NULL, NULL, &err);
        assert_non_null(shard);
        for (int64_t k = 0; k < 3; k++)
            assert_int_equal(begin_request(shard, k), SHARD_DONE);
        assert_int_equal(kv_pool_used_bytes(shard_caches(shard, 0)), 0);
    }
}

static void workers_of_one_machine_share_what_is_left(void **state)
{
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct setup setups[2] = { tiny_setup(arena, &model, 0, 0, 3),
                               tiny_setup(arena, &model, 1, 3, 1) };
    struct assignment assignment = { .count = 2, .setups = setups };
    const int64_t need[2] = { shard_need_bytes(&setups[0]), shard_need_bytes(&setups[1]) };
    struct err err = ERR_INIT;

    assert_true(assign_memory(&assignment, NULL, INT64_C(1000000000), &err));
    for (int i = 0; i < 2; i++)
        assert_int_equal(setups[i].memory_bytes, need[i] + (900000000 - need[0] - need[1]) / 2);
    assert_false(assign_memory(&assignment, NULL, need[0] + need[1], &err));
    assert_non_null(strstr(err.text, "2 workers on this machine need"));
}

static void threads_that_the_blas_does_not_use_are_an_error(void **state)
{
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct setup setup = tiny_setup(arena, &model, 0, 0, 4);
    struct err err = ERR_INIT;

    setup.threads = 1 << 12;
    assert_null(shard_create(arena, &setup, NULL, NULL, &err));
    assert_non_null(strstr(err.text, "4096 threads are asked for"));
}

static void stages_are_found_by_their_number_in_the_plan(void **state)
{
    struct model model = tiny_model();
    struct shard *shard = cut(*state, &model, 9, 0, 4);

    assert_int_equal(shard_find_stage(shard, 9), 0);
    assert_int_equal(shard_find_stage(shard, 0), -1);
}

static void tied_weights_are_counted_once(void **state)
{
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct setup tied = tiny_setup(arena, &model, 0, 0, 4), apart;

    model.tied_lm_head = false;
    apart = tiny_setup(arena, &model, 0, 0, 4);
    assert_int_equal(shard_weight_bytes(&apart) - shard_weight_bytes(&tied), 300 * 64 * 4);
}

/* embed and layers in one stage, lm_head in another one of the same worker. */
static struct setup in_two_stages(struct arena *arena, const struct model *model)
{
    struct setup setup = tiny_setup(arena, model, 0, 0, 3);
    struct setup end = tiny_setup(arena, model, 1, 3, 1);
    struct setup_stage *stages = arena_array(arena, 2, sizeof *stages);

    stages[0] = setup.stages[0];
    stages[1] = end.stages[0];
    setup.stages = stages;
    setup.stage_count = 2;
    return setup;
}

static void two_stages_of_a_worker_share_a_tied_matrix(void **state)
{
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct setup both = in_two_stages(arena, &model), whole = tiny_setup(arena, &model, 0, 0, 4);
    struct shard *one[1] = { cut(arena, &model, 0, 0, 4) };
    struct frame frame = { .request = 1, .new_tokens = PROMPT, .total_tokens = PROMPT + 1 };
    const int32_t prompt[PROMPT] = { 5, 4, 3, 2, 1 };
    unsigned char words[PROMPT * 64 * 4];
    struct shard_output output;
    struct err err = ERR_INIT;
    struct shard *shard = shard_create(arena, &both, NULL, NULL, &err);
    size_t bytes;

    assert_int_equal(shard_weight_bytes(&both), shard_weight_bytes(&whole));
    assert_non_null(shard);
    frame_put_words(words, prompt, PROMPT);
    frame.payload_bytes = (int64_t)sizeof prompt;
    assert_int_equal(shard_step(shard, 0, &frame, words, &output, &err), SHARD_DONE);
    assert_int_equal(output.bytes, sizeof words);
    frame_put_words(words, output.words, output.bytes / 4);
    frame.payload_bytes = (int64_t)output.bytes;
    frame.stage = 1;
    assert_int_equal(shard_step(shard, 1, &frame, words, &output, &err), SHARD_DONE);
    assert_memory_equal(output.words, pass_through(arena, one, 1, &frame, prompt, &bytes), 4);
}

static void added_stages_share_the_layers_that_are_there(void **state)
{
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct setup held = tiny_setup(arena, &model, 0, 0, 3), none = held;
    struct setup more = tiny_setup(arena, &model, 7, 0, 4);
    struct shard *one[1] = { cut(arena, &model, 0, 0, 4) };
    struct frame frame = { .stage = 7, .request = 1, .new_tokens = PROMPT };
    const int32_t prompt[PROMPT] = { 5, 4, 3, 2, 1 };
    unsigned char words[PROMPT * 4];
    struct shard_output output;
    struct err err = ERR_INIT;
    struct shard *shard = shard_create(arena, &held, NULL, NULL, &err);
    struct shard *added = shard_create(arena, &more, &held, shard, &err);
    size_t bytes;

    /* three of its four layers and the embedding, which is its output matrix as well */
    none.stage_count = 0;
    assert_true(shard_shared_bytes(&held, &more) > shard_weight_bytes(&more) / 2);
    assert_true(shard_shared_bytes(&held, &more) < shard_weight_bytes(&more));
    assert_int_equal(shard_shared_bytes(&none, &more), 0);
    assert_int_equal(shard_shared_bytes(NULL, &more), 0);
    assert_non_null(added);

    assert_int_equal(shard_find_stage(shard, 7), -1);
    shard_append(shard, added);
    assert_int_equal(shard_find_stage(shard, 0), 0);
    assert_int_equal(shard_find_stage(shard, 7), 1);
    frame_put_words(words, prompt, PROMPT);
    frame.payload_bytes = (int64_t)sizeof prompt;
    frame.total_tokens = PROMPT + 1;
    assert_int_equal(shard_step(shard, 1, &frame, words, &output, &err), SHARD_DONE);
    assert_int_equal(output.bytes, 4);
    frame.stage = 0;
    assert_memory_equal(output.words, pass_through(arena, one, 1, &frame, prompt, &bytes), 4);
    shard_release(shard, 1);
    assert_int_equal(kv_pool_used_bytes(shard_caches(shard, 1)), 0);

    shard_drop_last(shard);
    assert_int_equal(shard_find_stage(shard, 7), -1);
    assert_int_equal(shard_find_stage(shard, 0), 0);
}

/* What `orrery-sim fit` counts is what the kernels store. */
static void matrices_weigh_what_the_kernels_store(void **state)
{
    struct model model = tiny_model();

    (void)state;
    model.norm = MODEL_RMSNORM; /* no biases */
    model.hidden = 80;          /* rows that do not fill their last block */
    for (int bits = 8; bits <= 32; bits *= 2) {
        enum kernel_dtype dtype = kernel_dtype_of_bits(bits);

        model.weight_bits = bits;
        assert_int_equal(model_block_weight_bytes(&model, BLOCK_ATTN),
                         kernel_weight_bytes(dtype, 3 * 64, 80));
        assert_int_equal(model_block_weight_bytes(&model, BLOCK_PROJ),
                         kernel_weight_bytes(dtype, 80, 64));
        assert_int_equal(model_block_weight_bytes(&model, BLOCK_FFN_UP),
                         kernel_weight_bytes(dtype, 128, 80));
        assert_int_equal(model_block_weight_bytes(&model, BLOCK_FFN_DOWN),
                         kernel_weight_bytes(dtype, 80, 128));
        assert_int_equal(model_tied_bytes(&model), kernel_weight_bytes(dtype, 300, 80));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_pipeline_makes_the_tokens_of_the_whole_model),
        TEST(activations_do_not_depend_on_the_cut_but_on_the_prompt),
        TEST(so_does_one_with_rope_swiglu_and_grouped_heads),
        TEST(interleaved_requests_do_not_disturb_each_other),
        TEST(encoders_and_vision_models_run_in_one_step),
        TEST(a_bad_step_is_refused_by_reason),
        TEST(a_later_step_of_a_released_request_is_stale),
        TEST(a_request_that_outgrows_its_cache_is_refused),
        TEST(a_model_that_no_machine_holds_is_a_clear_error),
        TEST(a_cache_over_the_budget_is_refused_until_one_is_released),
        TEST(batches_find_memory_for_all_their_caches),
        TEST(who_makes_one_step_keeps_no_cache),
        TEST(workers_of_one_machine_share_what_is_left),
        TEST(threads_that_the_blas_does_not_use_are_an_error),
        TEST(stages_are_found_by_their_number_in_the_plan),
        TEST(tied_weights_are_counted_once),
        TEST(two_stages_of_a_worker_share_a_tied_matrix),
        TEST(matrices_weigh_what_the_kernels_store),
        TEST(added_stages_share_the_layers_that_are_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
