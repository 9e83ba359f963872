/* test_price.c - a step costs the sum of its measured operators, no more and no less. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "lib/policy/plan.h"
#include "lib/policy/price.h"
#include "tests/unit/scratch.h"

static const struct model small = {
    .name = "small",
    .kind = MODEL_DECODER,
    .ffn = MODEL_GELU,
    .norm = MODEL_LAYERNORM,
    .positions = MODEL_LEARNED,
    .layers = 4,
    .hidden = 64,
    .heads = 4,
    .kv_heads = 4,
    .head_dim = 16,
    .ffn_hidden = 256,
    .vocab = 1000,
    .weight_bits = 32,
    .kv_bits = 32,
};

#define LAYER_BLOCKS                                                                               \
    (1u << BLOCK_ATTN | 1u << BLOCK_PROJ | 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN |             \
     1u << BLOCK_CONN)
static const struct plan_slice whole[] = {
    { 1u << BLOCK_EMBED, -1, -1, 0, 0, 0, 1, 0, 0, false, false },
    { LAYER_BLOCKS, 0, 3, 0, 0, 0, 1, 2, 2, false, false },
    { 1u << BLOCK_LM_HEAD, -1, -1, 0, 0, 0, 1, 0, 0, false, false },
};
static const struct plan_stage whole_stage = { .id = 0, .slice_count = 3, .slices = whole };

/* ---- a measured table ---- */

#define MAX_ROWS 128
struct measured {
    struct cost_row rows[MAX_ROWS];
    int count;
};

static bool is_row_of(const struct cost_row *row, const struct model_op *op)
{
    return row->op == op->op && row->phase == op->phase && row->m_tokens == op->m_tokens &&
           row->gemm_n == op->gemm_n && row->gemm_k == op->gemm_k && row->heads == op->heads &&
           row->kv_heads == op->kv_heads && row->head_dim == op->head_dim &&
           row->kv_len == op->kv_len;
}

static bool is_linear(enum op op)
{
    return op == OP_QKV || op == OP_OPROJ || op == OP_FFN_UP || op == OP_FFN_DOWN ||
           op == OP_LMHEAD;
}

/* Measures every operator of a step, each with a time that no other has. */
static void measure_step(struct measured *m, int32_t new_tokens, int32_t past_tokens, int threads)
{
    for (int block = 0; block < BLOCK_COUNT; block++) {
        struct model_op ops[MODEL_MAX_OPS];
        int count = model_block_ops(&small, (enum model_block)block, new_tokens, past_tokens, ops);

        for (int i = 0; i < count; i++) {
            bool is_known = false;

            for (int r = 0; r < m->count; r++)
                is_known =
                    is_known || (is_row_of(&m->rows[r], &ops[i]) && m->rows[r].threads == threads);
            if (is_known)
                continue;
            assert_in_range(m->count, 0, MAX_ROWS - 1);
            m->rows[m->count] = (struct cost_row){
                .op = ops[i].op,
                .phase = ops[i].phase,
                .impl = !is_linear(ops[i].op)  ? "c"
                        : ops[i].m_tokens == 1 ? "gemv"
                                               : "gemm",
                .dtype = "f32",
                .threads = threads,
                .m_tokens = ops[i].m_tokens,
                .gemm_n = ops[i].gemm_n,
                .gemm_k = ops[i].gemm_k,
                .heads = ops[i].heads,
                .kv_heads = ops[i].kv_heads,
                .head_dim = ops[i].head_dim,
                .kv_len = ops[i].kv_len,
                .state = COST_CHAIN,
                .regime = "burst",
                .model = "small",
                .n = 10,
                .n_proc = 5,
                .mean_ps = (INT64_C(100003) + 7919 * m->count) * UNITS_PS_PER_NS,
                .ctr_reason = "test",
            };
            m->count++;
        }
    }
}

static const struct cost_table *table_of(struct scratch *scratch, const struct measured *m)
{
    struct out *out = out_open_memory(scratch->arena);
    const struct cost_table *table;

    cost_write_kernels(out, "test", NULL, m->rows, m->count);
    table = cost_load_text(scratch->arena, "test", scratch_text(out), NULL, scratch_err(scratch));
    if (!table)
        fail_msg("%s", scratch->err.text);
    return table;
}

/* The sum by hand, from the rows themselves. */
static int64_t sum_ps(const struct measured *m, unsigned blocks, int32_t new_tokens,
                      int32_t past_tokens)
{
    int64_t sum = 0;

    for (int block = 0; block < BLOCK_COUNT; block++) {
        struct model_op ops[MODEL_MAX_OPS];
        int count = model_block_ops(&small, (enum model_block)block, new_tokens, past_tokens, ops);

        for (int i = 0; i < count && (blocks & 1u << block); i++)
            for (int r = 0; r < m->count; r++)
                if (is_row_of(&m->rows[r], &ops[i]))
                    sum += ops[i].count * m->rows[r].mean_ps;
    }
    return sum;
}

static int64_t price_of(struct scratch *scratch, struct price *price,
                        const struct plan_stage *stage, const struct cost_table *table,
                        double speed_ratio, int32_t new_tokens, int32_t past_tokens)
{
    int64_t time_ps = -1;
    int extrapolated = -1;

    if (!price_step(price, stage, &small, table, 1, speed_ratio, new_tokens, past_tokens, &time_ps,
                    &extrapolated, &scratch->err))
        fail_msg("%s", scratch->err.text);
    assert_int_equal(extrapolated, 0);
    return time_ps;
}

/* ---- rules ---- */

static void a_step_is_the_sum_of_its_operators_times_layers(void **state)
{
    static const int32_t steps[][2] = { { 8, 0 }, { 16, 0 }, { 1, 8 }, { 1, 9 } };
    struct scratch *scratch = *state;
    struct price *price = price_create(scratch->arena);
    struct measured m = { .count = 0 };
    const struct cost_table *table;

    for (int i = 0; i < 4; i++)
        measure_step(&m, steps[i][0], steps[i][1], 1);
    table = table_of(scratch, &m);
    for (int i = 0; i < 4; i++) {
        int32_t new_tokens = steps[i][0], past_tokens = steps[i][1];
        int64_t ends = sum_ps(&m, 1u << BLOCK_EMBED | 1u << BLOCK_LM_HEAD, new_tokens, past_tokens);
        int64_t layer = sum_ps(&m, LAYER_BLOCKS, new_tokens, past_tokens);

        assert_true(ends > 0 && layer > 0);
        assert_int_equal(price_of(scratch, price, &whole_stage, table, 1, new_tokens, past_tokens),
                         ends + 4 * layer);
    }
}

static void stages_of_a_pipeline_cost_together_what_the_model_costs(void **state)
{
    static const struct plan_slice first[] = {
        { 1u << BLOCK_EMBED, -1, -1, 0, 0, 0, 1, 0, 0, false, false },
        { LAYER_BLOCKS, 0, 0, 0, 0, 0, 1, 2, 2, false, false }
    };
    static const struct plan_slice last[] = {
        { LAYER_BLOCKS, 1, 3, 1, 0, 0, 1, 2, 2, false, false },
        { 1u << BLOCK_LM_HEAD, -1, -1, 1, 0, 0, 1, 0, 0, false, false }
    };
    static const struct plan_stage stages[] = { { .id = 1, .slice_count = 2, .slices = first },
                                                { .id = 2, .slice_count = 2, .slices = last } };
    struct scratch *scratch = *state;
    struct price *price = price_create(scratch->arena);
    struct measured m = { .count = 0 };
    const struct cost_table *table;

    measure_step(&m, 8, 0, 1);
    table = table_of(scratch, &m);
    assert_int_equal(price_of(scratch, price, &stages[0], table, 1, 8, 0) +
                         price_of(scratch, price, &stages[1], table, 1, 8, 0),
                     price_of(scratch, price, &whole_stage, table, 1, 8, 0));
}

static void a_speed_ratio_divides_the_whole_step_once(void **state)
{
    struct scratch *scratch = *state;
    struct price *price = price_create(scratch->arena);
    struct measured m = { .count = 0 };
    const struct cost_table *table;
    int64_t full;

    measure_step(&m, 8, 0, 1);
    table = table_of(scratch, &m);
    full = price_of(scratch, price, &whole_stage, table, 1, 8, 0);
    assert_int_equal(price_of(scratch, price, &whole_stage, table, 0.5, 8, 0), 2 * full);
    /* One rounding of the sum, not one an operator. */
    assert_int_equal(price_of(scratch, price, &whole_stage, table, 3, 8, 0), (full + 1) / 3);
    assert_int_equal(price_of(scratch, price, &whole_stage, table, 1, 8, 0), full);
}

/* A device whose speed changes 20 000 times has one sum, and no memory for each speed. */
static void a_speed_that_changes_takes_no_memory(void **state)
{
    struct scratch *scratch = *state;
    struct price *price = price_create(scratch->arena);
    struct measured m = { .count = 0 };
    const struct cost_table *table;
    size_t used_bytes;
    int64_t full;

    measure_step(&m, 8, 0, 1);
    table = table_of(scratch, &m);
    full = price_of(scratch, price, &whole_stage, table, 1, 8, 0);
    used_bytes = arena_used_bytes(scratch->arena);
    for (int i = 1; i <= 20000; i++) {
        double speed_ratio = 1 + i * 1e-5;

        assert_int_equal(price_of(scratch, price, &whole_stage, table, speed_ratio, 8, 0),
                         price_scale(full, speed_ratio));
    }
    assert_int_equal(arena_used_bytes(scratch->arena), used_bytes);
}

static void scaling_is_exact_without_a_ratio_and_saturates(void **state)
{
    (void)state;
    assert_int_equal(price_scale(INT64_MAX, 1), INT64_MAX);
    assert_int_equal(price_scale(INT64_C(9007199254740993), 1), INT64_C(9007199254740993));
    assert_int_equal(price_scale(1000, 2), 500);
    assert_int_equal(price_scale(1000, 0.25), 4000);
    assert_int_equal(price_scale(5, 2), 2); /* halves to even */
    assert_int_equal(price_scale(7, 2), 4);
    assert_int_equal(price_scale(0, 3), 0);
    assert_int_equal(price_scale(INT64_MAX, 1e-6), INT64_MAX);
}

static void sums_are_kept_apart_by_table_ratio_and_stage(void **state)
{
    static const struct plan_stage other = { .id = 5, .slice_count = 1, .slices = whole };
    struct scratch *scratch = *state;
    struct price *price = price_create(scratch->arena);
    struct measured m = { .count = 0 }, slow;
    const struct cost_table *table, *slow_table;

    measure_step(&m, 8, 0, 1);
    slow = m;
    for (int r = 0; r < slow.count; r++)
        slow.rows[r].mean_ps *= 10;
    table = table_of(scratch, &m);
    slow_table = table_of(scratch, &slow);
    for (int pass = 0; pass < 2; pass++) {
        int64_t full = price_of(scratch, price, &whole_stage, table, 1, 8, 0);

        assert_int_equal(price_of(scratch, price, &whole_stage, slow_table, 1, 8, 0), 10 * full);
        assert_int_equal(price_of(scratch, price, &whole_stage, table, 0.5, 8, 0), 2 * full);
        assert_int_equal(price_of(scratch, price, &other, table, 1, 8, 0),
                         sum_ps(&m, 1u << BLOCK_EMBED, 8, 0));
    }
}

/* The memory is bounded: after 1.2 million sums it has started anew, and nothing has changed. */
static void what_is_forgotten_is_computed_again_with_the_same_result(void **state)
{
    static const struct plan_stage nothing = { .id = 7 };
    struct scratch *scratch = *state;
    struct price *price = price_create(scratch->arena);
    struct measured m = { .count = 0 };
    const struct cost_table *table;
    int64_t first;

    measure_step(&m, 8, 0, 1);
    table = table_of(scratch, &m);
    first = price_of(scratch, price, &whole_stage, table, 1, 8, 0);
    for (int32_t past = 0; past < 1200000; past++) {
        int64_t time_ps;
        int extrapolated;

        if (!price_step(price, &nothing, &small, table, 1, 1, 1, past, &time_ps, &extrapolated,
                        &scratch->err) ||
            time_ps != 0)
            fail_msg("past %d", past);
        if (past == 5000)
            assert_int_equal(price_of(scratch, price, &whole_stage, table, 1, 8, 0), first);
    }
    assert_int_equal(price_of(scratch, price, &whole_stage, table, 1, 8, 0), first);
    assert_true(arena_used_bytes(scratch->arena) < (size_t)200 << 20);
}

static void costs_outside_the_measured_range_are_counted_each_time(void **state)
{
    struct scratch *scratch = *state;
    struct price *price = price_create(scratch->arena);
    struct measured m = { .count = 0 };
    const struct cost_table *table;
    int64_t time_ps, inside;
    int extrapolated;

    measure_step(&m, 1, 8, 1);
    measure_step(&m, 1, 16, 1);
    table = table_of(scratch, &m);
    inside = price_of(scratch, price, &whole_stage, table, 1, 1, 12);
    assert_true(inside > 0);
    for (int pass = 0; pass < 2; pass++) {
        /* Of a decode step only attention depends on the context. */
        assert_true(price_step(price, &whole_stage, &small, table, 1, 1, 1, 500, &time_ps,
                               &extrapolated, &scratch->err));
        assert_int_equal(extrapolated, 1);
        assert_true(time_ps > inside);
    }
}

static void threads_default_to_the_only_count_of_the_table(void **state)
{
    struct scratch *scratch = *state;
    struct price *price = price_create(scratch->arena);
    struct measured m = { .count = 0 };
    const struct cost_table *table;
    int64_t time_ps, named_ps;
    int extrapolated;

    measure_step(&m, 8, 0, 4);
    table = table_of(scratch, &m);
    assert_true(price_step(price, &whole_stage, &small, table, 0, 1, 8, 0, &time_ps, &extrapolated,
                           &scratch->err));
    assert_true(price_step(price, &whole_stage, &small, table, 4, 1, 8, 0, &named_ps, &extrapolated,
                           &scratch->err));
    assert_int_equal(time_ps, named_ps);
    assert_false(price_step(price, &whole_stage, &small, table, 1, 1, 8, 0, &time_ps, &extrapolated,
                            &scratch->err));
    assert_int_equal(scratch->err.kind, ERR_INPUT);
}

static void an_operator_that_nobody_measured_is_an_error_each_time(void **state)
{
    struct scratch *scratch = *state;
    struct price *price = price_create(scratch->arena);
    struct measured m = { .count = 0 };
    const struct cost_table *table;
    int64_t time_ps;
    int extrapolated;

    measure_step(&m, 8, 0, 1);
    for (int r = 0; r < m.count; r++)
        if (m.rows[r].op == OP_LMHEAD)
            m.rows[r] = m.rows[--m.count];
    table = table_of(scratch, &m);
    for (int pass = 0; pass < 2; pass++) {
        assert_false(price_step(price, &whole_stage, &small, table, 1, 1, 8, 0, &time_ps,
                                &extrapolated, scratch_err(scratch)));
        assert_int_equal(scratch->err.kind, ERR_INPUT);
        assert_non_null(strstr(scratch->err.text, "lmhead"));
    }
}

static void a_sum_that_leaves_the_range_of_time_is_an_error(void **state)
{
    static const struct plan_slice endless[] = { { LAYER_BLOCKS, 0, INT32_MAX - 1, 0, 0, 0, 1, 2, 2,
                                                   false, false } };
    static const struct plan_stage stage = { .id = 3, .slice_count = 1, .slices = endless };
    struct scratch *scratch = *state;
    struct price *price = price_create(scratch->arena);
    struct measured m = { .count = 0 };
    int64_t time_ps;
    int extrapolated;

    measure_step(&m, 8, 0, 1);
    for (int r = 0; r < m.count; r++)
        m.rows[r].mean_ps = 100 * UNITS_PS_PER_S;
    assert_false(price_step(price, &stage, &small, table_of(scratch, &m), 1, 1, 8, 0, &time_ps,
                            &extrapolated, &scratch->err));
    assert_string_equal(scratch->err.text, "a step of a stage costs more than 106 days");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_step_is_the_sum_of_its_operators_times_layers),
        scratch_test(stages_of_a_pipeline_cost_together_what_the_model_costs),
        scratch_test(a_speed_ratio_divides_the_whole_step_once),
        scratch_test(a_speed_that_changes_takes_no_memory),
        scratch_test(scaling_is_exact_without_a_ratio_and_saturates),
        scratch_test(sums_are_kept_apart_by_table_ratio_and_stage),
        scratch_test(what_is_forgotten_is_computed_again_with_the_same_result),
        scratch_test(costs_outside_the_measured_range_are_counted_each_time),
        scratch_test(threads_default_to_the_only_count_of_the_table),
        scratch_test(an_operator_that_nobody_measured_is_an_error_each_time),
        scratch_test(a_sum_that_leaves_the_range_of_time_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
