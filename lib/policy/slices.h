/* slices.h - from the rows of one replica to the slices of its stages: each part of each block of
 * each layer exactly once, in model order. Part of lib/policy/plan. */
#ifndef ORRERY_POLICY_SLICES_H
#define ORRERY_POLICY_SLICES_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct model;
struct placement;
struct placement_row;
struct plan_stage;

struct slices_replica {
    const struct placement *placement;
    const struct placement_row *const *rows; /* sorted by stage, then file order */
    const int32_t *devices;                  /* of the rows */
    int row_count;
    const struct model *model;
    struct plan_stage *stages; /* devices are set */
    int stage_count;
};

/* Fills slices, has_embed, has_lm_head and layer_count of every stage. */
bool slices_build(struct arena *arena, const struct slices_replica *replica, struct err *err);

#endif
