/* forward.h - a slice of a transformer as a chain of kernels: what a worker executes, and, with a
 * stamp at every operator boundary, what the profiler times. One chain, so that the profiled work
 * and the executed work cannot differ.
 *
 * Weights are pointers into memory of the caller's: a worker lays them out once, the profiler moves
 * them along a pool larger than the last-level cache. */
#ifndef ORRERY_KERNELS_FORWARD_H
#define ORRERY_KERNELS_FORWARD_H

#include "lib/base/op.h"
#include "lib/kernels/kernels.h"
#include <stdbool.h>
#include <stdint.h>

struct forward_shape {
    int hidden, heads, kv_heads, head_dim, ffn_hidden, vocab;
    bool is_swiglu, is_rms, is_rope, is_causal;
    /* encoder: lm_head is hidden x hidden on the first token, and norms stand behind the additions
     * of a layer (BERT); all else has them before attention and FFN */
    bool is_pooler;
    bool is_patches;         /* vision: embed is a projection of 768 values a patch */
    int max_context;         /* rows of the position table, when positions are learned */
    enum kernel_dtype dtype; /* of all matrices; biases, gains, positions and caches are f32 */
};

/* The sections of a layer's `small`, each as long as its longest. */
enum forward_section {
    FORWARD_NORM1_GAIN,
    FORWARD_NORM1_SHIFT,
    FORWARD_QKV_BIAS,
    FORWARD_OPROJ_BIAS,
    FORWARD_NORM2_GAIN,
    FORWARD_NORM2_SHIFT,
    FORWARD_UP_BIAS,
    FORWARD_DOWN_BIAS,
    FORWARD_SECTION_COUNT
};
struct forward_layer { /* weights of one layer; biases and gains are small and share one array */
    const void *qkv, *oproj, *ffn_up, *ffn_down;
    const float *small; /* at least 8 * max(qkv rows, ffn_up rows, hidden) floats */
};
struct forward_ends {
    const void *embed, *lm_head;
    const float *positions; /* NULL with rope */
    const float *small;
};
struct forward_kv { /* cache of one sequence in one layer, [kv_head][capacity][head_dim] */
    float *k, *v;
    int capacity;
};

struct team;

/* Called after each operator; NULL for none. */
typedef void forward_stamp_fn(void *arg, enum op op);
struct forward_stamp {
    forward_stamp_fn *call;
    void *arg;
};

/* Several sequences at once: rows of one sequence are adjacent, those of the next follow. */
struct forward_step {
    int batch;         /* sequences */
    int tokens;        /* new ones, of each; with counts of all together */
    const int *past;   /* [batch]: tokens in the cache of each */
    const int *counts; /* [batch]: new ones of each, >= 1; NULL: as many of each */
    /* Of a padded batch: how many of the new ones are each sequence's own (NULL: all), and the keys
     * that attention looks at, those behind its own masked (0: its own). Caches are as long. */
    const int *own;
    int keys;
};
int forward_rows(const struct forward_step *step); /* of all sequences */

struct forward_limits { /* of the steps that a forward will be asked for */
    int rows;           /* new tokens of all sequences */
    int context;        /* keys of one sequence, the new ones included */
    int batch;
};

struct forward; /* scratch */

/* Sizes of weights and caches, so that callers can lay out memory. */
int64_t forward_qkv_bytes(const struct forward_shape *shape);
int64_t forward_oproj_bytes(const struct forward_shape *shape);
int64_t forward_ffn_up_bytes(const struct forward_shape *shape);
int64_t forward_ffn_down_bytes(const struct forward_shape *shape);
int64_t forward_embed_bytes(const struct forward_shape *shape);
int64_t forward_positions_floats(const struct forward_shape *shape);
int64_t forward_lm_head_bytes(const struct forward_shape *shape);
int64_t forward_small_floats(const struct forward_shape *shape);
int64_t forward_kv_floats(const struct forward_shape *shape, int capacity); /* k or v alone */

struct arena;
/* team: for products that the BLAS does not do; NULL: the calling thread. NULL when the system
 * refuses the memory. */
struct forward *forward_create(struct arena *arena, const struct forward_shape *shape,
                               const struct forward_limits *limits, struct team *team);

/* x[batch tokens][hidden] of new tokens. Vision takes patches instead of tokens. */
void forward_embed(struct forward *forward, const struct forward_ends *ends, const int32_t *tokens,
                   const float *patches, float *x, const struct forward_step *step,
                   struct forward_stamp stamp);
/* One layer in place: norm, qkv, rope, kvappend, attn, oproj, add, norm, ffn_up, act, ffn_down,
 * add. kv[batch]: of each sequence. Every operator is stamped once, whatever the batch. */
void forward_layer(struct forward *forward, const struct forward_layer *layer,
                   const struct forward_kv *kv, float *x, const struct forward_step *step,
                   struct forward_stamp stamp);
/* Final norm and vocabulary of the last row of each sequence (an encoder's pooler: the first); the
 * arg max of each into best[batch]. */
void forward_lm_head(struct forward *forward, const struct forward_ends *ends, const float *x,
                     const struct forward_step *step, int32_t *best, struct forward_stamp stamp);

/* ---- a part of a layer, as a device of several has it ----
 *
 * Some of the KV heads with their query heads, some of the heads of the projection, some columns of
 * the FFN. Matrices and the biases in `small` are those of the part, in the layout of a whole
 * layer; gains and shifts are whole. forward_layer is these in turn, with everything. */
struct forward_part {
    int heads, kv_heads; /* of attention */
    int width;           /* of the projection: its heads x head_dim */
    int columns;         /* of the FFN */
};
struct forward_part forward_whole(const struct forward_shape *shape);
/* number: 1 or 2. y may be x. */
void forward_norm(const struct forward *forward, const struct forward_layer *layer, int number,
                  const float *x, float *y, int m);
/* context[rows][heads head_dim], of the part. */
void forward_attention(struct forward *forward, const struct forward_part *part,
                       const struct forward_layer *layer, const struct forward_kv *kv,
                       const float *in, float *context, const struct forward_step *step,
                       struct forward_stamp stamp);
/* terms[m][hidden]: what the part adds to x. has_bias: one of all parts adds it. */
void forward_projection(struct forward *forward, const struct forward_part *part,
                        const struct forward_layer *layer, const float *context, float *terms,
                        int m, bool has_bias);
/* active[m][columns] */
void forward_ffn_up(struct forward *forward, const struct forward_part *part,
                    const struct forward_layer *layer, const float *in, float *active, int m,
                    struct forward_stamp stamp);
void forward_ffn_down(struct forward *forward, const struct forward_part *part,
                      const struct forward_layer *layer, const float *active, float *terms, int m,
                      bool has_bias);
/* Of so many rows of the output matrix: the first of the largest, and its value. x: one row. */
void forward_lm_head_part(struct forward *forward, const struct forward_ends *ends, const float *x,
                          int rows, int32_t *best, float *value);

/* One product or the attention of a step alone, on whatever the scratch holds; other operators do
 * nothing. */
void forward_op(struct forward *forward, const struct forward_layer *layer,
                const struct forward_kv *kv, const struct forward_ends *ends, float *x,
                const struct forward_step *step, enum op op);

/* Fills memory with small seeded values, no denormals, fast: weights, caches, inputs. */
void forward_fill(float *values, int64_t count, uint64_t seed);

#endif
