/* formula.h - what a head, the projection and the FFN of one decoder layer cost in
 * DistributedTransformerInferenceSimulator (D. Kafetzis, MIT), the program of arXiv 2505.02533: the
 * formulas of its transformer components as they compute at commit 252528f.
 *
 * H heads, D width, d = D / H, b bytes a value, L tokens of the sequence, s the generation step:
 *
 *                 memory, bytes         FLOP             sends, bytes
 *     head        (3 L d + 3 D d) b     3 L D d + L^2 d  L d b, to the projection
 *     its cache   s D b
 *     projection  L D b                 L D^2            L D b, to the FFN
 *     ffn         4 L D b               0.8 L D^2        L D b, to the next layer
 *
 * As the program computes, right or wrong: FLOP are multiply-accumulates, the FFN's 0.8 looks like
 * a slipped decimal, projection and FFN have no weights, the cache has no prompt. L is the prompt
 * and does not grow: each step is charged a pass over all of it. */
#ifndef ORRERY_SIM_KAFETZIS_FORMULA_H
#define ORRERY_SIM_KAFETZIS_FORMULA_H

#include <stdint.h>

struct kafetzis_shape {
    int32_t heads;           /* H */
    int32_t hidden;          /* D, a multiple of H */
    int32_t precision_bytes; /* b */
};

enum kafetzis_block { KAFETZIS_HEAD, KAFETZIS_PROJECTION, KAFETZIS_FFN, KAFETZIS_BLOCK_COUNT };

/* Of one head, or of the whole projection or FFN, of one layer. */
double kafetzis_memory_bytes(const struct kafetzis_shape *shape, enum kafetzis_block block,
                             int32_t tokens);
double kafetzis_flop(const struct kafetzis_shape *shape, enum kafetzis_block block, int32_t tokens);
double kafetzis_sent_bytes(const struct kafetzis_shape *shape, enum kafetzis_block block,
                           int32_t tokens);
/* Of one head, at generation step 0, 1, ... */
double kafetzis_cache_bytes(const struct kafetzis_shape *shape, int32_t step);

/* The whole layer, without caches. */
double kafetzis_layer_memory_bytes(const struct kafetzis_shape *shape, int32_t tokens);
double kafetzis_layer_flop(const struct kafetzis_shape *shape, int32_t tokens);

#endif
