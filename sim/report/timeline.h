/* timeline.h - stage and request traces, simulated or real, as one Chrome trace. */
#ifndef ORRERY_SIM_REPORT_TIMELINE_H
#define ORRERY_SIM_REPORT_TIMELINE_H

struct arena;
struct out;
struct trace_requests;
struct trace_stages;

struct timeline { /* becomes a process: lanes of requests, a track a device */
    const char *name;
    const struct trace_stages *stages;
    const struct trace_requests *requests; /* NULL = none */
};

/* All on one time line; when one begins before 0, all are shifted alike. */
void timeline_write(struct arena *arena, const struct timeline *timelines, int count,
                    struct out *out);

#endif
