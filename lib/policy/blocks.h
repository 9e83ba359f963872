/* blocks.h - the KV cache of one instance in blocks of tokens: which are held, which are free, and
 * what the free ones still hold.
 *
 * Free blocks stand in a list from least to most recently used. A block whose tokens are all
 * computed may be named by a key (equal keys = the same tokens from the start); it keeps the name
 * when it is free, until it is taken anew, so that a later request with the same beginning finds
 * it. A block is held by any number of requests. Rules: vLLM's block pool. O(1) a call; nothing is
 * allocated after creation. */
#ifndef ORRERY_POLICY_BLOCKS_H
#define ORRERY_POLICY_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct blocks;

#define BLOCKS_NONE (-1)

struct blocks *blocks_create(struct arena *arena, int32_t count);
int32_t blocks_count(const struct blocks *blocks);
/* Held by nobody, named or not. */
int32_t blocks_free(const struct blocks *blocks);
/* The free block that was used longest ago: it loses its name. There must be one. */
int32_t blocks_take(struct blocks *blocks);
/* The block that has the name, held or free; BLOCKS_NONE. */
int32_t blocks_find(const struct blocks *blocks, int64_t key);
bool blocks_is_held(const struct blocks *blocks, int32_t block);
/* One more request holds a block that was found. */
void blocks_share(struct blocks *blocks, int32_t block);
/* One request less holds it; when none does it is free, and most recently used. */
void blocks_release(struct blocks *blocks, int32_t block);
/* Names a held block, unless another one has that name already. key >= 0 */
void blocks_name(struct blocks *blocks, int32_t block, int64_t key);

#endif
