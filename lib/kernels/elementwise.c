/* elementwise.c - activations, residual addition, embedding rows, arg max. */
#include "lib/kernels/kernels.h"
#include "lib/kernels/vector.h"
#include <string.h>

VECTOR_CLONES
void kernel_add(const float *x, float *y, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        y[i] += x[i];
}

/* x/2 (1 + tanh(u)) with u = sqrt(2/pi) (x + 0.044715 x^3) is x / (1 + e^(-2u)). */
VECTOR_CLONES
void kernel_gelu(float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        float v = x[i];
        float minus_2u = -1.59576912f * (v + 0.044715f * v * v * v);

        x[i] = v / (1.0f + vector_exp(minus_2u));
    }
}

VECTOR_CLONES
void kernel_swiglu(const float *gate_up, float *y, int m, int n)
{
    for (int i = 0; i < m; i++) {
        const float *gate = gate_up + (int64_t)i * 2 * n;
        const float *up = gate + n;
        float *out = y + (int64_t)i * n;

        for (int j = 0; j < n; j++)
            out[j] = gate[j] / (1.0f + vector_exp(-gate[j])) * up[j];
    }
}

void kernel_embed(const int32_t *tokens, const float *table, const float *positions, float *y,
                  int m, int n, int past)
{
    for (int i = 0; i < m; i++)
        memcpy(y + (int64_t)i * n, table + (int64_t)tokens[i] * n, (size_t)n * sizeof(*y));
    if (positions)
        kernel_add(positions + (int64_t)past * n, y, (int64_t)m * n);
}

void kernel_embed_typed(enum kernel_dtype dtype, const int32_t *tokens, const void *table, float *y,
                        int m, int n)
{
    for (int i = 0; i < m; i++)
        kernel_decode(dtype, table, y + (int64_t)i * n, tokens[i], 1, n);
}

VECTOR_CLONES
static float largest(const float *x, int n)
{
    float max = x[0];

    for (int i = 1; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

int32_t kernel_argmax(const float *x, int n)
{
    float max = largest(x, n);

    for (int i = 0; i < n; i++)
        if (x[i] >= max)
            return i;
    return 0; /* only when every value is NaN */
}
