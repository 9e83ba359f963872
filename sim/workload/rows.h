/* rows.h - copies rows from one workload into another, whose names have other numbers. */
#ifndef ORRERY_SIM_WORKLOAD_ROWS_H
#define ORRERY_SIM_WORKLOAD_ROWS_H

#include "lib/format/workload.h"

struct rows {
    const struct workload *from;
    struct workload_builder *to;
    int32_t *services, *clients, *sessions; /* number in `to` + 1; 0 = not there yet */
    const char *suffix;                     /* of clients and sessions; "" = same names */
    struct arena *arena;
};

struct rows rows_begin(struct arena *arena, const struct workload *from,
                       struct workload_builder *to);
/* Row `index` of `from` with numbers of `to`; names are added there with their first row. */
struct workload_request rows_get(struct rows *rows, size_t index);

/* For what goes by time: the part of each row, given that of the rows with an arrival, for the rows
 * that wait. */
struct follow {
    const struct workload *workload;
    int *client_parts, *session_parts; /* of the last row of each; -1 = none yet */
};

struct follow follow_begin(struct arena *arena, const struct workload *workload);
/* Notes the part of a row, in file order. */
void follow_set(struct follow *follow, size_t index, int part);
/* Where the row that this one waits for went, the later one of two; -1 when it is the first. */
int follow_get(const struct follow *follow, size_t index);

#endif
