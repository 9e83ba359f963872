/* footprint.h - what a placement asks of each device's memory, and how far that reaches: weights of
 * slices, KV caches in blocks, activations of the largest step, against what the device has.
 *
 * Pure arithmetic over placement rows, models and stages.csv; the simulator, `orrery-sim fit`, the
 * runner and planners are to ask here. Sources: lib/format/model_memory.c for slices; KV caches as
 * vLLM counts them, a sequence taking whole blocks. All sums saturate at INT64_MAX. */
#ifndef ORRERY_POLICY_FOOTPRINT_H
#define ORRERY_POLICY_FOOTPRINT_H

#include "lib/format/model.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cost_set;
struct cost_table;
struct err;
struct plan;
struct plan_stage;

#define FOOTPRINT_MAX_TOKENS 1000000000 /* as in a workload */
#define FOOTPRINT_MAX_SEQUENCES 1000000

struct footprint_load {     /* what each replica of a service holds at once */
    int64_t context_tokens; /* of each sequence: prompt and output; of models alone */
    int64_t sequences;      /* >= 1; items of a pass for encoders and executables */
    int64_t step_tokens;    /* new tokens that a step computes at most; 0: a prompt is one step */
    int32_t block_tokens;   /* of a KV block, >= 1 */
};

/* Whole blocks for each of the sequences. */
int64_t footprint_kv_bytes(int64_t bytes_per_token, const struct footprint_load *load);
/* The largest step under a load. A decoder's prompt may be as long as its context; an encoder
 * computes all its sequences at once. */
struct model_step footprint_step(const struct model *model, const struct footprint_load *load);

struct footprint_slice { /* blocks of a slice of the stage */
    unsigned blocks;     /* set of 1u << enum model_block */
    struct model_part part;
};

struct footprint_part {              /* what one stage of a replica holds on one device */
    int32_t device;                  /* of the cluster */
    int32_t epoch, service, replica; /* indices into the plan */
    const struct plan_stage *stage;
    int64_t weight_bytes; /* of models; of executables see footprint_measure */
    int64_t kv_bytes_per_token;
    int slice_count; /* 0: an executable */
    struct footprint_slice *slices;
    const struct cost_table *table; /* of an executable */
};

struct footprint {
    const struct plan *plan;
    int part_count;
    struct footprint_part *parts; /* by device, epoch, replica, stage */
    int *first_parts; /* [device_count + 1]: those of device d begin at first_parts[d] */
};

struct footprint_bytes {
    int64_t weight_bytes, kv_bytes, activation_bytes;
};
struct footprint_device {
    struct footprint_bytes of; /* sums, and the largest activations: a device computes one job */
    int32_t epoch;             /* index of the epoch in which it needs most; -1: holds nothing */
    int64_t need_bytes;        /* with reserved_bytes */
    int64_t missing_bytes;     /* 0: it fits, or its memory is not known */
    int64_t free_bytes;        /* -1: its memory is not known */
};

/* plan: of a placement, or its outline; must outlive the result. costs: for executables alone, may
 * be NULL without any. */
const struct footprint *footprint_collect(struct arena *arena, const struct plan *plan,
                                          const struct cost_set *costs);
/* loads: by service of the plan. An executable that was never profiled for so many items needs
 * INT64_MAX. */
struct footprint_bytes footprint_measure(const struct footprint *footprint,
                                         const struct footprint_part *part,
                                         const struct footprint_load *loads);
struct footprint_device footprint_of_device(const struct footprint *footprint, int32_t device,
                                            const struct footprint_load *loads);

enum footprint_axis { FOOTPRINT_CONTEXT, FOOTPRINT_SEQUENCES };
/* The most that a service may have of one axis (of all services at once: -1) while everything
 * still fits on the device, the rest of loads as it is. 0: not even 1; limit when nothing here
 * limits it. A service with a model has no more context than the model: its load is cut to that. */
int64_t footprint_largest(const struct footprint *footprint, int32_t device, int32_t service,
                          enum footprint_axis axis, int64_t limit,
                          const struct footprint_load *loads);
/* Whether anything on the device grows along the axis with that service (-1: any). */
bool footprint_grows(const struct footprint *footprint, int32_t device, int32_t service,
                     enum footprint_axis axis);

#endif
