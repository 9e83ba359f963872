/* kernels.h - the transformer operators that orrery-profile times and orrery-run executes.
 *
 * f32, row-major, over CBLAS; each has a naive reference in reference.h. Matrices of weights are
 * stored [n][k] (one row an output), so y = x W^T. The caller owns every buffer; nothing is
 * allocated here. Elementwise operators are plain C. In this folder alone the compiler may use
 * -ffast-math style vectorisation; results are checked to a tolerance, not to the bit. */
#ifndef ORRERY_KERNELS_KERNELS_H
#define ORRERY_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

/* y[m][n] = x[m][k] w[n][k]^T (+ bias[n] when not NULL). m = 1 goes through sgemv, else sgemm. */
void kernel_linear(const float *x, const float *w, const float *bias, float *y, int m, int n,
                   int k);

/* ---- weights of 32, 16 and 8 bits ----
 *
 * bf16: the upper half of an f32. q8_0: blocks of 32 weights along k with one fp16 scale each, as
 * ggml has it (d = max |w| / 127), but all quants of a row before all its scales, and the last
 * block filled up with zeros. Rows follow each other without gaps. */
enum kernel_dtype { KERNEL_F32, KERNEL_BF16, KERNEL_Q8_0, KERNEL_DTYPE_COUNT };
extern const char *const kernel_dtype_names[KERNEL_DTYPE_COUNT];    /* "f32", "bf16", "q8_0" */
enum kernel_dtype kernel_dtype_of_bits(int weight_bits);            /* 16, 8; else f32 */
int64_t kernel_weight_bytes(enum kernel_dtype dtype, int n, int k); /* of w[n][k] */
/* From f32, to the nearest value, ties to even. */
void kernel_convert(enum kernel_dtype dtype, const float *w, void *out, int n, int k);
/* Rows first .. first + n - 1 to f32 y[n][k]. */
void kernel_decode(enum kernel_dtype dtype, const void *w, float *y, int64_t first, int n, int k);
/* Columns first .. first + count - 1 of w[n][k] as out[n][count], to the bit. Of q8_0 whole blocks:
 * kernel_can_cut. */
void kernel_cut_columns(enum kernel_dtype dtype, const void *w, int n, int k, int first, int count,
                        void *out);
/* The other way round: w[n][count] as columns first .. of out[n][k]. */
void kernel_join_columns(enum kernel_dtype dtype, const void *w, int n, int count, int first, int k,
                         void *out);
bool kernel_can_cut(enum kernel_dtype dtype, int first, int count);
/* Fills memory with small seeded values, fast; whatever matrix of the type, and whatever f32 array,
 * is laid over it later is finite and has no denormals. */
void kernel_fill(enum kernel_dtype dtype, void *w, int64_t bytes, uint64_t seed);

struct team;
/* kernel_linear for weights of a type. scratch: kernel_linear_scratch bytes, aligned as malloc
 * does. team: for what the BLAS does not do; NULL: the calling thread. The same bits for any team.
 * Up to 4 rows (bf16: 2) every weight is read once (`c_bf16`; `c_q8`, where x too is rounded to 8
 * bits a block, as in llama.cpp); for more, panels of weights become f32 in the cache and go
 * through sgemm
 * (`dequant`). */
void kernel_linear_typed(enum kernel_dtype dtype, const float *x, const void *w, const float *bias,
                         float *y, int m, int n, int k, void *scratch, struct team *team);
int64_t kernel_linear_scratch(enum kernel_dtype dtype, int m, int n, int k);
const char *kernel_linear_impl(enum kernel_dtype dtype, int m); /* the `impl` column */
/* y[m][n] = table[token] decoded. */
void kernel_embed_typed(enum kernel_dtype dtype, const int32_t *tokens, const void *table, float *y,
                        int m, int n);

/* y[m][n] = norm(x[m][n]) * gain (+ shift). eps 1e-5. y may be x. */
void kernel_layernorm(const float *x, const float *gain, const float *shift, float *y, int m,
                      int n);
void kernel_rmsnorm(const float *x, const float *gain, float *y, int m, int n);
/* y[m][n] = table[token] (+ positions[past + i] when not NULL). */
void kernel_embed(const int32_t *tokens, const float *table, const float *positions, float *y,
                  int m, int n, int past);
/* Rotates q and k in qkv[m][(heads + 2 kv_heads) head_dim] by position past + row; half-split
 * pairing as in Llama (Su et al. 2021, RoFormer, eq. 34; base 10000). angles holds max positions x
 * head_dim/2 pairs of cos and sin from kernel_rope_angles. */
void kernel_rope_angles(float *angles, int positions, int head_dim);
void kernel_rope(float *qkv, const float *angles, int m, int heads, int kv_heads, int head_dim,
                 int past);
/* Copies k and v of m new tokens behind past ones; cache layout [kv_head][capacity][head_dim]. */
void kernel_kvappend(const float *qkv, float *k_cache, float *v_cache, int m, int heads,
                     int kv_heads, int head_dim, int past, int capacity);
/* y[m][heads head_dim] = softmax(q k^T / sqrt(head_dim)) v over past + m keys, causal when asked.
 * scores: scratch of kernel_attention_scratch floats. m = 1 goes through sgemv. */
int64_t kernel_attention_scratch(int m, int heads, int kv_heads, int past);
/* The same over so many keys (>= past + m), of which those from `visible` on are masked: they are
 * padding. */
void kernel_attention_masked(const float *qkv, const float *k_cache, const float *v_cache, float *y,
                             float *scores, int m, int heads, int kv_heads, int head_dim, int past,
                             int capacity, bool is_causal, int keys, int visible);
void kernel_attention(const float *qkv, const float *k_cache, const float *v_cache, float *y,
                      float *scores, int m, int heads, int kv_heads, int head_dim, int past,
                      int capacity, bool is_causal);
void kernel_add(const float *x, float *y, int64_t count); /* y += x */
void kernel_gelu(float *x, int64_t count);                /* tanh form, Hendrycks and Gimpel 2016 */
/* y[m][n] = silu(gate) * up with gate_up[m][2n] = gate row, then up row (Shazeer 2020). */
void kernel_swiglu(const float *gate_up, float *y, int m, int n);
int32_t kernel_argmax(const float *x, int n); /* first of the largest */

/* Facts of the BLAS behind cblas.h; "" or 0 when it does not say. */
const char *kernel_blas_config(void);
const char *kernel_blas_core(void);
int kernel_blas_threads(void);
void kernel_set_threads(int threads);
struct err;
/* The same, and an error when the BLAS then works with another number, or does not say. */
bool kernel_use_threads(int threads, struct err *err);

#endif
