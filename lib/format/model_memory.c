/* model_memory.c - bytes of slices: weights, caches, and the activations of a step (model.h). */
#include "lib/base/units.h"
#include "lib/format/model.h"

#define PATCH_VALUES 768 /* 16 x 16 pixels of 3 colours, as in lib/kernels/forward.c */
#define FLOAT_BYTES 4

/* ---- slices ---- */

bool model_can_cut(const struct model *model, enum model_block block, int32_t of)
{
    if (of <= 1)
        return of == 1;
    switch (block) {
    case BLOCK_ATTN:
        return model->kv_heads % of == 0;
    case BLOCK_PROJ:
        return model->heads % of == 0;
    case BLOCK_FFN_UP:
    case BLOCK_FFN_DOWN:
        return model->ffn_hidden % of == 0;
    case BLOCK_LM_HEAD:
        return model->kind != MODEL_ENCODER && of <= model->vocab;
    case BLOCK_CONN:
        return true;
    case BLOCK_EMBED:
    case BLOCK_COUNT:
        break;
    }
    return false;
}

/* Slices begin and end where the whole times their number does, so that all add up to the whole. */
static int64_t share(int64_t whole, struct model_part part)
{
    int64_t before = part.first > 0 ? units_mul_div(whole, part.first, part.of) : 0;

    return part.of <= 1 ? whole : units_mul_div(whole, part.last + 1, part.of) - before;
}

int64_t model_part_weight_bytes(const struct model *model, enum model_block block,
                                struct model_part part)
{
    int64_t bytes = model_block_weight_bytes(model, block);

    return block == BLOCK_CONN ? bytes : share(bytes, part);
}

int64_t model_part_tied_bytes(const struct model *model, struct model_part part)
{
    return share(model_tied_bytes(model), part);
}

int64_t model_part_kv_bytes_per_token(const struct model *model, struct model_part part)
{
    return share(model_kv_bytes_per_token(model), part);
}

/* ---- activations ---- */

static int64_t times(int64_t a, int64_t b)
{
    int64_t product;

    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

static int64_t plus(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

/* Values of a row (a new token) beside the residual stream. */
static int64_t row_values(const struct model *model, enum model_block block, struct model_part part)
{
    const int64_t hidden = model->hidden, width = (int64_t)model->heads * model->head_dim;
    const int64_t qkv = width + 2 * (int64_t)model->kv_heads * model->head_dim;
    const int64_t up = model->ffn_hidden * (model->ffn == MODEL_SWIGLU ? INT64_C(3) : INT64_C(1));

    switch (block) {
    case BLOCK_EMBED:
        return model->kind == MODEL_VISION ? PATCH_VALUES : 0;
    case BLOCK_ATTN: /* the norm's output, q, k and v, what the heads make of them */
        return hidden + share(qkv, part) + share(width, part);
    case BLOCK_PROJ:
        return share(width, part) + hidden;
    case BLOCK_FFN_UP: /* gate and up go into an array of their own */
        return hidden + share(up, part);
    case BLOCK_FFN_DOWN:
        return share(model->ffn_hidden, part) + hidden;
    case BLOCK_CONN:
        return hidden;
    case BLOCK_LM_HEAD:
    case BLOCK_COUNT:
        break;
    }
    return 0;
}

int64_t model_part_work_bytes(const struct model *model, enum model_block block,
                              struct model_part part, const struct model_step *step)
{
    int64_t values = times(step->rows, model->hidden + row_values(model, block, part));
    int64_t queries = step->rows < step->kv_len ? step->rows : step->kv_len;
    int64_t words = model->kind == MODEL_ENCODER ? model->hidden : share(model->vocab, part);

    if (block == BLOCK_ATTN) /* scores of one head of one sequence */
        values = plus(values, times(queries, step->kv_len));
    if (block == BLOCK_LM_HEAD) /* one row a sequence */
        values = plus(values, times(step->sequences, model->hidden + words));
    return times(values, FLOAT_BYTES);
}
