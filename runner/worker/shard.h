/* shard.h - the part of a model that a worker holds: synthetic weights, KV caches, and the compute
 * of one step through them, with the kernels that orrery-profile times.
 *
 * Weights depend on the seed, the layer and the matrix alone: the tokens of a run are the same
 * wherever its layers are placed. */
#ifndef ORRERY_RUNNER_SHARD_H
#define ORRERY_RUNNER_SHARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct frame;
struct frame_entry;
struct kv_pool;
struct parts;
struct setup;
struct shard;

/* Caches of a stage on several devices that stay free for steps whose own are gone: as large as the
 * largest of the workload. No request has this number. */
#define SHARD_SPARE_REQUEST (-1)

#define SHARD_MEMORY_RATIO 0.9 /* of what is available may be used: the system needs the rest */

/* Bytes of weights, and of everything that one largest request needs beside them. */
int64_t shard_weight_bytes(const struct setup *setup);
int64_t shard_need_bytes(const struct setup *setup);
/* What of that is for KV caches. */
int64_t shard_cache_bytes(const struct setup *setup);
/* Of these what is there already, where held describes all stages of the worker; NULL: nothing. */
int64_t shard_shared_bytes(const struct setup *held, const struct setup *setup);

/* Checks the memory of this machine, allocates, fills, prepares KV caches, and runs every stage
 * twice, so that first touches and first BLAS calls are not in the run. */
/* held, before: what the worker has already (NULL: nothing). Matrices of whole layers that are the
 * same are shared with it; both must outlive this one. May then be called by another thread than
 * the one that computes with before. */
struct shard *shard_create(struct arena *arena, const struct setup *setup, const struct setup *held,
                           const struct shard *before, struct err *err);
/* Stages of more, which knows shard as what was before, are numbered behind those of shard. */
void shard_append(struct shard *shard, struct shard *more);
/* Called between layers, in the middle of a step: it must leave the caches of that alone. */
typedef void shard_between_fn(void *arg);
void shard_set_between(struct shard *shard, shard_between_fn *between, void *arg);
/* What was appended last goes. */
void shard_drop_last(struct shard *shard);
/* Ends its threads; the memory is the arena's. NULL is allowed. */
void shard_destroy(struct shard *shard);

/* Index into setup.stages of a plan's stage id, or -1. */
int shard_find_stage(const struct shard *shard, int32_t stage_id);

enum shard_result {
    SHARD_DONE,
    SHARD_REFUSED, /* no memory for the request's KV cache */
    SHARD_STALE,   /* a later step of a request that has been released: nothing to do */
    SHARD_BAD,     /* the frame asks what this stage cannot do; err says what */
};

/* The requests of the last step that compute. */
const struct frame_entry *shard_entries(const struct shard *shard, int index);

struct shard_output {  /* of the last step, until the next */
    const void *words; /* activations for the next stage, or the token */
    size_t bytes;
    int sequences; /* requests that it has computed */
};

/* One step of stage `index` on the payload of a STEP frame. */
enum shard_result shard_step(struct shard *shard, int index, const struct frame *frame,
                             const unsigned char *payload, struct shard_output *output,
                             struct err *err);
/* The request has ended: its caches are free. */
void shard_release_stage(struct shard *shard, int index, int64_t request);
void shard_release(struct shard *shard, int64_t request); /* in every stage */
/* All requests of the stage have: spare caches alone are left. */
void shard_release_all(struct shard *shard, int index);

/* ---- KV caches ---- */

struct kv_pool *shard_caches(const struct shard *shard, int index); /* NULL: it has no layers */
/* KV heads of a layer of the stage that are here, and which of them one of the model is; -1: it is
 * not here. */
int shard_kv_heads(const struct shard *shard, int index, int32_t layer);
int shard_kv_head(const struct shard *shard, int index, int32_t layer, int32_t head);

/* ---- of a stage on several devices ---- */

struct parts *shard_parts(const struct shard *shard, int index);
/* Who computes what in the step of a frame, into shard_entries; of a batch those that only lose
 * their caches lose them. payload: its entries, where it has some. */
bool shard_read_step(struct shard *shard, int index, const struct frame *frame,
                     const unsigned char *payload, int *sequences, struct err *err);
/* Tokens of a step frame are within the workload's bounds. */
bool shard_step_ok(const struct shard *shard, int index, const struct frame *frame,
                   struct err *err);
/* Activations for the next stage, in its bits: words that live until the next call of a stage of
 * the same model. May clamp x. */
struct shard_head { /* of a batch: its entries, as they travel but in words of this machine */
    const int32_t *words;
    int32_t entries; /* 0: one request */
};
struct shard_output shard_pack(struct shard *shard, int index, struct shard_head head, float *x,
                               int64_t values);
/* Of a fixed batch, from the last stage: its entries, and the token of each. */
struct shard_output shard_pack_tokens(struct shard *shard, int index, struct shard_head head,
                                      const int32_t *tokens, int sequences);
/* The same inside a layer: two tensors. */
struct shard_tensor {
    float *values;
    int64_t count;
};
struct shard_output shard_pack_two(struct shard *shard, int index, struct shard_head head,
                                   struct shard_tensor output, struct shard_tensor residual);
bool shard_input_two(struct shard *shard, int index, const struct frame *frame,
                     const unsigned char *payload, struct shard_tensor output,
                     struct shard_tensor residual, struct err *err);
/* The payload of a STEP, checked, into token ids or activations. */
bool shard_input(struct shard *shard, int index, const struct frame *frame,
                 const unsigned char *payload, void *words, struct err *err);

#endif
