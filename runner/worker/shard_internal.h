/* shard_internal.h - what shard.c and shard_step.c share. For nobody else. */
#ifndef ORRERY_RUNNER_SHARD_INTERNAL_H
#define ORRERY_RUNNER_SHARD_INTERNAL_H

#include "lib/kernels/forward.h"
#include "lib/wire/frame.h"
#include "runner/worker/shard.h"

struct kv_pool;
struct parts;
struct setup_model;
struct team;

struct shard_model {
    struct forward_shape shape;
    struct forward *forward;
    float *x;        /* [max_tokens][hidden] */
    int32_t *tokens; /* [max_tokens] */
    float *patches;  /* vision: the same picture for every request */
    /* of a step, by request: */
    struct frame_entry *entries;
    const struct forward_kv **caches; /* by layer of the stage */
    struct forward_kv *layer_caches;  /* of one layer */
    int *past, *counts, *own;
    int32_t *best;  /* tokens that come of it */
    int32_t *words; /* of batches: entries and activations, for the next stage */
};

struct shard_stage {
    struct shard_model *model;
    struct forward_layer *layers; /* from layer_first on; NULL of a stage in parts */
    int32_t layer_first;
    struct forward_ends ends;
    struct kv_pool *kv;  /* NULL without layers */
    struct parts *parts; /* of a stage on several devices; else NULL */
};

struct shard {
    struct arena *arena;
    const struct setup *setup;
    /* what is there already; weights that are the same are shared; NULL: nothing */
    const struct setup *held;
    const struct shard *before;
    struct shard *more; /* stages that were added later; NULL: none */
    struct shard_model *models;
    struct shard_stage *stages;
    int64_t kv_budget_bytes; /* for the slabs of all stages */
    shard_between_fn *between;
    void *between_arg;
    struct team *team; /* of products that the BLAS does not do; NULL: one thread */
};

/* ---- shard_size.c ---- */

#define SHARD_NOBODY (-1)

enum shard_held { SHARD_LAYER, SHARD_EMBED, SHARD_LM_HEAD };
int shard_find_held(const struct setup *held, const struct setup *setup, int index,
                    enum shard_held what, int32_t layer);
int shard_embedding_of(const struct setup *setup, int index);
/* The stage of prompts whose weights a stage of decode steps uses as far as it has them, where both
 * are of whole layers, or in the same parts; SHARD_NOBODY. */
int shard_twin_of(const struct setup *setup, int index);
/* That stage has it. */
bool shard_twin_has(const struct setup *setup, int index, enum shard_held what, int32_t layer);
bool shard_packs_words(const struct setup *setup, int model);
int64_t shard_most_words(const struct setup_model *model);
int64_t shard_fixed_bytes(const struct setup *setup);

/* ---- */

/* Entries that a STEP of the model may have: as many may lose their caches as compute. */
static inline int shard_max_entries(int max_seqs)
{
    return 2 * max_seqs;
}

/* The part that has a stage, and which it is there. */
static inline struct shard *shard_at(struct shard *shard, int *index)
{
    while (*index >= shard->setup->stage_count) {
        *index -= shard->setup->stage_count;
        shard = shard->more;
    }
    return shard;
}

static inline const struct shard *shard_look_at(const struct shard *shard, int *index)
{
    while (*index >= shard->setup->stage_count) {
        *index -= shard->setup->stage_count;
        shard = shard->more;
    }
    return shard;
}

/* A step of a stage of whole layers: the entries, caches and input of its model are set. */
void shard_compute(struct shard *shard, int index, int sequences, int rows);

#endif
