/* norm.c - LayerNorm (Ba et al. 2016) and RMSNorm (Zhang and Sennrich 2019), a row at a time. */
#include "lib/kernels/kernels.h"
#include "lib/kernels/vector.h"
#include <math.h>

static const float NORM_EPSILON = 1e-5f;

VECTOR_CLONES
void kernel_layernorm(const float *x, const float *gain, const float *shift, float *y, int m, int n)
{
    for (int i = 0; i < m; i++) {
        const float *in = x + (int64_t)i * n;
        float *out = y + (int64_t)i * n;
        float sum = 0.0f, squares = 0.0f;

        for (int j = 0; j < n; j++)
            sum += in[j];
        float mean = sum / (float)n;
        for (int j = 0; j < n; j++)
            squares += (in[j] - mean) * (in[j] - mean);
        float scale = 1.0f / sqrtf(squares / (float)n + NORM_EPSILON);
        for (int j = 0; j < n; j++)
            out[j] = (in[j] - mean) * scale * gain[j] + shift[j];
    }
}

VECTOR_CLONES
void kernel_rmsnorm(const float *x, const float *gain, float *y, int m, int n)
{
    for (int i = 0; i < m; i++) {
        const float *in = x + (int64_t)i * n;
        float *out = y + (int64_t)i * n;
        float squares = 0.0f;

        for (int j = 0; j < n; j++)
            squares += in[j] * in[j];
        float scale = 1.0f / sqrtf(squares / (float)n + NORM_EPSILON);
        for (int j = 0; j < n; j++)
            out[j] = in[j] * scale * gain[j];
    }
}
