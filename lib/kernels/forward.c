/* forward.c - embed, layers and lm_head as chains of kernels, with a stamp after each operator. */
#include "lib/kernels/forward.h"
#include "lib/base/arena.h"
#include "lib/kernels/kernels.h"
#include <assert.h>
#include <stddef.h>

#define PATCH_VALUES 768 /* 16 x 16 pixels of 3 colours */

struct forward {
    struct forward_shape shape;
    struct forward_limits limits;
    struct team *team; /* of the caller's */
    float *rows;       /* [m][hidden]: a norm's output, then what a projection adds to x */
    float *qkv;        /* [m][(heads + 2 kv_heads) head_dim] */
    float *context;    /* [m][heads head_dim]: attention's output */
    float *wide;       /* [m][ffn_up rows] */
    float *gated;      /* [m][ffn_hidden], swiglu only */
    float *scores, *angles;
    float *last;   /* [batch][hidden]: the rows that the lm_head works on */
    float *logits; /* [batch][vocabulary] */
    void *packed;  /* scratch of typed products */
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

int64_t forward_qkv_bytes(const struct forward_shape *shape)
{
    return kernel_weight_bytes(shape->dtype, qkv_rows(shape), shape->hidden);
}

int64_t forward_oproj_bytes(const struct forward_shape *shape)
{
    return kernel_weight_bytes(shape->dtype, shape->hidden, shape->heads * shape->head_dim);
}

int64_t forward_ffn_up_bytes(const struct forward_shape *shape)
{
    return kernel_weight_bytes(shape->dtype, up_rows(shape), shape->hidden);
}

int64_t forward_ffn_down_bytes(const struct forward_shape *shape)
{
    return kernel_weight_bytes(shape->dtype, shape->hidden, shape->ffn_hidden);
}

/* [vocab][hidden], so that a tied lm_head is the same matrix; vision: [hidden][values of a patch].
 */
int64_t forward_embed_bytes(const struct forward_shape *shape)
{
    return shape->is_patches ? kernel_weight_bytes(shape->dtype, shape->hidden, PATCH_VALUES)
                             : kernel_weight_bytes(shape->dtype, shape->vocab, shape->hidden);
}

int64_t forward_positions_floats(const struct forward_shape *shape)
{
    return shape->is_rope ? 0 : (int64_t)shape->max_context * shape->hidden;
}

int64_t forward_lm_head_bytes(const struct forward_shape *shape)
{
    return kernel_weight_bytes(shape->dtype, lm_head_rows(shape), shape->hidden);
}

int64_t forward_small_floats(const struct forward_shape *shape)
{
    return (int64_t)FORWARD_SECTION_COUNT * small_stride(shape);
}

int64_t forward_kv_floats(const struct forward_shape *shape, int capacity)
{
    return (int64_t)shape->kv_heads * capacity * shape->head_dim;
}

static float *scratch(struct arena *arena, int64_t count)
{
    return arena_try_alloc(arena, (size_t)count * sizeof(float));
}

/* The largest scratch that any product of a step needs. */
static int64_t packed_bytes(const struct forward_shape *s, const struct forward_limits *limits)
{
    const int shapes[][3] = { { limits->rows, qkv_rows(s), s->hidden },
                              { limits->rows, s->hidden, s->heads * s->head_dim },
                              { limits->rows, up_rows(s), s->hidden },
                              { limits->rows, s->hidden, s->ffn_hidden },
                              { limits->batch, lm_head_rows(s), s->hidden },
                              { s->is_patches ? limits->rows : 1, s->hidden,
                                s->is_patches ? PATCH_VALUES : 1 } };
    int64_t most = 0;

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        /* fewer rows may go another way, which needs more */
        for (int m = 1; m <= shapes[i][0];
             m = 2 * m > shapes[i][0] && m < shapes[i][0] ? shapes[i][0] : 2 * m) {
            int64_t bytes = kernel_linear_scratch(s->dtype, m, shapes[i][1], shapes[i][2]);

            most = bytes > most ? bytes : most;
        }
    }
    return most;
}

struct forward *forward_create(struct arena *arena, const struct forward_shape *shape,
                               const struct forward_limits *limits, struct team *team)
{
    struct forward *forward = arena_alloc(arena, sizeof(*forward));
    int64_t m = limits->rows, batch = limits->batch;
    int context = limits->context > limits->rows ? limits->context : limits->rows;

    forward->shape = *shape;
    forward->limits = *limits;
    forward->limits.context = context;
    forward->team = team;
    forward->rows = scratch(arena, m * shape->hidden);
    forward->qkv = scratch(arena, m * qkv_rows(shape));
    forward->context = scratch(arena, m * shape->heads * shape->head_dim);
    forward->wide = scratch(arena, m * up_rows(shape));
    forward->gated = scratch(arena, shape->is_swiglu ? m * shape->ffn_hidden : 0);
    forward->scores =
        scratch(arena, kernel_attention_scratch(limits->rows, shape->heads, shape->kv_heads,
                                                context - limits->rows));
    forward->last = scratch(arena, batch * shape->hidden);
    forward->logits = scratch(arena, batch * lm_head_rows(shape));
    forward->angles = scratch(arena, shape->is_rope ? (int64_t)context * shape->head_dim : 0);
    forward->packed = arena_try_alloc(arena, (size_t)packed_bytes(shape, limits) + 64);
    if (!forward->rows || !forward->qkv || !forward->context || !forward->wide || !forward->gated ||
        !forward->scores || !forward->last || !forward->logits || !forward->angles ||
        !forward->packed)
        return NULL;
    if (shape->is_rope)
        kernel_rope_angles(forward->angles, context, shape->head_dim);
    return forward;
}

int forward_rows(const struct forward_step *step)
{
    return step->counts ? step->tokens : step->batch * step->tokens;
}

static int count_of(const struct forward_step *step, int b)
{
    return step->counts ? step->counts[b] : step->tokens;
}

struct forward_part forward_whole(const struct forward_shape *shape)
{
    return (struct forward_part){ shape->heads, shape->kv_heads, shape->heads * shape->head_dim,
                                  shape->ffn_hidden };
}

/* Without padding. */
static int own_of(const struct forward_step *step, int b)
{
    return step->own ? step->own[b] : count_of(step, b);
}

static void check_step(const struct forward *forward, const struct forward_step *step)
{
    assert(step->batch >= 1 && step->batch <= forward->limits.batch && step->tokens >= 1);
    assert(forward_rows(step) <= forward->limits.rows);
    (void)forward;
    (void)step;
}

static void linear(struct forward *forward, const float *x, const void *w, const float *shift,
                   float *y, int m, int n, int k)
{
    kernel_linear_typed(forward->shape.dtype, x, w, shift, y, m, n, k, forward->packed,
                        forward->team);
}

static void mark(struct forward_stamp stamp, enum op op)
{
    if (stamp.call)
        stamp.call(stamp.arg, op);
}

/* Models with RMSNorm have no biases, those with LayerNorm have them everywhere. */
static const float *section(const struct forward *forward, const float *small,
                            enum forward_section which)
{
    return small + (int64_t)which * small_stride(&forward->shape);
}

static const float *bias(const struct forward *forward, const float *small,
                         enum forward_section which)
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
                   const float *patches, float *x, const struct forward_step *step,
                   struct forward_stamp stamp)
{
    int hidden = forward->shape.hidden, m = forward_rows(step);

    check_step(forward, step);
    if (forward->shape.is_patches)
        linear(forward, patches, ends->embed, NULL, x, m, hidden, PATCH_VALUES);
    else
        kernel_embed_typed(forward->shape.dtype, tokens, ends->embed, x, m, hidden);
    for (int b = 0; b < step->batch && ends->positions; b++) {
        kernel_add(ends->positions + (int64_t)step->past[b] * hidden, x,
                   (int64_t)count_of(step, b) * hidden);
        x += (int64_t)count_of(step, b) * hidden;
    }
    mark(stamp, OP_EMBED);
}

/* What each sequence makes of its own keys and values. */
static void attend_all(struct forward *forward, const struct forward_part *part,
                       const struct forward_kv *kv, float *context, const struct forward_step *step)
{
    const struct forward_shape *s = &forward->shape;
    const float *qkv = forward->qkv;

    for (int b = 0; b < step->batch; b++) {
        int64_t rows = count_of(step, b);
        int keys = step->keys > 0 ? step->keys : step->past[b] + (int)rows;

        kernel_attention_masked(qkv, kv[b].k, kv[b].v, context, forward->scores, (int)rows,
                                part->heads, part->kv_heads, s->head_dim, step->past[b],
                                kv[b].capacity, s->is_causal, keys,
                                step->past[b] + own_of(step, b));
        qkv += rows * (part->heads + 2 * part->kv_heads) * s->head_dim;
        context += rows * part->heads * s->head_dim;
    }
}

/* Keys and values of the new tokens into the caches, and what each sequence makes of its own. */
static void mix(struct forward *forward, const struct forward_part *part,
                const struct forward_kv *kv, float *context, const struct forward_step *step,
                struct forward_stamp stamp)
{
    const struct forward_shape *s = &forward->shape;
    int64_t width = (int64_t)(part->heads + 2 * part->kv_heads) * s->head_dim;
    float *qkv = forward->qkv;

    for (int b = 0; b < step->batch && s->is_rope; b++) {
        kernel_rope(qkv, forward->angles, count_of(step, b), part->heads, part->kv_heads,
                    s->head_dim, step->past[b]);
        qkv += count_of(step, b) * width;
    }
    if (s->is_rope)
        mark(stamp, OP_ROPE);
    qkv = forward->qkv;
    for (int b = 0; b < step->batch; b++) {
        kernel_kvappend(qkv, kv[b].k, kv[b].v, count_of(step, b), part->heads, part->kv_heads,
                        s->head_dim, step->past[b], kv[b].capacity);
        qkv += count_of(step, b) * width;
    }
    mark(stamp, OP_KVAPPEND);
    attend_all(forward, part, kv, context, step);
    mark(stamp, OP_ATTN);
}

void forward_norm(const struct forward *forward, const struct forward_layer *layer, int number,
                  const float *x, float *y, int m)
{
    const float *small = layer->small;

    if (number == 1)
        norm(forward, section(forward, small, FORWARD_NORM1_GAIN),
             section(forward, small, FORWARD_NORM1_SHIFT), x, y, m);
    else
        norm(forward, section(forward, small, FORWARD_NORM2_GAIN),
             section(forward, small, FORWARD_NORM2_SHIFT), x, y, m);
}

void forward_attention(struct forward *forward, const struct forward_part *part,
                       const struct forward_layer *layer, const struct forward_kv *kv,
                       const float *in, float *context, const struct forward_step *step,
                       struct forward_stamp stamp)
{
    const struct forward_shape *s = &forward->shape;

    check_step(forward, step);
    for (int b = 0; b < step->batch; b++) {
        assert(step->past[b] >= 0 && step->past[b] + count_of(step, b) <= kv[b].capacity);
        assert(step->past[b] + count_of(step, b) <= forward->limits.context);
        assert(step->keys <= kv[b].capacity && step->keys <= forward->limits.context);
        assert(step->keys == 0 || step->past[b] + count_of(step, b) <= step->keys);
    }
    linear(forward, in, layer->qkv, bias(forward, layer->small, FORWARD_QKV_BIAS), forward->qkv,
           forward_rows(step), (part->heads + 2 * part->kv_heads) * s->head_dim, s->hidden);
    mark(stamp, OP_QKV);
    mix(forward, part, kv, context, step, stamp);
}

void forward_projection(struct forward *forward, const struct forward_part *part,
                        const struct forward_layer *layer, const float *context, float *terms,
                        int m, bool has_bias)
{
    linear(forward, context, layer->oproj,
           has_bias ? bias(forward, layer->small, FORWARD_OPROJ_BIAS) : NULL, terms, m,
           forward->shape.hidden, part->width);
}

void forward_ffn_up(struct forward *forward, const struct forward_part *part,
                    const struct forward_layer *layer, const float *in, float *active, int m,
                    struct forward_stamp stamp)
{
    const struct forward_shape *s = &forward->shape;
    float *wide = s->is_swiglu ? forward->wide : active;

    linear(forward, in, layer->ffn_up, bias(forward, layer->small, FORWARD_UP_BIAS), wide, m,
           s->is_swiglu ? 2 * part->columns : part->columns, s->hidden);
    mark(stamp, OP_FFN_UP);
    if (s->is_swiglu)
        kernel_swiglu(wide, active, m, part->columns);
    else
        kernel_gelu(wide, (int64_t)m * part->columns);
    mark(stamp, OP_ACT);
}

void forward_ffn_down(struct forward *forward, const struct forward_part *part,
                      const struct forward_layer *layer, const float *active, float *terms, int m,
                      bool has_bias)
{
    linear(forward, active, layer->ffn_down,
           has_bias ? bias(forward, layer->small, FORWARD_DOWN_BIAS) : NULL, terms, m,
           forward->shape.hidden, part->columns);
}

/* The norm of a half of a layer: before it, or, of an encoder, behind its addition. */
static const float *norm_before(struct forward *forward, const struct forward_layer *layer,
                                int number, const float *x, int m, struct forward_stamp stamp)
{
    if (forward->shape.is_pooler)
        return x;
    forward_norm(forward, layer, number, x, forward->rows, m);
    mark(stamp, OP_NORM);
    return forward->rows;
}

static void add_and_norm(struct forward *forward, const struct forward_layer *layer, int number,
                         float *x, int m, struct forward_stamp stamp)
{
    kernel_add(forward->rows, x, (int64_t)m * forward->shape.hidden);
    mark(stamp, OP_ADD);
    if (!forward->shape.is_pooler)
        return;
    forward_norm(forward, layer, number, x, x, m);
    mark(stamp, OP_NORM);
}

void forward_layer(struct forward *forward, const struct forward_layer *layer,
                   const struct forward_kv *kv, float *x, const struct forward_step *step,
                   struct forward_stamp stamp)
{
    const struct forward_part whole = forward_whole(&forward->shape);
    float *active = forward->shape.is_swiglu ? forward->gated : forward->wide;
    int m = forward_rows(step);
    const float *in = norm_before(forward, layer, 1, x, m, stamp);

    forward_attention(forward, &whole, layer, kv, in, forward->context, step, stamp);
    forward_projection(forward, &whole, layer, forward->context, forward->rows, m, true);
    mark(stamp, OP_OPROJ);
    add_and_norm(forward, layer, 1, x, m, stamp);
    in = norm_before(forward, layer, 2, x, m, stamp);
    forward_ffn_up(forward, &whole, layer, in, active, m, stamp);
    forward_ffn_down(forward, &whole, layer, active, forward->rows, m, true);
    mark(stamp, OP_FFN_DOWN);
    add_and_norm(forward, layer, 2, x, m, stamp);
}

void forward_lm_head(struct forward *forward, const struct forward_ends *ends, const float *x,
                     const struct forward_step *step, int32_t *best, struct forward_stamp stamp)
{
    const struct forward_shape *s = &forward->shape;
    int words = lm_head_rows(s);

    check_step(forward, step);
    for (int b = 0; b < step->batch; b++) {
        int row = s->is_pooler ? 0 : own_of(step, b) - 1;

        norm(forward, ends->small, ends->small + s->hidden, x + (int64_t)row * s->hidden,
             forward->last + (int64_t)b * s->hidden, 1);
        x += (int64_t)count_of(step, b) * s->hidden;
    }
    mark(stamp, OP_FNORM);
    linear(forward, forward->last, ends->lm_head, NULL, forward->logits, step->batch, words,
           s->hidden);
    for (int b = 0; b < step->batch; b++)
        best[b] = kernel_argmax(forward->logits + (int64_t)b * words, words);
    mark(stamp, OP_LMHEAD);
}

void forward_lm_head_part(struct forward *forward, const struct forward_ends *ends, const float *x,
                          int rows, int32_t *best, float *value)
{
    int hidden = forward->shape.hidden;

    assert(rows >= 1 && rows <= lm_head_rows(&forward->shape));
    norm(forward, ends->small, ends->small + hidden, x, forward->last, 1);
    linear(forward, forward->last, ends->lm_head, NULL, forward->logits, 1, rows, hidden);
    *best = kernel_argmax(forward->logits, rows);
    *value = forward->logits[*best];
}

void forward_op(struct forward *forward, const struct forward_layer *layer,
                const struct forward_kv *kv, const struct forward_ends *ends, float *x,
                const struct forward_step *step, enum op op)
{
    const struct forward_shape *s = &forward->shape;
    const struct forward_part whole = forward_whole(s);
    int m = forward_rows(step), width = s->heads * s->head_dim;

    check_step(forward, step);
    if (op == OP_QKV)
        linear(forward, x, layer->qkv, NULL, forward->qkv, m, qkv_rows(s), s->hidden);
    else if (op == OP_ATTN)
        attend_all(forward, &whole, kv, forward->context, step);
    else if (op == OP_OPROJ)
        linear(forward, forward->context, layer->oproj, NULL, forward->rows, m, s->hidden, width);
    else if (op == OP_FFN_UP)
        linear(forward, x, layer->ffn_up, NULL, forward->wide, m, up_rows(s), s->hidden);
    else if (op == OP_FFN_DOWN)
        linear(forward, s->is_swiglu ? forward->gated : forward->wide, layer->ffn_down, NULL,
               forward->rows, m, s->hidden, s->ffn_hidden);
    else if (op == OP_LMHEAD)
        linear(forward, forward->last, ends->lm_head, NULL, forward->logits, step->batch,
               lm_head_rows(s), s->hidden);
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
