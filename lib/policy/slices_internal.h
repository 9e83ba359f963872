/* slices_internal.h - what slices.c and slices_fill.c share. For nobody else. */
#ifndef ORRERY_POLICY_SLICES_INTERNAL_H
#define ORRERY_POLICY_SLICES_INTERNAL_H

#include "lib/format/model.h"
#include "lib/policy/slices.h"

#define SLICES_LAYER_BLOCKS                                                                        \
    (1u << BLOCK_ATTN | 1u << BLOCK_PROJ | 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN |             \
     1u << BLOCK_CONN)
#define SLICES_END_BLOCKS (1u << BLOCK_EMBED | 1u << BLOCK_LM_HEAD)

/* A row that holds a part of a block of a layer; those of one block stand in order of their parts.
 */
struct slices_claim {
    const struct placement_row *row;
    struct slices_claim *next;
};

/* Claims of each block of each layer; NULL = nobody's yet. embed and lm_head belong to no layer and
 * stand under layer 0. */
struct slices_holders {
    struct arena *arena;
    const struct slices_chain *chain;
    struct slices_claim **claims; /* layers * BLOCK_COUNT */
    struct slices_claim **lasts;  /* of them */
};

/* NULL: nobody's. */
static inline const struct slices_claim *slices_claims(const struct slices_holders *holders,
                                                       int layer, int block)
{
    return holders->claims[layer * BLOCK_COUNT + block];
}

static inline bool slices_is_whole(const struct placement_row *row)
{
    return row->part_first == 0 && row->part_last == row->part_of - 1;
}

/* slices_fill.c: the stages of a chain in which nothing is missing, doubled or out of order. */
void slices_fill(const struct slices_holders *holders);

#endif
