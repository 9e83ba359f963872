/* tiny_model.h - a decoder and an encoder of two layers, and a cost table in which every operator
 * of theirs takes 1 ms whatever its size, so that instants can be counted by hand: a layer makes 11
 * calls (two norms, two additions), embed 1, lm_head 2. */
#ifndef ORRERY_TESTS_UNIT_SIM_TINY_MODEL_H
#define ORRERY_TESTS_UNIT_SIM_TINY_MODEL_H

#include "tests/unit/sim/cost_rows.h"
#include "tests/unit/sim/fixture.h"

#define TINY_MODELS                                                                                \
    "model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,ffn,norm,positions,"        \
    "tied_lm_head,weight_bits,kv_bits,max_context\n"                                               \
    "tiny,decoder,2,8,1,1,8,16,32,gelu,layer,learned,no,32,32,64\n"                                \
    "reader,encoder,2,8,1,1,8,16,32,gelu,layer,learned,no,32,32,64\n"
#define W "request_id,arrival_s,service,prompt_tokens,output_tokens\n"

static struct cost_row *rows;
static int row_count;

static inline void add_row(const struct model_op *op, const char *impl, int32_t m_tokens,
                           int32_t kv_len)
{
    rows[row_count++] = cost_row_of(op, impl, m_tokens, kv_len, "tiny", MS);
}

/* Points at both ends of what the tests use: 1 to 16 tokens, caches of 1 to 64. */
static inline void add_op(const struct model_op *op)
{
    bool is_linear = op->gemm_n > 0 && op->gemm_k > 1;

    for (int i = 0; i < row_count; i++) /* the same kernel occurs in several blocks */
        if (rows[i].op == op->op && rows[i].phase == op->phase && rows[i].gemm_n == op->gemm_n)
            return;
    if (op->op == OP_ATTN && op->phase == OP_DECODE) {
        add_row(op, "c", 1, 1);
        add_row(op, "c", 1, 64);
    } else if (op->op == OP_ATTN) {
        add_row(op, "c", 1, 1);
        add_row(op, "c", 16, 16);
    } else {
        add_row(op, is_linear ? "gemv" : "c", 1, 0);
        add_row(op, is_linear ? "gemm" : "c", 2, 0);
        add_row(op, is_linear ? "gemm" : "c", 16, 0);
    }
}

static inline void add_model(struct model_catalogue *catalogue, const char *name)
{
    const struct model *model = model_find(catalogue, name, &fixture.err);
    struct model_op ops[MODEL_MAX_OPS];

    assert_non_null(model);
    for (int block = 0; block < BLOCK_COUNT; block++)
        for (int decode = 0; decode < 2; decode++) {
            int count = model_block_ops(model, (enum model_block)block, decode ? 1 : 4,
                                        decode ? 4 : 0, ops);

            for (int i = 0; i < count; i++)
                add_op(&ops[i]);
        }
}

static inline void write_costs(void)
{
    struct model_catalogue *catalogue =
        model_catalogue_load(fixture.arena, fixture_path("models.csv"), &fixture.err);
    struct out *out;

    assert_non_null(catalogue);
    rows = arena_array(fixture.arena, 256, sizeof(*rows));
    row_count = 0;
    add_model(catalogue, "tiny");
    add_model(catalogue, "reader");
    assert_true(out_make_folder(fixture_path("costs/t"), &fixture.err));
    out = out_open(fixture.arena, fixture_path("costs/t/kernels.csv"), &fixture.err);
    assert_non_null(out);
    cost_write_kernels(out, "test", NULL, rows, row_count);
    assert_true(out_commit(out, &fixture.err));
}

static inline int tiny_set_up(void **state)
{
    fixture_set_up(state);
    fixture_write("models.csv", TINY_MODELS);
    fixture.files.models = fixture_path("models.csv");
    write_costs();
    return 0;
}

static inline void place_on_one_device(void)
{
    fixture_write("p.csv", "service,replica,stage,device,model\nchat,0,0,a,tiny\n");
}

/* Embed and layer 0 on a, layer 1 and lm_head on b; 1 ns a byte, 1 ms of latency. */
static inline void place_on_two_devices(void)
{
    fixture_write("p.csv", "service,replica,stage,device,model,layers,block\n"
                           "chat,0,0,a,tiny,,embed\nchat,0,0,a,tiny,0,layer\n"
                           "chat,0,1,b,tiny,1,layer\nchat,0,1,b,tiny,,lm_head\n");
    fixture_cluster("device,type\na,t\nb,t\n", "medium,kind,node,bits_per_s,latency_s\n"
                                               "lan,switch,*,8e9,0.001\n");
}

#endif
