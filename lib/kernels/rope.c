/* rope.c - rotary position embedding, half-split pairing (Su et al. 2021). */
#include "lib/kernels/kernels.h"
#include "lib/kernels/vector.h"
#include <math.h>

void kernel_rope_angles(float *angles, int positions, int head_dim)
{
    int half = head_dim / 2;

    for (int j = 0; j < half; j++) {
        double frequency = pow(10000.0, -2.0 * j / head_dim);

        for (int p = 0; p < positions; p++) {
            float *pair = angles + ((int64_t)p * half + j) * 2;

            pair[0] = (float)cos(p * frequency);
            pair[1] = (float)sin(p * frequency);
        }
    }
}

VECTOR_CLONES
void kernel_rope(float *qkv, const float *angles, int m, int heads, int kv_heads, int head_dim,
                 int past)
{
    int half = head_dim / 2;
    int64_t row = (int64_t)(heads + 2 * kv_heads) * head_dim;

    for (int i = 0; i < m; i++) {
        const float *turn = angles + (int64_t)(past + i) * half * 2;

        /* k heads lie behind the q heads, so one loop turns both */
        for (int h = 0; h < heads + kv_heads; h++) {
            float *low = qkv + i * row + (int64_t)h * head_dim;
            float *high = low + half;

            for (int64_t j = 0; j < half; j++) {
                float a = low[j], b = high[j];

                low[j] = a * turn[2 * j] - b * turn[2 * j + 1];
                high[j] = b * turn[2 * j] + a * turn[2 * j + 1];
            }
        }
    }
}
