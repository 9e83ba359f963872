/* slices.h - from the rows of one chain of stages to their slices: each part of each block of each
 * layer exactly once, in model order. Part of lib/policy/plan. */
#ifndef ORRERY_POLICY_SLICES_H
#define ORRERY_POLICY_SLICES_H

#include "lib/format/placement.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct model;
struct plan_stage;

struct slices_chain { /* what a step passes, from the embedding to the output matrix */
    const struct placement *placement;
    const struct placement_row *const *rows; /* sorted by stage, then file order */
    const int32_t *devices;                  /* of the rows */
    int row_count;
    const struct model *model;
    struct plan_stage *stages; /* devices are set */
    int stage_count;
    bool is_decode;    /* beside a chain for prompts: what rows for both phases hold is shared */
    const char *which; /* for errors: ", phase decode"; "" = there is but one chain */
};

/* Fills slices, borders and layer_count of every stage. */
bool slices_build(struct arena *arena, const struct slices_chain *chain, struct err *err);

#endif
