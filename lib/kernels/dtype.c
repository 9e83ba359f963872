/* dtype.c - weights of 16 and 8 bits: sizes, conversion, decoding, and made-up values. */
#include "lib/kernels/forward.h"
#include "lib/kernels/kernels.h"
#include "lib/kernels/vector.h"
#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#define FP16_MAX 65504.0f

const char *const kernel_dtype_names[KERNEL_DTYPE_COUNT] = {
    [KERNEL_F32] = "f32",
    [KERNEL_BF16] = "bf16",
    [KERNEL_Q8_0] = "q8_0",
};

enum kernel_dtype kernel_dtype_of_bits(int weight_bits)
{
    return weight_bits == 16 ? KERNEL_BF16 : weight_bits == 8 ? KERNEL_Q8_0 : KERNEL_F32;
}

int64_t kernel_weight_bytes(enum kernel_dtype dtype, int n, int k)
{
    switch (dtype) {
    case KERNEL_F32:
        return INT64_C(4) * n * k;
    case KERNEL_BF16:
        return INT64_C(2) * n * k;
    case KERNEL_Q8_0:
        return (int64_t)n * VECTOR_Q8_BLOCKS(k) * (VECTOR_Q8_BLOCK + 2);
    case KERNEL_DTYPE_COUNT:
        break;
    }
    assert(dtype != KERNEL_DTYPE_COUNT);
    return 0;
}

/* ---- from f32 ---- */

/* Round to nearest, ties to even: half of the last bit kept, less one where that bit is 0. */
static uint16_t bf16_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* IEEE 754 binary16 of 0 <= value <= FP16_MAX, ties to even. Below 2^-14 the last bit is worth
 * 2^-24, as in a float between 0.5 and 1: adding 0.5 rounds there. */
static uint16_t fp16_of(float value)
{
    uint32_t bits, half;
    float shifted = value + 0.5f;

    if (value < 6.103515625e-05f) {
        memcpy(&bits, &shifted, sizeof(bits));
        return (uint16_t)(bits - 0x3f000000);
    }
    memcpy(&bits, &value, sizeof(bits));
    half = (bits + 0xfff + (bits >> 13 & 1)) >> 13;
    return (uint16_t)(half - (112 << 10));
}

/* A row as in ggml's q8_0, but all quants before all scales. Quants are taken from the scale as it
 * is stored, so that its rounding adds no error. */
static void q8_row(const float *w, unsigned char *out, int k)
{
    int blocks = VECTOR_Q8_BLOCKS(k);
    unsigned char *scales = out + (ptrdiff_t)blocks * VECTOR_Q8_BLOCK;

    for (int b = 0; b < blocks; b++) {
        int first = b * VECTOR_Q8_BLOCK, used = k - first;
        float max = 0.0f;

        used = used < VECTOR_Q8_BLOCK ? used : VECTOR_Q8_BLOCK;
        for (int j = 0; j < used; j++)
            max = fabsf(w[first + j]) > max ? fabsf(w[first + j]) : max;
        float scale = max / 127.0f < FP16_MAX ? max / 127.0f : FP16_MAX;
        uint16_t half = fp16_of(scale);
        scale = vector_fp16(half);
        for (int j = 0; j < VECTOR_Q8_BLOCK; j++) {
            float quant = first + j < k && scale > 0.0f ? w[first + j] / scale : 0.0f;

            quant = quant > 127.0f ? 127.0f : quant < -127.0f ? -127.0f : quant;
            out[first + j] = (unsigned char)(int8_t)lrintf(quant);
        }
        memcpy(scales + sizeof(half) * (size_t)b, &half, sizeof(half));
    }
}

void kernel_convert(enum kernel_dtype dtype, const float *w, void *out, int n, int k)
{
    int64_t row_bytes = kernel_weight_bytes(dtype, 1, k);

    for (int i = 0; i < n; i++) {
        const float *row = w + (int64_t)i * k;
        unsigned char *to = (unsigned char *)out + i * row_bytes;

        switch (dtype) {
        case KERNEL_F32:
            memcpy(to, row, (size_t)row_bytes);
            break;
        case KERNEL_BF16:
            for (int j = 0; j < k; j++) {
                uint16_t half = bf16_of(row[j]);

                memcpy(to + 2 * (ptrdiff_t)j, &half, sizeof(half));
            }
            break;
        case KERNEL_Q8_0:
            q8_row(row, to, k);
            break;
        case KERNEL_DTYPE_COUNT:
            break;
        }
    }
}

/* ---- to f32 ---- */

VECTOR_CLONES
static void decode_bf16(const uint16_t *w, float *y, int k)
{
    for (int j = 0; j < k; j++)
        y[j] = vector_bf16(w[j]);
}

VECTOR_CLONES
static void decode_q8(const int8_t *quants, const uint16_t *scales, float *y, int k)
{
    int whole = k / VECTOR_Q8_BLOCK;

    for (int b = 0; b < whole; b++) {
        float scale = vector_fp16(scales[b]);

        for (int j = 0; j < VECTOR_Q8_BLOCK; j++)
            y[b * VECTOR_Q8_BLOCK + j] = scale * quants[b * VECTOR_Q8_BLOCK + j];
    }
    for (int j = whole * VECTOR_Q8_BLOCK; j < k; j++)
        y[j] = vector_fp16(scales[whole]) * quants[j];
}

void kernel_decode(enum kernel_dtype dtype, const void *w, float *y, int64_t first, int n, int k)
{
    int64_t row_bytes = kernel_weight_bytes(dtype, 1, k);

    for (int i = 0; i < n; i++) {
        const unsigned char *row = (const unsigned char *)w + (first + i) * row_bytes;
        float *to = y + (int64_t)i * k;

        switch (dtype) {
        case KERNEL_F32:
            memcpy(to, row, (size_t)row_bytes);
            break;
        case KERNEL_BF16:
            decode_bf16((const void *)row, to, k);
            break;
        case KERNEL_Q8_0:
            decode_q8((const void *)row,
                      (const void *)(row + (ptrdiff_t)VECTOR_Q8_BLOCKS(k) * VECTOR_Q8_BLOCK), to,
                      k);
            break;
        case KERNEL_DTYPE_COUNT:
            break;
        }
    }
}

/* ---- parts ---- */

bool kernel_can_cut(enum kernel_dtype dtype, int first, int count)
{
    return dtype != KERNEL_Q8_0 || (first % VECTOR_Q8_BLOCK == 0 && count % VECTOR_Q8_BLOCK == 0);
}

/* Of a row of k columns count from `first` on: values or quants, and the scales of their blocks,
 * which stand behind all quants of a row. */
struct columns {
    size_t at, bytes;              /* of a row */
    size_t scales_at, scale_bytes; /* q8_0 alone */
};

static struct columns columns_of(enum kernel_dtype dtype, int k, int first, int count)
{
    size_t value_bytes = dtype == KERNEL_F32 ? 4 : dtype == KERNEL_BF16 ? 2 : 1;
    struct columns columns = { value_bytes * (size_t)first, value_bytes * (size_t)count, 0, 0 };

    if (dtype == KERNEL_Q8_0) {
        columns.scales_at = (size_t)VECTOR_Q8_BLOCKS(k) * VECTOR_Q8_BLOCK +
                            sizeof(uint16_t) * (size_t)(first / VECTOR_Q8_BLOCK);
        columns.scale_bytes = sizeof(uint16_t) * (size_t)(count / VECTOR_Q8_BLOCK);
    }
    return columns;
}

static void columns_copy(enum kernel_dtype dtype, const void *w, int k, int first, void *out,
                         int out_k, int out_first, int n, int count)
{
    struct columns from = columns_of(dtype, k, first, count);
    struct columns to = columns_of(dtype, out_k, out_first, count);
    int64_t row_bytes = kernel_weight_bytes(dtype, 1, k);
    int64_t out_bytes = kernel_weight_bytes(dtype, 1, out_k);

    assert(kernel_can_cut(dtype, first, count) && kernel_can_cut(dtype, out_first, count));
    for (int i = 0; i < n; i++) {
        const unsigned char *row = (const unsigned char *)w + i * row_bytes;
        unsigned char *out_row = (unsigned char *)out + i * out_bytes;

        memcpy(out_row + to.at, row + from.at, from.bytes);
        memcpy(out_row + to.scales_at, row + from.scales_at, from.scale_bytes);
    }
}

void kernel_cut_columns(enum kernel_dtype dtype, const void *w, int n, int k, int first, int count,
                        void *out)
{
    columns_copy(dtype, w, k, first, out, count, 0, n, count);
}

void kernel_join_columns(enum kernel_dtype dtype, const void *w, int n, int count, int first, int k,
                         void *out)
{
    columns_copy(dtype, w, count, 0, out, k, first, n, count);
}

/* ---- made-up values ---- */

/* A hash of the index: no carried state, so that it vectorises. Every half lies in
 * +-0x3c00..0x3dff: as bf16, and at the top of a float, 0.008 to 0.12; as a scale of q8_0 1 to 1.5;
 * of either sign. */
VECTOR_CLONES
static void fill_halves(uint32_t *words, uint32_t count, uint32_t salt)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t h = (i + salt * 65537u) * 2654435761u;

        h ^= h >> 15;
        h *= 2246822519u;
        h ^= h >> 13;
        words[i] = (h & 0x81ff81ffu) | 0x3c003c00u;
    }
}

void kernel_fill(enum kernel_dtype dtype, void *w, int64_t bytes, uint64_t seed)
{
    const int64_t block = 1 << 16;
    int64_t count = bytes / 4;
    uint32_t *words = w, rest;

    if (dtype == KERNEL_F32) {
        assert(bytes % 4 == 0);
        forward_fill(w, count, seed);
        return;
    }
    for (int64_t start = 0; start < count; start += block) {
        int64_t size = count - start < block ? count - start : block;
        uint64_t salt = seed * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)start;

        fill_halves(words + start, (uint32_t)size, (uint32_t)(salt >> 16));
    }
    fill_halves(&rest, 1, (uint32_t)seed);
    memcpy(words + count, &rest, (size_t)(bytes % 4));
}
