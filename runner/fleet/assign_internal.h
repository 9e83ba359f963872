/* assign_internal.h - what the files of an assignment share. For nobody else. */
#ifndef ORRERY_RUNNER_ASSIGN_INTERNAL_H
#define ORRERY_RUNNER_ASSIGN_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct assign_input;
struct assignment;
struct err;
struct plan_stage;
struct setup_stage;

/* Cost tables into the setups of padded devices; false when one cannot price what it computes. */
bool assign_pads(struct arena *arena, const struct assign_input *input,
                 struct assignment *assignment, struct err *err);

/* Of a device of a stage: which steps pass it, what goes from it to stages of decode steps, and the
 * stage here that it has weights in common with. */
void assign_phases(struct arena *arena, const struct assign_input *input,
                   const struct plan_stage *stage, int32_t device, const int32_t *worker_of,
                   struct setup_stage *added);

#endif
