/* reference.h - each kernel again, naively: plain loops over the definition, sums in double.
 *
 * Only tests call these. They are slow on purpose; nothing may be optimised here. */
#ifndef ORRERY_KERNELS_REFERENCE_H
#define ORRERY_KERNELS_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct forward_ends;
struct forward_kv;
struct forward_layer;
struct forward_shape;

/* Arguments as in kernels.h. */
void reference_linear(const float *x, const float *w, const float *bias, float *y, int m, int n,
                      int k);
void reference_layernorm(const float *x, const float *gain, const float *shift, float *y, int m,
                         int n);
void reference_rmsnorm(const float *x, const float *gain, float *y, int m, int n);
void reference_embed(const int32_t *tokens, const float *table, const float *positions, float *y,
                     int m, int n, int past);
void reference_rope(float *qkv, int m, int heads, int kv_heads, int head_dim, int past);
void reference_kvappend(const float *qkv, float *k_cache, float *v_cache, int m, int heads,
                        int kv_heads, int head_dim, int past, int capacity);
/* scores: scratch of past + m doubles. */
void reference_attention(const float *qkv, const float *k_cache, const float *v_cache, float *y,
                         double *scores, int m, int heads, int kv_heads, int head_dim, int past,
                         int capacity, bool is_causal);
void reference_gelu(float *x, int64_t count);
void reference_swiglu(const float *gate_up, float *y, int m, int n);
int32_t reference_argmax(const float *x, int n);

/* As forward_layer and forward_lm_head, from the functions above; scratch from the arena. */
void reference_layer(struct arena *arena, const struct forward_shape *shape,
                     const struct forward_layer *layer, const struct forward_kv *kv, float *x,
                     int m, int past);
int32_t reference_lm_head(struct arena *arena, const struct forward_shape *shape,
                          const struct forward_ends *ends, const float *x, int m);

#endif
