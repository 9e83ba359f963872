/* forward.c - embed, layers and lm_head as chains of kernels, with a stamp after each operator. */
#include "lib/kernels/forward.h"
#include "lib/base/arena.h"
#include "lib/kernels/kernels.h"
#include <assert.h>
#include <stddef.h>

#define PATCH_VALUES 768 /* 16 x 16 pixels of 3 colours */

struct forward {
    struct forward_shape shape;
    int max_tokens, max_context;
    float *rows;    /* [m][hidden]: a norm's output, then what a projection adds to x */
    float *qkv;     /* [m][(heads + 2 kv_heads) head_dim] */
    float *context; /* [m][heads head_dim]: attention's output */
    float *wide;    /* [m][ffn_up rows] */
    float *gated;   /* [m][ffn_hidden], swiglu only */
    float *scores, *angles, *logits;
};

/* The sections of a layer's `small`, each as long as its longest. */
enum small_section {
    SMALL_NORM1_GAIN,
    SMALL_NORM1_SHIFT,
    SMALL_QKV_BIAS,
    SMALL_OPROJ_BIAS,
    SMALL_NORM2_GAIN,
    SMALL_NORM2_SHIFT,
    SMALL_UP_BIAS,
    SMALL_DOWN_BIAS,
    SMALL_COUNT
};

static int qkv_rows(const struct forward_shape *shape)
{
    return (shape->heads + 2 * shape->kv_heads) * shape->head_dim;
}

static int up_rows(const struct forward_shape *shape)
{
    return shape->is_swiglu ? 2 * shape->ffn_hidden : shape->ffn_hidden;
}

static int lm_head_rows(const struct forward_shape *shape)
{
    return shape->is_pooler ? shape->hidden : shape->vocab;
}

static int small_stride(const struct forward_shape *shape)
{
    int stride = qkv_rows(shape) > up_rows(shape) ? qkv_rows(shape) : up_rows(shape);

    return stride > shape->hidden ? stride : shape->hidden;
}

int64_t forward_qkv_floats(const struct forward_shape *shape)
{
    return (int64_t)qkv_rows(shape) * shape->hidden;
}

int64_t forward_oproj_floats(const struct forward_shape *shape)
{
    return (int64_t)shape->hidden * shape->heads * shape->head_dim;
}

int64_t forward_ffn_up_floats(const struct forward_shape *shape)
{
    return (int64_t)up_rows(shape) * shape->hidden;
}

int64_t forward_ffn_down_floats(const struct forward_shape *shape)
{
    return (int64_t)shape->hidden * shape->ffn_hidden;
}

int64_t forward_embed_floats(const struct forward_shape *shape)
{
    return (int64_t)(shape->is_patches ? PATCH_VALUES : shape->vocab) * shape->hidden;
}

int64_t forward_positions_floats(const struct forward_shape *shape)
{
    return shape->is_rope ? 0 : (int64_t)shape->max_context * shape->hidden;
}

int64_t forward_lm_head_floats(const struct forward_shape *shape)
{
    return (int64_t)lm_head_rows(shape) * shape->hidden;
}

int64_t forward_small_floats(const struct forward_shape *shape)
{
    return (int64_t)SMALL_COUNT * small_stride(shape);
}

int64_t forward_kv_floats(const struct forward_shape *shape, int capacity)
{
    return (int64_t)shape->kv_heads * capacity * shape->head_dim;
}

static float *scratch(struct arena *arena, int64_t count)
{
    return arena_try_alloc(arena, (size_t)count * sizeof(float));
}

struct forward *forward_create(struct arena *arena, const struct forward_shape *shape,
                               int max_tokens, int max_context)
{
    struct forward *forward = arena_alloc(arena, sizeof(*forward));
    int64_t m = max_tokens;
    int past = max_context > max_tokens ? max_context - max_tokens : 0;

    forward->shape = *shape;
    forward->max_tokens = max_tokens;
    forward->max_context = max_context > max_tokens ? max_context : max_tokens;
    forward->rows = scratch(arena, m * shape->hidden);
    forward->qkv = scratch(arena, m * qkv_rows(shape));
    forward->context = scratch(arena, m * shape->heads * shape->head_dim);
    forward->wide = scratch(arena, m * up_rows(shape));
    forward->gated = scratch(arena, shape->is_swiglu ? m * shape->ffn_hidden : 0);
    forward->scores =
        scratch(arena, kernel_attention_scratch(max_tokens, shape->heads, shape->kv_heads, past));
    forward->logits = scratch(arena, lm_head_rows(shape));
    forward->angles =
        scratch(arena, shape->is_rope ? (int64_t)forward->max_context * shape->head_dim : 0);
    if (!forward->rows || !forward->qkv || !forward->context || !forward->wide || !forward->gated ||
        !forward->scores || !forward->logits || !forward->angles)
        return NULL;
    if (shape->is_rope)
        kernel_rope_angles(forward->angles, forward->max_context, shape->head_dim);
    return forward;
}

static void mark(struct forward_stamp stamp, enum op op)
{
    if (stamp.call)
        stamp.call(stamp.arg, op);
}

/* Models with RMSNorm have no biases, those with LayerNorm have them everywhere. */
static const float *section(const struct forward *forward, const float *small,
                            enum small_section which)
{
    return small + (int64_t)which * small_stride(&forward->shape);
}

static const float *bias(const struct forward *forward, const float *small,
                         enum small_section which)
{
    return forward->shape.is_rms ? NULL : section(forward, small, which);
}

static void norm(const struct forward *forward, const float *gain, const float *shift,
                 const float *x, float *y, int m)
{
    if (forward->shape.is_rms)
        kernel_rmsnorm(x, gain, y, m, forward->shape.hidden);
    else
        kernel_layernorm(x, gain, shift, y, m, forward->shape.hidden);
}

void forward_embed(struct forward *forward, const struct forward_ends *ends, const int32_t *tokens,
                   const float *patches, float *x, int m, int past, struct forward_stamp stamp)
{
    int hidden = forward->shape.hidden;

    assert(m >= 1 && m <= forward->max_tokens);
    if (forward->shape.is_patches) {
        kernel_linear(patches, ends->embed, NULL, x, m, hidden, PATCH_VALUES);
        if (ends->positions)
            kernel_add(ends->positions + (int64_t)past * hidden, x, (int64_t)m * hidden);
    } else {
        kernel_embed(tokens, ends->embed, ends->positions, x, m, hidden, past);
    }
    mark(stamp, OP_EMBED);
}

static void attend(struct forward *forward, const struct forward_layer *layer,
                   const struct forward_kv *kv, float *x, int m, int past,
                   struct forward_stamp stamp)
{
    const struct forward_shape *s = &forward->shape;
    const float *small = layer->small;

    norm(forward, section(forward, small, SMALL_NORM1_GAIN),
         section(forward, small, SMALL_NORM1_SHIFT), x, forward->rows, m);
    mark(stamp, OP_NORM);
    kernel_linear(forward->rows, layer->qkv, bias(forward, small, SMALL_QKV_BIAS), forward->qkv, m,
                  qkv_rows(s), s->hidden);
    mark(stamp, OP_QKV);
    if (s->is_rope) {
        kernel_rope(forward->qkv, forward->angles, m, s->heads, s->kv_heads, s->head_dim, past);
        mark(stamp, OP_ROPE);
    }
    kernel_kvappend(forward->qkv, kv->k, kv->v, m, s->heads, s->kv_heads, s->head_dim, past,
                    kv->capacity);
    mark(stamp, OP_KVAPPEND);
    kernel_attention(forward->qkv, kv->k, kv->v, forward->context, forward->scores, m, s->heads,
                     s->kv_heads, s->head_dim, past, kv->capacity, s->is_causal);
    mark(stamp, OP_ATTN);
    kernel_linear(forward->context, layer->oproj, bias(forward, small, SMALL_OPROJ_BIAS),
                  forward->rows, m, s->hidden, s->heads * s->head_dim);
    mark(stamp, OP_OPROJ);
    kernel_add(forward->rows, x, (int64_t)m * s->hidden);
    mark(stamp, OP_ADD);
}

static void feed(struct forward *forward, const struct forward_layer *layer, float *x, int m,
                 struct forward_stamp stamp)
{
    const struct forward_shape *s = &forward->shape;
    const float *small = layer->small, *active = forward->wide;

    norm(forward, section(forward, small, SMALL_NORM2_GAIN),
         section(forward, small, SMALL_NORM2_SHIFT), x, forward->rows, m);
    mark(stamp, OP_NORM);
    kernel_linear(forward->rows, layer->ffn_up, bias(forward, small, SMALL_UP_BIAS), forward->wide,
                  m, up_rows(s), s->hidden);
    mark(stamp, OP_FFN_UP);
    if (s->is_swiglu) {
        kernel_swiglu(forward->wide, forward->gated, m, s->ffn_hidden);
        active = forward->gated;
    } else {
        kernel_gelu(forward->wide, (int64_t)m * s->ffn_hidden);
    }
    mark(stamp, OP_ACT);
    kernel_linear(active, layer->ffn_down, bias(forward, small, SMALL_DOWN_BIAS), forward->rows, m,
                  s->hidden, s->ffn_hidden);
    mark(stamp, OP_FFN_DOWN);
    kernel_add(forward->rows, x, (int64_t)m * s->hidden);
    mark(stamp, OP_ADD);
}

void forward_layer(struct forward *forward, const struct forward_layer *layer,
                   const struct forward_kv *kv, float *x, int m, int past,
                   struct forward_stamp stamp)
{
    assert(m >= 1 && m <= forward->max_tokens && past >= 0);
    assert(past + m <= kv->capacity && past + m <= forward->max_context);
    attend(forward, layer, kv, x, m, past, stamp);
    feed(forward, layer, x, m, stamp);
}

int32_t forward_lm_head(struct forward *forward, const struct forward_ends *ends, const float *x,
                        int m, struct forward_stamp stamp)
{
    const struct forward_shape *s = &forward->shape;
    const float *row = x + (s->is_pooler ? 0 : (int64_t)(m - 1) * s->hidden);

    assert(m >= 1 && m <= forward->max_tokens);
    norm(forward, ends->small, ends->small + s->hidden, row, forward->rows, 1);
    mark(stamp, OP_FNORM);
    kernel_linear(forward->rows, ends->lm_head, NULL, forward->logits, 1, lm_head_rows(s),
                  s->hidden);
    int32_t token = kernel_argmax(forward->logits, lm_head_rows(s));
    mark(stamp, OP_LMHEAD);
    return token;
}

void forward_fill(float *values, int64_t count, uint64_t seed)
{
    const int64_t block = 1 << 16;

    for (int64_t start = 0; start < count; start += block) {
        float *to = values + start;
        uint32_t size = (uint32_t)(count - start < block ? count - start : block);
        uint32_t salt = (uint32_t)((seed * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)start) >> 16);

        /* a 32-bit hash of the index: no carried state, so it vectorises. +-0.05 */
        for (uint32_t i = 0; i < size; i++) {
            uint32_t h = (i + salt * 65537u) * 2654435761u;

            h ^= h >> 15;
            h *= 2246822519u;
            h ^= h >> 13;
            to[i] = ((float)(int32_t)(h >> 8) - 8388608.0f) * (0.05f / 8388608.0f);
        }
    }
}
