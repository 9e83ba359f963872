/* test_prefix_blocks.c - the rules of workloads/README.md for prefix blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/format/prefix_blocks.h"
#include "lib/format/workload.h"
#include "tests/unit/scratch.h"

#define HEAD "request_id,block_index,chain_id\n"

/* Requests 3, 5 and 9, of 40, 33 and 100 tokens. */
static struct workload *workload(struct scratch *scratch)
{
    struct workload *loaded =
        workload_load(scratch->arena,
                      scratch_write(scratch, "w.csv",
                                    "request_id,arrival_s,service,prompt_tokens,output_tokens\n"
                                    "3,0,a,30,10\n5,1,a,32,1\n9,2,a,60,40\n"),
                      scratch_err(scratch));

    assert_non_null(loaded);
    return loaded;
}

static struct prefix_blocks *load(struct scratch *scratch, const char *text)
{
    const struct workload *requests = workload(scratch);

    return prefix_blocks_load(scratch->arena, scratch_write(scratch, "b.csv", text), requests,
                              scratch_err(scratch));
}

static void chains_are_numbered_in_order_of_appearance_and_rows_may_come_in_any(void **state)
{
    struct scratch *scratch = *state;
    static const char *const texts[] = { HEAD "3,0,700\n3,1,20\n9,0,700\n9,1,21\n9,2,5\n",
                                         HEAD "9,2,5\n9,0,700\n3,1,20\n9,1,21\n3,0,700\n" };

    for (int i = 0; i < 2; i++) {
        const struct prefix_blocks *blocks = load(scratch, texts[i]);

        assert_non_null(blocks);
        assert_int_equal(blocks->request_count, 3);
        assert_int_equal(blocks->chain_count, 4);
        assert_int_equal(prefix_blocks_chain(blocks, 0, 0), 0);
        assert_int_equal(prefix_blocks_chain(blocks, 0, 1), 1);
        assert_int_equal(prefix_blocks_chain(blocks, 0, 2), -1);
        assert_int_equal(prefix_blocks_chain(blocks, 1, 0), -1);
        assert_int_equal(prefix_blocks_chain(blocks, 2, 0), 0);
        assert_int_equal(prefix_blocks_chain(blocks, 2, 1), 2);
        assert_int_equal(prefix_blocks_chain(blocks, 2, 2), 3);
    }
}

static void an_empty_table_shares_nothing(void **state)
{
    const struct prefix_blocks *blocks = load(*state, HEAD);

    assert_non_null(blocks);
    assert_int_equal(blocks->chain_count, 0);
    assert_int_equal(prefix_blocks_chain(blocks, 2, 0), -1);
}

static void a_workload_without_ids_goes_by_rows(void **state)
{
    struct scratch *scratch = *state;
    const struct workload *requests =
        workload_load(scratch->arena,
                      scratch_write(scratch, "w.csv",
                                    "request_id,arrival_s,service,prompt_tokens,output_tokens\n"
                                    "0,0,a,30,10\n1,1,a,32,1\n"),
                      scratch_err(scratch));
    const struct prefix_blocks *blocks;

    assert_null(requests->request_ids);
    blocks = prefix_blocks_load(scratch->arena, scratch_write(scratch, "b.csv", HEAD "1,0,9\n"),
                                requests, scratch_err(scratch));
    assert_int_equal(prefix_blocks_chain(blocks, 1, 0), 0);
    assert_null(prefix_blocks_load(scratch->arena, scratch_write(scratch, "b.csv", HEAD "2,0,9\n"),
                                   requests, scratch_err(scratch)));
}

static void bad_rows_are_located(void **state)
{
    static const struct {
        const char *rows, *error;
    } cases[] = {
        { "4,0,1\n", "b.csv:2:1: request_id is '4': not in the workload" },
        { "-1,0,1\n", "b.csv:2:1: request_id is '-1'" },
        { "3,-1,1\n", "b.csv:2:2: block_index is '-1'" },
        { "3,0,-1\n", "b.csv:2:3: chain_id is '-1'" },
        { "3,0,x\n", "b.csv:2:3: chain_id is 'x'" },
        { "3,1,1\n", "b.csv:2: block_index is '1': request 3 has no block 0" },
        { "3,0,1\n3,2,2\n", "b.csv:3: block_index is '2': request 3 has no block 1" },
        { "3,0,1\n5,0,1\n3,0,2\n", "b.csv:4: same request and block as line 2" },
        { "3,0,1\n3,1,2\n5,0,2\n",
          "b.csv:4: chain_id is '2' of block 0: line 3 has it for block 1" },
        { "3,0,1\n3,1,2\n5,0,4\n5,1,2\n",
          "b.csv:5: chain_id is '2', but the block before is another one than on line 3: equal "
          "chains have the same tokens from the start" },
        { "3,0\n", "b.csv:2: 2 fields, but the header names 3" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scratch *scratch = *state;

        assert_null(load(scratch, arena_printf(scratch->arena, HEAD "%s", cases[i].rows)));
        if (strncmp(scratch_message(scratch), cases[i].error, strlen(cases[i].error)) != 0)
            fail_msg("case %zu: '%s' does not begin with '%s'", i, scratch_message(scratch),
                     cases[i].error);
    }
    assert_null(load(*state, "# block_tokens: 0\n" HEAD));
    assert_null(load(*state, "# orrery: workload 1\n" HEAD));
}

static void blocks_must_fit_their_requests_and_the_size_that_they_were_made_for(void **state)
{
    struct scratch *scratch = *state;
    const struct workload *requests = workload(scratch);
    const struct prefix_blocks *blocks = load(scratch, HEAD "3,0,1\n3,1,2\n9,0,1\n");

    assert_true(prefix_blocks_fit(blocks, requests, 20, scratch_err(scratch)));
    assert_false(prefix_blocks_fit(blocks, requests, 21, scratch_err(scratch)));
    assert_string_equal(scratch_message(scratch),
                        "b.csv: request 3 has 2 blocks of 21 tokens, but 40 tokens: prompt and "
                        "output fill 1");
    blocks = load(scratch, "# block_tokens: 16\n" HEAD "3,0,1\n");
    assert_true(prefix_blocks_fit(blocks, requests, 16, scratch_err(scratch)));
    assert_false(prefix_blocks_fit(blocks, requests, 8, scratch_err(scratch)));
    assert_string_equal(scratch_message(scratch), "b.csv: its blocks are of 16 tokens: expected 8");
}

static void what_is_written_reads_back(void **state)
{
    struct scratch *scratch = *state;
    static const char *const meta[] = { "source", "a test", NULL };
    const char *text = "# orrery: prefix-blocks 1\n# source: a test\n# block_tokens: 16\n" HEAD
                       "3,0,0\n3,1,1\n9,0,0\n9,1,2\n9,2,3\n";
    struct out *out = out_open_memory(scratch->arena);
    const struct prefix_blocks *blocks = load(scratch, text);

    assert_non_null(blocks);
    prefix_blocks_write(out, blocks, workload(scratch), meta);
    assert_string_equal(scratch_text(out), text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(chains_are_numbered_in_order_of_appearance_and_rows_may_come_in_any),
        scratch_test(an_empty_table_shares_nothing),
        scratch_test(a_workload_without_ids_goes_by_rows),
        scratch_test(bad_rows_are_located),
        scratch_test(blocks_must_fit_their_requests_and_the_size_that_they_were_made_for),
        scratch_test(what_is_written_reads_back),
    };

    return cmocka_run_group_tests_name("prefix_blocks", tests, NULL, NULL);
}
