/* merge.h - several cost tables of one device as one. */
#ifndef ORRERY_PROFILER_MERGE_H
#define ORRERY_PROFILER_MERGE_H

#include <stdbool.h>

struct arena;
struct err;

struct merge {
    const char *const *folders; /* at least two */
    int folder_count;
    const char *into; /* a folder without a table; made when it is missing */
    /* out */
    int rows, anchors, interps;
    int doubles;        /* rows that several have: the one with the narrower interval was taken */
    int disagreeing;    /* of these, further apart than 3 % and both half widths */
    double worst_ratio; /* the largest change among the doubles */
    const char *worst_row;
    const char *left_out; /* files that are of one run and cannot be merged; "" */
};

/* Reads all, checks that they are of one machine and version, and writes all files or none. */
bool merge_run(struct arena *arena, struct merge *merge, struct err *err);

#endif
