/* linear.c - y = x W^T + b, where nearly all the time of a transformer goes.
 *
 * f32 is the BLAS's. Weights of 16 and 8 bits: for few rows of x every weight is read once and
 * multiplied as it is, which is what decode steps are limited by; for many, a panel of weights at a
 * time becomes f32 in the cache and the BLAS multiplies that. */
#include "lib/kernels/kernels.h"
#include "lib/kernels/team.h"
#include "lib/kernels/vector.h"
#include <assert.h>
#include <cblas.h>
#include <math.h>
#include <string.h>

#define FEW_ROWS 4 /* from here on decoding a panel costs less than it saves: q8_0 */
#define FEW_ROWS_BF16 2
/* A panel of 512 KiB is half of a usual L2. For few rows one of 128 KiB is faster: it lets OpenBLAS
 * take its path for small products, which does not pack. */
#define PANEL_FLOATS (INT64_C(1) << 17)
#define PANEL_FLOATS_SMALL (INT64_C(1) << 15)
#define SMALL_ROWS 32
#define PANEL_MIN_ROWS 8
#define MANY_BLOCKS 64
#define ALIGN_BYTES 64

void kernel_linear(const float *x, const float *w, const float *bias, float *y, int m, int n, int k)
{
    float beta = bias ? 1.0f : 0.0f;

    for (int i = 0; bias && i < m; i++)
        memcpy(y + (int64_t)i * n, bias, (size_t)n * sizeof(*y));
    /* sgemm at m = 1 is 2.5 times slower than sgemv on weights that are not in the cache. */
    if (m == 1)
        cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, 1.0f, w, k, x, 1, beta, y, 1);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1.0f, x, k, w, k, beta, y, n);
}

const char *kernel_linear_impl(enum kernel_dtype dtype, int m)
{
    switch (dtype) {
    case KERNEL_F32:
        return m == 1 ? "gemv" : "gemm";
    case KERNEL_BF16:
        return m <= FEW_ROWS_BF16 ? "c_bf16" : "dequant";
    case KERNEL_Q8_0:
        return m <= FEW_ROWS ? "c_q8" : "dequant";
    case KERNEL_DTYPE_COUNT:
        break;
    }
    return "";
}

static bool is_few(enum kernel_dtype dtype, int m)
{
    return m <= (dtype == KERNEL_BF16 ? FEW_ROWS_BF16 : FEW_ROWS);
}

struct product {
    enum kernel_dtype dtype;
    const float *x;
    const unsigned char *w;
    const float *bias;
    float *y;
    int m, n, k;
    int64_t row_bytes; /* of w */
    /* q8_0: x in 8 bits, [FEW_ROWS][blocks] of it */
    int16_t *quants; /* in 16 bits, as they are multiplied */
    float *scales;
    /* panels */
    float *panel;
    int panel_first;
};

/* ---- few rows ---- */

/* Four sums at a time: one would wait for itself. */
VECTOR_CLONES
static float dot_bf16(const float *x, const uint16_t *w, int k)
{
    float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
    int q = k / 4;

    for (int j = 0; j < q; j++) {
        a += x[j] * vector_bf16(w[j]);
        b += x[q + j] * vector_bf16(w[q + j]);
        c += x[2 * q + j] * vector_bf16(w[2 * q + j]);
        d += x[3 * q + j] * vector_bf16(w[3 * q + j]);
    }
    for (int j = 4 * q; j < k; j++)
        a += x[j] * vector_bf16(w[j]);
    return a + b + c + d;
}

/* Blocks of x as ggml's q8_0 has them, but with f32 scales. */
VECTOR_CLONES
static void quantize_row(const float *x, int k, int16_t *quants, float *scales)
{
    for (int b = 0; b < VECTOR_Q8_BLOCKS(k); b++) {
        int first = b * VECTOR_Q8_BLOCK;
        int used = k - first < VECTOR_Q8_BLOCK ? k - first : VECTOR_Q8_BLOCK;
        float max = 0.0f;

        for (int j = 0; j < used; j++)
            max = fabsf(x[first + j]) > max ? fabsf(x[first + j]) : max;
        float inverse = max > 0.0f ? 127.0f / max : 0.0f;
        scales[b] = max / 127.0f;
        for (int j = 0; j < VECTOR_Q8_BLOCK; j++) {
            float value = first + j < k ? x[first + j] * inverse : 0.0f;

            quants[first + j] = (int16_t)(value + (value < 0.0f ? -0.5f : 0.5f));
        }
    }
}

/* Scales of a run of blocks first: decoding 16 bits amid whole numbers keeps neither vectorised. */
VECTOR_CLONES
static float dot_q8(const int16_t *x, const float *x_scales, const int8_t *w,
                    const uint16_t *w_scales, int blocks)
{
    float scales[MANY_BLOCKS], sum = 0.0f;

    for (int start = 0; start < blocks; start += MANY_BLOCKS) {
        int count = blocks - start < MANY_BLOCKS ? blocks - start : MANY_BLOCKS;

        for (int b = 0; b < count; b++)
            scales[b] = x_scales[start + b] * vector_fp16(w_scales[start + b]);
        for (int b = 0; b < count; b++) {
            int at = (start + b) * VECTOR_Q8_BLOCK;
            int32_t part = 0;

            for (int j = 0; j < VECTOR_Q8_BLOCK; j++)
                part += x[at + j] * (int16_t)w[at + j];
            sum += scales[b] * (float)part;
        }
    }
    return sum;
}

static void multiply_few(void *arg, int first, int last)
{
    const struct product *p = arg;
    int blocks = VECTOR_Q8_BLOCKS(p->k);

    for (int row = first; row < last; row++) {
        const unsigned char *w = p->w + row * p->row_bytes;
        const unsigned char *w_scales = w + (int64_t)blocks * VECTOR_Q8_BLOCK;
        float sums[FEW_ROWS] = { 0.0f };

        for (int i = 0; i < p->m && p->dtype == KERNEL_BF16; i++)
            sums[i] = dot_bf16(p->x + (int64_t)i * p->k, (const void *)w, p->k);
        for (int i = 0; i < p->m && p->dtype == KERNEL_Q8_0; i++)
            sums[i] = dot_q8(p->quants + (int64_t)i * blocks * VECTOR_Q8_BLOCK,
                             p->scales + (int64_t)i * blocks, (const void *)w,
                             (const void *)w_scales, blocks);
        for (int i = 0; i < p->m; i++)
            p->y[(int64_t)i * p->n + row] = sums[i] + (p->bias ? p->bias[row] : 0.0f);
    }
}

static void multiply_few_rows(struct product *p, void *scratch, struct team *team)
{
    int blocks = VECTOR_Q8_BLOCKS(p->k);

    if (p->dtype == KERNEL_Q8_0) {
        p->scales = scratch;
        p->quants = (int16_t *)(void *)(p->scales + (int64_t)FEW_ROWS * blocks);
        for (int i = 0; i < p->m; i++)
            quantize_row(p->x + (int64_t)i * p->k, p->k,
                         p->quants + (int64_t)i * blocks * VECTOR_Q8_BLOCK,
                         p->scales + (int64_t)i * blocks);
    }
    team_run(team, multiply_few, p, p->n);
}

/* ---- many rows ---- */

static int panel_rows(int m, int n, int k)
{
    int64_t rows = (m < SMALL_ROWS ? PANEL_FLOATS_SMALL : PANEL_FLOATS) / k;

    if (rows < PANEL_MIN_ROWS)
        rows = PANEL_MIN_ROWS;
    return rows < n ? (int)rows : n;
}

static void decode_part(void *arg, int first, int last)
{
    const struct product *p = arg;

    kernel_decode(p->dtype, p->w, p->panel + (int64_t)first * p->k, (int64_t)p->panel_first + first,
                  last - first, p->k);
}

static void multiply_many_rows(struct product *p, void *scratch, struct team *team)
{
    int rows = panel_rows(p->m, p->n, p->k);

    p->panel = scratch;
    for (int i = 0; p->bias && i < p->m; i++)
        memcpy(p->y + (int64_t)i * p->n, p->bias, (size_t)p->n * sizeof(*p->y));
    for (p->panel_first = 0; p->panel_first < p->n; p->panel_first += rows) {
        int count = p->n - p->panel_first < rows ? p->n - p->panel_first : rows;

        team_run(team, decode_part, p, count);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p->m, count, p->k, 1.0f, p->x, p->k,
                    p->panel, p->k, p->bias ? 1.0f : 0.0f, p->y + p->panel_first, p->n);
    }
}

int64_t kernel_linear_scratch(enum kernel_dtype dtype, int m, int n, int k)
{
    int64_t blocks = VECTOR_Q8_BLOCKS(k);

    if (dtype == KERNEL_F32 || (is_few(dtype, m) && dtype == KERNEL_BF16))
        return ALIGN_BYTES;
    if (is_few(dtype, m))
        return FEW_ROWS * blocks * (INT64_C(2) * VECTOR_Q8_BLOCK + (int64_t)sizeof(float)) +
               ALIGN_BYTES;
    return 4 * (int64_t)panel_rows(m, n, k) * k + ALIGN_BYTES;
}

void kernel_linear_typed(enum kernel_dtype dtype, const float *x, const void *w, const float *bias,
                         float *y, int m, int n, int k, void *scratch, struct team *team)
{
    struct product product = { .dtype = dtype,
                               .x = x,
                               .w = w,
                               .bias = bias,
                               .y = y,
                               .m = m,
                               .n = n,
                               .k = k,
                               .row_bytes = kernel_weight_bytes(dtype, 1, k) };

    assert(m >= 1 && n >= 1 && k >= 1);
    if (dtype == KERNEL_F32)
        kernel_linear(x, w, bias, y, m, n, k);
    else if (is_few(dtype, m))
        multiply_few_rows(&product, scratch, team);
    else
        multiply_many_rows(&product, scratch, team);
}
