/* scn.h - a case for the flow model: resources, flows, and capacities that change. Reader and run.
 *
 * Format: sim/network/README.md. */
#ifndef ORRERY_SIM_NETWORK_SCN_H
#define ORRERY_SIM_NETWORK_SCN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct flow_use;

struct scn_resource {
    const char *name;
    double capacity; /* bytes a second, where weights are 1 */
    bool is_fat_pipe;
    long line;
};

struct scn_flow {
    int64_t start_ps, latency_ps;
    double bytes;
    double bound_bytes_per_s; /* 0 = none */
    double penalty;
    int32_t first_use, use_count; /* in scn.uses */
    long line;
};

struct scn {
    const char *path; /* as errors name it */
    int32_t resource_count, flow_count;
    struct scn_resource *resources;
    struct scn_flow *flows; /* file order */
    struct flow_use *uses;
};

struct scn_change {
    int64_t time_ps;
    int32_t resource;
    double capacity;
};

struct scn_changes { /* in order of time, and of the file within an instant */
    size_t count;
    struct scn_change *changes;
};

struct scn_result {
    int64_t *finish_ps;  /* of each flow */
    int64_t *busy_ps;    /* of each shared resource; 0 for fat pipes */
    double *bytes;       /* of each resource */
    int64_t end_ps;      /* the last flow's end */
    int64_t event_count; /* flows that began and ended, capacities that changed */
};

/* "-" = stdin. NULL on an error, which names line and field. */
struct scn *scn_load(struct arena *arena, const char *path, struct err *err);
/* A table time_s,resource,capacity_bytes_per_s. */
bool scn_load_changes(struct arena *arena, const char *path, const struct scn *scn,
                      struct scn_changes *changes, struct err *err);
/* At one instant flows end first, then capacities change, then flows begin, in order of the file. A
 * flow takes its resources when its latency has passed. changes may be NULL. Flows that can never
 * end are an error that names the first of them. */
bool scn_run(struct arena *arena, const struct scn *scn, const struct scn_changes *changes,
             struct scn_result *result, struct err *err);

#endif
