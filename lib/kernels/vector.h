/* vector.h - what lets the compiler vectorise the elementwise kernels on any target.
 *
 * libm's expf is a call that stops vectorisation; this one is plain arithmetic that inlines. */
#ifndef ORRERY_KERNELS_VECTOR_H
#define ORRERY_KERNELS_VECTOR_H

#include <stdint.h>
#include <string.h>

/* gcc on x86-64 compiles these functions three times and picks at load time, so that a binary built
 * for any x86-64 still uses the wide registers. NEON needs no such help. Sanitizers break the
 * resolvers. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) &&   \
    defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define VECTOR_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define VECTOR_CLONES
#endif

/* e^x, relative error below 1e-5; x is clamped to [-60, 60]: e^-60 is nothing beside 1, and what
 * callers make of it never becomes a denormal, which would cost 100 cycles each. 2^n e^r with |r|
 * <= ln(2)/2: n goes into the exponent bits, e^r is its Taylor series. Rounding to n adds half to a
 * positive number: a second branch on x would stop vectorisation. */
static inline float vector_exp(float x)
{
    union {
        int32_t bits;
        float value;
    } power;

    x = x > -60.0f ? x : -60.0f;
    x = x < 60.0f ? x : 60.0f;
    int32_t biased = (int32_t)(x * 1.44269504f + 127.5f);
    float r = x - (float)(biased - 127) * 0.693147181f;
    float series = 1.0f / 720.0f;

    series = series * r + 1.0f / 120.0f;
    series = series * r + 1.0f / 24.0f;
    series = series * r + 1.0f / 6.0f;
    series = series * r + 0.5f;
    series = series * r + 1.0f;
    series = series * r + 1.0f;
    power.bits = biased * (1 << 23);
    return series * power.value;
}

/* Weights of 16 and 8 bits to f32, by bits: a compiler vectorises these for any target. */
static inline float vector_bf16(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* Of a finite binary16, of either sign: made-up scales are. Moved to its place and scaled back, or,
 * where it is denormal, counted in its smallest steps; so no denormal float ever is an operand. */
static inline float vector_fp16(uint16_t half)
{
    int32_t size = half & 0x7fff, bits = (size << 13) + (112 << 23);
    float value, tiny = (float)size * 0x1p-24f;

    memcpy(&value, &bits, sizeof(value));
    value = size < 0x400 ? tiny : value;
    return half & 0x8000 ? -value : value;
}

/* A row of q8_0: the quants of all blocks, the last block filled up with zeros, then the scales. */
#define VECTOR_Q8_BLOCK 32
#define VECTOR_Q8_BLOCKS(k) (((k) + VECTOR_Q8_BLOCK - 1) / VECTOR_Q8_BLOCK)

#endif
