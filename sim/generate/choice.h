/* choice.h - draws one of many with given weights in constant time, however many there are. */
#ifndef ORRERY_SIM_GENERATE_CHOICE_H
#define ORRERY_SIM_GENERATE_CHOICE_H

struct arena;
struct choice;
struct rng;

/* Weights are above 0; count >= 1. */
struct choice *choice_create(struct arena *arena, const double *weights, int count);
/* Takes one number of the stream, none when there is nothing to choose. */
int choice_draw(const struct choice *choice, struct rng *rng);

#endif
