/* bottleneck.h - what limits a run, in words: the device, the link or the stage on several devices
 * that is taken for most of the time in which requests are in flight, and the next one; or that
 * nothing limits, and what latency is made of. README of sim/ says when which.
 *
 * Derived from the run alone: busy times and gaps, links' busy times, and serve_parts. Of several
 * that are taken for equally long the first counts: devices in order of the cluster, then links,
 * then such stages, which are taken while a step runs in them. Of a stage and its devices one alone
 * is told. */
#ifndef ORRERY_SIM_REPORT_BOTTLENECK_H
#define ORRERY_SIM_REPORT_BOTTLENECK_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cluster;
struct json_writer;
struct out;
struct plan;
struct serve_link;
struct serve_result;

/* It limits when it is taken for so much of the time with requests in flight, and either for as
 * much of the whole run, or requests wait for half of their time: a run with long pauses has
 * devices that are always busy when anybody is there, and still nobody waits. */
#define BOTTLENECK_BUSY 0.8
#define BOTTLENECK_WAITING 0.5

struct bottleneck_parts { /* of the time of all requests in the system; they sum up to 1 */
    double compute, per_message, latency, bytes, overhead, waiting;
};

struct bottleneck {
    bool is_limit;     /* name limits; else it is the busiest, for what that is worth */
    const char *name;  /* "device pi1", "switch lan (pi0's port)"; NULL: nothing did anything */
    const char *next;  /* NULL: nothing else did */
    double busy_ratio; /* of the time with requests in flight */
    double next_busy_ratio; /* of it */
    double rise_ratio;      /* by which the rate could rise without it: busy / next; of a stage, if
                             * what its devices send each other were free; 0 = not known */
    bool has_parts;
    struct bottleneck_parts parts;
    const char *text; /* the sentence, without a full stop */
};

/* plan: for stages on several devices, NULL without any. requests and tokens: ended ok, of the
 * whole run; what "a token" and "a request" count by. */
struct bottleneck bottleneck_find(struct arena *arena, const struct plan *plan,
                                  const struct cluster *cluster, const struct serve_result *result,
                                  int64_t requests, int64_t tokens);
/* "switch lan (pi0's port)". */
const char *bottleneck_link_name(struct arena *arena, const struct cluster *cluster,
                                 const struct serve_link *link);
void bottleneck_write_text(const struct bottleneck *bottleneck, struct out *out);
/* Keys bottleneck, limit and time_in_system. */
void bottleneck_write_json(const struct bottleneck *bottleneck, const struct serve_result *result,
                           struct json_writer *json);

#endif
