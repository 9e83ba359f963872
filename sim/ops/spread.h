/* spread.h - what an iteration that was traced on one device takes on several.
 *
 * The trace says how long each operator was busy and which tensors it reads and makes; how
 * operators are spread over devices, what travels between them and what every device must hold
 * follows from the kind of parallelism. sim/README.md has the rules, and their sources. */
#ifndef ORRERY_SIM_OPS_SPREAD_H
#define ORRERY_SIM_OPS_SPREAD_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct graph;
struct ops;
struct roles;

/* More devices than any ring of today, and rates whose products stay within int64. */
#define SPREAD_MAX_DEVICES 4096
#define SPREAD_MAX_BYTES_PER_S INT64_C(1000000000000000)
#define SPREAD_MAX_BATCH 1000000000

enum spread_parallel {
    SPREAD_SINGLE,   /* every device for itself */
    SPREAD_DATA,     /* gradients are reduced after the backward pass */
    SPREAD_DDP,      /* gradients are reduced in buckets, as soon as they are there */
    SPREAD_TENSOR,   /* tp_split operators are divided */
    SPREAD_PIPELINE, /* GPipe */
    SPREAD_PARALLEL_COUNT
};
enum spread_rules { SPREAD_DEFAULT, SPREAD_TRIOSIM, SPREAD_RULES_COUNT };
enum spread_cut {
    SPREAD_CUT_OPERATORS, /* stages of as many forward operators */
    SPREAD_CUT_TIME,      /* the slowest stage as fast as it can be */
    SPREAD_CUT_COUNT
};
extern const char *const spread_parallel_names[SPREAD_PARALLEL_COUNT];
extern const char *const spread_rules_names[SPREAD_RULES_COUNT];
extern const char *const spread_cut_names[SPREAD_CUT_COUNT];

struct spread_options {
    enum spread_parallel parallel;
    enum spread_rules rules;
    enum spread_cut cut;
    int32_t devices;
    int64_t batch;        /* samples: of a device, in tensor and pipeline of all; 0 = as traced */
    int64_t micro_batch;  /* samples; 0 = the whole batch at once */
    int64_t traced_batch; /* 0 = as the trace says */
    int64_t link_bytes_per_s;                 /* of each direction; 0 = not given */
    int64_t link_latency_ps;                  /* of each message */
    int64_t bucket_bytes, first_bucket_bytes; /* of ddp */
    int64_t memory_bytes;                     /* of a device; 0 = no limit */
    int64_t remote_bytes_per_s;               /* of triosim alone: host to device */
};
/* One device, 25 MiB and 1 MiB buckets as PyTorch has them, 696e9 bytes a second to the host. */
struct spread_options spread_defaults(void);

/* Of one device. weights, gradients, state and buckets are there throughout; working is the peak of
 * activations, their gradients and temporaries. */
struct spread_memory {
    int64_t weights_bytes, gradients_bytes, state_bytes, buckets_bytes, working_bytes, peak_bytes;
};
struct spread_device {
    int32_t from_row, to_row; /* forward operators [from, to) */
    int64_t compute_ps, sent_bytes;
    struct spread_memory memory;
};

struct spread_result {
    struct spread_options options; /* with batch and micro_batch filled in */
    const struct ops *ops;
    const struct roles *roles;
    int64_t micro_count;           /* micro-batches of an iteration */
    int64_t samples;               /* of an iteration, over all devices */
    struct spread_device *devices; /* options.devices of them */
    bool fits;                     /* into memory_bytes; if not, there are no times */
    int32_t largest_device;        /* the one with the largest peak */
    int64_t iteration_ps;
    int64_t compute_ps;       /* mean over devices */
    int64_t communication_ps; /* that the busiest link, or the ring, is busy */
    int64_t bubble_ps;        /* mean time of a device without compute: iteration - compute */
    int64_t fetch_ps;         /* triosim, but for tensor: that the busiest host link is busy */
    int32_t collectives, messages;
    int64_t collective_bytes; /* reduced or gathered, before the ring's factor */
    /* Of the default rules: lanes are devices, then links; the first device stands for all where
     * all do the same. NULL else. */
    const struct graph *graph;
    const char *const *lanes;
    int32_t device_lanes; /* how many of the lanes are devices */
    int warning_count;
    const char *warnings[8];
};

/* False when the options do not fit the trace, or operators wait for one another for ever. */
bool spread_run(struct arena *arena, const struct ops *ops, const struct spread_options *options,
                struct spread_result *result, struct err *err);

#endif
