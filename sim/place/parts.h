/* parts.h - what a model costs when its blocks are cut into parts over devices: a part on a device,
 * and all of a placement whose stages may stand on several devices each.
 *
 * Kernels are looked up in the sizes that a part has; what devices send each other follows from
 * lib/policy/pass, and takes what it does on idle links, as the closed form of sim/sliced has it.
 * Heads and columns have the sizes that were measured, no others: `orrery-profile run --slices N`.
 */
#ifndef ORRERY_SIM_PLACE_PARTS_H
#define ORRERY_SIM_PLACE_PARTS_H

#include "lib/format/model.h"
#include "lib/policy/collective.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct placement_row;
struct problem;

/* ---- one part ---- */

struct parts;

/* The problem is of a model. Costs are remembered. */
struct parts *parts_create(struct arena *arena, const struct problem *problem);
/* What a block is cut into: attn and proj into groups of KV heads, ffn_up and ffn_down into
 * columns, lm_head into rows of the vocabulary. Others: 1. */
int32_t parts_units(const struct parts *parts, enum model_block block);
/* As problem_block_ps, in these units. */
bool parts_time_ps(struct parts *parts, int32_t device, enum model_block block, int32_t units,
                   int64_t *time_ps);
/* The sizes, in units, that were measured on the device, rising: the whole block's may be one. In
 * the arena of parts. */
const int32_t *parts_sizes(struct parts *parts, int32_t device, enum model_block block,
                           int32_t *count);
/* Weights, and caches of the problem's sequences, of so many units of one layer's block; and the
 * activations that are alive while it is computed. Upper bounds where bytes do not divide. */
int64_t parts_held_bytes(const struct parts *parts, enum model_block block, int32_t units);
int64_t parts_work_bytes(const struct parts *parts, enum model_block block, int32_t units);

/* ---- a placement ---- */

struct parts_score {
    int64_t latency_ps;  /* of a lone request, without overlap and --idle-resume */
    int64_t period_ps;   /* the longest that a request takes a device, or a stage on several, which
                            has one step at a time */
    int64_t compute_ps;  /* of latency_ps: the slowest device of each step; */
    int64_t exchange_ps; /* among devices of a stage; the rest is sent between stages */
    int64_t message_count, message_bytes; /* of the exchanges */
    int64_t room_bytes; /* least of memory_bytes less what is held; INT64_MAX: none is stated */
    int32_t room_device;
};
/* Rows of one replica of the problem's service, phases not apart. What the simulator finds of a
 * lone request, exactly; a link that several messages share at once to 1 ps each. False: it is no
 * placement, kernels of a part were not measured, or it is none of those: err says what. What does
 * not fit into memory is scored, too. */
bool parts_score(struct arena *arena, const struct problem *problem,
                 enum collective_algorithm collective, const struct placement_row *rows, int count,
                 struct parts_score *score, struct err *err);

#endif
