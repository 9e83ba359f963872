/* prefix.c - see prefix.h. Names of sessions are made when they are asked for: (row, block) of the
 * first turn that has the block. */
#include "sim/llm/prefix.h"

#include "lib/base/arena.h"
#include "lib/format/prefix_blocks.h"
#include "lib/format/workload.h"
#include <stddef.h>

#define BLOCK_BITS 31

struct prefix {
    const struct prefix_blocks *blocks;
    const struct workload *workload;
    int64_t *before; /* row of the session's turn before, -1 = none */
    int32_t block_tokens;
};

static void find_turns(struct arena *arena, struct prefix *prefix)
{
    const struct workload *workload = prefix->workload;
    int64_t *last = arena_array(arena, (size_t)workload->session_count, sizeof *last);

    prefix->before = arena_array(arena, workload->count, sizeof *prefix->before);
    for (int i = 0; i < workload->session_count; i++)
        last[i] = -1;
    for (size_t i = 0; i < workload->count; i++) {
        int32_t session = workload->session_ids[i];

        prefix->before[i] = session >= 0 ? last[session] : -1;
        if (session >= 0)
            last[session] = (int64_t)i;
    }
}

struct prefix *prefix_create(struct arena *arena, const struct workload *workload,
                             const struct prefix_blocks *blocks, int32_t block_tokens)
{
    struct prefix *prefix;

    if (!workload ||
        (blocks ? blocks->chain_count == 0 : !workload->session_ids || !workload->prefix_tokens))
        return NULL;
    prefix = arena_alloc(arena, sizeof *prefix);
    prefix->blocks = blocks;
    prefix->workload = workload;
    prefix->block_tokens = block_tokens;
    if (!blocks)
        find_turns(arena, prefix);
    return prefix;
}

static int64_t tokens_of(const struct workload *workload, int64_t row)
{
    return (workload->prompt_tokens ? workload->prompt_tokens[row] : 0) +
           (int64_t)(workload->output_tokens ? workload->output_tokens[row] : 0);
}

int64_t prefix_key(void *arg, int64_t tag, int32_t block)
{
    const struct prefix *prefix = arg;
    const struct workload *workload = prefix->workload;
    int64_t end = ((int64_t)block + 1) * prefix->block_tokens, row = tag;

    if (prefix->blocks)
        return prefix_blocks_chain(prefix->blocks, (size_t)tag, block);
    while (prefix->before[row] >= 0 && end <= workload->prefix_tokens[row] &&
           end <= tokens_of(workload, prefix->before[row]))
        row = prefix->before[row];
    return row << BLOCK_BITS | block;
}
