/* batching.h - what --batch means for a replica, in numbers: of the coordinator, which plans its
 * batches, and of its workers, which must have room for them. */
#ifndef ORRERY_RUNNER_BATCHING_H
#define ORRERY_RUNNER_BATCHING_H

#include "lib/policy/batch.h"
#include "lib/policy/continuous.h"
#include <stdbool.h>
#include <stdint.h>

struct err;
struct model;
struct plan_replica;
struct workload;

#define BATCHING_BLOCK_TOKENS 16 /* of a KV block where nothing is said, as in the simulator */

struct batching { /* of the command line */
    struct batch_options batch;
    int32_t block_tokens, block_count; /* 0: not given */
    bool has_chunks;
};

#define BATCHING_MAX_FIXED 4096

/* How many requests of the replica are computed together, where batches are not continuous; 1: each
 * by itself. */
int32_t batching_fixed_size(const struct batch_options *batch, const struct plan_replica *replica);
/* Of prompt and output together, at most. */
int64_t batching_longest(const struct workload *workload);
/* A replica that has but the stages of prompts, or those of decode steps, where these are apart:
 * the batches of either are its own. */
struct plan_replica batching_chain(const struct plan_replica *replica, bool is_decoding);
/* Batches of the replica are continuous. longest_tokens: of prompt and output together, in the
 * workload. */
bool batching_of(const struct batching *batching, const struct plan_replica *replica,
                 const struct model *model, int64_t longest_tokens,
                 struct continuous_options *options, struct err *err);

#endif
