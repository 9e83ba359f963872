/* edit.h - workloads from workloads: merged, split, cut, scaled.
 *
 * Nothing is lost on the way: rows that wait for others (closed-loop clients, later turns of
 * sessions) go where the row before them went, and an operation that has no meaning for them is an
 * error with their place. Results live in the arena; sources stay as they are. */
#ifndef ORRERY_SIM_WORKLOAD_EDIT_H
#define ORRERY_SIM_WORKLOAD_EDIT_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct workload;

/* What a client or session that has the same name in two files is. */
enum edit_same { EDIT_REFUSE, EDIT_JOIN, EDIT_RENAME, EDIT_SAME_COUNT };
extern const char *const edit_same_names[EDIT_SAME_COUNT];

/* All rows by arrival, ties by request_id, then by file; a row that waits keeps its place behind
 * the row above it. Ids are 0, 1, ... Services of one name are one. */
struct workload *edit_merge(struct arena *arena, struct workload *const *parts, int count,
                            enum edit_same same, struct err *err);

#define EDIT_MAX_PARTS 500

struct edit_parts {
    int count;
    struct workload *parts[EDIT_MAX_PARTS]; /* NULL = no request in it */
};

/* Round robin: row i into part i mod count. Rows that share a client or a session count as one and
 * stay together. Ids and times are kept. */
bool edit_split_into(struct arena *arena, const struct workload *workload, int count,
                     struct edit_parts *parts, struct err *err);
/* Part k has the arrivals from k every_ps on, below (k + 1) every_ps; with is_shifted its times
 * begin at its start. Ids are kept. */
bool edit_split_every(struct arena *arena, const struct workload *workload, int64_t every_ps,
                      bool is_shifted, struct edit_parts *parts, struct err *err);

struct edit_slice {
    int64_t from_ps, to_ps; /* to_ps 0 = to the end */
    int64_t first;          /* at most so many rows; 0 = all */
    bool is_kept;           /* times stay; else from_ps becomes 0 */
};

/* The rows of a window. Ids are kept. */
struct workload *edit_slice(struct arena *arena, const struct workload *workload,
                            const struct edit_slice *slice, struct err *err);

struct edit_scale { /* 0 = as it is; done in this order */
    int copies;     /* each row so often, at the same instant; copies of clients and sessions are
                       others, and ids are 0, 1, ... */
    bool has_cv;
    double cv; /* of the gaps, by a power of each: order, span and rate stay */
    /* At most one of these; in units of 1 / GENERATE_SCALE_UNIT: */
    int64_t time_scale; /* all times are multiplied: arrivals and think times */
    int64_t rate_scale; /* arrivals are divided, think times stay */
    double rate_per_s;  /* as rate_scale, to that mean rate */
};

struct workload *edit_scale(struct arena *arena, const struct workload *workload,
                            const struct edit_scale *scale, struct err *err);

#endif
