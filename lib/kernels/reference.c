/* reference.c - the kernels by definition: what kernels.c is tested against. */
#include "lib/kernels/reference.h"
#include "lib/base/arena.h"
#include "lib/kernels/forward.h"
#include <math.h>
#include <stddef.h>
#include <string.h>

void reference_linear(const float *x, const float *w, const float *bias, float *y, int m, int n,
                      int k)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = bias ? bias[j] : 0.0;

            for (int l = 0; l < k; l++)
                sum += (double)x[i * k + l] * w[j * k + l];
            y[i * n + j] = (float)sum;
        }
}

void reference_layernorm(const float *x, const float *gain, const float *shift, float *y, int m,
                         int n)
{
    for (int i = 0; i < m; i++) {
        double mean = 0.0, variance = 0.0;

        for (int j = 0; j < n; j++)
            mean += (double)x[i * n + j] / n;
        for (int j = 0; j < n; j++)
            variance += (x[i * n + j] - mean) * (x[i * n + j] - mean) / n;
        for (int j = 0; j < n; j++)
            y[i * n + j] =
                (float)((x[i * n + j] - mean) / sqrt(variance + 1e-5) * gain[j] + shift[j]);
    }
}

void reference_rmsnorm(const float *x, const float *gain, float *y, int m, int n)
{
    for (int i = 0; i < m; i++) {
        double mean_square = 0.0;

        for (int j = 0; j < n; j++)
            mean_square += (double)x[i * n + j] * x[i * n + j] / n;
        for (int j = 0; j < n; j++)
            y[i * n + j] = (float)(x[i * n + j] / sqrt(mean_square + 1e-5) * gain[j]);
    }
}

void reference_embed(const int32_t *tokens, const float *table, const float *positions, float *y,
                     int m, int n, int past)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            y[i * n + j] =
                table[tokens[i] * n + j] + (positions ? positions[(past + i) * n + j] : 0.0f);
}

void reference_rope(float *qkv, int m, int heads, int kv_heads, int head_dim, int past)
{
    for (int i = 0; i < m; i++)
        for (int h = 0; h < heads + kv_heads; h++)
            for (int j = 0; j < head_dim / 2; j++) {
                float *head = qkv + ((int64_t)i * (heads + 2 * kv_heads) + h) * head_dim;
                double angle = (past + i) / pow(10000.0, 2.0 * j / head_dim);
                double a = head[j], b = head[j + head_dim / 2];

                head[j] = (float)(a * cos(angle) - b * sin(angle));
                head[j + head_dim / 2] = (float)(a * sin(angle) + b * cos(angle));
            }
}

void reference_kvappend(const float *qkv, float *k_cache, float *v_cache, int m, int heads,
                        int kv_heads, int head_dim, int past, int capacity)
{
    for (int i = 0; i < m; i++)
        for (int h = 0; h < kv_heads; h++)
            for (int j = 0; j < head_dim; j++) {
                const float *row = qkv + (int64_t)i * (heads + 2 * kv_heads) * head_dim;
                int to = (h * capacity + past + i) * head_dim + j;

                k_cache[to] = row[(heads + h) * head_dim + j];
                v_cache[to] = row[(heads + kv_heads + h) * head_dim + j];
            }
}

void reference_attention(const float *qkv, const float *k_cache, const float *v_cache, float *y,
                         double *scores, int m, int heads, int kv_heads, int head_dim, int past,
                         int capacity, bool is_causal)
{
    for (int i = 0; i < m; i++)
        for (int h = 0; h < heads; h++) {
            const float *q = qkv + ((int64_t)i * (heads + 2 * kv_heads) + h) * head_dim;
            const float *k = k_cache + (int64_t)(h * kv_heads / heads) * capacity * head_dim;
            const float *v = v_cache + (int64_t)(h * kv_heads / heads) * capacity * head_dim;
            int seen = is_causal ? past + i + 1 : past + m;
            double max = -INFINITY, total = 0.0;

            for (int t = 0; t < seen; t++) {
                scores[t] = 0.0;
                for (int j = 0; j < head_dim; j++)
                    scores[t] += (double)q[j] * k[t * head_dim + j];
                scores[t] /= sqrt(head_dim);
                max = fmax(max, scores[t]);
            }
            for (int t = 0; t < seen; t++)
                total += exp(scores[t] - max);
            for (int j = 0; j < head_dim; j++) {
                double sum = 0.0;

                for (int t = 0; t < seen; t++)
                    sum += exp(scores[t] - max) / total * v[t * head_dim + j];
                y[(i * heads + h) * head_dim + j] = (float)sum;
            }
        }
}

void reference_gelu(float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double v = x[i];

        x[i] = (float)(0.5 * v * (1.0 + tanh(sqrt(2.0 / M_PI) * (v + 0.044715 * v * v * v))));
    }
}

void reference_swiglu(const float *gate_up, float *y, int m, int n)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double gate = gate_up[i * 2 * n + j], up = gate_up[i * 2 * n + n + j];

            y[i * n + j] = (float)(gate / (1.0 + exp(-gate)) * up);
        }
}

int32_t reference_argmax(const float *x, int n)
{
    int32_t best = 0;

    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static float *rows(struct arena *arena, int m, int n)
{
    return arena_array(arena, (size_t)m * (size_t)n, sizeof(float));
}

/* The eight sections of a layer's small array, in the order of forward.c. */
static const float *small_part(const struct forward_shape *shape, const float *small, int part)
{
    return small + part * (forward_small_floats(shape) / 8);
}

static void any_norm(const struct forward_shape *shape, const float *gain, const float *shift,
                     const float *x, float *y, int m)
{
    if (shape->is_rms)
        reference_rmsnorm(x, gain, y, m, shape->hidden);
    else
        reference_layernorm(x, gain, shift, y, m, shape->hidden);
}

static void attention_half(struct arena *arena, const struct forward_shape *s,
                           const struct forward_layer *layer, const struct forward_kv *kv, float *x,
                           int m, int past)
{
    int width = s->heads * s->head_dim, qkv_width = width + 2 * s->kv_heads * s->head_dim;
    float *normed = rows(arena, m, s->hidden), *qkv = rows(arena, m, qkv_width);
    float *context = rows(arena, m, width), *added = rows(arena, m, s->hidden);
    double *scores = arena_array(arena, (size_t)(past + m), sizeof(double));
    const float *qkv_bias = s->is_rms ? NULL : small_part(s, layer->small, 2);
    const float *oproj_bias = s->is_rms ? NULL : small_part(s, layer->small, 3);

    if (s->is_pooler)
        memcpy(normed, x, (size_t)m * (size_t)s->hidden * sizeof(float));
    else
        any_norm(s, small_part(s, layer->small, 0), small_part(s, layer->small, 1), x, normed, m);
    reference_linear(normed, layer->qkv, qkv_bias, qkv, m, qkv_width, s->hidden);
    if (s->is_rope)
        reference_rope(qkv, m, s->heads, s->kv_heads, s->head_dim, past);
    reference_kvappend(qkv, kv->k, kv->v, m, s->heads, s->kv_heads, s->head_dim, past,
                       kv->capacity);
    reference_attention(qkv, kv->k, kv->v, context, scores, m, s->heads, s->kv_heads, s->head_dim,
                        past, kv->capacity, s->is_causal);
    reference_linear(context, layer->oproj, oproj_bias, added, m, s->hidden, width);
    for (int i = 0; i < m * s->hidden; i++)
        x[i] += added[i];
    if (s->is_pooler)
        any_norm(s, small_part(s, layer->small, 0), small_part(s, layer->small, 1), x, x, m);
}

static void ffn_half(struct arena *arena, const struct forward_shape *s,
                     const struct forward_layer *layer, float *x, int m)
{
    int up = s->is_swiglu ? 2 * s->ffn_hidden : s->ffn_hidden;
    float *normed = rows(arena, m, s->hidden), *wide = rows(arena, m, up);
    float *active = rows(arena, m, s->ffn_hidden), *added = rows(arena, m, s->hidden);
    const float *up_bias = s->is_rms ? NULL : small_part(s, layer->small, 6);
    const float *down_bias = s->is_rms ? NULL : small_part(s, layer->small, 7);

    if (s->is_pooler)
        memcpy(normed, x, (size_t)m * (size_t)s->hidden * sizeof(float));
    else
        any_norm(s, small_part(s, layer->small, 4), small_part(s, layer->small, 5), x, normed, m);
    reference_linear(normed, layer->ffn_up, up_bias, wide, m, up, s->hidden);
    if (s->is_swiglu) {
        reference_swiglu(wide, active, m, s->ffn_hidden);
    } else {
        reference_gelu(wide, (int64_t)m * up);
        active = wide;
    }
    reference_linear(active, layer->ffn_down, down_bias, added, m, s->hidden, s->ffn_hidden);
    for (int i = 0; i < m * s->hidden; i++)
        x[i] += added[i];
    if (s->is_pooler)
        any_norm(s, small_part(s, layer->small, 4), small_part(s, layer->small, 5), x, x, m);
}

void reference_layer(struct arena *arena, const struct forward_shape *shape,
                     const struct forward_layer *layer, const struct forward_kv *kv, float *x,
                     int m, int past)
{
    attention_half(arena, shape, layer, kv, x, m, past);
    ffn_half(arena, shape, layer, x, m);
}

int32_t reference_lm_head(struct arena *arena, const struct forward_shape *shape,
                          const struct forward_ends *ends, const float *x, int m)
{
    int outputs = shape->is_pooler ? shape->hidden : shape->vocab;
    float *normed = rows(arena, 1, shape->hidden), *logits = rows(arena, 1, outputs);
    const float *row = shape->is_pooler ? x : x + (int64_t)(m - 1) * shape->hidden;

    any_norm(shape, ends->small, ends->small + shape->hidden, row, normed, 1);
    reference_linear(normed, ends->lm_head, NULL, logits, 1, outputs, shape->hidden);
    return reference_argmax(logits, outputs);
}
