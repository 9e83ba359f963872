/* model_ops.c - what a block of a model computes and weighs (model.h). The operators are those of
 * lib/kernels/forward.c, in its order; the key fields are those of traces/README.md. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/model.h"
#include <assert.h>

#define PATCH_VALUES 768 /* 16 x 16 pixels of 3 colours, as in lib/kernels/forward.c */

const char *const model_block_names[BLOCK_COUNT] = {
    [BLOCK_EMBED] = "embed",     [BLOCK_ATTN] = "attn",         [BLOCK_PROJ] = "proj",
    [BLOCK_FFN_UP] = "ffn_up",   [BLOCK_FFN_DOWN] = "ffn_down", [BLOCK_CONN] = "conn",
    [BLOCK_LM_HEAD] = "lm_head",
};

/* ---- operators ---- */

static int32_t qkv_rows(const struct model *model)
{
    return (model->heads + 2 * model->kv_heads) * model->head_dim;
}

static int32_t up_rows(const struct model *model)
{
    return model->ffn == MODEL_SWIGLU ? 2 * model->ffn_hidden : model->ffn_hidden;
}

static int32_t head_rows(const struct model *model)
{
    return model->kind == MODEL_ENCODER ? model->hidden : model->vocab;
}

/* A matrix product, or an elementwise operator of width n and variant k. */
static struct model_op wide_op(enum op op, int32_t m_tokens, int32_t n, int32_t k, int32_t count)
{
    return (struct model_op){
        .op = op, .m_tokens = m_tokens, .gemm_n = n, .gemm_k = k, .count = count
    };
}

static struct model_op head_op(enum op op, const struct model *model, int32_t m_tokens)
{
    return (struct model_op){ .op = op,
                              .m_tokens = m_tokens,
                              .heads = model->heads,
                              .kv_heads = model->kv_heads,
                              .head_dim = model->head_dim,
                              .count = 1 };
}

static int attn_ops(const struct model *model, int32_t batch, int32_t new_tokens,
                    int32_t past_tokens, struct model_op *ops)
{
    int32_t m = batch * new_tokens;
    int count = 0;

    ops[count++] = wide_op(OP_QKV, m, qkv_rows(model), model->hidden, 1);
    if (model->positions == MODEL_ROPE)
        ops[count++] = head_op(OP_ROPE, model, m);
    ops[count++] = head_op(OP_KVAPPEND, model, m);
    ops[count] = head_op(OP_ATTN, model, m);
    ops[count].phase = new_tokens == 1 && past_tokens > 0 ? OP_DECODE : OP_PREFILL;
    ops[count].kv_len = past_tokens + new_tokens;
    return count + 1;
}

static int block_ops(const struct model *model, enum model_block block, int32_t batch,
                     int32_t new_tokens, int32_t past_tokens, struct model_op *ops)
{
    const int32_t m = batch * new_tokens, hidden = model->hidden;
    const int32_t norm_variant = model->norm == MODEL_RMSNORM;
    const int32_t act_variant = model->ffn == MODEL_SWIGLU;

    switch (block) {
    case BLOCK_EMBED:
        ops[0] = wide_op(OP_EMBED, m, hidden, model->kind == MODEL_VISION ? PATCH_VALUES : 0, 1);
        return 1;
    case BLOCK_ATTN:
        return attn_ops(model, batch, new_tokens, past_tokens, ops);
    case BLOCK_PROJ:
        ops[0] = wide_op(OP_OPROJ, m, hidden, model->heads * model->head_dim, 1);
        return 1;
    case BLOCK_FFN_UP:
        ops[0] = wide_op(OP_FFN_UP, m, up_rows(model), hidden, 1);
        ops[1] = wide_op(OP_ACT, m, model->ffn_hidden, act_variant, 1);
        return 2;
    case BLOCK_FFN_DOWN:
        ops[0] = wide_op(OP_FFN_DOWN, m, hidden, model->ffn_hidden, 1);
        return 1;
    case BLOCK_CONN:
        ops[0] = wide_op(OP_NORM, m, hidden, norm_variant, 2);
        ops[1] = wide_op(OP_ADD, m, hidden, 0, 2);
        return 2;
    case BLOCK_LM_HEAD: /* one row a sequence: the last token, or the class token */
        ops[0] = wide_op(OP_FNORM, batch, hidden, norm_variant, 1);
        ops[1] = wide_op(OP_LMHEAD, batch, head_rows(model), hidden, 1);
        return 2;
    case BLOCK_COUNT:
        break;
    }
    assert(block != BLOCK_COUNT);
    return 0;
}

int model_batch_ops(const struct model *model, enum model_block block, int32_t batch,
                    int32_t new_tokens, int32_t past_tokens, struct model_op ops[MODEL_MAX_OPS])
{
    int count;

    assert(batch >= 1 && new_tokens >= 1 && new_tokens <= INT32_MAX / batch && past_tokens >= 0 &&
           past_tokens <= INT32_MAX - new_tokens);
    count = block_ops(model, block, batch, new_tokens, past_tokens, ops);
    for (int i = 0; i < count; i++)
        ops[i].batch = batch;
    return count;
}

int model_block_ops(const struct model *model, enum model_block block, int32_t new_tokens,
                    int32_t past_tokens, struct model_op ops[MODEL_MAX_OPS])
{
    return model_batch_ops(model, block, 1, new_tokens, past_tokens, ops);
}

/* ---- slices ---- */

const struct model *model_slice(struct arena *arena, const struct model *model, int32_t parts,
                                struct err *err)
{
    struct model *slice = arena_alloc(arena, sizeof *slice);
    bool has_groups = parts >= 1 && model->kv_heads % parts == 0;

    if (parts < 1) {
        err_set(err, ERR_INPUT, "%s: %d slices: expected at least 1", model->name, parts);
        return NULL;
    }
    if (!has_groups || model->ffn_hidden % parts != 0) {
        err_set(err, ERR_INPUT, "%s: its %d %s do not divide into %d equal slices", model->name,
                has_groups ? model->ffn_hidden : model->kv_heads,
                has_groups ? "ffn_hidden" : "kv_heads", parts);
        return NULL;
    }
    *slice = *model;
    slice->heads /= parts; /* a multiple of kv_heads */
    slice->kv_heads /= parts;
    slice->ffn_hidden /= parts;
    slice->vocab = slice->vocab / parts + (slice->vocab % parts != 0);
    return slice;
}

/* ---- weights ---- */

#define Q8_BLOCK 32 /* weights of a row that share a 16-bit scale: q8_0 */

struct weights { /* of a block */
    int64_t values, bytes;
};

/* At weight_bits; with 8 as q8_0 stores it. */
static void add_matrix(const struct model *model, struct weights *weights, int64_t rows,
                       int64_t columns)
{
    int64_t row_bytes = columns * model->weight_bits / 8; /* bits are a multiple of 8 */

    if (model->weight_bits == 8)
        row_bytes = (columns + Q8_BLOCK - 1) / Q8_BLOCK * (Q8_BLOCK + 2);
    weights->values += rows * columns;
    weights->bytes += rows * row_bytes;
}

/* Biases, gains, positions: what q8_0 does not touch stays f32. */
static void add_vector(const struct model *model, struct weights *weights, int64_t values)
{
    weights->values += values;
    weights->bytes += values * (model->weight_bits == 8 ? 32 : model->weight_bits) / 8;
}

/* Models with RMSNorm have no biases and no shift in their norms, as Llama; those with LayerNorm
 * have both, as GPT-2. (Qwen's small qkv bias is left out: 0.006 % of its weights.) */
static int64_t bias(const struct model *model, int64_t rows)
{
    return model->norm == MODEL_RMSNORM ? 0 : rows;
}

static int64_t norm_values(const struct model *model)
{
    return model->hidden + bias(model, model->hidden);
}

static void add_embed(const struct model *model, struct weights *weights)
{
    const int64_t hidden = model->hidden;

    if (model->positions == MODEL_LEARNED)
        add_vector(model, weights, model->max_context * hidden);
    switch (model->kind) {
    case MODEL_DECODER:
        add_matrix(model, weights, model->vocab, hidden);
        break;
    case MODEL_ENCODER: /* two rows of token types, and a norm of its own */
        add_matrix(model, weights, model->vocab, hidden);
        add_vector(model, weights, 2 * hidden + norm_values(model));
        break;
    case MODEL_VISION: /* patch projection with its bias, and the class token */
        add_matrix(model, weights, hidden, PATCH_VALUES);
        add_vector(model, weights, 2 * hidden);
        break;
    case MODEL_KIND_COUNT:
        break;
    }
}

static void add_head(const struct model *model, struct weights *weights)
{
    switch (model->kind) {
    case MODEL_DECODER:
        add_matrix(model, weights, model->vocab, model->hidden);
        add_vector(model, weights, norm_values(model));
        break;
    case MODEL_ENCODER: /* the pooler; the norms stand behind their blocks, so none is left over */
        add_matrix(model, weights, model->hidden, model->hidden);
        add_vector(model, weights, model->hidden);
        break;
    case MODEL_VISION:
        add_matrix(model, weights, model->vocab, model->hidden);
        add_vector(model, weights, model->vocab + norm_values(model));
        break;
    case MODEL_KIND_COUNT:
        break;
    }
}

/* A matrix and its bias. */
static void add_linear(const struct model *model, struct weights *weights, int64_t rows,
                       int64_t columns)
{
    add_matrix(model, weights, rows, columns);
    add_vector(model, weights, bias(model, rows));
}

static struct weights block_weights(const struct model *model, enum model_block block)
{
    struct weights weights = { 0, 0 };

    switch (block) {
    case BLOCK_EMBED:
        add_embed(model, &weights);
        break;
    case BLOCK_ATTN:
        add_linear(model, &weights, qkv_rows(model), model->hidden);
        break;
    case BLOCK_PROJ:
        add_linear(model, &weights, model->hidden, (int64_t)model->heads * model->head_dim);
        break;
    case BLOCK_FFN_UP:
        add_linear(model, &weights, up_rows(model), model->hidden);
        break;
    case BLOCK_FFN_DOWN:
        add_linear(model, &weights, model->hidden, model->ffn_hidden);
        break;
    case BLOCK_CONN:
        add_vector(model, &weights, 2 * norm_values(model));
        break;
    case BLOCK_LM_HEAD:
        add_head(model, &weights);
        break;
    case BLOCK_COUNT:
        break;
    }
    return weights;
}

int64_t model_block_weight_bytes(const struct model *model, enum model_block block)
{
    return block_weights(model, block).bytes;
}

int64_t model_block_weight_count(const struct model *model, enum model_block block)
{
    return block_weights(model, block).values;
}

static struct weights tied_weights(const struct model *model)
{
    struct weights weights = { 0, 0 };

    if (model->tied_lm_head && model->kind == MODEL_DECODER)
        add_matrix(model, &weights, model->vocab, model->hidden);
    return weights;
}

int64_t model_tied_bytes(const struct model *model)
{
    return tied_weights(model).bytes;
}

int64_t model_tied_count(const struct model *model)
{
    return tied_weights(model).values;
}

int64_t model_weight_bytes(const struct model *model)
{
    int64_t layer = 0;

    for (int block = BLOCK_ATTN; block <= BLOCK_CONN; block++)
        layer += model_block_weight_bytes(model, (enum model_block)block);
    return model_block_weight_bytes(model, BLOCK_EMBED) + model->layers * layer +
           model_block_weight_bytes(model, BLOCK_LM_HEAD) - model_tied_bytes(model);
}

/* Only a decoder keeps keys and values from one step to the next. */
int64_t model_kv_bytes_per_token(const struct model *model)
{
    int64_t values = 2 * (int64_t)model->kv_heads * model->head_dim;

    return model->kind == MODEL_DECODER ? values * model->kv_bits / 8 : 0;
}

int64_t model_activation_bytes(const struct model *model, int32_t tokens)
{
    return 4 * (int64_t)model->hidden * tokens;
}
