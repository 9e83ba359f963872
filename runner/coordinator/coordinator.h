/* coordinator.h - `orrery-run` itself: executes a placement for real. */
#ifndef ORRERY_RUNNER_COORDINATOR_H
#define ORRERY_RUNNER_COORDINATOR_H

#include "lib/policy/dispatch.h"
#include "runner/fleet/assign.h"
#include "runner/setup/batching.h"
#include <stdbool.h>
#include <stdint.h>

struct argp;

#define COORDINATOR_MAX_PADS 64
#define COORDINATOR_MAX_COSTS 64

struct coordinator_options {
    const char *placement, *cluster, *workload, *models;
    const char *listen;
    const char *keys; /* folder, NULL = none */
    const char *events;
    bool replays;
    int64_t rejoin_wait_ps;
    const char *requests_out, *stages_out, *transfers_out;
    bool has_chunk_option, has_clamp, is_local, is_json;
    int64_t wait_ps;
    enum dispatch_kind dispatch;
    struct batching batching;
    enum collective_algorithm collective; /* zero: ring */
    uint64_t seed;
    struct assign_pad pads[COORDINATOR_MAX_PADS];
    int pad_count;
    const char *costs[COORDINATOR_MAX_COSTS];
    int cost_count;
};

/* The command line of the coordinator; input is a struct coordinator_options with its defaults set
 * by coordinator_defaults. */
extern const struct argp coordinator_argp;
struct coordinator_options coordinator_defaults(void);

/* Returns an enum cli_exit. */
int coordinator_main(int argc, char **argv);

#endif
