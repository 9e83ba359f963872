/* test_batches.c - steps of many requests make the tokens that each makes alone, however prompts
 * are cut, caches lost, and requests mixed; and a bad batch never reaches a kernel. */
#include "runner/worker/shard.h"

#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/policy/continuous.h"
#include "lib/wire/frame.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#include "tests/unit/runner/shapes.h"

#define REQUESTS 12
#define SEQS 4
#define MAX_PROMPT 14
#define MAX_OUTPUT 8
#define MAX_WORDS 4096

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

struct request {
    int32_t prompt_tokens, output_tokens, made;
    int32_t tokens[MAX_PROMPT + MAX_OUTPUT]; /* prompt, then what came of it */
    int32_t alone[MAX_OUTPUT];
    bool is_held;
    int64_t seen;
};

static struct shard *shard_of(struct arena *arena, const struct model *model, int32_t seqs,
                              int32_t stage, int32_t first, int32_t count)
{
    struct setup *setup = arena_alloc(arena, sizeof *setup);
    struct err err = ERR_INIT;
    struct shard *shard;

    *setup = tiny_setup(arena, model, stage, first, count);
    setup->models[0].max_seqs = seqs;
    setup->stages[0].has_batches = seqs > 1;
    setup->models[0].max_tokens = seqs > 1 ? 24 : MAX_PROMPT;
    shard = shard_create(arena, setup, NULL, NULL, &err);
    if (!shard)
        fail_msg("%s", err.text);
    return shard;
}

/* Through both stages; what the last puts out. */
static const int32_t *pass_through(struct arena *arena, struct shard *const shards[2],
                                   struct frame *frame, const int32_t *words)
{
    unsigned char *payload = arena_alloc(arena, (size_t)frame->payload_bytes);
    int32_t *out;

    frame_put_words(payload, words, (size_t)frame->payload_bytes / 4);
    for (int i = 0; i < 2; i++) {
        struct shard_output output;
        struct err err = ERR_INIT;

        frame->stage = i;
        if (shard_step(shards[i], 0, frame, payload, &output, &err) != SHARD_DONE)
            fail_msg("%s", err.text);
        payload = arena_alloc(arena, output.bytes);
        frame_put_words(payload, output.words, output.bytes / 4);
        frame->payload_bytes = (int64_t)output.bytes;
    }
    out = arena_alloc(arena, (size_t)frame->payload_bytes);
    frame_get_words(out, payload, (size_t)frame->payload_bytes / 4);
    return out;
}

static void compute_alone(struct arena *arena, struct shard *const shards[2],
                          struct request *request, int64_t number)
{
    for (int32_t i = 0; i < request->output_tokens; i++) {
        bool is_prefill = i == 0;
        struct frame frame = { .type = FRAME_STEP,
                               .request = number,
                               .step = i,
                               .new_tokens = is_prefill ? request->prompt_tokens : 1,
                               .past_tokens = is_prefill ? 0 : request->prompt_tokens + i - 1,
                               .total_tokens = request->prompt_tokens + request->output_tokens };

        frame.payload_bytes = 4 * (int64_t)frame.new_tokens;
        request->alone[i] = *pass_through(arena, shards, &frame,
                                          is_prefill ? request->tokens : &request->alone[i - 1]);
    }
}

/* Those that have caches and do not run any more lose them, as batches.c has it. */
static int32_t drop_preempted(const struct continuous *continuous, struct request *requests,
                              int64_t look, int32_t *words)
{
    int32_t count = 0;

    for (int32_t k = 0; k < continuous_running(continuous); k++)
        requests[continuous_running_tag(continuous, k)].seen = look;
    for (int64_t r = 0; r < REQUESTS; r++) {
        if (!requests[r].is_held || requests[r].seen == look)
            continue;
        requests[r].is_held = false;
        frame_put_entry(words + FRAME_ENTRY_WORDS * count++, &(struct frame_entry){ r, 0, 0, 0 });
    }
    return count;
}

static void run_batch(struct arena *arena, struct shard *const shards[2],
                      struct continuous *continuous, const struct continuous_batch *batch,
                      struct request *requests, int64_t look)
{
    int32_t words[MAX_WORDS], *at = words;
    struct frame frame = {
        .type = FRAME_STEP, .request = look, .new_tokens = batch->tokens, .entries = batch->count
    };
    const struct continuous_ends *ends;
    const int32_t *made;

    for (int32_t i = 0; i < batch->count; i++, at += FRAME_ENTRY_WORDS) {
        const struct continuous_entry *entry = &batch->entries[i];
        struct request *request = &requests[entry->tag];

        frame_put_entry(at,
                        &(struct frame_entry){ entry->tag, entry->tokens, entry->past_tokens,
                                               request->prompt_tokens + request->output_tokens });
        request->is_held = true;
    }
    frame.entries += drop_preempted(continuous, requests, look, at);
    at = words + (ptrdiff_t)FRAME_ENTRY_WORDS * frame.entries;
    for (int32_t i = 0; i < batch->count; i++) {
        const struct continuous_entry *entry = &batch->entries[i];

        memcpy(at, requests[entry->tag].tokens + entry->past_tokens,
               (size_t)entry->tokens * sizeof *at);
        at += entry->tokens;
    }
    frame.payload_bytes = 4 * (int64_t)(at - words);
    made = pass_through(arena, shards, &frame, words);
    for (int32_t i = 0; i < batch->count; i++) {
        struct request *request = &requests[batch->entries[i].tag];

        if (batch->entries[i].makes_token && request->made < request->output_tokens)
            request->tokens[request->prompt_tokens + request->made++] = made[i];
    }
    ends = continuous_step_done(continuous);
    for (int32_t i = 0; i < ends->finished_count; i++) {
        requests[ends->finished[i]].is_held = false;
        for (int k = 0; k < 2; k++)
            shard_release(shards[k], ends->finished[i]);
    }
}

static int64_t run_batches(struct arena *arena, const struct model *model,
                           const struct continuous_options *options, uint64_t seed)
{
    struct shard *single[2] = { shard_of(arena, model, 1, 0, 0, 2),
                                shard_of(arena, model, 1, 1, 2, 2) };
    struct shard *many[2] = { shard_of(arena, model, SEQS, 0, 0, 2),
                              shard_of(arena, model, SEQS, 1, 2, 2) };
    struct continuous *continuous = continuous_create(arena, options);
    struct request *requests = arena_array(arena, REQUESTS, sizeof *requests);
    struct rng rng = rng_stream(seed, RNG_TEST, 0);
    int64_t look = 0;

    for (int64_t r = 0; r < REQUESTS; r++) {
        struct request *request = &requests[r];

        request->prompt_tokens = 1 + (int32_t)rng_below(&rng, MAX_PROMPT);
        request->output_tokens = 1 + (int32_t)rng_below(&rng, MAX_OUTPUT);
        for (int32_t i = 0; i < request->prompt_tokens; i++)
            request->tokens[i] = (int32_t)rng_below(&rng, 300);
        compute_alone(arena, single, request, r);
        continuous_arrive(continuous, request->prompt_tokens, request->output_tokens, r);
    }
    while (!continuous_is_idle(continuous)) {
        const struct continuous_batch *batch = continuous_schedule(continuous);

        assert_true(batch->count > 0);
        run_batch(arena, many, continuous, batch, requests, ++look);
    }
    for (int r = 0; r < REQUESTS; r++) {
        assert_int_equal(requests[r].made, requests[r].output_tokens);
        assert_memory_equal(requests[r].tokens + requests[r].prompt_tokens, requests[r].alone,
                            (size_t)requests[r].made * sizeof(int32_t));
    }
    return continuous_counts(continuous)->preemptions;
}

static void batches_make_the_tokens_of_each_request_alone(void **state)
{
    const struct continuous_options chunked = { .max_seqs = SEQS,
                                                .token_budget = 6,
                                                .block_tokens = 4,
                                                .block_count = 64,
                                                .has_chunks = true };
    struct continuous_options whole = chunked;
    struct model model = tiny_model();

    whole.has_chunks = false;
    whole.token_budget = 24;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        run_batches(*state, &model, &chunked, seed);
        run_batches(*state, &model, &whole, seed);
    }
}

static void so_do_those_that_lose_their_caches(void **state)
{
    const struct continuous_options tight = { .max_seqs = SEQS,
                                              .token_budget = 20,
                                              .block_tokens = 2,
                                              .block_count = 14,
                                              .has_chunks = true };
    struct model model = tiny_model();
    int64_t preemptions = 0;

    model.positions = MODEL_ROPE;
    model.ffn = MODEL_SWIGLU;
    model.norm = MODEL_RMSNORM;
    model.kv_heads = 2;
    for (uint64_t seed = 1; seed <= 4; seed++)
        preemptions += run_batches(*state, &model, &tight, seed);
    assert_true(preemptions > 0);
}

/* ---- fixed batches: all count as the longest of them ---- */

static struct shard *padded_of(struct arena *arena, const struct model *model, int32_t stage,
                               int32_t first, int32_t count)
{
    struct setup *setup = arena_alloc(arena, sizeof *setup);
    struct err err = ERR_INIT;
    struct shard *shard;

    *setup = tiny_setup(arena, model, stage, first, count);
    setup->models[0].max_seqs = setup->stages[0].batch_size = SEQS;
    setup->stages[0].has_batches = true;
    setup->models[0].max_tokens = SEQS * MAX_PROMPT;
    shard = shard_create(arena, setup, NULL, NULL, &err);
    if (!shard)
        fail_msg("%s", err.text);
    return shard;
}

/* One step of those that have tokens left; returns how many they are. */
static int32_t run_padded(struct arena *arena, struct shard *const shards[2],
                          struct request *requests, int32_t step)
{
    int32_t words[MAX_WORDS] = { 0 }, who[SEQS], count = 0, rows = 1;
    struct frame frame = { .type = FRAME_STEP, .request = 5, .step = step };
    const int32_t *made;

    for (int32_t r = 0; r < SEQS; r++) {
        if (requests[r].made < requests[r].output_tokens)
            who[count++] = r;
        if (step == 0 && requests[r].prompt_tokens > rows)
            rows = requests[r].prompt_tokens;
    }
    for (int32_t i = 0; i < count; i++) {
        const struct request *request = &requests[who[i]];
        int32_t past = step == 0 ? 0 : request->prompt_tokens + step - 1;
        int32_t own = step == 0 ? request->prompt_tokens : 1;

        frame_put_entry(words + FRAME_ENTRY_WORDS * i,
                        &(struct frame_entry){ who[i], own, past,
                                               request->prompt_tokens + request->output_tokens });
        memcpy(words + FRAME_ENTRY_WORDS * count + rows * i, request->tokens + past,
               (size_t)own * sizeof *words);
    }
    frame.entries = count;
    frame.new_tokens = rows * count;
    frame.payload_bytes = 4 * (int64_t)(FRAME_ENTRY_WORDS * count + frame.new_tokens);
    if (count == 0)
        return 0;
    made = pass_through(arena, shards, &frame, words);
    assert_int_equal(frame.payload_bytes, 4 * (FRAME_ENTRY_WORDS + 1) * count);
    for (int32_t i = 0; i < count; i++) {
        struct frame_entry entry;

        frame_get_entry(made + FRAME_ENTRY_WORDS * i, &entry);
        assert_int_equal(entry.request, who[i]);
        requests[who[i]].tokens[requests[who[i]].prompt_tokens + requests[who[i]].made++] =
            made[FRAME_ENTRY_WORDS * count + i];
    }
    return count;
}

static void pad(struct arena *arena, const struct model *model, uint64_t seed)
{
    struct shard *single[2] = { shard_of(arena, model, 1, 0, 0, 2),
                                shard_of(arena, model, 1, 1, 2, 2) };
    struct shard *many[2] = { padded_of(arena, model, 0, 0, 2), padded_of(arena, model, 1, 2, 2) };
    struct request *requests = arena_array(arena, SEQS, sizeof *requests);
    struct rng rng = rng_stream(seed, RNG_TEST, 0);

    for (int64_t r = 0; r < SEQS; r++) {
        struct request *request = &requests[r];

        request->prompt_tokens = 1 + (int32_t)rng_below(&rng, MAX_PROMPT);
        request->output_tokens =
            model->kind == MODEL_DECODER ? 1 + (int32_t)rng_below(&rng, MAX_OUTPUT) : 1;
        for (int32_t i = 0; i < request->prompt_tokens; i++)
            request->tokens[i] = (int32_t)rng_below(&rng, 300);
        compute_alone(arena, single, request, r);
    }
    for (int32_t step = 0; run_padded(arena, many, requests, step) > 0; step++)
        continue;
    for (int r = 0; r < SEQS; r++)
        assert_memory_equal(requests[r].tokens + requests[r].prompt_tokens, requests[r].alone,
                            (size_t)requests[r].output_tokens * sizeof(int32_t));
}

static void padding_does_not_change_a_token(void **state)
{
    struct model model = tiny_model();

    for (uint64_t seed = 1; seed <= 3; seed++)
        pad(*state, &model, seed);
    model.positions = MODEL_ROPE;
    model.ffn = MODEL_SWIGLU;
    model.norm = MODEL_RMSNORM;
    model.kv_heads = 2;
    for (uint64_t seed = 1; seed <= 3; seed++)
        pad(*state, &model, seed);
    model = tiny_model(); /* its tokens look at one another: padding must not be looked at */
    model.kind = MODEL_ENCODER;
    for (uint64_t seed = 1; seed <= 3; seed++)
        pad(*state, &model, seed);
}

static void a_bad_batch_is_refused_by_reason(void **state)
{
    static const struct {
        int32_t entries, words;
        int32_t new_tokens;
        struct frame_entry first, second;
        const char *text;
    } cases[] = {
        { 2, 14, 2, { 0, 1, 0, 8 }, { 1, 2, 0, 8 }, "a batch of 3 tokens" },
        { 2, 14, 2, { 0, 1, 8, 8 }, { 1, 1, 0, 8 }, "1 tokens on 8 of 8" },
        { 2, 14, 2, { 0, 1, 0, 33 }, { 1, 1, 0, 8 }, "expected at most 32 in all" },
        { 2, 14, 2, { 0, -1, 0, 8 }, { 1, 3, 0, 8 }, "-1 tokens" },
        { 2, 14, 2, { -1, 1, 0, 8 }, { 1, 1, 0, 8 }, "a batch asks" },
        { 2, 13, 2, { 0, 1, 0, 8 }, { 1, 1, 0, 8 }, "52 bytes of input: expected 56" },
        { 2, 11, 2, { 0, 1, 0, 8 }, { 1, 1, 0, 8 }, "a batch of 2 in 44 bytes" },
        { 2, 12, 0, { 0, 0, 0, 8 }, { 1, 0, 0, 8 }, "a batch of 0 tokens" },
        { 9, 56, 2, { 0, 1, 0, 8 }, { 1, 1, 0, 8 }, "a batch of 9 in" },
    };
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct shard *shard = shard_of(arena, &model, SEQS, 0, 0, 4);

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int32_t words[64] = { 0 };
        unsigned char payload[sizeof words];
        struct err err = ERR_INIT;
        struct shard_output output;
        struct frame frame = { .type = FRAME_STEP,
                               .entries = cases[i].entries,
                               .new_tokens = cases[i].new_tokens,
                               .payload_bytes = 4 * (int64_t)cases[i].words };

        frame_put_entry(words, &cases[i].first);
        frame_put_entry(words + FRAME_ENTRY_WORDS, &cases[i].second);
        frame_put_words(payload, words, 64);
        assert_int_equal(shard_step(shard, 0, &frame, payload, &output, &err), SHARD_BAD);
        if (!strstr(err.text, cases[i].text))
            fail_msg("case %d: '%s' does not hold '%s'", (int)i, err.text, cases[i].text);
    }
}

/* The rows of all must fit into the cache of the longest. */
static void a_batch_that_outgrows_its_caches_is_refused(void **state)
{
    struct model model = tiny_model();
    struct shard *shard = padded_of(*state, &model, 0, 0, 2);
    int32_t words[2 * FRAME_ENTRY_WORDS + 16] = { 0 };
    unsigned char payload[sizeof words];
    struct frame frame = {
        .type = FRAME_STEP, .entries = 2, .new_tokens = 16, .payload_bytes = sizeof words
    };
    struct err err = ERR_INIT;
    struct shard_output output;

    frame_put_entry(words, &(struct frame_entry){ 0, 1, 31, 32 });
    frame_put_entry(words + FRAME_ENTRY_WORDS, &(struct frame_entry){ 1, 8, 0, 9 });
    frame_put_words(payload, words, sizeof words / sizeof *words);
    assert_int_equal(shard_step(shard, 0, &frame, payload, &output, &err), SHARD_BAD);
    assert_string_equal(err.text, "a batch padded to 8 tokens on 31: expected 32 in all");
}

static void a_batch_for_who_takes_none_is_refused(void **state)
{
    struct arena *arena = *state;
    struct model model = tiny_model();
    struct shard *shard = shard_of(arena, &model, 1, 0, 0, 4);
    const unsigned char payload[28] = { 0 };
    struct frame frame = {
        .type = FRAME_STEP, .entries = 1, .new_tokens = 1, .payload_bytes = sizeof payload
    };
    struct err err = ERR_INIT;
    struct shard_output output;

    assert_int_equal(shard_step(shard, 0, &frame, payload, &output, &err), SHARD_BAD);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(batches_make_the_tokens_of_each_request_alone),
        TEST(so_do_those_that_lose_their_caches),
        TEST(padding_does_not_change_a_token),
        TEST(a_bad_batch_is_refused_by_reason),
        TEST(a_batch_that_outgrows_its_caches_is_refused),
        TEST(a_batch_for_who_takes_none_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
