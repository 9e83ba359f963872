/* plan_internal.h - what plan.c and plan_stages.c share. For nobody else. */
#ifndef ORRERY_POLICY_PLAN_INTERNAL_H
#define ORRERY_POLICY_PLAN_INTERNAL_H

#include "lib/policy/plan.h"

struct plan_placed { /* a row with its names resolved */
    const struct placement_row *row;
    int32_t replica, device, epoch;
};

struct plan_builder {
    struct arena *arena;
    const struct placement *placement;
    const struct cluster *cluster;
    const struct cost_set *costs;
    struct model_catalogue *catalogue;
    struct names *service_names;
    struct plan_service *services;
    const struct placement_row **first_rows; /* of each service */
    struct plan_replica *replicas;
    int replica_count;
    struct plan_placed *placed; /* as many as rows */
    struct plan_epoch *epochs;
    int epoch_count;
    struct plan_stage *stages;
    int stage_count;
    bool is_outline; /* takes what this version neither simulates nor runs; no slices */
};

/* plan_stages.c: from rows with their names resolved to the stages of all replicas. */
bool plan_stages_build(struct plan_builder *b, struct err *err);
/* plan_moves.c: which KV caches go where behind a prefill, by stages with their slices. */
void plan_moves_find(struct arena *arena, const struct model *model, struct plan_replica *replica);

#endif
