/* heads_rows.h - head-level placements as rows of placement.csv. */
#ifndef ORRERY_SIM_PLACE_HEADS_ROWS_H
#define ORRERY_SIM_PLACE_HEADS_ROWS_H

#include "sim/place/heads.h"

struct cluster;
struct model;
struct placement_row;

struct heads_run { /* consecutive layers that are cut alike */
    int32_t layer_first, layer_last;
    int32_t projection, ffn; /* devices of the cluster */
    int32_t *owners;         /* of each group of KV heads: a device of the cluster */
};

struct heads_plan { /* one replica, which is one stage */
    int32_t end;    /* the device with both ends of the model */
    int32_t run_count;
    struct heads_run *runs;
};

/* A run of layers by an answer whose devices are devices[0..] of the cluster: heads in order of
 * these devices, but each that a device has in `before` stays there as long as the device has any;
 * NULL = nothing was placed before. */
struct heads_run heads_run_of(struct arena *arena, const struct heads_problem *problem,
                              const struct heads_answer *answer, const int32_t *devices,
                              int32_t layer_first, int32_t layer_last,
                              const struct heads_run *before);
/* In arena. The device with the ends comes first, and before all other heads those of the FFN's
 * device: the hidden state waits on the first device of a block (lib/policy/pass.h). */
struct placement_row *heads_rows(struct arena *arena, const struct cluster *cluster,
                                 const struct model *model, const char *service,
                                 const struct heads_plan *plan, int *row_count);

#endif
