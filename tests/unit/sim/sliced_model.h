/* sliced_model.h - a decoder that can be cut, and a cost table with a row for every part of it,
 * each with a cost that follows from its sizes by a rule that tests can apply themselves. */
#ifndef ORRERY_TESTS_UNIT_SIM_SLICED_MODEL_H
#define ORRERY_TESTS_UNIT_SIM_SLICED_MODEL_H

#include "tests/unit/sim/cost_rows.h"
#include "tests/unit/sim/fixture.h"

#define LAYERS 5
#define HIDDEN 64
#define HEADS 8
#define KV_HEADS 4
#define HEAD_DIM 8
#define FFN 96
#define VOCAB 50
#define WIDE_MODELS                                                                                \
    "model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,ffn,norm,positions,"        \
    "tied_lm_head,weight_bits,kv_bits,max_context\n"                                               \
    "wide,decoder,5,64,8,4,8,96,50,swiglu,rms,rope,no,32,32,64\n"                                  \
    "reader,encoder,5,64,8,4,8,96,50,swiglu,rms,rope,no,32,32,64\n"
#define W "request_id,arrival_s,service,prompt_tokens,output_tokens\n"
#define P "service,replica,stage,device,model,layers,block,parts\n"

/* Of a call: the rule. Of m_tokens rows; a is gemm_n or heads, b gemm_k or KV heads. */
static inline int64_t call_ps(enum op op, int32_t m_tokens, int32_t a, int32_t b)
{
    return (10 + (int64_t)op) * UNITS_PS_PER_US + m_tokens * UNITS_PS_PER_US +
           (int64_t)a * (b + 1) * 10 * UNITS_PS_PER_NS;
}

static struct cost_row *rows;
static int row_count;

static inline void put_row(const struct model_op *op, int32_t m_tokens, int32_t kv_len)
{
    bool uses_heads = op->heads > 0, is_linear = op->gemm_k > 1;
    int64_t each_ps = call_ps(op->op, m_tokens, uses_heads ? op->heads : op->gemm_n,
                              uses_heads ? op->kv_heads : op->gemm_k);
    const char *linear = m_tokens == 1 ? "gemv" : "gemm";

    for (int i = 0; i < row_count; i++)
        if (rows[i].op == op->op && rows[i].phase == op->phase && rows[i].m_tokens == m_tokens &&
            rows[i].gemm_n == op->gemm_n && rows[i].gemm_k == op->gemm_k &&
            rows[i].heads == op->heads && rows[i].kv_heads == op->kv_heads &&
            rows[i].kv_len == kv_len)
            return;
    rows[row_count++] =
        cost_row_of(op, is_linear ? linear : "c", m_tokens, kv_len, "wide", each_ps);
}

/* One, two and four tokens, caches of 1 to 64; the cost of a decode does not depend on its cache.
 */
static inline void put_blocks(const struct model *model)
{
    static const int32_t tokens[] = { 1, 2, 4 };
    struct model_op ops[MODEL_MAX_OPS];

    for (int block = 0; block < BLOCK_COUNT; block++)
        for (int t = 0; t < 3; t++) {
            int count = model_block_ops(model, (enum model_block)block, tokens[t], 0, ops);

            for (int i = 0; i < count; i++)
                put_row(&ops[i], ops[i].m_tokens, ops[i].kv_len);
            if (tokens[t] > 1 || block != BLOCK_ATTN)
                continue;
            count = model_block_ops(model, BLOCK_ATTN, 1, 4, ops);
            put_row(&ops[count - 1], 1, 1);
            put_row(&ops[count - 1], 1, 64);
        }
}

/* Every number of KV heads, of heads, of columns by the 24th, of rows of the vocabulary. */
static inline void write_costs(void)
{
    struct model_catalogue *catalogue =
        model_catalogue_load(fixture.arena, fixture_path("models.csv"), &fixture.err);
    struct model part;
    struct out *out;

    assert_non_null(catalogue);
    rows = arena_array(fixture.arena, 4096, sizeof(*rows));
    row_count = 0;
    for (int kv = 1; kv <= KV_HEADS; kv++)
        for (int32_t i = 0; i < 24; i++) {
            part = *model_find(catalogue, i == 23 ? "reader" : "wide", &fixture.err);
            part.kv_heads = kv;
            part.heads = i < 4 || i == 23 ? 2 * kv : 1 + i % HEADS;
            part.ffn_hidden = 4 * (i + 1);
            part.vocab = i == 0 || i == 23 ? VOCAB : 10 + i;
            put_blocks(&part);
        }
    assert_true(out_make_folder(fixture_path("costs/t"), &fixture.err));
    out = out_open(fixture.arena, fixture_path("costs/t/kernels.csv"), &fixture.err);
    assert_non_null(out);
    cost_write_kernels(out, "test", NULL, rows, row_count);
    assert_true(out_commit(out, &fixture.err));
}

static inline int wide_set_up(void **state)
{
    fixture_set_up(state);
    fixture_write("models.csv", WIDE_MODELS);
    fixture.files.models = fixture_path("models.csv");
    write_costs();
    return 0;
}

#endif
