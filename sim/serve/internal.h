/* internal.h - the state of one simulation, shared by the files of this folder alone. */
#ifndef ORRERY_SIM_SERVE_INTERNAL_H
#define ORRERY_SIM_SERVE_INTERNAL_H

#include "lib/policy/plan.h"
#include "sim/serve/serve.h"

struct batch_queue;
struct cost_table;
struct engine;
struct network;
struct price;
struct source;

struct site { /* a stage of the plan, with what its steps cost and where they go */
    const struct plan_stage *stage;
    const struct model *model;      /* NULL: executable */
    int64_t fixed_ps, gap_ps;       /* executables: latency and occupancy after it */
    int64_t output_bytes;           /* executables: to the next stage */
    const struct cost_table *table; /* slices: of the stage's device */
    int threads;
    double speed_ratio;
    int64_t kv_bytes_per_token;
    int route_in;   /* from the stage before, or from the source */
    int route_back; /* of the last stage: to the source */
};

struct flight { /* a request that is in the system; at any time in one step of one stage */
    size_t request;
    int32_t replica; /* -1: this record is free */
    int32_t hop;     /* stage number; stage_count on the way back to the source */
    int32_t step, step_count;
    int32_t new_tokens, past_tokens;
    int32_t next_free;
    int64_t cost_ps;     /* of the job that is queued or running */
    int64_t start_ps;    /* of the job that is running */
    int64_t expected_ps; /* start of the queued job by the closed form */
};

struct station { /* a device as a server; its index is its slot in the engine */
    struct batch_queue *queue;
    int32_t running;   /* flight, -1 = none */
    int64_t free_ps;   /* earliest next start: end of the last job + gap */
    int64_t booked_ps; /* when all that is queued will be done, gaps included */
    int64_t busy_ps, gap_ps;
    int64_t charged_ps; /* sum of the costs of the jobs that ran here: must equal busy_ps */
    int64_t base_bytes; /* weights, largest activation, reserved */
    int64_t activation_bytes;
    int64_t kv_bytes, peak_bytes;
};

struct serve {
    struct arena *arena;
    const struct serve_input *input;
    const struct serve_options *options;
    struct serve_observer observer;
    struct serve_result *result;
    struct engine *engine;
    struct network *network;
    struct source *source;
    struct dispatch *dispatch;
    struct price *price;
    struct site *sites;       /* by stage id */
    struct station *stations; /* by device of the cluster */
    struct dispatch_replica *candidates;
    int64_t *outstanding; /* by replica of the plan */
    struct flight *flights;
    int32_t flight_count, first_free; /* -1 = none free */
    int64_t in_system;
    int64_t late_starts; /* jobs that did not start when the closed form said: must be 0 */
    /* Little's law in exact arithmetic modulo 2^64: area under the number in the system, and sum of
     * the times spent in it. */
    uint64_t area_ps, sojourn_ps;
    int64_t area_at_ps;
};

/* setup.c: sites, routes, memory; everything that can be wrong before time starts. */
bool setup_build(struct serve *serve, struct err *err);

/* station.c: the queue and the computing of jobs. */
bool station_push(struct serve *serve, int32_t flight, struct err *err);
/* The device's event: a job's end, or the end of a gap. *ended is the flight whose job ended, or
 * -1. After its flight has been moved on, call station_start for the devices of that stage. */
void station_event(struct serve *serve, int device, int32_t *ended);
void station_start(struct serve *serve, int device);
int64_t station_backlog_ps(const struct serve *serve, const struct plan_stage *stage);

/* self_check.c: what must hold at the end of any run. */
void self_check_change(struct serve *serve, int change);
bool self_check_end(const struct serve *serve, struct err *err);

const struct site *serve_site(const struct serve *serve, const struct flight *flight);

#endif
