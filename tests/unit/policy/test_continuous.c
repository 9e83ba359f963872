/* test_continuous.c - each rule of lib/policy/continuous by hand, and the pool of blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/policy/blocks.h"
#include "lib/policy/continuous.h"
#include "tests/unit/scratch.h"

/* "tag:past+tokens ..." of the planned step, first steps with a '*'. */
static const char *planned(struct scratch *scratch, const struct continuous_batch *batch)
{
    const char *text = "";

    for (int i = 0; i < batch->count; i++) {
        const struct continuous_entry *entry = &batch->entries[i];

        text = arena_printf(scratch->arena, "%s%s%lld%s:%d+%d", text, i > 0 ? " " : "",
                            (long long)entry->tag, entry->is_new ? "*" : "", entry->past_tokens,
                            entry->tokens);
    }
    return text;
}

/* "first tags / finished tags" */
static const char *ended(struct scratch *scratch, const struct continuous_ends *ends)
{
    const char *text = "";

    for (int i = 0; i < ends->first_count; i++)
        text = arena_printf(scratch->arena, "%s%lld ", text, (long long)ends->firsts[i]);
    text = arena_printf(scratch->arena, "%s/", text);
    for (int i = 0; i < ends->finished_count; i++)
        text = arena_printf(scratch->arena, "%s %lld", text, (long long)ends->finished[i]);
    return text;
}

#define STEP(c, expected, ends)                                                                    \
    do {                                                                                           \
        assert_string_equal(planned(scratch, continuous_schedule(c)), expected);                   \
        assert_string_equal(ended(scratch, continuous_step_done(c)), ends);                        \
    } while (0)

static struct continuous_options options_of(int32_t max_seqs, int32_t budget, int32_t block_tokens,
                                            int32_t block_count)
{
    return (struct continuous_options){ .max_seqs = max_seqs,
                                        .token_budget = budget,
                                        .block_tokens = block_tokens,
                                        .block_count = block_count,
                                        .has_chunks = true };
}

static void a_request_computes_its_prompt_then_one_token_a_step(void **state)
{
    struct scratch *scratch = *state;
    struct continuous_options options = options_of(4, 16, 4, 100);
    struct continuous *c = continuous_create(scratch->arena, &options);

    assert_true(continuous_is_idle(c));
    STEP(c, "", "/");
    continuous_arrive(c, 5, 3, 70);
    assert_int_equal(continuous_work_tokens(c), 7);
    assert_false(continuous_is_idle(c));
    STEP(c, "70*:0+5", "70 /");
    STEP(c, "70:5+1", "/");
    assert_int_equal(continuous_work_tokens(c), 1);
    STEP(c, "70:6+1", "/ 70");
    assert_true(continuous_is_idle(c));
    continuous_arrive(c, 3, 1, 71); /* one output token: the prefill is all */
    STEP(c, "71*:0+3", "71 / 71");
    assert_int_equal(continuous_counts(c)->steps, 4);
    assert_int_equal(continuous_counts(c)->tokens, 10);
    assert_int_equal(continuous_used_blocks(c), 0);
}

static void running_requests_go_before_the_queue_and_a_prompt_is_cut_by_the_budget(void **state)
{
    struct scratch *scratch = *state;
    struct continuous_options options = options_of(4, 8, 4, 100);
    struct continuous *c = continuous_create(scratch->arena, &options);

    continuous_arrive(c, 3, 9, 0);
    STEP(c, "0*:0+3", "0 /");
    continuous_arrive(c, 10, 9, 1);
    continuous_arrive(c, 4, 9, 2);
    STEP(c, "0:3+1 1*:0+7", "/");
    STEP(c, "0:4+1 1:7+3 2*:0+4", "1 2 /");
    STEP(c, "0:5+1 1:10+1 2:4+1", "/");
}

static void without_chunks_a_prompt_waits_for_a_step_that_holds_it_and_nobody_passes(void **state)
{
    struct scratch *scratch = *state;
    struct continuous_options options = options_of(4, 12, 4, 100);
    struct continuous *c;

    options.has_chunks = false;
    assert_true(continuous_fits(&options, 10, 3));
    assert_false(continuous_fits(&options, 10, 4));
    c = continuous_create(scratch->arena, &options);
    continuous_arrive(c, 6, 5, 0);
    continuous_arrive(c, 7, 2, 1);
    continuous_arrive(c, 1, 2, 2);
    STEP(c, "0*:0+6", "0 /");
    STEP(c, "0:6+1 1*:0+7 2*:0+1", "1 2 /");
}

static void no_more_than_max_seqs_run(void **state)
{
    struct scratch *scratch = *state;
    struct continuous_options options = options_of(2, 100, 4, 100);
    struct continuous *c = continuous_create(scratch->arena, &options);

    for (int i = 0; i < 3; i++)
        continuous_arrive(c, 2, 2 + i, i);
    STEP(c, "0*:0+2 1*:0+2", "0 1 /");
    assert_int_equal(continuous_waiting(c), 1);
    STEP(c, "0:2+1 1:2+1", "/ 0");
    STEP(c, "1:3+1 2*:0+2", "2 / 1");
    assert_int_equal(continuous_counts(c)->running_peak, 2);
    assert_int_equal(continuous_counts(c)->waiting_peak, 3);
}

static void a_long_prefill_leaves_tokens_of_the_budget_to_others(void **state)
{
    struct scratch *scratch = *state;
    struct continuous_options options = options_of(4, 12, 4, 100);
    struct continuous *c;

    options.long_prefill_tokens = 5;
    c = continuous_create(scratch->arena, &options);
    continuous_arrive(c, 20, 2, 0);
    continuous_arrive(c, 9, 2, 1);
    STEP(c, "0*:0+5 1*:0+5", "/");
    STEP(c, "0:5+5 1:5+4", "1 /");
}

static void a_request_is_admitted_only_when_the_blocks_of_all_of_it_are_free(void **state)
{
    struct scratch *scratch = *state;
    struct continuous_options options = options_of(4, 4, 4, 4);
    struct continuous *c = continuous_create(scratch->arena, &options);

    continuous_arrive(c, 4, 3, 0);  /* one block, then two */
    continuous_arrive(c, 13, 2, 1); /* four */
    continuous_arrive(c, 1, 1, 2);  /* would fit, but nobody is passed over */
    STEP(c, "0*:0+4", "0 /");
    STEP(c, "0:4+1", "/");
    STEP(c, "0:5+1", "/ 0");
    STEP(c, "1*:0+4", "/");
    assert_false(continuous_fits(&options, 17, 1));
    assert_true(continuous_fits(&options, 16, 1));
    assert_false(continuous_fits(&options, 16, 2));
}

static void the_last_admitted_is_preempted_and_computed_anew(void **state)
{
    struct scratch *scratch = *state;
    struct continuous_options options = options_of(4, 20, 4, 3);
    struct continuous *c = continuous_create(scratch->arena, &options);

    continuous_arrive(c, 4, 6, 0);
    continuous_arrive(c, 3, 6, 1);
    STEP(c, "0*:0+4 1*:0+3", "0 1 /"); /* one block each */
    STEP(c, "0:4+1 1:3+1", "/");       /* 0 takes the third */
    continuous_arrive(c, 1, 1, 2);
    /* 1 needs a second one: it is the last itself. Nobody is admitted in that step. */
    STEP(c, "0:5+1", "/");
    assert_int_equal(continuous_counts(c)->preemptions, 1);
    assert_int_equal(continuous_waiting(c), 2);
    /* 5 tokens of it exist, two blocks, and one is free: it waits, and 2 behind it */
    STEP(c, "0:6+1", "/");
    STEP(c, "0:7+1", "/");
    STEP(c, "0:8+1", "/ 0");
    STEP(c, "1:0+5 2*:0+1", "2 / 2");
    assert_int_equal(continuous_counts(c)->recomputed_tokens, 5);
    STEP(c, "1:5+1", "/");
    STEP(c, "1:6+1", "/");
    STEP(c, "1:7+1", "/ 1");
    assert_int_equal(continuous_used_blocks(c), 0);
}

/* All requests of one parity are alike up to their fourth block of two tokens. */
static int64_t parity_key(void *arg, int64_t tag, int32_t block)
{
    (void)arg;
    return block < 4 ? tag % 2 * 100 + block : tag * 1000 + block;
}

static void a_prefix_is_found_and_its_last_token_computed_all_the_same(void **state)
{
    struct scratch *scratch = *state;
    struct continuous_options options = options_of(4, 100, 2, 50);
    struct continuous *c;

    options.key = parity_key;
    c = continuous_create(scratch->arena, &options);
    continuous_arrive(c, 9, 2, 0);
    continuous_arrive(c, 9, 2, 1); /* other tokens */
    continuous_arrive(c, 8, 2, 2); /* as 0: found in the very step that computes them */
    STEP(c, "0*:0+9 1*:0+9 2*:6+2", "0 1 2 /");
    assert_int_equal(continuous_used_blocks(c), 5 + 5 + 1);
    STEP(c, "0:9+1 1:9+1 2:8+1", "/ 0 1 2");
    assert_int_equal(continuous_used_blocks(c), 0);
    continuous_arrive(c, 20, 2, 4); /* found again when free */
    STEP(c, "4*:8+12", "4 /");
    assert_int_equal(continuous_counts(c)->hit_tokens, 6 + 8);
    assert_int_equal(continuous_counts(c)->prompt_tokens, 9 + 9 + 8 + 20);
}

static void the_tails_of_prefixes_are_forgotten_first(void **state)
{
    struct scratch *scratch = *state;
    struct continuous_options options = options_of(4, 100, 2, 6);
    struct continuous *c;

    options.key = parity_key;
    c = continuous_create(scratch->arena, &options);
    continuous_arrive(c, 8, 1, 0);
    STEP(c, "0*:0+8", "0 / 0"); /* four blocks named; two were never used */
    continuous_arrive(c, 6, 1, 1);
    STEP(c, "1*:0+6", "1 / 1"); /* the two, and 0's last one */
    continuous_arrive(c, 8, 1, 2);
    STEP(c, "2*:6+2", "2 / 2");
}

static void what_a_preempted_request_had_is_found_again(void **state)
{
    struct scratch *scratch = *state;
    struct continuous_options options = options_of(4, 100, 2, 6);
    struct continuous *c;

    options.key = parity_key;
    c = continuous_create(scratch->arena, &options);
    continuous_arrive(c, 4, 5, 0);
    continuous_arrive(c, 5, 5, 1);
    STEP(c, "0*:0+4 1*:0+5", "0 1 /"); /* 2 + 3 blocks */
    STEP(c, "0:4+1 1:5+1", "/");       /* 0 has the sixth */
    STEP(c, "0:5+1", "/");             /* 1 needs a seventh */
    STEP(c, "0:6+1", "/");             /* takes the one that 1 released first: its last */
    STEP(c, "0:7+1", "/ 0");
    STEP(c, "1:4+3", "/");
    assert_int_equal(continuous_counts(c)->recomputed_tokens, 3);
}

static void steady_steps_end_where_somebody_finishes_or_blocks_run_out(void **state)
{
    struct scratch *scratch = *state;
    struct continuous_options options = options_of(4, 100, 4, 6);
    struct continuous *c = continuous_create(scratch->arena, &options);
    struct continuous_steady steady;

    assert_int_equal(continuous_steady(c).steps, 0);
    continuous_arrive(c, 4, 7, 0);
    assert_int_equal(continuous_steady(c).steps, 0); /* it has to be admitted */
    assert_true(continuous_is_open(c) == false);
    STEP(c, "0*:0+4", "0 /");
    assert_true(continuous_is_open(c));
    steady = continuous_steady(c);
    assert_int_equal(steady.steps, 6);
    assert_int_equal(steady.decodes, 1);
    assert_int_equal(steady.past_tokens, 4);
    assert_string_equal(ended(scratch, continuous_advance(c, 2)), "/");
    assert_int_equal(continuous_steady(c).steps, 4);
    continuous_arrive(c, 13, 9, 1); /* four blocks: all that are left */
    assert_int_equal(continuous_steady(c).steps, 0);
    STEP(c, "0:6+1 1*:0+13", "1 /");
    steady = continuous_steady(c);
    assert_int_equal(steady.steps, 1); /* then 0 needs another block */
    assert_int_equal(steady.past_tokens, 7 + 13);
    continuous_arrive(c, 9, 9, 2); /* which would need more than there are */
    assert_int_equal(continuous_steady(c).steps, 1);
    assert_false(continuous_is_open(c));
    assert_string_equal(ended(scratch, continuous_advance(c, 1)), "/");
    assert_int_equal(continuous_steady(c).steps, 0);
    STEP(c, "0:8+1", "/");
    assert_int_equal(continuous_counts(c)->preemptions, 1);
    assert_int_equal(continuous_steady(c).steps, 1);
    assert_string_equal(ended(scratch, continuous_advance(c, 1)), "/ 0");
    assert_int_equal(continuous_counts(c)->steps, 7);
}

/* ---- the pool ---- */

static void blocks_are_taken_in_order_of_last_use_and_keep_their_names_until_then(void **state)
{
    struct scratch *scratch = *state;
    struct blocks *blocks = blocks_create(scratch->arena, 3);

    assert_int_equal(blocks_take(blocks), 0);
    assert_int_equal(blocks_take(blocks), 1);
    assert_int_equal(blocks_free(blocks), 1);
    blocks_name(blocks, 0, 77);
    blocks_name(blocks, 1, 77); /* there already */
    assert_int_equal(blocks_find(blocks, 77), 0);
    assert_int_equal(blocks_find(blocks, 78), BLOCKS_NONE);
    blocks_share(blocks, 0);
    blocks_release(blocks, 0);
    assert_true(blocks_is_held(blocks, 0));
    blocks_release(blocks, 0);
    blocks_release(blocks, 1);
    assert_int_equal(blocks_free(blocks), 3);
    assert_int_equal(blocks_find(blocks, 77), 0);
    assert_int_equal(blocks_take(blocks), 2); /* never used */
    blocks_share(blocks, 0);                  /* from the middle of the list */
    assert_int_equal(blocks_free(blocks), 1);
    assert_int_equal(blocks_take(blocks), 1);
    blocks_release(blocks, 0);
    assert_int_equal(blocks_take(blocks), 0);
    assert_int_equal(blocks_find(blocks, 77), BLOCKS_NONE);
    assert_int_equal(blocks_count(blocks), 3);
}

/* Their clock begins anew on the way; the last one has seen a large part of it. */
static void requests_stay_abreast_for_billions_of_tokens(void **state)
{
    struct scratch *scratch = *state;
    struct continuous_options options = options_of(3, 16, 65536, 80000);
    struct continuous *c = continuous_create(scratch->arena, &options);
    struct continuous_steady steady;

    continuous_arrive(c, 1, 2000000000, 0);
    STEP(c, "0*:0+1", "0 /");
    assert_int_equal(continuous_steady(c).steps, 1999999999);
    assert_string_equal(ended(scratch, continuous_advance(c, 1200000000)), "/");
    continuous_arrive(c, 4, 1900000000, 1);
    STEP(c, "0:1200000001+1 1*:0+4", "1 /");
    steady = continuous_steady(c);
    assert_int_equal(steady.steps, 799999998);
    assert_int_equal(steady.past_tokens, 1200000006);
    assert_string_equal(ended(scratch, continuous_advance(c, 799999997)), "/");
    continuous_arrive(c, 2, 1100000002, 2);
    STEP(c, "0:1999999999+1 1:800000001+1 2*:0+2", "2 / 0");
    assert_int_equal(continuous_steady(c).steps, 1100000001);
    assert_int_equal(continuous_used_blocks(c), 800000002 / 65536 + 2);
    assert_string_equal(ended(scratch, continuous_advance(c, 1100000001)), "/ 1 2");
    assert_int_equal(continuous_used_blocks(c), 0);
    assert_int_equal(continuous_work_tokens(c), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_request_computes_its_prompt_then_one_token_a_step),
        scratch_test(running_requests_go_before_the_queue_and_a_prompt_is_cut_by_the_budget),
        scratch_test(without_chunks_a_prompt_waits_for_a_step_that_holds_it_and_nobody_passes),
        scratch_test(no_more_than_max_seqs_run),
        scratch_test(a_long_prefill_leaves_tokens_of_the_budget_to_others),
        scratch_test(a_request_is_admitted_only_when_the_blocks_of_all_of_it_are_free),
        scratch_test(the_last_admitted_is_preempted_and_computed_anew),
        scratch_test(a_prefix_is_found_and_its_last_token_computed_all_the_same),
        scratch_test(the_tails_of_prefixes_are_forgotten_first),
        scratch_test(what_a_preempted_request_had_is_found_again),
        scratch_test(steady_steps_end_where_somebody_finishes_or_blocks_run_out),
        scratch_test(requests_stay_abreast_for_billions_of_tokens),
        scratch_test(blocks_are_taken_in_order_of_last_use_and_keep_their_names_until_then),
    };

    return cmocka_run_group_tests_name("continuous", tests, NULL, NULL);
}
