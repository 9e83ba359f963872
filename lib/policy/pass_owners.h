/* pass_owners.h - which devices of a stage hold which parts of each layer. Part of lib/policy/pass.
 */
#ifndef ORRERY_POLICY_PASS_OWNERS_H
#define ORRERY_POLICY_PASS_OWNERS_H

#include "lib/format/model.h"
#include "lib/policy/pass.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct plan_slice;
struct plan_stage;

struct pass_share {   /* parts of a block on one device of the stage */
    int32_t position; /* of the device */
    /* attn: KV heads; proj: heads; ffn: columns; lm_head: rows of the vocabulary. conn: the range
     */
    int64_t first, end;
    struct pass_range range;
};

struct pass_shares { /* in order of parts, neighbours of one device joined */
    int32_t count;
    struct pass_share *shares;
};

struct pass_owners { /* of one layer, or of the ends of the model */
    struct pass_shares blocks[BLOCK_COUNT];
};

/* Of a layer, or of embed and lm_head with layer -1. */
void pass_owners_find(struct arena *arena, const struct plan_stage *stage,
                      const struct model *model, int32_t layer, struct pass_owners *owners);
bool pass_owners_equal(const struct pass_owners *a, const struct pass_owners *b);
/* Units of the block that lie in parts of a slice. */
int64_t pass_units_before(const struct model *model, enum model_block block, int64_t part,
                          int64_t of);

#endif
