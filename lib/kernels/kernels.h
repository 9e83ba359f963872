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
const char *kernel_linear_impl(int m); /* "gemv" for m = 1, else "gemm": the `impl` column */

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

#endif
