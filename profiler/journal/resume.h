/* resume.h - between a run and its journal: opens it, replays it into the stores, says what is
 * kept.
 */
#ifndef ORRERY_PROFILER_RESUME_H
#define ORRERY_PROFILER_RESUME_H

#include <stdbool.h>

struct arena;
struct err;
struct identity;
struct measure;

/* Sets measure->journal; is_resumed: what is in it goes into measure's stores first. */
bool resume_open(struct arena *arena, struct measure *measure, const char *folder,
                 const struct identity *identity, bool is_resumed, struct err *err);

/* After a failure: err says besides what is kept and how to go on. A journal without a sample is
 * removed. */
void resume_leave(struct measure *measure, struct err *err);

#endif
