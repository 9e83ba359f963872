/* assign_internal.h - what the files of an assignment share. For nobody else. */
#ifndef ORRERY_RUNNER_ASSIGN_INTERNAL_H
#define ORRERY_RUNNER_ASSIGN_INTERNAL_H

#include <stdbool.h>

struct arena;
struct assign_input;
struct assignment;
struct err;

/* Cost tables into the setups of padded devices; false when one cannot price what it computes. */
bool assign_pads(struct arena *arena, const struct assign_input *input,
                 struct assignment *assignment, struct err *err);

#endif
