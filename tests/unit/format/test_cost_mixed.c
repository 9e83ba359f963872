/* test_cost_mixed.c - kernels attn_mixed and sampler: exact at samples, lines between them on every
 * axis, what missing samples and absent operators mean, and how such tables are written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "tests/unit/scratch.h"

#define HEAD                                                                                       \
    "kernel,threads,m_tokens,gemm_n,gemm_k,heads,kv_heads,head_dim,chunk_tokens,chunk_kv,decodes," \
    "decode_kv,mean_ns\n"
#define MIXED(chunk, kv, decodes, decode_kv, ns)                                                   \
    "attn_mixed,1,,0,0,4,2,8," #chunk "," #kv "," #decodes "," #decode_kv "," #ns "\n"

/* Decodes alone (1 and 4, at 10 and 30 tokens), chunks alone (8 and 16, behind 0 and 20), and both.
 * Off the axes costs are far from any product of lines, so that a wrong axis shows. */
#define GRID                                                                                       \
    HEAD MIXED(0, 0, 1, 10, 100) MIXED(0, 0, 1, 30, 140) MIXED(0, 0, 4, 10, 190)                   \
        MIXED(0, 0, 4, 30, 350) MIXED(8, 0, 0, 0, 200) MIXED(8, 20, 0, 0, 260)                     \
            MIXED(16, 0, 0, 0, 400) MIXED(16, 20, 0, 0, 500) MIXED(16, 0, 4, 10, 800)              \
                MIXED(16, 0, 4, 30, 1000) MIXED(16, 20, 4, 10, 900) MIXED(16, 20, 4, 30, 1200)

static const struct cost_table *load(struct scratch *scratch, const char *kernels)
{
    const struct cost_table *table =
        cost_load_text(scratch->arena, "gpu", kernels, NULL, scratch_err(scratch));

    if (!table)
        fail_msg("%s", scratch->err.text);
    return table;
}

/* "12.5", with " *" behind it where it is extrapolated; or the error. */
static const char *ask(struct scratch *scratch, const struct cost_table *table, int64_t chunk,
                       int64_t chunk_kv, int32_t decodes, int64_t decode_kv)
{
    const struct cost_mixed mixed = { 4, 2, 8, chunk, chunk_kv, decodes, decode_kv };
    enum interp_origin origin;
    int64_t time_ps;

    if (!cost_lookup_mixed(table, &mixed, 1, 32, &time_ps, &origin, scratch_err(scratch)))
        return scratch->err.text;
    return arena_printf(scratch->arena, "%g%s", (double)time_ps / 1e3,
                        origin == INTERP_EXTRAPOLATED ? " *" : "");
}

static void samples_are_exact_and_lie_on_lines_on_every_axis(void **state)
{
    const struct cost_table *table = load(*state, GRID);

    assert_true(cost_has_mixed(table));
    assert_int_equal(cost_engine_row_count(table), 12);
    assert_int_equal(cost_row_count(table), 0);
    assert_string_equal(ask(*state, table, 0, 0, 4, 30), "350");
    assert_string_equal(ask(*state, table, 16, 20, 4, 10), "900");
    assert_string_equal(ask(*state, table, 0, 0, 1, 20), "120");
    assert_string_equal(ask(*state, table, 0, 0, 2, 10), "130");
    assert_string_equal(ask(*state, table, 12, 0, 0, 0), "300");
    assert_string_equal(ask(*state, table, 8, 5, 0, 0), "215");
    assert_string_equal(ask(*state, table, 12, 10, 0, 0), "340");
    assert_string_equal(ask(*state, table, 16, 10, 4, 20), "975");
    /* halfway between decodes alone, whatever the chunk is behind, and the chunk of 16 */
    assert_string_equal(ask(*state, table, 8, 10, 4, 20), "622.5");
}

static void beyond_the_samples_the_outermost_lines_go_on_and_are_extrapolated(void **state)
{
    const struct cost_table *table = load(*state, GRID);

    assert_string_equal(ask(*state, table, 0, 0, 4, 50), "510 *");
    assert_string_equal(ask(*state, table, 0, 0, 7, 10), "280 *");
    assert_string_equal(ask(*state, table, 24, 0, 0, 0), "600 *");
    assert_string_equal(ask(*state, table, 4, 0, 0, 0), "100 *");
    assert_string_equal(ask(*state, table, 1, 0, 0, 0), "25 *");
    assert_string_equal(ask(*state, table, 16, 60, 0, 0), "700 *");
    /* never below nothing */
    assert_string_equal(
        ask(*state, load(*state, HEAD MIXED(8, 0, 0, 0, 1) MIXED(16, 0, 0, 0, 100)), 4, 0, 0, 0),
        "0 *");
}

static void decodes_where_a_chunk_has_fewer_of_them_go_by_what_it_has(void **state)
{
    /* the chunk of 16 knows 4 decodes alone: a constant in them */
    assert_string_equal(ask(*state, load(*state, GRID), 16, 0, 2, 10), "800 *");
    assert_string_equal(ask(*state, load(*state, GRID), 16, 20, 4, 50), "1500 *");
}

static void a_table_without_mixed_rows_adds_chunks_and_decodes(void **state)
{
    const struct cost_table *table =
        load(*state, HEAD MIXED(0, 0, 1, 10, 100) MIXED(0, 0, 1, 30, 140) MIXED(8, 0, 0, 0, 200)
                         MIXED(16, 0, 0, 0, 400));

    assert_string_equal(ask(*state, table, 8, 0, 1, 20), "320 *");
    assert_string_equal(ask(*state, table, 8, 0, 0, 0), "200");
    assert_string_equal(ask(*state, load(*state, HEAD MIXED(8, 0, 2, 10, 70)), 0, 0, 2, 10),
                        "70 *");
}

static void rows_without_heads_are_of_any_shape(void **state)
{
    const struct cost_table *table =
        load(*state, HEAD "attn_mixed,1,,0,0,,,,8,0,0,,70\nattn_mixed,1,,0,0,,,,16,0,0,,90\n");

    assert_string_equal(ask(*state, table, 12, 0, 0, 0), "80");
}

static void an_unknown_shape_is_an_error_that_names_it(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_mixed mixed = { 8, 2, 8, 0, 0, 1, 10 };
    enum interp_origin origin;
    int64_t time_ps;

    assert_false(cost_lookup_mixed(load(scratch, GRID), &mixed, 1, 32, &time_ps, &origin,
                                   scratch_err(scratch)));
    assert_string_equal(scratch->err.text, "gpu: no measured rows of attn_mixed with heads 8, "
                                           "kv_heads 2, head_dim 8, threads 1, dtype f32");
}

static void order_of_rows_changes_nothing(void **state)
{
    const struct cost_table *table =
        load(*state, HEAD MIXED(16, 20, 0, 0, 500) MIXED(0, 0, 4, 30, 350) MIXED(8, 20, 0, 0, 260)
                         MIXED(16, 0, 0, 0, 400) MIXED(0, 0, 1, 30, 140) MIXED(8, 0, 0, 0, 200)
                             MIXED(0, 0, 4, 10, 190) MIXED(0, 0, 1, 10, 100));

    assert_string_equal(ask(*state, table, 12, 10, 0, 0), "340");
    assert_string_equal(ask(*state, table, 0, 0, 2, 20), "170");
}

/* ---- ordinary look-ups on such a table ---- */

static void attention_and_what_is_fused_are_told_by_attn_mixed(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table = load(scratch, GRID "norm,1,4,32,1,0,0,0,,,,,7\n");
    struct model_op op = { .op = OP_ATTN,
                           .phase = OP_DECODE,
                           .m_tokens = 1,
                           .heads = 4,
                           .kv_heads = 2,
                           .head_dim = 8,
                           .kv_len = 21,
                           .batch = 1 };
    enum interp_origin origin;
    int64_t time_ps;

    assert_true(cost_lookup(table, &op, 1, 32, &time_ps, &origin, scratch_err(scratch)));
    assert_int_equal(time_ps, 120000);
    assert_int_equal(origin, INTERP_INTERPOLATED);
    op.phase = OP_PREFILL;
    op.m_tokens = 12;
    op.kv_len = 22;
    assert_true(cost_lookup(table, &op, 1, 32, &time_ps, &origin, scratch_err(scratch)));
    assert_int_equal(time_ps, 340000);
    op = (struct model_op){ .op = OP_ADD, .m_tokens = 4, .gemm_n = 32 };
    assert_true(cost_lookup(table, &op, 1, 32, &time_ps, &origin, scratch_err(scratch)));
    assert_int_equal(time_ps, 0);
    op.op = OP_ACT; /* not measured, and nothing that holds it */
    assert_false(cost_lookup(table, &op, 1, 32, &time_ps, &origin, scratch_err(scratch)));
    op = (struct model_op){ .op = OP_ADD, .m_tokens = 4, .gemm_n = 32 };
    assert_false(cost_lookup(load(scratch, GRID "add,1,4,64,0,0,0,0,,,,,7\n"), &op, 1, 32, &time_ps,
                             &origin, scratch_err(scratch)));
}

static void a_sampler_is_a_line_over_sequences_and_nothing_where_there_is_none(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table =
        load(scratch, GRID "sampler,1,4,500,0,,,,,,,,50\nsampler,1,1,500,0,,,,,,,,20\n");
    enum interp_origin origin;
    int64_t time_ps;

    assert_true(cost_lookup_sampler(table, 2, 500, 1, 32, &time_ps, &origin, scratch_err(scratch)));
    assert_int_equal(time_ps, 30000);
    assert_int_equal(origin, INTERP_INTERPOLATED);
    assert_true(cost_lookup_sampler(table, 7, 500, 1, 16, &time_ps, &origin, scratch_err(scratch)));
    assert_int_equal(time_ps, 80000);
    assert_int_equal(origin, INTERP_EXTRAPOLATED);
    assert_false(
        cost_lookup_sampler(table, 7, 600, 1, 32, &time_ps, &origin, scratch_err(scratch)));
    assert_string_equal(scratch->err.text,
                        "gpu: no measured rows of sampler with gemm_n 600, threads 1, dtype f32");
    assert_true(cost_lookup_sampler(load(scratch, GRID), 7, 600, 1, 32, &time_ps, &origin,
                                    scratch_err(scratch)));
    assert_int_equal(time_ps, 0);
    assert_true(cost_lookup_sampler(load(scratch, GRID "sampler,1,4,0,0,,,,,,,,50\n"), 4, 600, 1,
                                    32, &time_ps, &origin, scratch_err(scratch)));
    assert_int_equal(time_ps, 50000);
}

static void points_of_decodes_come_from_either_kernel(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_mixed shape = { 4, 2, 8, 0, 0, 0, 0 }, other = { 2, 2, 8, 0, 0, 0, 0 };
    const int32_t *points;
    int count;

    points = cost_decode_points(scratch->arena, load(scratch, GRID), &shape, 1, 16, &count);
    assert_int_equal(count, 2);
    assert_int_equal(points[0], 10);
    assert_int_equal(points[1], 30);
    assert_null(cost_decode_points(scratch->arena, load(scratch, GRID), &other, 1, 32, &count));
    assert_int_equal(count, 0);
    points = cost_decode_points(
        scratch->arena,
        load(scratch, "kernel,phase,threads,m_tokens,gemm_n,gemm_k,heads,kv_heads,head_dim,kv_len,"
                      "batch,mean_ns\nattn,decode,1,1,0,0,4,2,8,64,1,9\n"
                      "attn,decode,1,2,0,0,4,2,8,64,2,9\nattn,decode,1,2,0,0,4,2,8,1,2,9\n"),
        &shape, 1, 16, &count);
    assert_int_equal(count, 2);
    assert_int_equal(points[0], 0);
    assert_int_equal(points[1], 63);
}

/* ---- files ---- */

static void bad_rows_are_located(void **state)
{
    static const struct {
        const char *row, *error;
    } cases[] = {
        { "attn_mixed,1,,0,0,4,2,8,0,0,0,0,5\n",
          "gpu/kernels.csv:2: attn_mixed needs chunk_tokens or decodes above 0" },
        { "attn_mixed,1,,0,0,4,0,8,8,0,0,0,5\n",
          "gpu/kernels.csv:2:7: kv_heads is '0': expected at least 1 beside heads" },
        { "attn_mixed,1,,0,0,0,2,8,8,0,0,0,5\n",
          "gpu/kernels.csv:2:7: kv_heads is '2': expected 0 where there are none" },
        { "attn_mixed,1,,0,0,4,2,8,8,0,0,9,5\n",
          "gpu/kernels.csv:2:12: decode_kv is '9': expected 0 where there are none" },
        { "attn_mixed,1,,0,0,4,2,8,0,3,1,9,5\n",
          "gpu/kernels.csv:2:10: chunk_kv is '3': expected 0 where there are none" },
        { "attn_mixed,1,,0,0,4,2,8,,0,1,9,5\n", "gpu/kernels.csv:2:9: chunk_tokens is ''" },
        { "attn_mixed,1,,0,0,4,2,8,-1,0,1,9,5\n", "gpu/kernels.csv:2:9: chunk_tokens is '-1'" },
        { "attn_mixed,1,,0,0,4,2,8,0,0,1,9,0\n", "gpu/kernels.csv:2:13: mean_ns is '0'" },
        { "sampler,1,,10,0,,,,,,,,5\n", "gpu/kernels.csv:2:3: m_tokens is ''" },
        { "sampler,0,1,10,0,,,,,,,,5\n", "gpu/kernels.csv:2:2: threads is '0'" },
        { MIXED(8, 0, 0, 0, 5) MIXED(8, 0, 1, 9, 6) MIXED(8, 0, 0, 0, 7),
          "gpu/kernels.csv:4: same key as line 2" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scratch *scratch = *state;
        const char *text = arena_printf(scratch->arena, HEAD "%s", cases[i].row);

        assert_null(cost_load_text(scratch->arena, "gpu", text, NULL, scratch_err(scratch)));
        if (strncmp(scratch->err.text, cases[i].error, strlen(cases[i].error)) != 0)
            fail_msg("case %zu: '%s' does not begin with '%s'", i, scratch->err.text,
                     cases[i].error);
    }
}

static void assert_same_row(const struct cost_engine_row *a, const struct cost_engine_row *b)
{
    assert_int_equal(a->is_sampler, b->is_sampler);
    assert_string_equal(a->impl, b->impl);
    assert_string_equal(a->dtype, b->dtype);
    assert_string_equal(a->regime, b->regime);
    assert_int_equal(a->m_tokens, b->m_tokens);
    assert_int_equal(a->gemm_n, b->gemm_n);
    assert_int_equal(a->heads, b->heads);
    assert_int_equal(a->chunk_tokens, b->chunk_tokens);
    assert_int_equal(a->chunk_kv, b->chunk_kv);
    assert_int_equal(a->decodes, b->decodes);
    assert_int_equal(a->decode_kv, b->decode_kv);
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->mean_ps, b->mean_ps);
}

static void what_is_written_reads_back(void **state)
{
    struct scratch *scratch = *state;
    static const char *const meta[] = { "source", "a test", NULL };
    struct cost_engine_row engine_rows[2] = { { .impl = "vllm",
                                                .dtype = "bf16",
                                                .regime = "burst",
                                                .threads = 1,
                                                .heads = 4,
                                                .kv_heads = 2,
                                                .head_dim = 8,
                                                .chunk_tokens = 8,
                                                .chunk_kv = 20,
                                                .decodes = 3,
                                                .decode_kv = 10,
                                                .n = 3,
                                                .mean_ps = 1234567 },
                                              { .is_sampler = true,
                                                .impl = "vllm",
                                                .dtype = "bf16",
                                                .regime = "sustained",
                                                .threads = 1,
                                                .m_tokens = 5,
                                                .gemm_n = 500,
                                                .n = COST_UNKNOWN,
                                                .mean_ps = 7000 } };
    struct out *out = out_open_memory(scratch->arena);
    const struct cost_table *table;
    struct cost_row row;

    cost_row_init(&row);
    row.op = OP_NORM;
    row.impl = "vllm";
    row.m_tokens = 4;
    row.gemm_n = 32;
    row.gemm_k = 1;
    row.mean_ps = 5500;
    cost_write_engine(out, "gpu 0", meta, &row, 1, engine_rows, 2);
    table = load(scratch, scratch_text(out));
    assert_int_equal(cost_row_count(table), 1);
    assert_int_equal(cost_row_at(table, 0)->mean_ps, 5500);
    assert_int_equal(cost_engine_row_count(table), 2);
    for (int i = 0; i < 2; i++)
        assert_same_row(&engine_rows[i], cost_engine_row_at(table, i));
    assert_string_equal(cost_device_id(table), "gpu 0");
}

static void what_was_not_measured_in_a_chain_answers_nothing(void **state)
{
    struct scratch *scratch = *state;
    const char *text = "kernel,threads,m_tokens,gemm_n,gemm_k,state,origin,mean_ns\n"
                       "sampler,1,1,10,0,chain,measured,5\nsampler,1,2,10,0,warm,measured,1\n"
                       "sampler,1,3,10,0,chain,interpolated,1\n";

    assert_int_equal(cost_engine_row_count(load(scratch, text)), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(samples_are_exact_and_lie_on_lines_on_every_axis),
        scratch_test(beyond_the_samples_the_outermost_lines_go_on_and_are_extrapolated),
        scratch_test(decodes_where_a_chunk_has_fewer_of_them_go_by_what_it_has),
        scratch_test(a_table_without_mixed_rows_adds_chunks_and_decodes),
        scratch_test(rows_without_heads_are_of_any_shape),
        scratch_test(an_unknown_shape_is_an_error_that_names_it),
        scratch_test(order_of_rows_changes_nothing),
        scratch_test(attention_and_what_is_fused_are_told_by_attn_mixed),
        scratch_test(a_sampler_is_a_line_over_sequences_and_nothing_where_there_is_none),
        scratch_test(points_of_decodes_come_from_either_kernel),
        scratch_test(bad_rows_are_located),
        scratch_test(what_is_written_reads_back),
        scratch_test(what_was_not_measured_in_a_chain_answers_nothing),
    };

    return cmocka_run_group_tests_name("cost_mixed", tests, NULL, NULL);
}
