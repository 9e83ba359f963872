/* stream.c - loops over memory. Several sums at once: one would wait for its own last addition. */
#include "lib/kernels/stream.h"
#include "lib/kernels/vector.h"

#define SUMS 64

VECTOR_CLONES float stream_read(const float *x, int64_t count)
{
    float sums[SUMS] = { 0.0f }, sum = 0.0f;
    int64_t i = 0;

    for (; i + SUMS <= count; i += SUMS)
        for (int j = 0; j < SUMS; j++)
            sums[j] += x[i + j];
    for (; i < count; i++)
        sum += x[i];
    for (int j = 0; j < SUMS; j++)
        sum += sums[j];
    return sum;
}

VECTOR_CLONES void stream_copy(const float *restrict x, float scale, float *restrict y,
                               int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = scale * x[i];
}

VECTOR_CLONES void stream_triad(const float *restrict x, const float *restrict y, float scale,
                                float *restrict z, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        z[i] = x[i] + scale * y[i];
}
