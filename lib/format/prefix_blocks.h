/* prefix_blocks.h - which blocks of tokens requests share: reader and writer of the prefix-blocks
 * table (workloads/README.md).
 *
 * Equal chains = the same tokens from the start of the prompt to the end of that block. Output
 * tokens may have blocks as well: what a request has generated is known to a simulator beforehand.
 */
#ifndef ORRERY_FORMAT_PREFIX_BLOCKS_H
#define ORRERY_FORMAT_PREFIX_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct out;
struct workload;

struct prefix_blocks {
    const char *path;
    size_t request_count; /* rows of the workload */
    /* Blocks of the request in row i of the workload: chains[first[i]] up to chains[first[i + 1]],
     * in order. Chains are numbered from 0 in order of first appearance. */
    const size_t *first;
    const int32_t *chains;
    int32_t chain_count;
    int32_t block_tokens; /* as the metadata say; 0 = not stated */
};

/* "-" reads stdin. Rows in any order; requests without rows share nothing. Checks: ids of the
 * workload, blocks of a request from 0 without gaps, none twice, and that a chain has one place and
 * one chain before it. */
struct prefix_blocks *prefix_blocks_load(struct arena *arena, const char *path,
                                         const struct workload *workload, struct err *err);
/* False when some request has more whole blocks than its prompt and output fill, or when the table
 * was made for other blocks. */
bool prefix_blocks_fit(const struct prefix_blocks *blocks, const struct workload *workload,
                       int32_t block_tokens, struct err *err);
/* With the metadata line block_tokens when it is stated. */
void prefix_blocks_write(struct out *out, const struct prefix_blocks *blocks,
                         const struct workload *workload, const char *const *meta);

/* The chain of a block, -1 behind the last one. */
static inline int32_t prefix_blocks_chain(const struct prefix_blocks *blocks, size_t request,
                                          int32_t block)
{
    size_t first = blocks->first[request], count = blocks->first[request + 1] - first;

    return (size_t)block < count ? blocks->chains[first + (size_t)block] : -1;
}

#endif
