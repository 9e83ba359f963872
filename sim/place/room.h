/* room.h - the memory that a placement's rows leave on the devices, as `orrery-sim fit` counts it.
 */
#ifndef ORRERY_SIM_PLACE_ROOM_H
#define ORRERY_SIM_PLACE_ROOM_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct model_catalogue;
struct place_ask;
struct placement_row;
struct problem;

struct room {
    int64_t bytes; /* least of memory_bytes less what is held; INT64_MAX: no memory is known */
    int32_t device;
};

/* Of every replica with the caches of as many typical requests as its problem says; epochs each by
 * themselves. Below 0: it does not fit. Errors: rows that are no placement. */
bool room_of_rows(struct arena *arena, const struct problem *const *problems, int32_t problem_count,
                  struct model_catalogue *catalogue, struct placement_row *rows, int row_count,
                  struct room *room, struct err *err);
/* Why it does not fit, in arena. */
const char *room_why_not(struct arena *arena, const struct problem *problem, struct room room);

/* The same for planners, *why in arena. Requests that a judge simulates alone hold the caches of
 * one at a time. Without a judge nobody knows the models of rows, and nothing is refused. */
bool room_refuses(struct arena *arena, const struct place_ask *ask, struct placement_row *rows,
                  int row_count, const char **why);

#endif
