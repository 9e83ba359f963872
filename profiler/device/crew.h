/* crew.h - a few threads that read, copy or add memory together and are timed as one.
 *
 * They wait at a barrier, asleep, between two jobs. Each works on its own part, as the threads of a
 * BLAS do. */
#ifndef ORRERY_PROFILER_CREW_H
#define ORRERY_PROFILER_CREW_H

#include <stdint.h>

struct arena;
struct err;
struct crew;

enum crew_job {
    CREW_TOUCH, /* writes to every page */
    CREW_READ,
    CREW_COPY,  /* the first half of each part to its second half */
    CREW_TRIAD, /* thirds of each part */
    CREW_END,   /* for crew_destroy alone */
};

/* The caller is one of the threads. NULL when the system refuses a thread. */
struct crew *crew_create(struct arena *arena, int threads, struct err *err);
/* Does the job `times` times on count floats and returns the ns from the start of the first thread
 * to the end of the last. */
int64_t crew_run(struct crew *crew, enum crew_job job, float *floats, int64_t count, int times);
void crew_destroy(struct crew *crew);

#endif
