/* profile.h - a rate that changes with time: pieces that are constant or rise and fall evenly.
 * Reader of the rate-profile tables (workloads/README.md). */
#ifndef ORRERY_FORMAT_PROFILE_H
#define ORRERY_FORMAT_PROFILE_H

#include <stdint.h>

struct arena;
struct err;

#define PROFILE_MAX_PER_S 1e12 /* one arrival a picosecond */

struct profile_piece {
    int64_t from_ps;                  /* the first at 0, then rising */
    double rate_per_s, to_rate_per_s; /* at its start and where the next begins; alike = constant */
    long line;
};

struct profile {
    const char *path;
    int count; /* at least 1; some rate is above 0 */
    struct profile_piece *pieces;
    int from_column, to_rate_column; /* for later errors */
};

/* "-" reads stdin. Whether the last piece has an end depends on the caller's horizon or period. */
struct profile *profile_load(struct arena *arena, const char *path, struct err *err);

#endif
