/* standstill.h - whether bounded queues of a placement can bring it to a standstill.
 *
 * A job that is done and finds no room in the queue of the next stage keeps its devices. Where
 * these are what the jobs in that queue wait for, directly or by way of others that are kept,
 * nobody can go on. That takes a circle of devices; whether a load ever closes it is another
 * matter. */
#ifndef ORRERY_POLICY_STANDSTILL_H
#define ORRERY_POLICY_STANDSTILL_H

struct arena;
struct plan;

/* Who would wait for whom, in one line; NULL: no load can bring it about. */
const char *standstill_possible(struct arena *arena, const struct plan *plan);

#endif
