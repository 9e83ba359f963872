/* forward.h - a slice of a transformer as a chain of kernels: what a worker executes, and, with a
 * stamp at every operator boundary, what the profiler times. One chain, so that the profiled work
 * and the executed work cannot differ.
 *
 * Weights are pointers into memory of the caller's: a worker lays them out once, the profiler moves
 * them along a pool larger than the last-level cache. */
#ifndef ORRERY_KERNELS_FORWARD_H
#define ORRERY_KERNELS_FORWARD_H

#include "lib/base/op.h"
#include <stdbool.h>
#include <stdint.h>

struct forward_shape {
    int hidden, heads, kv_heads, head_dim, ffn_hidden, vocab;
    bool is_swiglu, is_rms, is_rope, is_causal;
    bool is_pooler;  /* encoder: lm_head is hidden x hidden on the first token */
    bool is_patches; /* vision: embed is a projection of 768 values a patch */
    int max_context; /* rows of the position table, when positions are learned */
};

struct forward_layer { /* weights of one layer; biases and gains are small and share one array */
    const float *qkv, *oproj, *ffn_up, *ffn_down;
    const float *small; /* at least 8 * max(qkv rows, ffn_up rows, hidden) floats */
};
struct forward_ends {
    const float *embed, *positions; /* positions NULL with rope */
    const float *lm_head;
    const float *small;
};
struct forward_kv { /* cache of one sequence in one layer, [kv_head][capacity][head_dim] */
    float *k, *v;
    int capacity;
};

/* Called after each operator; NULL for none. */
typedef void forward_stamp_fn(void *arg, enum op op);
struct forward_stamp {
    forward_stamp_fn *call;
    void *arg;
};

struct forward; /* scratch for steps of at most max_tokens on at most max_context keys */

/* Floats of weights, so that callers can lay out memory. */
int64_t forward_qkv_floats(const struct forward_shape *shape);
int64_t forward_oproj_floats(const struct forward_shape *shape);
int64_t forward_ffn_up_floats(const struct forward_shape *shape);
int64_t forward_ffn_down_floats(const struct forward_shape *shape);
int64_t forward_embed_floats(const struct forward_shape *shape);
int64_t forward_positions_floats(const struct forward_shape *shape);
int64_t forward_lm_head_floats(const struct forward_shape *shape);
int64_t forward_small_floats(const struct forward_shape *shape);
int64_t forward_kv_floats(const struct forward_shape *shape, int capacity); /* k or v alone */

struct arena;
/* NULL when the system refuses the memory. */
struct forward *forward_create(struct arena *arena, const struct forward_shape *shape,
                               int max_tokens, int max_context);

/* x[m][hidden] of new tokens on top of past. Vision takes patches instead of tokens. */
void forward_embed(struct forward *forward, const struct forward_ends *ends, const int32_t *tokens,
                   const float *patches, float *x, int m, int past, struct forward_stamp stamp);
/* One layer in place: norm, qkv, rope, kvappend, attn, oproj, add, norm, ffn_up, act, ffn_down,
 * add. */
void forward_layer(struct forward *forward, const struct forward_layer *layer,
                   const struct forward_kv *kv, float *x, int m, int past,
                   struct forward_stamp stamp);
/* Final norm and vocabulary of the last of m rows; returns the arg max. */
int32_t forward_lm_head(struct forward *forward, const struct forward_ends *ends, const float *x,
                        int m, struct forward_stamp stamp);

/* Fills memory with small seeded values, no denormals, fast: weights, caches, inputs. */
void forward_fill(float *values, int64_t count, uint64_t seed);

#endif
