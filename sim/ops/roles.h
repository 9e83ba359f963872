/* roles.h - what the operators and tensors of a trace are for: which gradient is ready when, which
 * backward operator belongs to which forward one, what grows with the batch.
 *
 * A trace has holes: views and saved tensors have ids that no operator makes. What is not said is
 * told from bytes and shapes:
 * - A forward input that nobody made and that is no weight is a view of the latest output before
 *   with as many bytes; none = it comes from outside (data). A backward input that nobody made is
 *   the latest forward output of its size that no other backward input was taken for.
 * - An output of a backward operator with the shape of a weight (or that shape turned over) is its
 *   gradient: of a weight that the operator reads, else of the latest forward operator whose weight
 *   has none yet. Weights without one (often a bias) are ready with the others of their operator.
 * - Trained are the weights that the optimizer reads; without an optimizer all, if anything runs
 *   backward.
 * - A backward operator belongs to the forward operator whose weight's gradient it makes, else to
 *   the latest one, not behind that of the backward operator before, that reads a tensor which it
 *   reads; else to that of the one before.
 * - A tensor grows with the batch when one of its dimensions is a multiple of the traced batch, or
 *   when its shape is not known, unless it is a weight, a gradient of one, or the optimizer's. */
#ifndef ORRERY_SIM_OPS_ROLES_H
#define ORRERY_SIM_OPS_ROLES_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct ops;
struct ops_row;

enum role {
    ROLE_ACTIVATION, /* and gradients of activations, masks, data */
    ROLE_WEIGHT,
    ROLE_GRADIENT,  /* of a weight */
    ROLE_OPTIMIZER, /* only the optimizer sees it */
};

struct roles_gradient {
    int32_t weight;    /* tensor */
    int32_t owner_row; /* first forward operator that reads the weight; 0 when none does */
    int32_t ready_row; /* the backward operator after which it is there */
};

struct roles {
    const struct ops *ops;
    int64_t batch; /* that was traced; 0 = not known */
    int32_t forward_count, backward_count, optimizer_count;
    enum role *role;  /* of each tensor */
    bool *is_scaled;  /* of each tensor */
    int32_t *same_as; /* of each tensor: what it is a view of; itself */
    int32_t
        *partner;   /* of each backward operator (from 0): its forward operator; -1 = no forward */
    int32_t *owner; /* of each weight: as owner_row; -1 for others */
    int32_t gradient_count;
    struct roles_gradient *gradients; /* in order of being ready */
    int64_t weight_bytes, gradient_bytes;
    int64_t state_bytes; /* what the optimizer keeps from one iteration to the next */
    int32_t view_count;  /* inputs that were taken for views or saved tensors */
};

/* batch: of the trace, 0 = its own metadata, else the first dimension of the first input that is no
 * weight. */
struct roles *roles_find(struct arena *arena, const struct ops *ops, int64_t batch);
bool roles_reads(const struct ops_row *row, int32_t tensor);

#endif
