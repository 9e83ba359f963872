/* roles_internal.h - what the files of roles share. */
#ifndef ORRERY_SIM_OPS_ROLES_INTERNAL_H
#define ORRERY_SIM_OPS_ROLES_INTERNAL_H

#include "sim/ops/roles.h"

struct roles_shapes; /* weights by shape */

/* Fills in owner, partner, gradients and the role of gradients. */
struct roles_shapes *roles_find_gradients(struct arena *arena, struct roles *roles);
/* The weight that the tensor is a turned view of; -1 = none. */
int32_t roles_turned_weight(const struct roles_shapes *shapes, int32_t tensor);

#endif
