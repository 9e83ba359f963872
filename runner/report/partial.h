/* partial.h - what is known of a run while it goes on, on disk: R.csv.partial beside R.csv, and so
 * with the other tables. A coordinator that is killed leaves it; one that writes the tables takes
 * it away again.
 *
 * Rows stand in the order in which they became known, a request's when it has ended. With replays a
 * row waits until its request has ended, so that no attempt is there that did not count. */
#ifndef ORRERY_RUNNER_PARTIAL_H
#define ORRERY_RUNNER_PARTIAL_H

#include <stdbool.h>

struct arena;
struct err;
struct partial;
struct report_input;

struct partial_paths {                         /* of the tables */
    const char *requests, *stages, *transfers; /* the last may be NULL */
};

/* Begins the files. Nothing stands beside stdout, pipes and devices. input, whose meta say that
 * they are partial, must outlive it. */
struct partial *partial_open(struct arena *arena, const struct report_input *input,
                             const struct partial_paths *paths, bool replays, struct err *err);
/* Puts what has become known since the last call into the files, which are given to the disk by a
 * thread of their own. A file that cannot be written is given up, with a word on stderr. */
void partial_look(struct partial *partial);
/* The tables are written: when the disk has them the files go. Else they stay, and are named on
 * stderr. NULL is allowed.
 */
void partial_remove(struct partial *partial);
void partial_leave(struct partial *partial);

#endif
