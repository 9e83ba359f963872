/* internal.h - what the files of the coordinator share. For nobody else. */
#ifndef ORRERY_RUNNER_COORDINATOR_INTERNAL_H
#define ORRERY_RUNNER_COORDINATOR_INTERNAL_H

#include "lib/format/cost.h"
#include "runner/coordinator/coordinator.h"
#include "runner/load/serve.h"
#include "runner/report/report.h"

struct model_catalogue;
struct partial;
struct placement;

enum output { OUT_REQUESTS, OUT_STAGES, OUT_TRANSFERS, OUT_SUMMARY, OUT_COUNT };

struct coordinator {
    const struct coordinator_options *options;
    struct arena *arena;
    struct model_catalogue *catalogue;
    const struct placement *placement;
    const struct plan *plan;
    struct workload *workload;
    const int32_t *service_of;
    struct cost_set costs;
    struct assignment *assignment;
    int64_t session;
    const struct keys *keys;     /* NULL = none */
    const struct events *events; /* NULL = none */
    struct out *outs[OUT_COUNT];
    struct fleet *fleet;
    struct serve_run run;
    struct report_input report; /* of the files that hold what is known while the run goes on */
    struct partial *partial;
    struct { /* an update that is under way */
        const struct placement *placement;
        struct assignment *assignment; /* of the plan with it */
    } next;
};

/* ---- input.c ---- */

bool coordinator_load(struct coordinator *c, struct err *err);
bool coordinator_assign(struct coordinator *c, struct err *err);
const struct batching *coordinator_batching(const struct coordinator *c); /* NULL: none */
/* What a placement must be beside what a plan asks for. */
bool coordinator_check_rows(const struct placement *placement, struct err *err);
struct assign_input coordinator_assign_input(const struct coordinator *c);

/* ---- update.c: as serve.h asks for them; arg is the coordinator ---- */

bool coordinator_prepare(void *arg, const char *path, const char *text, int64_t number,
                         int64_t now_ps, struct err *err);
const struct plan *coordinator_adopt(void *arg, int64_t from_ps, struct err *err);

#endif
