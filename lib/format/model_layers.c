/* model_layers.c - layers.csv: what each layer of a model holds, moves and computes, on any device.
 */
#include "lib/base/out.h"
#include "lib/format/model.h"
#include "lib/format/table.h"
#include <stdio.h>

/* Products of weights; attention over the cache grows with it and is left out. */
static int64_t block_flops(const struct model *model, enum model_block block)
{
    struct model_op ops[MODEL_MAX_OPS];
    int count = model_block_ops(model, block, 1, 0, ops);
    int64_t flops = 0;

    for (int i = 0; i < count; i++) {
        bool is_product = ops[i].op == OP_QKV || ops[i].op == OP_OPROJ || ops[i].op == OP_FFN_UP ||
                          ops[i].op == OP_FFN_DOWN || ops[i].op == OP_LMHEAD ||
                          (ops[i].op == OP_EMBED && ops[i].gemm_k > 0); /* patches */

        if (is_product)
            flops += 2 * (int64_t)ops[i].gemm_n * ops[i].gemm_k;
    }
    return flops;
}

static int64_t head_out_bytes(const struct model *model)
{
    return 4 * (int64_t)(model->kind == MODEL_ENCODER ? model->hidden : model->vocab);
}

static void write_row(struct out *out, const struct model *model, const char *layer,
                      const char *kind, int64_t weights, int64_t weight_bytes, int64_t kv_bytes,
                      int64_t in_bytes, int64_t out_bytes, int64_t flops)
{
    out_csv(out, model->name);
    out_printf(out, ",%s,%s,%lld,%lld,%lld,%lld,%lld,%lld\n", layer, kind, (long long)weights,
               (long long)weight_bytes, (long long)kv_bytes, (long long)in_bytes,
               (long long)out_bytes, (long long)flops);
}

void model_write_layers(struct out *out, const struct model *model)
{
    int64_t hidden_bytes = model_activation_bytes(model, 1), weight_bytes = 0, flops = 0;
    int64_t weights = 0;
    int32_t patch_values = 1; /* a token's number */
    struct model_op embed[MODEL_MAX_OPS];
    char layer[16];

    (void)model_block_ops(model, BLOCK_EMBED, 1, 0, embed);
    if (embed[0].gemm_k > 0)
        patch_values = embed[0].gemm_k;
    for (int block = BLOCK_ATTN; block <= BLOCK_CONN; block++) {
        weights += model_block_weight_count(model, (enum model_block)block);
        weight_bytes += model_block_weight_bytes(model, (enum model_block)block);
        flops += block_flops(model, (enum model_block)block);
    }
    table_begin(out, "layers", NULL);
    out_text(out, "model,layer,kind,params,weight_bytes,kv_bytes_per_token,act_bytes_in,"
                  "act_bytes_out,flops_per_token\n");
    write_row(out, model, "", "embed", model_block_weight_count(model, BLOCK_EMBED),
              model_block_weight_bytes(model, BLOCK_EMBED), 0, 4 * (int64_t)patch_values,
              hidden_bytes, block_flops(model, BLOCK_EMBED));
    for (int32_t i = 0; i < model->layers; i++) {
        (void)snprintf(layer, sizeof layer, "%d", i);
        write_row(out, model, layer, "layer", weights, weight_bytes,
                  model_kv_bytes_per_token(model), hidden_bytes, hidden_bytes, flops);
    }
    write_row(out, model, "", "lm_head",
              model_block_weight_count(model, BLOCK_LM_HEAD) - model_tied_count(model),
              model_block_weight_bytes(model, BLOCK_LM_HEAD) - model_tied_bytes(model), 0,
              hidden_bytes, head_out_bytes(model), block_flops(model, BLOCK_LM_HEAD));
}
