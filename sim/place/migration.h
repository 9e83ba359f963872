/* migration.h - what it takes to get from one placement to another: the weights and KV caches that
 * devices do not have yet, over the links between them. */
#ifndef ORRERY_SIM_PLACE_MIGRATION_H
#define ORRERY_SIM_PLACE_MIGRATION_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct placement_row;
struct problem;

struct migration {
    int64_t weight_bytes, kv_bytes; /* that change hands */
    int64_t time_ps;                /* until the last device has what it needs */
    int32_t device;                 /* that one; -1: nothing moves */
    int32_t device_count;           /* that get something */
};

/* Rows of one replica of the problem's model, in which embed, proj, ffn and lm_head are whole: what
 * a device gets that it did not hold, one message from each device that held it, one after the
 * other; devices get theirs side by side. KV caches are those of the problem's sequences at full
 * length. What a device held that is down (by device of the cluster) comes from the source, without
 * its caches, which are lost; without a source it is there at once, as requests are. */
struct migration migration_of(struct arena *arena, const struct problem *problem,
                              const struct placement_row *from, int from_count,
                              const struct placement_row *to, int to_count, const bool *are_down);

#endif
