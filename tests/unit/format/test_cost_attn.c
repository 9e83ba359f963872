/* test_cost_attn.c - attention off the beaten axis: chunks of a prefill behind a past, decodes of
 * several sequences, tiles over keys; and how far off a known law is predicted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "tests/unit/scratch.h"

#define HEAD                                                                                       \
    "kernel,phase,impl,threads,m_tokens,gemm_n,gemm_k,heads,kv_heads,head_dim,kv_len,batch,mean_"  \
    "ns\n"
#define INTERP                                                                                     \
    "kernel,phase,impl,threads,gemm_n,gemm_k,heads,kv_heads,head_dim,tile_period,residue,adder_"   \
    "ns\n"

static const struct cost_table *load(struct scratch *scratch, const char *rows, const char *interp)
{
    const struct cost_table *table =
        cost_load_text(scratch->arena, "pi4", arena_printf(scratch->arena, HEAD "%s", rows), interp,
                       scratch_err(scratch));

    if (!table)
        fail_msg("%s", scratch->err.text);
    return table;
}

static const char *row(struct scratch *scratch, const char *phase, int32_t m, int32_t kv,
                       int32_t batch, double ns)
{
    return arena_printf(scratch->arena, "attn,%s,c,1,%d,0,0,4,2,8,%d,%d,%.0f\n", phase, m, kv,
                        batch, ns);
}

/* In ns; origin into *origin. */
static double ask(const struct cost_table *table, enum op_phase phase, int32_t m, int32_t kv,
                  int32_t batch, enum interp_origin *origin)
{
    const struct model_op op = { .op = OP_ATTN,
                                 .phase = phase,
                                 .batch = batch,
                                 .m_tokens = m,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .head_dim = 8,
                                 .kv_len = kv };
    struct err err = ERR_INIT;
    int64_t time_ps;

    if (!cost_lookup(table, &op, 1, 32, &time_ps, origin, &err))
        fail_msg("%s", err.text);
    return (double)time_ps / 1e3;
}

static double off(double predicted, double expected)
{
    return predicted > expected ? predicted / expected - 1 : 1 - predicted / expected;
}

/* ---- chunks ---- */

/* Each new token meets the past and, on average, half of the chunk. */
static double chunk_law_ns(double m, double past)
{
    return 20000 + 30 * m * (past + m / 2);
}

static const int32_t wholes[] = { 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024 };
static const int32_t chunks[] = { 16, 64, 256 }, pasts[] = { 64, 256, 768 };

static const struct cost_table *chunk_table(struct scratch *scratch, bool has_wholes)
{
    const char *rows = "";

    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0] && has_wholes; i++)
        rows = arena_printf(
            scratch->arena, "%s%s", rows,
            row(scratch, "prefill", wholes[i], wholes[i], 1, chunk_law_ns(wholes[i], 0)));
    for (int c = 0; c < 3; c++)
        for (int p = 0; p < 3; p++)
            rows = arena_printf(scratch->arena, "%s%s", rows,
                                row(scratch, "prefill", chunks[c], chunks[c] + pasts[p], 1,
                                    chunk_law_ns(chunks[c], pasts[p])));
    return load(scratch, rows, NULL);
}

/* Within a measured chunk size the law is a line: exact. Between them what the past adds is a power
 * law: exact too; what is left is the error of the whole prefills, at most 4 % between powers of
 * two where the constant gives way to the square. */
static void chunks_follow_a_known_law(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table = chunk_table(scratch, true);
    enum interp_origin origin;

    for (int32_t m = 16; m <= 256; m += 5)
        for (int32_t past = 1; past <= 768; past += 13) {
            double ns = ask(table, OP_PREFILL, m, m + past, 1, &origin);

            double alone = ask(table, OP_PREFILL, m, m, 1, &origin) - chunk_law_ns(m, 0);
            double rest = ns - chunk_law_ns(m, past) - alone;

            if (off(ns, chunk_law_ns(m, past)) > 0.06 || rest > 1e-4 * ns || rest < -1e-4 * ns)
                fail_msg("%d on %d: %g, not %g", m, past, ns, chunk_law_ns(m, past));
            (void)ask(table, OP_PREFILL, m, m + past, 1, &origin);
            assert_true(origin != INTERP_EXTRAPOLATED);
        }
    for (int c = 0; c < 3; c++)
        for (int32_t past = 1; past <= 768; past++)
            assert_true(off(ask(table, OP_PREFILL, chunks[c], chunks[c] + past, 1, &origin),
                            chunk_law_ns(chunks[c], past)) < 1e-4);
    (void)ask(table, OP_PREFILL, 64, 64 + 256, 1, &origin);
    assert_int_equal(origin, INTERP_MEASURED);
}

static void outside_the_measured_chunks_a_cost_is_extrapolated(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table = chunk_table(scratch, true);
    static const int32_t cases[][2] = { { 8, 100 }, { 300, 100 }, { 64, 800 }, { 100, 900 } };
    enum interp_origin origin;

    for (int i = 0; i < 4; i++) {
        int32_t m = cases[i][0], past = cases[i][1];
        double ns = ask(table, OP_PREFILL, m, m + past, 1, &origin);

        assert_int_equal(origin, INTERP_EXTRAPOLATED);
        assert_true(off(ns, chunk_law_ns(m, past)) < 0.05); /* the law goes on */
    }
    /* two sequences, one after the other */
    assert_true(off(ask(table, OP_PREFILL, 2 * 64, 64 + 256, 2, &origin),
                    2 * chunk_law_ns(64, 256)) < 1e-4);
    assert_int_equal(origin, INTERP_EXTRAPOLATED);
}

static void chunks_without_whole_prefills_answer_too(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table = chunk_table(scratch, false);
    enum interp_origin origin;

    assert_true(off(ask(table, OP_PREFILL, 64, 64 + 500, 1, &origin), chunk_law_ns(64, 500)) <
                1e-4);
    assert_int_equal(origin, INTERP_INTERPOLATED);
    assert_true(off(ask(table, OP_PREFILL, 30, 30 + 300, 1, &origin), chunk_law_ns(30, 300)) < 0.1);
    assert_int_equal(origin, INTERP_INTERPOLATED);
    (void)ask(table, OP_PREFILL, 64, 64, 1, &origin);
    assert_int_equal(origin, INTERP_EXTRAPOLATED);
}

static void noise_below_the_whole_does_not_turn_a_chunk_negative(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table =
        load(scratch,
             "attn,prefill,c,1,16,0,0,4,2,8,16,1,1000\nattn,prefill,c,1,64,0,0,4,2,8,64,1,9000\n"
             "attn,prefill,c,1,16,0,0,4,2,8,32,1,1\nattn,prefill,c,1,64,0,0,4,2,8,80,1,1\n",
             NULL);
    enum interp_origin origin;

    for (int32_t m = 1; m < 100; m++)
        for (int32_t past = 1; past < 100; past++)
            assert_true(ask(table, OP_PREFILL, m, m + past, 1, &origin) >= 0);
}

/* ---- batches ---- */

static void batches_lie_on_lines_between_measured_ones(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table =
        load(scratch,
             "attn,decode,c,1,1,0,0,4,2,8,100,1,1000\nattn,decode,c,1,1,0,0,4,2,8,300,1,3000\n"
             "attn,decode,c,1,4,0,0,4,2,8,100,4,3700\nattn,decode,c,1,4,0,0,4,2,8,300,4,10000\n",
             NULL);
    enum interp_origin origin;

    assert_true(ask(table, OP_DECODE, 4, 100, 4, &origin) == 3700);
    assert_int_equal(origin, INTERP_MEASURED);
    assert_true(ask(table, OP_DECODE, 4, 200, 4, &origin) == 6850);
    assert_int_equal(origin, INTERP_INTERPOLATED);
    assert_true(ask(table, OP_DECODE, 2, 100, 2, &origin) == 1900);
    assert_int_equal(origin, INTERP_INTERPOLATED);
    assert_true(ask(table, OP_DECODE, 8, 100, 8, &origin) == 7400); /* a share each */
    assert_int_equal(origin, INTERP_EXTRAPOLATED);
    assert_true(ask(table, OP_DECODE, 2, 400, 2, &origin) > 0);
    assert_int_equal(origin, INTERP_EXTRAPOLATED);
    assert_true(ask(table, OP_DECODE, 1, 300, 0, &origin) == 3000); /* 0 is 1 */
    assert_int_equal(origin, INTERP_MEASURED);
}

static void one_measured_batch_stands_for_all_by_extrapolation(void **state)
{
    struct scratch *scratch = *state;
    enum interp_origin origin;
    const struct cost_table *table = load(scratch, "attn,decode,c,1,1,0,0,4,2,8,100,,1000\n", NULL);

    assert_true(ask(table, OP_DECODE, 3, 100, 3, &origin) == 3000);
    assert_int_equal(origin, INTERP_EXTRAPOLATED);
    table = load(scratch, "attn,decode,c,1,4,0,0,4,2,8,100,4,4000\n", NULL);
    assert_true(ask(table, OP_DECODE, 1, 100, 1, &origin) == 1000);
    assert_int_equal(origin, INTERP_EXTRAPOLATED);
}

/* As the kernels have it: one row goes to gemv, several to gemm. */
static void an_implementation_that_covers_the_batch_wins(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table = load(
        scratch,
        "attn,decode,gemv,1,1,0,0,4,2,8,100,1,1000\n"
        "attn,decode,gemm,1,2,0,0,4,2,8,100,2,2500\nattn,decode,gemm,1,8,0,0,4,2,8,100,8,8500\n",
        NULL);
    enum interp_origin origin;

    assert_true(ask(table, OP_DECODE, 1, 100, 1, &origin) == 1000);
    assert_true(ask(table, OP_DECODE, 4, 100, 4, &origin) == 4500);
    assert_int_equal(origin, INTERP_INTERPOLATED);
}

/* ---- tiles over keys ---- */

static void a_decode_has_tiles_over_its_keys(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table =
        load(scratch,
             "attn,decode,c,1,1,0,0,4,2,8,64,1,640\nattn,decode,c,1,1,0,0,4,2,8,128,1,1280\n"
             "attn,decode,c,1,2,0,0,4,2,8,64,2,1300\n",
             INTERP "attn,decode,c,1,0,0,4,2,8,4,1,5\nattn,decode,c,1,0,0,4,2,8,4,2,6\n"
                    "attn,decode,c,1,0,0,4,2,8,4,3,9\n");
    enum interp_origin origin;

    assert_true(ask(table, OP_DECODE, 1, 100, 1, &origin) == 1000);
    assert_true(ask(table, OP_DECODE, 1, 101, 1, &origin) == 1005);
    assert_true(ask(table, OP_DECODE, 1, 103, 1, &origin) == 1009);
    assert_int_equal(origin, INTERP_INTERPOLATED);
    assert_int_equal(cost_interp_count(table), 1);
    struct cost_interp_row interp = cost_interp_at(table, 0);
    assert_int_equal(interp.key.op, OP_ATTN);
    assert_int_equal(interp.key.phase, OP_DECODE);
    assert_int_equal(interp.tiles.period, 4);
    assert_int_equal(interp.tiles.adder_ps[3], 9000);
}

/* ---- rows ---- */

static void rows_of_attention_are_checked(void **state)
{
    static const struct {
        const char *row, *error;
    } cases[] = {
        { "attn,decode,c,1,3,0,0,4,2,8,9,2,5\n",
          "2:12: batch is '2': expected a divisor of m_tokens, 3" },
        { "attn,decode,c,1,1,0,0,4,2,8,9,0,5\n", "2:12: batch is '0': expected a whole number" },
        { "attn,prefill,c,1,8,0,0,4,2,8,3,2,5\n",
          "2:11: kv_len is '3': attn needs at least m_tokens / batch, 4" },
        { "attn,decode,c,1,2,0,0,4,2,8,9,2,5\nattn,decode,c,1,2,0,0,4,2,8,9,2,5\n",
          "3: same key as line 2" },
        { "attn,prefill,c,1,2,0,0,4,2,8,9,1,5\nattn,prefill,c,1,2,0,0,4,2,8,9,,5\n",
          "3: same key as line 2" },
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *expected = arena_printf(scratch->arena, "pi4/kernels.csv:%s", cases[i].error);

        assert_null(cost_load_text(scratch->arena, "pi4",
                                   arena_printf(scratch->arena, HEAD "%s", cases[i].row), NULL,
                                   scratch_err(scratch)));
        if (strncmp(scratch->err.text, expected, strlen(expected)) != 0)
            fail_msg("'%s' is not '%s'", scratch->err.text, expected);
    }
    /* several sequences may have more rows than keys; a prefill of them answers nothing */
    (void)load(scratch, "attn,decode,c,1,8,0,0,4,2,8,4,8,5\nattn,prefill,c,1,8,0,0,4,2,8,4,2,5\n",
               NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(chunks_follow_a_known_law),
        scratch_test(outside_the_measured_chunks_a_cost_is_extrapolated),
        scratch_test(chunks_without_whole_prefills_answer_too),
        scratch_test(noise_below_the_whole_does_not_turn_a_chunk_negative),
        scratch_test(batches_lie_on_lines_between_measured_ones),
        scratch_test(one_measured_batch_stands_for_all_by_extrapolation),
        scratch_test(an_implementation_that_covers_the_batch_wins),
        scratch_test(a_decode_has_tiles_over_its_keys),
        scratch_test(rows_of_attention_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
