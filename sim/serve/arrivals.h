/* arrivals.h - the requests of a run in order of arrival, wherever they come from.
 *
 * Open workloads are walked column by column, closed loops and sessions asked of lib/policy/source,
 * streams drawn one at a time. The next arrival is always at hand, for the event loop to merge. */
#ifndef ORRERY_SIM_SERVE_ARRIVALS_H
#define ORRERY_SIM_SERVE_ARRIVALS_H

#include "lib/format/workload.h"
#include "lib/policy/source.h"

struct serve_input;
struct serve_options;

#define ARRIVALS_NEVER INT64_MAX

struct arrival {
    size_t index; /* row of the workload, or number of the arrival in a stream */
    int64_t arrival_ps;
    struct workload_request request;
};

struct arrivals {
    int64_t next_ps; /* ARRIVALS_NEVER: none is known now */
    const struct workload *workload;
    struct source *source;           /* NULL: open */
    struct stream *stream;           /* NULL: a workload */
    struct workload_request pending; /* of the stream */
    size_t next;                     /* row, or number in the stream */
    size_t taken, most;
    int64_t until_ps;
    int64_t first_ps, last_ps; /* of those taken */
};

void arrivals_begin(struct arrivals *arrivals, struct arena *arena, const struct serve_input *input,
                    const struct serve_options *options);
/* next_ps must not be ARRIVALS_NEVER. */
void arrivals_take(struct arrivals *arrivals, struct arrival *arrival);
/* Open arrivals that differ in time, service and objective alone: arrivals_block may be used. */
bool arrivals_are_plain(const struct arrivals *arrivals);
/* Many at once: up to room of them. *arrivals_ps is the times: room_ps, or where they stand
 * already. How many; 0 = the end. */
size_t arrivals_block(struct arrivals *arrivals, size_t room, int64_t *room_ps, int32_t *services,
                      const int64_t **arrivals_ps);
/* Objective that all requests of a plain stream have of their own; 0 = none. */
int64_t arrivals_slo_ps(const struct arrivals *arrivals);
/* A taken request has ended: may make others known. */
void arrivals_ended(struct arrivals *arrivals, size_t index, int64_t now_ps);
static inline int64_t arrivals_id(const struct arrivals *arrivals, size_t index)
{
    return arrivals->workload && arrivals->workload->request_ids
               ? arrivals->workload->request_ids[index]
               : (int64_t)index;
}
/* Requests that will not come because nothing that they wait for will end. */
size_t arrivals_left(const struct arrivals *arrivals);

#endif
