/* model.h - transformer shapes: the catalogue (workloads/models.csv), Hugging Face config.json, and
 * the operators, weights and cache bytes that a block of a model stands for.
 *
 * Format: workloads/README.md. The catalogue is compiled in, so that a binary copied to a board
 * needs no file beside it. Models live in the arena and never change. */
#ifndef ORRERY_FORMAT_MODEL_H
#define ORRERY_FORMAT_MODEL_H

#include "lib/base/op.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct out;

enum model_kind { MODEL_DECODER, MODEL_ENCODER, MODEL_VISION, MODEL_KIND_COUNT };
enum model_ffn { MODEL_GELU, MODEL_SWIGLU, MODEL_FFN_COUNT };
enum model_norm { MODEL_LAYERNORM, MODEL_RMSNORM, MODEL_NORM_COUNT };      /* layer, rms */
enum model_positions { MODEL_LEARNED, MODEL_ROPE, MODEL_POSITIONS_COUNT }; /* learned, rope */

struct model {
    const char *name;
    enum model_kind kind;
    enum model_ffn ffn;
    enum model_norm norm;
    enum model_positions positions;
    int32_t layers, hidden, heads, kv_heads, head_dim, ffn_hidden;
    int32_t vocab; /* decoder, encoder: vocabulary; vision: classes */
    bool tied_lm_head;
    int32_t weight_bits, kv_bits;
    int32_t max_context; /* tokens; 0 = not stated */
};

/* The blocks that a placement names. `layer`, `ffn` and `all` are sets of these. */
enum model_block {
    BLOCK_EMBED,
    BLOCK_ATTN,     /* qkv, rope, kvappend, attn; the KV cache lives here */
    BLOCK_PROJ,     /* oproj */
    BLOCK_FFN_UP,   /* ffn_up, act */
    BLOCK_FFN_DOWN, /* ffn_down */
    BLOCK_CONN,     /* norms and residual additions */
    BLOCK_LM_HEAD,  /* final norm and lmhead; pooler or classifier of an encoder */
    BLOCK_COUNT
};
extern const char *const model_block_names[BLOCK_COUNT];

struct model_catalogue;

/* path NULL: the built-in catalogue. A path adds its rows to the built-in ones; a name that is
 * there already is replaced. */
struct model_catalogue *model_catalogue_load(struct arena *arena, const char *path,
                                             struct err *err);
/* Of one model, which has to outlive it. */
struct model_catalogue *model_catalogue_of(struct arena *arena, const struct model *model);
int model_count(const struct model_catalogue *catalogue);
const struct model *model_at(const struct model_catalogue *catalogue, int index);
/* A name of the catalogue, or the path of a Hugging Face config.json (any name that ends in .json
 * or holds a '/'). The error says "did you mean". The same name gives the same pointer. */
const struct model *model_find(struct model_catalogue *catalogue, const char *name,
                               struct err *err);

/* One kind of operator call in a block, as it is looked up in a cost table. */
struct model_op {
    enum op op;
    enum op_phase phase;               /* OP_ANY but for attention */
    int32_t batch;                     /* sequences, >= 1 (0 is taken as 1) */
    int32_t m_tokens;                  /* rows: tokens computed by the call, of all sequences */
    int32_t gemm_n, gemm_k;            /* 0 for operators that are no matrix product */
    int32_t heads, kv_heads, head_dim; /* attn, rope, kvappend, qkv; else 0 */
    int32_t kv_len; /* keys of each sequence, new ones included; 0 but for attn */
    int32_t count;  /* calls of this kind in the block */
};
#define MODEL_MAX_OPS 8 /* of one block of one layer */

/* The operators of one layer's block (or of embed, lm_head) for new_tokens tokens of one sequence
 * that has past_tokens in its cache. One new token with a past is a decode step; all else is
 * prefill. lm_head runs on the last token alone. Returns the number written. Elementwise operators
 * (norm, act, add, embed, ...) state their width as gemm_n with gemm_k 0. */
int model_block_ops(const struct model *model, enum model_block block, int32_t new_tokens,
                    int32_t past_tokens, struct model_op ops[MODEL_MAX_OPS]);
/* The same for `batch` sequences at once, each with new_tokens on top of past_tokens: every
 * operator is called once, on the rows of all (batch x new_tokens, at most INT32_MAX); lm_head on
 * the last row of each. */
int model_batch_ops(const struct model *model, enum model_block block, int32_t batch,
                    int32_t new_tokens, int32_t past_tokens, struct model_op ops[MODEL_MAX_OPS]);

/* One of `parts` equal slices, as a device of a tensor-parallel group runs it: heads, kv_heads and
 * ffn_hidden are divided, vocab is divided and rounded up (the last slice may be smaller), all else
 * and the name stay. The operators of its blocks are then those of that device: qkv, ffn_up and
 * lm_head have 1/parts of the rows, oproj and ffn_down 1/parts of the columns; an encoder's pooler
 * stays whole. A part holds whole groups of KV heads: what does not divide is an error. parts = 1
 * gives a copy. */
const struct model *model_slice(struct arena *arena, const struct model *model, int32_t parts,
                                struct err *err);

/* Weights at weight_bits, caches at kv_bits, activations at 32. 8 weight_bits are q8_0: blocks of
 * 32 weights of a row with a 16-bit scale each; biases, gains and positions are f32 then. embed and
 * lm_head of a tied model share one matrix: each counts it, and callers that hold both subtract
 * model_tied_bytes once. count: weights, not bytes. */
int64_t model_block_weight_count(const struct model *model, enum model_block block);
int64_t model_tied_count(const struct model *model); /* 0 when not tied */
int64_t model_block_weight_bytes(const struct model *model, enum model_block block);
int64_t model_tied_bytes(const struct model *model);                       /* 0 when not tied */
int64_t model_weight_bytes(const struct model *model);                     /* the whole model */
int64_t model_kv_bytes_per_token(const struct model *model);               /* of one layer */
int64_t model_activation_bytes(const struct model *model, int32_t tokens); /* hidden, f32 */

/* ---- what a slice holds (model_memory.c) ---- */

struct model_part { /* slices first to last of `of` equal ones; { 0, 0, 1 } = the whole block */
    int32_t first, last, of;
};
/* Into how many slices the block may be cut: only divisors of the KV heads (attn), of the heads
 * (proj), of ffn_hidden (ffn_up, ffn_down); any number up to the vocabulary (lm_head; an encoder's
 * pooler stays whole), any number at all (conn, along the sequence); embed stays whole. */
bool model_can_cut(const struct model *model, enum model_block block, int32_t of);
/* In exact proportion; the parts of a block add up to it. Norms (conn) are needed whole by every
 * device that has a part of the sequence. */
int64_t model_part_weight_bytes(const struct model *model, enum model_block block,
                                struct model_part part);
/* Of the matrix of a tied model that a device with embed and this part of lm_head has twice. */
int64_t model_part_tied_bytes(const struct model *model, struct model_part part);
/* KV cache of one token in one layer, of this part of attn. */
int64_t model_part_kv_bytes_per_token(const struct model *model, struct model_part part);

struct model_step {
    int64_t rows;      /* new tokens of all sequences, >= 1 */
    int64_t sequences; /* >= 1 */
    int64_t kv_len;    /* keys of the longest, new ones included */
};
/* Activations that are alive at once while this part of a block is computed: f32, the residual
 * stream, what the block reads and makes, and the scores of one head at a time, as
 * lib/kernels/forward.c does it. Saturates at INT64_MAX, as sums of these do. */
int64_t model_part_work_bytes(const struct model *model, enum model_block block,
                              struct model_part part, const struct model_step *step);

/* Writes the rows as a catalogue file. */
void model_write(struct out *out, const struct model *const *models, int count);
/* Writes layers.csv (profiling study, section 10): a row for embed, each layer and lm_head; layer
 * is empty but for layers. A tied matrix counts with embed alone, so that the columns add up to the
 * model. flops_per_token leaves out attention over the cache. */
void model_write_layers(struct out *out, const struct model *model);

#endif
