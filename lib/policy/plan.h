/* plan.h - a placement made ready to execute: services -> replicas -> stages -> devices and slices.
 *
 * Built from placement rows, the cluster and the model catalogue; the simulator walks it in
 * simulated time, the runner in real time. Everything that is wrong with a placement is found here,
 * with the line of the row: unknown device or model, a stage number left out, a layer that is
 * missing or there twice. Semantics: placements/README.md. */
#ifndef ORRERY_POLICY_PLAN_H
#define ORRERY_POLICY_PLAN_H

#include "lib/format/model.h"
#include "lib/format/placement.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cluster;
struct cost_set;
struct err;
struct model_catalogue;
struct names;
struct workload;

struct plan_slice {                  /* consecutive layers, or embed / lm_head, on one device */
    unsigned blocks;                 /* set of 1u << enum model_block */
    int32_t layer_first, layer_last; /* -1, -1 for embed and lm_head */
    int32_t device;                  /* index into cluster.devices */
    /* parts of each of these blocks, as in the row; part_of 0 or 1 = whole */
    int32_t part_first, part_last, part_of;
    int32_t norms, adds; /* of a layer, where blocks has conn */
    bool is_shared;      /* by both phases, and counted in the stage of prompts */
    bool is_implied; /* conn that no row names: on the first device of the block behind its norm */
};

struct plan_border { /* f32 values of a token that go from one stage to the next */
    int32_t output_values;
    int32_t residual_values; /* inside a layer: what that will be added to; 0 = nothing pending */
};

struct plan_stage {
    int32_t id;                      /* dense over the whole plan */
    int32_t number;                  /* 0.. within the replica and phase */
    enum placement_phase phase;      /* both: every step of a request passes it */
    int32_t replica;                 /* index into plan.replicas */
    const struct placement_row *row; /* first row, for errors */
    int32_t copy;
    int copy_count; /* of the stage of copy 0: alternatives, itself first; rising in copy */
    const struct plan_stage *const *copies;
    int device_count;
    const int32_t *devices; /* file order, no duplicates */
    /* slices of a model, in model order; 0 for an executable. Of a stage on several devices in the
     * order of its rows, with their parts; who computes what and sends it where: pass.h */
    int slice_count;
    const struct plan_slice *slices;
    bool has_embed, has_lm_head;
    int32_t layer_count; /* layers whose attention is here: they hold KV cache */
    /* Of a model: the first block that it has, and the one behind the last: 4 x layer + attn 0,
     * proj 1, ffn_up 2, ffn_down 3; equal = none of a layer. */
    int32_t blocks_begin, blocks_end;
    struct plan_border in, out; /* of a model; in is 0 of the first stage, out of no matter of the
                                 * last */
    /* a profiled black box; NULL for slices. Stages exec_first..exec_last of it run in turn */
    const char *executable;
    int32_t exec_first, exec_last;
    int32_t queue_depth; /* 0 = unbounded */
    int32_t max_batch;   /* 0 = as --batch says */
    /* Bits of a value that it sends to the next stage, and that it receives; 0 = as it is. What
     * coding and restoring one takes its first device: 0 where nothing is, or nothing is known. */
    int32_t wire_bits, wire_bits_in;
    int64_t encode_value_ps, decode_value_ps;
};

static inline bool plan_stage_has(const struct plan_stage *stage, int32_t device)
{
    for (int i = 0; i < stage->device_count; i++)
        if (stage->devices[i] == device)
            return true;
    return false;
}

/* What of a token's KV cache goes from where its prompt was computed to where it is decoded. */
struct plan_move {
    int32_t from_stage, to_stage; /* ids */
    int32_t from, to;             /* devices, never the same */
    int64_t bytes_per_token;
};

/* What two slices hold both of KV caches, in KV heads of the whole model; no heads: nothing. */
struct plan_common {
    int32_t layer_first, layer_last;
    int32_t head_first, head_count;
};
struct plan_common plan_slices_common(const struct model *model, const struct plan_slice *a,
                                      const struct plan_slice *b);

struct plan_replica {
    int32_t service; /* index into plan.services */
    int32_t number;  /* as in the file */
    int32_t epoch;   /* index into plan.epochs */
    int stage_count; /* which a step passes, that of a prompt where phases are apart */
    const struct plan_stage *stages;
    int decode_count; /* which a decode step passes: the same stages, or others behind them */
    const struct plan_stage *decode_stages;
    int total_count; /* all stages, from `stages` on: those two, then further copies */
    int move_count;  /* by stages, in order of these */
    const struct plan_move *moves;
};

/* Prompts are computed by other stages than what is decoded. */
static inline bool plan_replica_is_split(const struct plan_replica *replica)
{
    return replica->decode_stages != replica->stages;
}

/* The stages that a step passes which passes this one, */
static inline const struct plan_stage *plan_chain(const struct plan_replica *replica,
                                                  const struct plan_stage *stage)
{
    return stage->phase == PLACEMENT_DECODE ? replica->decode_stages : replica->stages;
}

/* and how many they are. */
static inline int plan_chain_count(const struct plan_replica *replica,
                                   const struct plan_stage *stage)
{
    return stage->phase == PLACEMENT_DECODE ? replica->decode_count : replica->stage_count;
}

struct plan_service {
    const char *name;
    const struct model *model; /* NULL for executables */
    int replica_count;         /* of all epochs */
    const int32_t *replicas;   /* indices into plan.replicas, file order = preference order */
    /* replicas[epoch_first[e]] up to, not including, replicas[epoch_first[e + 1]] are those of
     * epoch e; none: the service is not there in that epoch */
    const int32_t *epoch_first;
};

struct plan_epoch {  /* a full snapshot of the placement */
    int32_t number;  /* as in the file */
    int64_t from_ps; /* 0 for the first */
    int replica_count;
    const int32_t *replicas; /* of this epoch, indices into plan.replicas, rising */
};

struct plan {
    const struct cluster *cluster;
    int epoch_count;                 /* >= 1 */
    const struct plan_epoch *epochs; /* rising, in number as in from_ps */
    int service_count, replica_count, stage_count;
    const struct plan_service *services;
    const struct names *service_names; /* numbered as services */
    const struct plan_replica *replicas;
    const struct plan_stage *const *stages; /* by id */
};

/* cluster NULL: the devices named in the placement, all of the one type in costs (an error when
 * costs holds several). costs may be NULL when no executable is placed (the runner); otherwise
 * executables and stages are checked against it: single-stage rows take stage number = executable
 * stage unless `layers` names a range. */
const struct plan *plan_build(struct arena *arena, const struct placement *placement,
                              const struct cluster *cluster, const struct cost_set *costs,
                              struct model_catalogue *catalogue, struct err *err);

/* The same for what asks about memory alone (footprint.h): it needs no measured kernels. */
const struct plan *plan_outline(struct arena *arena, const struct placement *placement,
                                const struct cluster *cluster, const struct cost_set *costs,
                                struct model_catalogue *catalogue, struct err *err);

/* As model.h counts what a slice holds. */
struct model_part plan_slice_part(const struct plan_slice *slice);
int32_t plan_find_service(const struct plan *plan, const char *name); /* -1 = not placed */

/* Index of the plan's service for each service of the workload; checks that it is placed and that
 * the requests have the tokens that its model needs ("w.csv:3:2: service is 'x': not placed").
 * An encoder's request without prompt_tokens gets its model's whole context (vision: patches + 1).
 */
bool plan_match_workload(struct arena *arena, const struct plan *plan, struct workload *workload,
                         const int32_t **service_of, struct err *err);

/* The most requests (items of an executable) that a replica computes at once: the least of its
 * stages, each of which has its rows' max_batch, else what is common to all. */
int32_t plan_replica_batch(const struct plan_replica *replica, int32_t common);

/* Weights of the stage's slices on one device. A replica that has both ends of a tied model on one
 * device holds the shared matrix there once, in the runner as well: the lm_head's stage is without
 * it. */
int64_t plan_stage_weight_bytes(const struct plan *plan, const struct plan_stage *stage,
                                int32_t device);
/* Activations that the stage's slices on the device have at once in such a step. */
int64_t plan_stage_work_bytes(const struct plan *plan, const struct plan_stage *stage,
                              int32_t device, const struct model_step *step);
/* How often a step runs each block, and each norm and addition of conn. */
struct plan_counts {
    int64_t layers[BLOCK_COUNT];
    int64_t norms, adds;
};
struct plan_counts plan_stage_counts(const struct plan_stage *stage); /* on one device */
/* What coding and restoring what crosses its borders takes for each new token. */
int64_t plan_stage_codec_ps(const struct plan_stage *stage);
/* KV cache of one token in this stage; on one of its devices. */
int64_t plan_stage_kv_bytes_per_token(const struct plan *plan, const struct plan_stage *stage);
int64_t plan_device_kv_bytes_per_token(const struct plan *plan, const struct plan_stage *stage,
                                       int32_t device);
/* Bytes that a stage receives for a step of new_tokens: token ids (4 bytes each) into stage 0, else
 * what crosses its border, in the bits of the stage before it, output and residual each as a tensor
 * of its own; and what the last stage sends back (one token id). 0 behind a stage of an executable:
 * its cost table states output_bytes. */
int64_t plan_input_bytes(const struct plan *plan, const struct plan_stage *stage,
                         int32_t new_tokens);
int64_t plan_result_bytes(const struct plan *plan, const struct plan_replica *replica);

#endif
