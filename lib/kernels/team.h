/* team.h - threads of the plain C kernels: a range of rows, cut the same way every time.
 *
 * OpenBLAS has threads of its own. Whoever creates a team owns it; a team belongs to the process
 * that created it (threads do not survive a fork). */
#ifndef ORRERY_KERNELS_TEAM_H
#define ORRERY_KERNELS_TEAM_H

struct arena;
struct err;
struct team;

/* Computes the items first..last-1. */
typedef void team_fn(void *arg, int first, int last);

/* threads >= 1, the caller's own included. NULL with an error when the system refuses one. */
struct team *team_create(struct arena *arena, int threads, struct err *err);
/* Runs fn over 0..count-1 in as many ranges as there are threads; returns when all are done. A NULL
 * team is the caller alone. Only the thread that created the team may call this. */
void team_run(struct team *team, team_fn *fn, void *arg, int count);
/* Ends the threads; the memory is the arena's. NULL is allowed. */
void team_destroy(struct team *team);

#endif
