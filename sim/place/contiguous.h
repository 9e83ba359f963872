/* contiguous.h - the best cut of a problem's chain as an answer, for the planners that ask for one
 * with a rule of their own. */
#ifndef ORRERY_SIM_PLACE_CONTIGUOUS_H
#define ORRERY_SIM_PLACE_CONTIGUOUS_H

#include "sim/place/place.h"

/* What the ask wants of a pipeline: its rate is one request a period. */
enum chain_objective contiguous_objective(const struct place_ask *ask);
/* The optimum, or the best of a beam where there are too many states, which its `why` says. chain:
 * over the kinds of the problem. */
struct place_answer contiguous_solve(struct arena *arena, const struct problem *problem,
                                     const struct chain *chain, enum chain_objective objective);
/* How much memory is missing, or that no cut fits. */
const char *contiguous_why_not(struct arena *arena, const struct problem *problem);

#endif
