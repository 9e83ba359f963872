/* events.h - what changes while a run goes on: devices and links that fail, recover, slow down.
 *
 * Format: placements/README.md. Events belong to a cluster: targets are resolved against it while
 * reading, so that a run meets indices only. Each target has a state of its own: a port is usable
 * when neither it nor its medium is down, and a medium's bits_per_s sets all of its attachments. */
#ifndef ORRERY_FORMAT_EVENTS_H
#define ORRERY_FORMAT_EVENTS_H

#include <stddef.h>
#include <stdint.h>

struct arena;
struct cluster;
struct err;
struct out;

enum event_kind {
    EVENT_DOWN,
    EVENT_UP,
    EVENT_BITS_PER_S,  /* of a medium or a port */
    EVENT_SPEED_RATIO, /* of a device */
    EVENT_KIND_COUNT
};

enum event_target {
    EVENT_DEVICE,
    EVENT_MEDIUM,
    EVENT_PORT, /* medium/node: what attaches one node to a medium */
};

struct event {
    int64_t time_ps;
    const char *name; /* of the target, as the table writes it */
    enum event_kind kind;
    enum event_target target;
    int32_t device;     /* index into the cluster's devices; -1 unless EVENT_DEVICE */
    int32_t medium;     /* index into its media; -1 for EVENT_DEVICE */
    int32_t attachment; /* EVENT_PORT: row of the medium that attaches the node, which may be that
                           of "*", shared with others; else -1 */
    const char *node;   /* EVENT_PORT: of the cluster, or CLUSTER_SOURCE; else NULL */
    double value;       /* takes the place of what the cluster says; 0 for EVENT_DOWN, EVENT_UP */
    long line;
};

struct events {
    const char *path; /* as errors name it */
    size_t count;
    struct event *events; /* in order of time, and of the file within an instant */
};

/* "-" = stdin. Rows stand in order of time. A target that the cluster does not have or has twice,
 * a value where none belongs or out of the range of devices.csv and links.csv, and what goes down
 * or up twice in a row, are errors with their place; NULL is returned. */
struct events *events_load(struct arena *arena, const char *path, const struct cluster *cluster,
                           struct err *err);
/* Of each event time_ps, name, kind and value. meta as for table_begin. */
#endif
