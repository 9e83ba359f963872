/* prefix.h - names of blocks of tokens for a prefix cache: from a table of prefix blocks, or from
 * what a workload's sessions say.
 *
 * A turn of a session begins with prefix_tokens tokens of the turn before (its prompt and output).
 * A block that lies wholly in them has the name that it has there, and every other one a name of
 * its own. */
#ifndef ORRERY_SIM_LLM_PREFIX_H
#define ORRERY_SIM_LLM_PREFIX_H

#include <stdint.h>

struct arena;
struct prefix;
struct prefix_blocks;
struct workload;

/* blocks NULL: by sessions. NULL when nothing is said of what requests share. workload and blocks
 * must outlive it. */
struct prefix *prefix_create(struct arena *arena, const struct workload *workload,
                             const struct prefix_blocks *blocks, int32_t block_tokens);
/* A continuous_key_fn: arg is the struct prefix, tag a row of the workload. */
int64_t prefix_key(void *arg, int64_t tag, int32_t block);

#endif
