/* test_cost.c - look-ups in cost tables: which rows answer, what is between them, what no row
 * answers; permuted files change nothing. Folders and writers are in test_cost_files.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "tests/unit/scratch.h"

/* The columns that a table needs, as another program would write them. */
#define HEAD "kernel,threads,m_tokens,gemm_n,gemm_k,mean_ns\n"
#define FULL                                                                                       \
    "kernel,phase,impl,dtype,threads,m_tokens,gemm_n,gemm_k,heads,kv_heads,head_dim,kv_len,state," \
    "regime,mean_ns\n"
#define INTERP                                                                                     \
    "kernel,phase,impl,dtype,threads,gemm_n,gemm_k,heads,kv_heads,head_dim,regime,tile_period,"    \
    "residue,adder_ns,loo_err_med_pct,loo_err_max_pct\n"

static const struct cost_table *load(struct scratch *scratch, const char *kernels,
                                     const char *interp)
{
    return cost_load_text(scratch->arena, "pi4", kernels, interp, scratch_err(scratch));
}

static const struct cost_table *must_load(struct scratch *scratch, const char *kernels,
                                          const char *interp)
{
    const struct cost_table *table = load(scratch, kernels, interp);

    if (!table)
        fail_msg("%s", scratch->err.text);
    return table;
}

static struct model_op product(enum op op, int32_t m_tokens, int32_t n, int32_t k)
{
    return (struct model_op){ .op = op, .m_tokens = m_tokens, .gemm_n = n, .gemm_k = k };
}

static struct model_op attn(enum op_phase phase, int32_t m_tokens, int32_t kv_len)
{
    return (struct model_op){ .op = OP_ATTN,
                              .phase = phase,
                              .m_tokens = m_tokens,
                              .heads = 4,
                              .kv_heads = 2,
                              .head_dim = 8,
                              .kv_len = kv_len };
}

static const char *const origins[] = { "measured", "interpolated", "extrapolated" };

/* "12.5 measured", or the error. */
static const char *ask(struct scratch *scratch, const struct cost_table *table, struct model_op op,
                       int threads, int weight_bits)
{
    enum interp_origin origin;
    int64_t time_ps;

    if (!cost_lookup(table, &op, threads, weight_bits, &time_ps, &origin, scratch_err(scratch)))
        return scratch->err.text;
    return arena_printf(scratch->arena, "%g %s", (double)time_ps / 1e3, origins[origin]);
}

/* ---- look-up ---- */

static void a_table_of_needed_columns_loads_and_answers(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table =
        must_load(scratch, HEAD "qkv,1,1,96,64,100.5\nqkv,1,4,96,64,200\nnorm,1,1,64,0,3\n", NULL);

    assert_string_equal(cost_type(table), "pi4");
    assert_string_equal(cost_path(table), "pi4");
    assert_true(cost_has_kernels(table));
    assert_int_equal(cost_only_threads(table), 1);
    assert_int_equal(cost_row_count(table), 3);
    assert_int_equal(cost_anchor_count(table), 0);
    assert_string_equal(ask(scratch, table, product(OP_QKV, 1, 96, 64), 1, 32), "100.5 measured");
    assert_string_equal(ask(scratch, table, product(OP_QKV, 4, 96, 64), 1, 32), "200 measured");
    assert_string_equal(ask(scratch, table, product(OP_QKV, 3, 96, 64), 1, 32),
                        "166.833 interpolated");
    assert_string_equal(ask(scratch, table, product(OP_QKV, 7, 96, 64), 1, 32),
                        "299.5 extrapolated");
    assert_string_equal(ask(scratch, table, product(OP_NORM, 5, 64, 0), 1, 32), "15 extrapolated");
}

static void a_shape_without_rows_is_an_error_that_names_it(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table =
        must_load(scratch,
                  FULL "qkv,any,gemm,f32,4,1,96,64,0,0,0,0,chain,burst,100\n"
                       "attn,decode,gemv,f32,4,1,0,0,4,2,8,16,chain,burst,10\n",
                  NULL);

    assert_string_equal(
        ask(scratch, table, product(OP_QKV, 1, 97, 64), 4, 32),
        "pi4: no measured rows of qkv with gemm_n 97, gemm_k 64, threads 4, dtype f32");
    assert_string_equal(ask(scratch, table, product(OP_QKV, 1, 96, 64), 1, 32),
                        "pi4: no measured rows of qkv with gemm_n 96, gemm_k 64, threads 1, dtype "
                        "f32 (measured with threads 4)");
    assert_string_equal(ask(scratch, table, product(OP_OPROJ, 1, 96, 64), 4, 32),
                        "pi4: no measured rows of oproj with gemm_n 96, gemm_k 64, threads 4, "
                        "dtype f32");
    assert_string_equal(ask(scratch, table, attn(OP_PREFILL, 8, 8), 4, 32),
                        "pi4: no measured rows of attn with phase prefill, heads 4, kv_heads 2, "
                        "head_dim 8, threads 4, dtype f32");
    assert_int_equal(scratch->err.kind, ERR_INPUT);
}

static void weights_are_looked_up_at_their_width_and_activations_at_f32(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table =
        must_load(scratch,
                  FULL "qkv,any,gemm,f32,1,1,96,64,0,0,0,0,chain,burst,100\n"
                       "qkv,any,gemm,bf16,1,1,96,64,0,0,0,0,chain,burst,60\n"
                       "qkv,any,gemm,q8_0,1,1,96,64,0,0,0,0,chain,burst,40\n"
                       "norm,any,c,f32,1,1,64,0,0,0,0,0,chain,burst,3\n"
                       "add,any,c,f32,1,1,64,0,0,0,0,0,chain,burst,4\n"
                       "add,any,c,bf16,1,1,64,0,0,0,0,0,chain,burst,2\n"
                       "oproj,any,gemm,f32,1,1,64,64,0,0,0,0,chain,burst,50\n",
                  NULL);

    assert_string_equal(ask(scratch, table, product(OP_QKV, 1, 96, 64), 1, 32), "100 measured");
    assert_string_equal(ask(scratch, table, product(OP_QKV, 1, 96, 64), 1, 16), "60 measured");
    assert_string_equal(ask(scratch, table, product(OP_QKV, 1, 96, 64), 1, 8), "40 measured");
    assert_string_equal(ask(scratch, table, product(OP_NORM, 1, 64, 0), 1, 16), "3 measured");
    assert_string_equal(ask(scratch, table, product(OP_ADD, 1, 64, 0), 1, 16), "2 measured");
    assert_non_null(strstr(ask(scratch, table, product(OP_OPROJ, 1, 64, 64), 1, 8), "dtype q8_0"));
    assert_non_null(strstr(ask(scratch, table, product(OP_ACT, 1, 64, 0), 1, 8), "dtype f32"));
}

static void the_cheapest_impl_that_covers_the_shape_answers(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table =
        must_load(scratch,
                  FULL "qkv,any,gemv,f32,1,1,96,64,0,0,0,0,chain,burst,100\n"
                       "qkv,any,gemv,f32,1,2,96,64,0,0,0,0,chain,burst,200\n"
                       "qkv,any,gemm,f32,1,1,96,64,0,0,0,0,chain,burst,150\n"
                       "qkv,any,gemm,f32,1,2,96,64,0,0,0,0,chain,burst,160\n"
                       "qkv,any,gemm,f32,1,8,96,64,0,0,0,0,chain,burst,220\n",
                  NULL);

    assert_string_equal(ask(scratch, table, product(OP_QKV, 1, 96, 64), 1, 32), "100 measured");
    assert_string_equal(ask(scratch, table, product(OP_QKV, 2, 96, 64), 1, 32), "160 measured");
    assert_string_equal(ask(scratch, table, product(OP_QKV, 5, 96, 64), 1, 32), "190 interpolated");
    /* nobody covers 12: gemm's range is the nearest, though gemv's line is elsewhere */
    assert_string_equal(ask(scratch, table, product(OP_QKV, 12, 96, 64), 1, 32),
                        "260 extrapolated");
}

static void only_chain_rows_count_and_sustained_ones_first(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table =
        must_load(scratch,
                  FULL "qkv,any,gemm,f32,1,1,96,64,0,0,0,0,warm,burst,50\n"
                       "qkv,any,gemm,f32,1,1,96,64,0,0,0,0,rotate,burst,60\n"
                       "qkv,any,gemm,f32,1,1,96,64,0,0,0,0,chain,burst,100\n"
                       "oproj,any,gemm,f32,1,1,64,64,0,0,0,0,chain,burst,100\n"
                       "oproj,any,gemm,f32,1,1,64,64,0,0,0,0,chain,sustained,130\n"
                       "ffn_up,any,gemm,f32,1,1,64,64,0,0,0,0,warm,burst,100\n",
                  NULL);

    assert_string_equal(ask(scratch, table, product(OP_QKV, 1, 96, 64), 1, 32), "100 measured");
    assert_string_equal(ask(scratch, table, product(OP_OPROJ, 1, 64, 64), 1, 32), "130 measured");
    assert_non_null(
        strstr(ask(scratch, table, product(OP_FFN_UP, 1, 64, 64), 1, 32), "no measured rows"));
}

static void attention_runs_over_keys_when_decoding_and_as_a_power_law_before(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table = must_load(
        scratch,
        FULL "attn,decode,gemv,f32,1,1,0,0,4,2,8,16,chain,burst,10\n"
             "attn,decode,gemv,f32,1,1,0,0,4,2,8,32,chain,burst,20\n"
             "attn,decode,gemv,f32,1,4,0,0,4,2,8,24,chain,burst,99\n" /* 4 tokens a sequence */
             "attn,prefill,gemm,f32,1,16,0,0,4,2,8,16,chain,burst,256\n"
             "attn,prefill,gemm,f32,1,64,0,0,4,2,8,64,chain,burst,4096\n",
        NULL);

    assert_string_equal(ask(scratch, table, attn(OP_DECODE, 1, 24), 1, 32), "15 interpolated");
    assert_string_equal(ask(scratch, table, attn(OP_DECODE, 1, 40), 1, 32), "25 extrapolated");
    assert_string_equal(ask(scratch, table, attn(OP_PREFILL, 32, 32), 1, 32), "1024 interpolated");
    /* 16 tokens on top of 16: 1024 - 256 */
    assert_string_equal(ask(scratch, table, attn(OP_PREFILL, 16, 32), 1, 32), "768 extrapolated");
}

static void a_chunk_costs_at_least_what_it_costs_alone(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table =
        must_load(scratch,
                  FULL "attn,prefill,gemm,f32,1,16,0,0,4,2,8,16,chain,burst,100\n"
                       "attn,prefill,gemm,f32,1,32,0,0,4,2,8,32,chain,burst,120\n",
                  NULL);

    assert_string_equal(ask(scratch, table, attn(OP_PREFILL, 16, 32), 1, 32), "100 extrapolated");
}

static void rope_and_kvappend_are_keyed_by_heads(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table =
        must_load(scratch, FULL "rope,any,c,f32,1,1,0,0,4,2,8,0,chain,burst,7\n", NULL);
    struct model_op op = attn(OP_ANY, 1, 0);

    op.op = OP_ROPE;
    assert_string_equal(ask(scratch, table, op, 1, 32), "7 measured");
    op.kv_heads = 4;
    assert_string_equal(ask(scratch, table, op, 1, 32),
                        "pi4: no measured rows of rope with phase any, heads 4, kv_heads 4, "
                        "head_dim 8, threads 1, dtype f32");
}

static void column_and_row_order_change_nothing(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *a =
        must_load(scratch, HEAD "qkv,1,1,96,64,100\nqkv,1,4,96,64,200\nqkv,1,8,96,64,210\n", NULL);
    const struct cost_table *b =
        must_load(scratch,
                  "# orrery: kernels 1\nmean_ns,gemm_k,x_note,gemm_n,m_tokens,threads,kernel\n"
                  "210,64,a,96,8,1,qkv\n100,64,b,96,1,1,qkv\n200,64,c,96,4,1,qkv\n",
                  NULL);

    for (int32_t m = 1; m < 20; m++)
        assert_string_equal(ask(scratch, a, product(OP_QKV, m, 96, 64), 1, 32),
                            ask(scratch, b, product(OP_QKV, m, 96, 64), 1, 32));
}

static void several_thread_counts_are_apart(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table =
        must_load(scratch, HEAD "qkv,1,1,96,64,100\nqkv,4,1,96,64,40\n", NULL);

    assert_int_equal(cost_only_threads(table), 0);
    assert_string_equal(ask(scratch, table, product(OP_QKV, 1, 96, 64), 4, 32), "40 measured");
}

static void kernels_of_other_engines_are_kept_apart(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table = must_load(
        scratch,
        "kernel,threads,m_tokens,gemm_n,gemm_k,mean_ns,chunk_tokens,chunk_kv,decodes,decode_kv\n"
        "sampler,1,4,0,0,5,,,,\nattn_mixed,1,,0,0,9,16,0,3,512\nadd,1,1,64,0,5,,,,\n",
        NULL);

    assert_int_equal(cost_row_count(table), 1);
    assert_int_equal(cost_engine_row_count(table), 2);
    assert_string_equal(ask(scratch, table, product(OP_ADD, 1, 64, 0), 1, 32), "5 measured");
}

/* ---- tiles ---- */

static void tiles_of_interp_csv_are_used(void **state)
{
    struct scratch *scratch = *state;
    const char *kernels = FULL "qkv,any,gemm,f32,1,4,96,64,0,0,0,0,chain,burst,400\n"
                               "qkv,any,gemm,f32,1,8,96,64,0,0,0,0,chain,burst,800\n";
    const struct cost_table *table =
        must_load(scratch, kernels,
                  INTERP "qkv,any,gemm,f32,1,96,64,0,0,0,burst,2,1,50.5,0.2,1.5\n"
                         "qkv,any,gemm,f32,1,96,64,0,0,0,burst,2,0,0,0.2,1.5\n");

    assert_string_equal(ask(scratch, table, product(OP_QKV, 7, 96, 64), 1, 32),
                        "650.5 interpolated");
    assert_string_equal(ask(scratch, table, product(OP_QKV, 6, 96, 64), 1, 32), "600 interpolated");
}

static void bad_tiles_are_located(void **state)
{
    static const struct {
        const char *rows, *error;
    } cases[] = {
        { "qkv,any,gemm,f32,1,97,64,0,0,0,burst,2,1,50,,\n",
          "2: kernels.csv has no rows of this key in state chain" },
        { "qkv,any,gemv,f32,1,96,64,0,0,0,burst,2,1,50,,\n",
          "2: kernels.csv has no rows of this key in state chain" },
        { "qkv,any,gemm,f32,1,96,64,0,0,0,burst,17,1,50,,\n",
          "2:12: tile_period is '17': expected a whole number from 1 to 16" },
        { "qkv,any,gemm,f32,1,96,64,0,0,0,burst,4,4,50,,\n",
          "2:13: residue is '4': expected a whole number from 0 to 3" },
        { "qkv,any,gemm,f32,1,96,64,0,0,0,burst,4,3,nan,,\n",
          "2:14: adder_ns is 'nan': expected decimal nanoseconds" },
        { "qkv,any,gemm,f32,1,96,64,0,0,0,burst,4,0,5,,\n",
          "2:14: adder_ns is '5': expected 0 for residue 0" },
        { "qkv,any,gemm,f32,1,96,64,0,0,0,burst,4,1,5,-1,\n",
          "2:15: loo_err_med_pct is '-1': expected a number of at least 0" },
        { "qkv,any,gemm,f32,1,96,64,0,0,0,burst,2,1,5,,\n"
          "qkv,any,gemm,f32,1,96,64,0,0,0,burst,4,1,5,,\n",
          "3:12: tile_period is '4': line 2 says 2 for the same key" },
        { "qkv,any,gemm,f32,1,96,64,0,0,0,burst,2,1,5,,\n"
          "qkv,any,gemm,f32,1,96,64,0,0,0,burst,2,1,5,,\n",
          "3:13: residue is '1': there twice for one key" },
        { "qkv,any,gemm,f32,1,96,64,0,0,0,burst,4,1,5,,\n"
          "qkv,any,gemm,f32,1,96,64,0,0,0,burst,4,3,5,,\n",
          "3: a residue of this key is missing: expected 1 to 3" },
        { "qkw,any,gemm,f32,1,96,64,0,0,0,burst,4,1,5,,\n",
          "2:1: kernel is 'qkw': expected embed" },
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *expected = arena_printf(scratch->arena, "pi4/interp.csv:%s", cases[i].error);

        assert_null(load(scratch, FULL "qkv,any,gemm,f32,1,4,96,64,0,0,0,0,chain,burst,400\n",
                         arena_printf(scratch->arena, INTERP "%s", cases[i].rows)));
        if (strncmp(scratch->err.text, expected, strlen(expected)) != 0)
            fail_msg("'%s' is not '%s'", scratch->err.text, expected);
    }
}

/* ---- bad kernels.csv ---- */

static const struct {
    const char *text, *error;
} bad_kernels[] = {
    { "", "1: no header row" },
    { "kernel,threads,m_tokens,gemm_n,gemm_k\n", "1: missing column 'mean_ns'" },
    { "kernel,threads,m_tokens,gemm_n,gemm_k,mean_n\n",
      "1:6: unknown column 'mean_n'; did you mean 'mean_ns'?" },
    { "# orrery: interp 1\n" HEAD, "1: the file says that it is 'interp 1': expected 'kernels 1'" },
    { HEAD "fnn_up,1,1,96,64,5\n", "2:1: kernel is 'fnn_up': expected embed, norm," },
    { HEAD ",1,1,96,64,5\n", "2:1: kernel is '': must not be empty" },
    { HEAD "qkv,0,1,96,64,5\n", "2:2: threads is '0': expected a whole number" },
    { HEAD "qkv,1,,96,64,5\n", "2:3: m_tokens is '': must not be empty" },
    { HEAD "qkv,1,0,96,64,5\n", "2:3: m_tokens is '0': expected a whole number" },
    { HEAD "qkv,1,1,,64,5\n", "2:4: gemm_n is '': qkv needs at least 1" },
    { HEAD "qkv,1,1,96,0,5\n", "2:5: gemm_k is '0': qkv needs at least 1" },
    { HEAD "qkv,1,1,96,64,\n", "2:6: mean_ns is '': must not be empty" },
    { HEAD "qkv,1,1,96,64,0\n", "2:6: mean_ns is '0': expected nanoseconds above 0" },
    { HEAD "qkv,1,1,96,64,-5\n", "2:6: mean_ns is '-5': expected nanoseconds above 0" },
    { HEAD "qkv,1,1,96,64,nan\n", "2:6: mean_ns is 'nan': expected decimal nanoseconds" },
    { HEAD "qkv,1,1,96,64,1e999\n", "2:6: mean_ns is '1e999': expected decimal nanoseconds" },
    { HEAD "qkv,1,1,96,64\n", "2: 5 fields, but the header names 6" },
    { HEAD "attn,1,1,0,0,5\n", "2: no column 'phase': attn needs prefill or decode" },
    { HEAD "qkv,1,1,96,64,5\nqkv,1,2,96,64,5\nqkv,1,1,96,64,6\n", "4: same key as line 2" },
    { FULL "attn,any,c,f32,1,1,0,0,4,2,8,9,chain,burst,5\n",
      "2:2: phase is 'any': attn needs prefill or decode" },
    { FULL "attn,decode,c,f32,1,1,0,0,,2,8,9,chain,burst,5\n",
      "2:9: heads is '': attn needs at least 1" },
    { FULL "attn,decode,c,f32,1,1,0,0,4,0,8,9,chain,burst,5\n",
      "2:10: kv_heads is '0': attn needs at least 1" },
    { FULL "attn,decode,c,f32,1,1,0,0,4,2,,9,chain,burst,5\n",
      "2:11: head_dim is '': attn needs at least 1" },
    { FULL "attn,prefill,c,f32,1,10,0,0,4,2,8,9,chain,burst,5\n",
      "2:12: kv_len is '9': attn needs at least m_tokens, 10" },
    { FULL "qkv,any,c,f16,1,1,96,64,0,0,0,0,chain,burst,5\n",
      "2:4: dtype is 'f16': expected f32, bf16 or q8_0" },
    { FULL "qkv,any,c,f32,1,1,96,64,0,0,0,0,cold,burst,5\n",
      "2:13: state is 'cold': expected chain, rotate or warm" },
    { FULL "qkv,any,c,f32,1,1,96,64,0,0,0,0,chain,calm,5\n",
      "2:14: regime is 'calm': expected sustained or burst" },
    { "kernel,threads,m_tokens,gemm_n,gemm_k,mean_ns,cyc\nqkv,1,1,96,64,5,-1\n",
      "2:7: cyc is '-1': expected a whole number of at least 0" },
    { "kernel,threads,m_tokens,gemm_n,gemm_k,mean_ns,gflops\nqkv,1,1,96,64,5,inf\n",
      "2:7: gflops is 'inf': not a finite decimal number" },
    { "kernel,threads,m_tokens,gemm_n,gemm_k,mean_ns,stop\nqkv,1,1,96,64,5,late\n",
      "2:7: stop is 'late': expected ci, budget or max_n" },
};

static void bad_rows_are_located(void **state)
{
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof bad_kernels / sizeof bad_kernels[0]; i++) {
        const char *expected =
            arena_printf(scratch->arena, "pi4/kernels.csv:%s", bad_kernels[i].error);

        assert_null(load(scratch, bad_kernels[i].text, NULL));
        if (strncmp(scratch->err.text, expected, strlen(expected)) != 0)
            fail_msg("'%s' is not '%s'", scratch->err.text, expected);
    }
    assert_null(load(scratch, HEAD, NULL));
    assert_string_equal(scratch->err.text, "pi4/kernels.csv: no measured rows");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_table_of_needed_columns_loads_and_answers),
        scratch_test(a_shape_without_rows_is_an_error_that_names_it),
        scratch_test(weights_are_looked_up_at_their_width_and_activations_at_f32),
        scratch_test(the_cheapest_impl_that_covers_the_shape_answers),
        scratch_test(only_chain_rows_count_and_sustained_ones_first),
        scratch_test(attention_runs_over_keys_when_decoding_and_as_a_power_law_before),
        scratch_test(a_chunk_costs_at_least_what_it_costs_alone),
        scratch_test(rope_and_kvappend_are_keyed_by_heads),
        scratch_test(column_and_row_order_change_nothing),
        scratch_test(several_thread_counts_are_apart),
        scratch_test(kernels_of_other_engines_are_kept_apart),
        scratch_test(tiles_of_interp_csv_are_used),
        scratch_test(bad_tiles_are_located),
        scratch_test(bad_rows_are_located),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
