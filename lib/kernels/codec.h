/* codec.h - f32 values in few bits, as PipeEdge sends them (Hu et al., DSD 2022).
 *
 * shift = the least value, scale = the range, q = round_half_even((x - shift) / scale x (2^bits -
 * 1)), all in f32; floor(32 / bits) of them in each 32-bit word, the first in the lowest bits, the
 * rest of the last word 0. Restored: f32(q / (2^bits - 1)) x scale + shift. The same bits on every
 * machine: this file is compiled without -ffast-math. Tensors of one value have range 0 and are
 * restored exactly. */
#ifndef ORRERY_KERNELS_CODEC_H
#define ORRERY_KERNELS_CODEC_H

#include <stdint.h>

#define CODEC_MAX_BITS 31

struct codec_range {
    float shift, scale;
};

/* Words of so many values. bits: 1 to CODEC_MAX_BITS. */
int64_t codec_words(int64_t count, int bits);
/* Values must be finite and less than the largest float apart; what is not makes no sense, and no
 * harm. */
struct codec_range codec_encode(const float *values, int64_t count, int bits, uint32_t *words);
void codec_decode(const uint32_t *words, int64_t count, int bits, struct codec_range range,
                  float *values);

/* For values that are mostly small: those beyond +-alpha become alpha first. alpha = W(3 x 4^bits)
 * x sqrt(variance / 2), W being Lambert's function: the best for a Laplace distribution (Banner et
 * al., NeurIPS 2019). */
float codec_clamp(float *values, int64_t count, int bits);
double codec_clamp_factor(int bits); /* W(3 x 4^bits) */

#endif
