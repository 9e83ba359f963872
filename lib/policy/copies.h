/* copies.h - stages with alternatives (copies): which of them a request passes. One code for
 * simulator and runner.
 *
 * A way has a place for each stage that a request may pass: those of prompts (or of all steps),
 * then, where phases are apart, those of decode steps. In each stands the index of a copy among the
 * alternatives of the plan. It is chosen when the request is dispatched, place by place, by the
 * rule that chooses replicas, and kept for all its steps: the KV cache is where the prompt was
 * computed.
 */
#ifndef ORRERY_POLICY_COPIES_H
#define ORRERY_POLICY_COPIES_H

#include "lib/policy/dispatch.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct copies;
struct plan;
struct plan_replica;
struct plan_stage;

int copies_place_count(const struct plan_replica *replica);
int copies_place(const struct plan_replica *replica, const struct plan_stage *stage);
/* The stage of copy 0. */
const struct plan_stage *copies_base(const struct plan_replica *replica, int place);
/* Some of its stages have alternatives. */
bool copies_are_in(const struct plan_replica *replica);

/* Fixed batches of a decoder that may be under way behind each copy of stage 0: one for each copy
 * of each stage, so that none needs to be idle, shared evenly. */
int32_t copies_batches(const struct plan_replica *replica);

/* seed: of the rule `random`. */
struct copies *copies_create(struct arena *arena, const struct plan *plan, enum dispatch_kind kind,
                             uint64_t seed);
/* The plan has more stages, behind those that it had. */
void copies_extend(struct copies *copies, struct arena *arena, const struct plan *plan);

/* What is known of a copy now. */
typedef void copies_look(void *arg, const struct plan_stage *copy, struct dispatch_replica *facts);
/* Fills way[0..places). A place whose copies are all down gets the first: the replica is down. */
void copies_choose(struct copies *copies, const struct plan_replica *replica,
                   const struct dispatch_request *who, copies_look *look, void *arg, int16_t *way);

/* A way as one number, 0 where nothing is to be chosen: what frames of the runner carry. False: the
 * replica has too many ways for that. */
bool copies_have_numbers(const struct plan_replica *replica);
int64_t copies_number(const struct plan_replica *replica, const int16_t *way);
/* What the number is divided by, before the copies of the place are its remainder. */
int64_t copies_divisor(const struct plan_replica *replica, int place);
/* The stage that it passes at the place, whatever the number is. */
const struct plan_stage *copies_at(const struct plan_replica *replica, int64_t number, int place);

#endif
