/* syncer.h - files that grow are given to the disk, twice a second, by a thread of its own: a disk
 * takes tens of milliseconds, for which nobody else should wait. */
#ifndef ORRERY_RUNNER_SYNCER_H
#define ORRERY_RUNNER_SYNCER_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct syncer;

#define SYNCER_EVERY_NS INT64_C(500000000) /* between the end of a round and the next */

/* Of files that are there, under these names. One that cannot be opened is told of as one that
 * could not be given; NULL: there is no thread. */
struct syncer *syncer_start(struct arena *arena, const char *const *paths, int count,
                            struct err *err);
/* False with why: a file cannot be given to the disk. Each is told of once, one at a time, also
 * when the thread has been stopped. */
bool syncer_look(struct syncer *syncer, struct err *err);
/* Rounds in which all that had been written before was given to the disk. */
int64_t syncer_rounds(const struct syncer *syncer);
/* After a last round. NULL is allowed. */
void syncer_stop(struct syncer *syncer);

/* Gives one file to the disk, and its name where its folder may be read, and waits for that. */
bool syncer_settle(struct arena *arena, const char *path, struct err *err);

#endif
