/* tiling.h - whether the rows of one replica cover each block of each layer exactly once, parts
 * included, for each phase and copy. Part of lib/policy/footprint. */
#ifndef ORRERY_POLICY_TILING_H
#define ORRERY_POLICY_TILING_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct model;
struct placement;
struct placement_row;

struct tiling {
    const struct placement *placement;
    const struct model *model;
    const struct placement_row *const *rows; /* of one replica, in file order */
    int row_count;
};

/* Adds to norms[i], by row of the placement, how many norms of a layer (of two) run with it since
 * no row names conn: with the first row, in file order, of the block behind each. What overlaps, is
 * left out, lies beyond the model or does not divide is an error with its place. */
bool tiling_check(struct arena *arena, const struct tiling *tiling, int32_t *norms,
                  struct err *err);

#endif
