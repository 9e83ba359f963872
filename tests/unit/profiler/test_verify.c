/* test_verify.c - when a table still holds, and how rows of two tables are told apart. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "profiler/table/predict.h"
#include "profiler/table/saved.h"
#include "profiler/table/verify.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static enum verify_verdict judge(int64_t table, int64_t half, int64_t now, int64_t now_half)
{
    struct verify_line line = {
        .table_ps = table, .table_half_ps = half, .now_ps = now, .now_half_ps = now_half
    };

    verify_judge(&line, VERIFY_SLACK_RATIO);
    return line.verdict;
}

static void a_row_is_outside_beyond_the_slack_and_both_intervals(void **state)
{
    (void)state;
    assert_int_equal(judge(10000, 0, 10299, 0), VERIFY_HOLDS);
    assert_int_equal(judge(10000, 0, 10301, 0), VERIFY_OUTSIDE);
    assert_int_equal(judge(10000, 0, 9699, 0), VERIFY_OUTSIDE);
    assert_int_equal(judge(10000, 200, 10599, 100), VERIFY_HOLDS);
    assert_int_equal(judge(10000, 200, 10601, 100), VERIFY_OUTSIDE);
    /* an interval that is too wide, or not known, proves nothing; a great change shows all the same
     */
    assert_int_equal(judge(10000, 0, 10000, 1001), VERIFY_UNCLEAR);
    assert_int_equal(judge(10000, 0, 10000, -1), VERIFY_UNCLEAR);
    assert_int_equal(judge(10000, 0, 20000, -1), VERIFY_OUTSIDE);
}

static enum verify_verdict conclude(int rows, int rows_outside, int anchors_outside, int unclear)
{
    const struct verify verify = { .rows = rows,
                                   .rows_outside = rows_outside,
                                   .anchors = 2,
                                   .anchors_outside = anchors_outside,
                                   .unclear = unclear,
                                   .line_count = rows + 2 };

    return verify_conclude(&verify);
}

static void one_row_in_ten_may_be_outside_and_no_anchor(void **state)
{
    (void)state;
    assert_int_equal(conclude(12, 0, 0, 0), VERIFY_HOLDS);
    assert_int_equal(conclude(12, 1, 0, 0), VERIFY_HOLDS);
    assert_int_equal(conclude(12, 2, 0, 0), VERIFY_OUTSIDE);
    assert_int_equal(conclude(12, 0, 1, 0), VERIFY_OUTSIDE);
    assert_int_equal(conclude(9, 1, 0, 0), VERIFY_OUTSIDE);
    assert_int_equal(conclude(12, 0, 0, 7), VERIFY_HOLDS);
    assert_int_equal(conclude(12, 0, 0, 8), VERIFY_UNCLEAR);
    assert_int_equal(conclude(12, 2, 0, 8), VERIFY_OUTSIDE);
}

static struct cost_row row(enum op op, int32_t m, int32_t kv)
{
    struct cost_row row = { .op = op,
                            .phase = op == OP_ATTN ? OP_DECODE : OP_ANY,
                            .impl = "gemv",
                            .dtype = "f32",
                            .regime = "burst",
                            .model = "",
                            .threads = 1,
                            .m_tokens = m,
                            .kv_len = kv,
                            .mean_ps = 1000,
                            .ci_lo_ps = 900,
                            .ci_hi_ps = 1100 };

    return row;
}

static void rows_are_told_apart_by_every_part_of_their_key(void **state)
{
    struct cost_row a = row(OP_ATTN, 1, 64), others[6];

    (void)state;
    for (int i = 0; i < 6; i++)
        others[i] = a;
    others[0].kv_len = 65;
    others[1].m_tokens = 2;
    others[2].threads = 2;
    others[3].dtype = "q8_0";
    others[4].regime = "sustained";
    others[5].impl = "gemm";
    for (int i = 0; i < 6; i++) {
        assert_int_not_equal(saved_compare_rows(&a, &others[i]), 0);
        assert_int_equal(saved_compare_rows(&a, &others[i]) > 0,
                         saved_compare_rows(&others[i], &a) < 0);
    }
    others[0] = a;
    others[0].mean_ps = 7; /* not of the key */
    others[0].model = "another";
    assert_int_equal(saved_compare_rows(&a, &others[0]), 0);
}

static void rows_are_named_in_words(void **state)
{
    struct arena *arena = arena_create();
    struct cost_row a = row(OP_ATTN, 1, 64), b = row(OP_QKV, 1, 0);

    (void)state;
    b.dtype = "q8_0";
    b.threads = 4;
    assert_string_equal(saved_row_text(arena, &a), "attn, decode on 64 keys");
    assert_string_equal(saved_row_text(arena, &b), "qkv q8_0, 1 token, 4 threads");
    assert_int_equal(saved_half_ps(&a), 100);
    a.ci_hi_ps = COST_UNKNOWN;
    assert_int_equal(saved_half_ps(&a), 0);
    arena_destroy(arena);
}

static void types_of_weights_are_bits(void **state)
{
    (void)state;
    assert_int_equal(predict_bits_of_dtype("f32"), 32);
    assert_int_equal(predict_bits_of_dtype("bf16"), 16);
    assert_int_equal(predict_bits_of_dtype("q8_0"), 8);
    assert_int_equal(predict_bits_of_dtype("q4"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_outside_beyond_the_slack_and_both_intervals),
        cmocka_unit_test(one_row_in_ten_may_be_outside_and_no_anchor),
        cmocka_unit_test(rows_are_told_apart_by_every_part_of_their_key),
        cmocka_unit_test(rows_are_named_in_words),
        cmocka_unit_test(types_of_weights_are_bits),
    };

    return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
