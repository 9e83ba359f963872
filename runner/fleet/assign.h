/* assign.h - from a plan to what each worker is told: one worker a placed device. */
#ifndef ORRERY_RUNNER_ASSIGN_H
#define ORRERY_RUNNER_ASSIGN_H

#include "lib/policy/collective.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct batch_options;
struct batching;
struct cost_set;
struct err;
struct placement;
struct placement_row;
struct plan;
struct plan_stage;
struct setup;
struct setup_stage;
struct workload;

struct assign_pad { /* --pad DEVICE=RATIO */
    const char *device;
    double ratio;
};

struct assign_input {
    const struct plan *plan;
    const struct placement *placement;
    const struct workload *workload; /* matched to the plan */
    const int32_t *service_of;
    const struct cost_set *costs; /* NULL without padding */
    const struct assign_pad *pads;
    int pad_count;
    uint64_t seed;
    int64_t session;
    const struct batching *batching; /* continuous batches; NULL: none */
    const struct batch_options *batch;
    enum collective_algorithm collective;
    bool has_clamp, tells_exchanges;
    bool is_local;   /* every worker on this machine: addresses of the cluster do not apply */
    int first_stage; /* stages with lower ids are there already: they are left out of the setups */
};

struct assignment {
    int count;                               /* workers, in order of their first stage */
    const int32_t *devices;                  /* of each worker, index into the cluster */
    const struct placement_row *const *rows; /* first row of each worker's device */
    const int32_t *worker_of;                /* by device; -1 = not placed */
    struct setup *setups;
};

bool assign_build(struct arena *arena, const struct assign_input *input,
                  struct assignment *assignment, struct err *err);
/* Part of it (assign_next.c): to which copies of the next stage steps go, and who has their room.
 */
bool assign_nexts(struct arena *arena, const struct assign_input *input,
                  const struct plan_stage *stage, const int32_t *worker_of,
                  struct setup_stage *added, struct err *err);
/* The workers that one sends to: the first of each next stage, and those of stages that it shares.
 * Returns how many; room for all. */
int assign_peers(const struct assignment *assignment, int worker, int32_t *numbers);
/* The longest RECORD or RESULT that a worker may send. */
int64_t assign_told_bytes(const struct assignment *assignment);
/* For workers that share this machine: gives each what it needs and an equal part of what is left.
 * False when they do not fit together. held: what they have already; NULL: nothing. */
bool assign_memory(const struct assignment *assignment, const struct assignment *held,
                   int64_t available_bytes, struct err *err);

#endif
