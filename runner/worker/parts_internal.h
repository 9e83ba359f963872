/* parts_internal.h - what parts.c and parts_setup.c share. For nobody else. */
#ifndef ORRERY_RUNNER_PARTS_INTERNAL_H
#define ORRERY_RUNNER_PARTS_INTERNAL_H

#include "lib/policy/pass_owners.h"
#include "runner/worker/parts.h"

struct arena;
struct model;
struct setup_stage;

struct parts_span { /* of the columns of a vector */
    int first, count;
};
struct parts_spans {
    int count, width; /* width: all columns */
    struct parts_span *spans;
};

struct parts_layer {
    struct parts_spans kv_heads, heads, rows, up, down; /* heads, rows: in values */
    bool has_proj_bias, has_down_bias;
    struct forward_part attention, ffn_down; /* the first also of projection and first half */
    struct forward_layer weights;
};

struct parts_best { /* of a part of the output matrix; as it travels */
    int32_t token;
    float value;
};

struct parts {
    const struct setup_stage *stage;
    struct forward_shape shape; /* of the whole model */
    struct forward *forward;
    const struct pass *pass;
    struct parts_layer *layers;
    const int *kv_heads; /* by layer */
    struct forward_ends ends;
    const float *patches;
    struct parts_spans head; /* rows of the output matrix */
    int32_t head_member, head_members;
    /* vectors, a row a token */
    int32_t *tokens;
    bool has_terms; /* computed here since the last addition or sum */
    float *x, *input, *terms, *heads, *columns;
    float *narrow; /* scratch: columns that are here, side by side */
    /* of a step of several sequences one for each, and of the first `sequences` rows of x then,
     * each sequence's last */
    struct parts_best *best;
    int32_t *made;
    bool is_compact;
    int *past, *counts, *own; /* scratch, as forward wants them */
    struct forward_kv *layer_caches;
};

/* Units of the shares that are the position's, `times` values each. */
struct parts_spans parts_spans_of(struct arena *arena, const struct pass_shares *shares,
                                  int32_t position, int32_t times);
/* Everything of a layer but its weights. */
void parts_hold_layer(struct arena *arena, const struct model *model, int32_t position,
                      const struct pass_owners *owners, struct parts_layer *layer);

#endif
