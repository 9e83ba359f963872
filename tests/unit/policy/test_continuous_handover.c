/* test_continuous_handover.c - two instances, one for prompts and one that decodes behind them: who
 * keeps which blocks until when. */
#include "lib/base/rng.h"
#include "lib/policy/continuous.h"
#include "tests/unit/scratch.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct continuous *create(struct scratch *scratch, int32_t max_seqs, int32_t budget,
                                 int32_t blocks, continuous_key_fn *key)
{
    struct continuous_options options = { .max_seqs = max_seqs,
                                          .token_budget = budget,
                                          .block_tokens = 4,
                                          .block_count = blocks,
                                          .has_chunks = true,
                                          .hands_over = true,
                                          .key = key };

    return continuous_create(scratch->arena, &options);
}

static void blocks_are_kept_until_the_cache_is_sent(void **state)
{
    struct continuous *prompts = create(*state, 4, 16, 3, NULL);
    const struct continuous_ends *ends;

    continuous_arrive_kept(prompts, 8, 70);
    continuous_arrive_kept(prompts, 5, 71); /* two blocks, and one is free */
    assert_int_equal(continuous_schedule(prompts)->count, 1);
    ends = continuous_step_done(prompts);
    assert_int_equal(ends->first_count, 1);
    assert_int_equal(ends->finished_count, 1);
    assert_int_equal(ends->finished[0], 70);
    assert_int_equal(continuous_used_blocks(prompts), 2);
    assert_int_equal(continuous_schedule(prompts)->count, 0);
    continuous_sent(prompts, 70);
    assert_int_equal(continuous_used_blocks(prompts), 0);
    assert_int_equal(continuous_schedule(prompts)->count, 1);
    ends = continuous_step_done(prompts);
    assert_int_equal(ends->finished[0], 71);
    assert_false(continuous_is_idle(prompts));
    continuous_drop_kept(prompts);
    assert_true(continuous_is_idle(prompts));
    assert_int_equal(continuous_used_blocks(prompts), 0);
}

static void who_is_fetched_is_in_no_step_until_it_is_there(void **state)
{
    struct continuous *decodes = create(*state, 4, 16, 4, NULL);
    const struct continuous_batch *batch;
    const int64_t *tags;

    continuous_arrive_cached(decodes, 8, 3, 70); /* 9 tokens: three blocks */
    continuous_arrive_cached(decodes, 4, 2, 71); /* 5 tokens: two */
    assert_int_equal(continuous_work_tokens(decodes), 2 + 1);
    assert_int_equal(continuous_fetch(decodes, &tags), 1);
    assert_int_equal(tags[0], 70);
    assert_int_equal(continuous_used_blocks(decodes), 3);
    assert_int_equal(continuous_fetch(decodes, &tags), 0); /* nobody is passed over, none free */
    assert_int_equal(continuous_schedule(decodes)->count, 0);
    continuous_fetched(decodes, 70);
    for (int step = 0; step < 2; step++) {
        batch = continuous_schedule(decodes);
        assert_int_equal(batch->count, 1);
        assert_int_equal(batch->entries[0].tokens, 1);
        assert_int_equal(batch->entries[0].past_tokens, 8 + step);
        assert_false(batch->entries[0].is_new);
        assert_int_equal(continuous_step_done(decodes)->first_count, 0);
    }
    assert_int_equal(continuous_fetch(decodes, &tags), 1);
    assert_int_equal(tags[0], 71);
    continuous_fetched(decodes, 71);
    assert_int_equal(continuous_schedule(decodes)->count, 1);
    assert_int_equal(continuous_step_done(decodes)->finished[0], 71);
    assert_true(continuous_is_idle(decodes));
    assert_int_equal(continuous_counts(decodes)->made_tokens, 3); /* the first ones elsewhere */
}

/* ---- any two ---- */

#define REQUESTS 24

struct pair {
    struct continuous *prompts, *decodes;
    int32_t prompt[REQUESTS], output[REQUESTS], steps[REQUESTS];
    bool has_first[REQUESTS], has_ended[REQUESTS];
    int64_t moving[REQUESTS];
    int moving_count;
};

/* Three kinds of prompts, each of which begins alike. */
static int64_t key(void *arg, int64_t tag, int32_t block)
{
    (void)arg;
    return block < 2 ? tag % 3 * 100 + block : -1;
}

static void step_of_prompts(struct pair *pair)
{
    const struct continuous_ends *ends;

    if (continuous_schedule(pair->prompts)->count == 0)
        return;
    ends = continuous_step_done(pair->prompts);
    for (int i = 0; i < ends->finished_count; i++) {
        int64_t tag = ends->finished[i];

        assert_false(pair->has_first[tag]);
        pair->has_first[tag] = true;
        if (pair->output[tag] == 1)
            pair->has_ended[tag] = true;
        else
            continuous_arrive_cached(pair->decodes, pair->prompt[tag], pair->output[tag], tag);
    }
}

static void step_of_decodes(struct pair *pair)
{
    const struct continuous_batch *batch;
    const struct continuous_ends *ends;
    const int64_t *tags;

    for (int32_t i = 0, count = continuous_fetch(pair->decodes, &tags); i < count; i++)
        pair->moving[pair->moving_count++] = tags[i];
    batch = continuous_schedule(pair->decodes);
    if (batch->count == 0)
        return;
    for (int i = 0; i < batch->entry_count; i++) {
        int64_t tag = batch->entries[i].tag;

        for (int k = 0; k < pair->moving_count; k++)
            assert_true(pair->moving[k] != tag); /* what it reads is not there yet */
        if (pair->steps[tag]++ == 0 && batch->entries[i].past_tokens > 0) /* not preempted yet */
            assert_int_equal(batch->entries[i].past_tokens + batch->entries[i].tokens,
                             pair->prompt[tag] + 1);
    }
    ends = continuous_step_done(pair->decodes);
    assert_int_equal(ends->first_count, 0);
    for (int i = 0; i < ends->finished_count; i++)
        pair->has_ended[ends->finished[i]] = true;
}

static void move_one(struct pair *pair, struct rng *rng)
{
    int k = (int)rng_below(rng, (uint64_t)pair->moving_count);
    int64_t tag = pair->moving[k];

    pair->moving[k] = pair->moving[--pair->moving_count];
    continuous_fetched(pair->decodes, tag);
    continuous_sent(pair->prompts, tag);
}

static void arrive(struct pair *pair, struct rng *rng, int64_t tag)
{
    pair->prompt[tag] = 1 + (int32_t)rng_below(rng, 16);
    pair->output[tag] = 1 + (int32_t)rng_below(rng, 8);
    if (pair->output[tag] == 1)
        continuous_arrive(pair->prompts, pair->prompt[tag], 1, tag);
    else
        continuous_arrive_kept(pair->prompts, pair->prompt[tag], tag);
}

static void whatever_happens_when_everybody_ends_and_nothing_is_held(void **state)
{
    struct rng rng = rng_stream(12, RNG_TEST, 1);

    for (int round = 0; round < 300; round++) {
        int32_t max_seqs = 1 + (int32_t)rng_below(&rng, 4);
        int32_t budget = max_seqs + (int32_t)rng_below(&rng, 8);
        int32_t blocks = 6 + (int32_t)rng_below(&rng, 8);
        bool has_cache = rng_below(&rng, 2) == 1;
        struct pair pair = { .moving_count = 0 };
        int64_t made_tokens = 0, ended = 0;
        int next = 0;

        pair.prompts = create(*state, max_seqs, budget, blocks, has_cache ? key : NULL);
        blocks = 6 + (int32_t)rng_below(&rng, 8);
        pair.decodes = create(*state, max_seqs, budget, blocks, NULL);
        for (int turn = 0; turn < 20000 && ended < REQUESTS; turn++) {
            uint64_t what = rng_below(&rng, 4);

            if (what == 0 && next < REQUESTS)
                arrive(&pair, &rng, next++);
            else if (what == 1)
                step_of_prompts(&pair);
            else if (what == 2)
                step_of_decodes(&pair);
            else if (pair.moving_count > 0)
                move_one(&pair, &rng);
            ended = 0;
            for (int i = 0; i < REQUESTS; i++)
                ended += pair.has_ended[i];
        }
        assert_int_equal(ended, REQUESTS);
        assert_true(continuous_is_idle(pair.prompts) && continuous_is_idle(pair.decodes));
        assert_int_equal(continuous_used_blocks(pair.prompts), 0);
        assert_int_equal(continuous_used_blocks(pair.decodes), 0);
        assert_int_equal(continuous_work_tokens(pair.prompts), 0);
        assert_int_equal(continuous_work_tokens(pair.decodes), 0);
        for (int i = 0; i < REQUESTS; i++)
            made_tokens += pair.output[i];
        assert_int_equal(continuous_counts(pair.prompts)->made_tokens +
                             continuous_counts(pair.decodes)->made_tokens,
                         made_tokens);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(blocks_are_kept_until_the_cache_is_sent),
        scratch_test(who_is_fetched_is_in_no_step_until_it_is_there),
        scratch_test(whatever_happens_when_everybody_ends_and_nothing_is_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
