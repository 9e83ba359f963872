/* black_box.h - what the profiles of an executable say of a stage that is placed: a black box of
 * one or more profiled stages, which run in turn as one job. */
#ifndef ORRERY_POLICY_BLACK_BOX_H
#define ORRERY_POLICY_BLACK_BOX_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cost_set;
struct cost_table;
struct err;
struct plan;
struct plan_replica;
struct plan_stage;

struct black_box {        /* one job on one device of speed 1 */
    int64_t latency_ps;   /* of its profiled stages together; saturates */
    int64_t gap_ps;       /* of the last, which others wait for */
    int64_t output_bytes; /* of the last */
};

/* The cost table of the device's type; NULL and the line of devices.csv when there is none. */
const struct cost_table *black_box_table(struct arena *arena, const struct plan *plan,
                                         const struct cost_set *costs, int32_t device,
                                         struct err *err);
/* The batch sizes that every stage of the replica was profiled with on the types of all its
 * devices, ascending; there may be none. Returns NULL on an error. */
int32_t *black_box_sizes(struct arena *arena, const struct plan *plan, const struct cost_set *costs,
                         const struct plan_replica *replica, int *count, struct err *err);
/* What a table says of the stage in batches of that size. */
bool black_box_read(const struct cost_table *table, const struct plan_stage *stage, int32_t size,
                    struct black_box *box, struct err *err);

#endif
