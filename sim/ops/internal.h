/* internal.h - what the kinds of parallelism share. */
#ifndef ORRERY_SIM_OPS_INTERNAL_H
#define ORRERY_SIM_OPS_INTERNAL_H

#include "sim/ops/graph.h"
#include "sim/ops/roles.h"
#include "sim/ops/spread.h"

struct spread {
    struct arena *arena;
    const struct ops *ops;
    const struct roles *roles;
    struct spread_options options;
    struct spread_result *result;
    int64_t traced_batch; /* never 0: what the batch is measured in */
    int32_t *cut;         /* pipeline: first forward row of each stage, and the end */
};

/* What a row takes for so many samples: linear for forward and backward, the optimizer as traced.
 */
int64_t spread_row_ps(const struct spread *spread, int32_t row, int64_t samples);
int64_t spread_tensor_bytes(const struct spread *spread, int32_t tensor, int64_t samples);
/* bytes over a link, without its latency. Saturates. */
int64_t spread_link_ps(const struct spread *spread, int64_t bytes);
/* `passes` rounds of a ring, each N - 1 steps of 1/N of the bytes and the latency of a message: 2
 * for an all-reduce (reduce-scatter and all-gather), 1 for an all-gather. */
int64_t spread_ring_ps(const struct spread *spread, int64_t bytes, int passes);
int64_t spread_ring_sent_bytes(const struct spread *spread, int64_t bytes, int passes);
/* Of the optimizer's time, or of its bytes, what falls to a device that holds so many of the
 * gradients. */
int64_t spread_of_optimizer(const struct spread *spread, int64_t amount, int64_t gradient_bytes);
void spread_warn(struct spread *spread, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- memory.c ---- */

/* Fills in the memory of every device, fits and largest_device. */
void memory_measure(struct spread *spread);

/* ---- one file a kind ---- */

/* The operators of one device, rows as tasks 0, 1, ... of lane 0: false, with an error that names
 * them, when some wait for ever. */
bool whole_check(struct spread *spread, struct err *err);
bool whole_run(struct spread *spread, struct err *err); /* single, data, ddp, tensor */
/* Forward rows of each stage into spread->cut. */
bool pipeline_cut(struct spread *spread, struct err *err);
bool pipeline_run(struct spread *spread, struct err *err);
bool triosim_run(struct spread *spread, struct err *err);

#endif
