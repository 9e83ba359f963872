/* parts.h - what one device of a sliced stage holds and computes: its parts of the weights, caches
 * of its KV heads, and the vectors that its pass works on.
 *
 * Weights are cut out of those of the whole model, so that the parts of all devices add up to it.
 * Who sends what to whom is sliced.h. */
#ifndef ORRERY_RUNNER_PARTS_H
#define ORRERY_RUNNER_PARTS_H

#include "lib/kernels/forward.h"
#include "lib/policy/exchange.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct parts;
struct setup;
struct setup_model;

/* Of weights, and of the vectors and two largest KV caches beside them. */
int64_t parts_weight_bytes(const struct setup *setup, int index);
int64_t parts_other_bytes(const struct setup *setup, int index);
int64_t parts_slab_bytes(const struct setup *setup, int index, int capacity);

/* The stage of the setup has several positions. forward: of its model, used by others in between.
 */
struct parts *parts_create(struct arena *arena, const struct setup *setup, int index,
                           struct forward *forward, const float *patches, struct err *err);
/* The same with the weights of another one of the same slices. */
struct parts *parts_create_twin(struct arena *arena, const struct setup *setup, int index,
                                const struct parts *twin, struct forward *forward,
                                const float *patches, struct err *err);
/* KV heads of each layer of the stage, for a pool of caches. */
const int *parts_kv_heads(const struct parts *parts);
/* Which of them a KV head of the model is, in a layer of the stage; -1: it is not here. */
int parts_kv_head(const struct parts *parts, int32_t layer, int32_t head);
const struct pass *parts_pass(const struct parts *parts);

struct parts_step {               /* what is being computed: one request, or a batch */
    int32_t tokens, sequences;    /* tokens of all */
    const int32_t *past, *counts; /* by sequence: in its cache, and new */
    const int32_t *own; /* of a padded batch: how many of the new ones are its own; NULL: all */
    int32_t keys;       /* of that: what attention looks at, what is not its own masked; else 0 */
    const struct forward_kv *const *kv; /* by sequence, then layer; NULL: the stage has no layers */
};
/* A pass begins. */
void parts_begin(struct parts *parts);
/* A piece of the pass that is this device's; repeat: how many like it lie before it. */
void parts_compute(struct parts *parts, const struct pass_piece *piece, int32_t repeat,
                   const struct parts_step *step);

/* ---- vectors ---- */

/* Where ids or activations of the step that begins go; where those of the one that ends are. */
float *parts_heads(struct parts *parts);
float *parts_columns(struct parts *parts);
int32_t *parts_tokens(struct parts *parts);
float *parts_state(struct parts *parts);
const int32_t *parts_made(const struct parts *parts); /* the tokens, by sequence */
/* The device comes to an operation: who adds up sums without a term of its own begins with zeros.
 */
void parts_enter(struct parts *parts, const struct pass_step *step, const struct parts_step *of);
/* Bytes of a message of an operation, taken from the vectors, or put into them. */
void parts_take(struct parts *parts, const struct pass_step *step,
                const struct exchange_message *message, const struct parts_step *of, void *words);
void parts_put(struct parts *parts, const struct pass_step *step,
               const struct exchange_message *message, const struct parts_step *of,
               const void *words);
/* The largest message of an operation, in bytes of words, however the model is cut. */
int64_t parts_message_bytes(const struct setup_model *model);

#endif
