/* attention.c - the KV cache and softmax(q k^T / sqrt(d)) v, one head at a time through CBLAS. */
#include "lib/kernels/kernels.h"
#include "lib/kernels/vector.h"
#include <cblas.h>
#include <math.h>
#include <string.h>

void kernel_kvappend(const float *qkv, float *k_cache, float *v_cache, int m, int heads,
                     int kv_heads, int head_dim, int past, int capacity)
{
    int64_t row = (int64_t)(heads + 2 * kv_heads) * head_dim;

    for (int h = 0; h < kv_heads; h++) {
        const float *k = qkv + (int64_t)(heads + h) * head_dim;
        const float *v = k + (int64_t)kv_heads * head_dim;
        int64_t at = ((int64_t)h * capacity + past) * head_dim;

        for (int i = 0; i < m; i++) {
            memcpy(k_cache + at, k + i * row, (size_t)head_dim * sizeof(*k));
            memcpy(v_cache + at, v + i * row, (size_t)head_dim * sizeof(*v));
            at += head_dim;
        }
    }
}

/* Heads are done in turn, so that the scores of one fit the cache; they share the scratch. */
int64_t kernel_attention_scratch(int m, int heads, int kv_heads, int past)
{
    (void)heads;
    (void)kv_heads;
    return (int64_t)m * (past + m);
}

/* Softmax of the first used of n scores; the others become 0, as if masked by minus infinity. */
VECTOR_CLONES
static void softmax(float *scores, int used, int n)
{
    float max = scores[0], sum = 0.0f;

    for (int j = 1; j < used; j++)
        max = scores[j] > max ? scores[j] : max;
    for (int j = 0; j < used; j++) {
        scores[j] = vector_exp(scores[j] - max);
        sum += scores[j];
    }
    float scale = 1.0f / sum;
    for (int j = 0; j < used; j++)
        scores[j] *= scale;
    for (int j = used; j < n; j++)
        scores[j] = 0.0f;
}

void kernel_attention_masked(const float *qkv, const float *k_cache, const float *v_cache, float *y,
                             float *scores, int m, int heads, int kv_heads, int head_dim, int past,
                             int capacity, bool is_causal, int keys, int visible)
{
    int n = keys, row = (heads + 2 * kv_heads) * head_dim, width = heads * head_dim;
    int group = heads / kv_heads;
    float scale = 1.0f / sqrtf((float)head_dim);

    for (int h = 0; h < heads; h++) {
        const float *q = qkv + (int64_t)h * head_dim;
        const float *k = k_cache + (int64_t)(h / group) * capacity * head_dim;
        const float *v = v_cache + (int64_t)(h / group) * capacity * head_dim;
        float *out = y + (int64_t)h * head_dim;

        if (m == 1) {
            cblas_sgemv(CblasRowMajor, CblasNoTrans, n, head_dim, scale, k, head_dim, q, 1, 0.0f,
                        scores, 1);
            softmax(scores, visible, n);
            cblas_sgemv(CblasRowMajor, CblasTrans, n, head_dim, 1.0f, v, head_dim, scores, 1, 0.0f,
                        out, 1);
            continue;
        }
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, head_dim, scale, q, row, k,
                    head_dim, 0.0f, scores, n);
        for (int i = 0; i < m; i++)
            softmax(scores + (int64_t)i * n, is_causal ? past + i + 1 : visible, n);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, head_dim, n, 1.0f, scores, n, v,
                    head_dim, 0.0f, out, width);
    }
}

void kernel_attention(const float *qkv, const float *k_cache, const float *v_cache, float *y,
                      float *scores, int m, int heads, int kv_heads, int head_dim, int past,
                      int capacity, bool is_causal)
{
    kernel_attention_masked(qkv, k_cache, v_cache, y, scores, m, heads, kv_heads, head_dim, past,
                            capacity, is_causal, past + m, past + m);
}
