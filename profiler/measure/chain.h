/* chain.h - one visit of a point: the operators of a forward in model order, all memory cold. */
#ifndef ORRERY_PROFILER_CHAIN_H
#define ORRERY_PROFILER_CHAIN_H

#include "lib/kernels/forward.h"
#include "profiler/measure/grid.h"
#include "profiler/measure/pool.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct chain;
struct err;
struct model;

struct forward_shape chain_shape(const struct model *model, enum kernel_dtype dtype);

/* For visits of at most max_layers layers with the new tokens, keys and sequences of `most`. The
 * threads of products that the BLAS does not do end with chain_destroy. */
struct chain *chain_create(struct arena *arena, const struct model *model, enum kernel_dtype dtype,
                           struct pool pool, int max_layers, const struct point *most, int threads,
                           uint64_t seed, struct err *err);
void chain_destroy(struct chain *chain); /* NULL is allowed */

/* Points weights and caches at the next cold memory. Not timed. */
void chain_prepare(struct chain *chain, const struct point *point, int layers, bool has_lm_head);
/* embed, the layers, and, if prepared, final norm and lm_head. This is what is timed. */
void chain_run(struct chain *chain, struct forward_stamp stamp);
/* Puts weight-like values where keys and values were written, so that what other visits compute
 * never fades to zero. Not timed. */
void chain_restore(struct chain *chain);
/* One product or attention of the point alone, on the next cold memory: for the energy of a call.
 */
void chain_run_op(struct chain *chain, const struct point *point, enum op op);
/* The next `count` floats of the same pool, for the memory canary. */
const float *chain_cold(struct chain *chain, int64_t count);

#endif
