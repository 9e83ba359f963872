/* session.h - a run from its options to what is measured: variants, points, memory, time. */
#ifndef ORRERY_PROFILER_SESSION_H
#define ORRERY_PROFILER_SESSION_H

#include "lib/format/cost.h"
#include "profiler/cmd/run_options.h"
#include "profiler/measure/interrupt.h"
#include "profiler/measure/measure.h"
#include "profiler/measure/pool.h"
#include <stdbool.h>

struct arena;
struct err;
struct facts;
struct model;

#define SESSION_MAX_WARNINGS 32

struct session {
    struct arena *arena;
    const char *program;
    const struct run_options *options;
    struct run_lists lists;
    const struct model *model;
    struct facts *facts;
    const char *warnings[SESSION_MAX_WARNINGS];
    int warning_count;
    int unfit_count;                    /* of the warnings, the first ones: --strict refuses */
    int64_t available_bytes, llc_bytes; /* 0: not known */
    int64_t knee_bytes; /* the cache as seen by its bandwidth, where that was taken; else 0 */
    struct cost_roofline *roofline;
    int roofline_count;
    struct store *stores[MEASURE_MAX_STORES];
    struct pool_plan pools[MEASURE_MAX_STORES];
    int64_t forward_ns[MEASURE_MAX_STORES]; /* of 256 tokens; 0: not known */
    int32_t periods[MEASURE_MAX_STORES];
    int store_count;
    struct measure measure;
    struct interrupt interrupt;
};

void session_warn(struct session *session, const char *text);
/* Model, lists, facts, one empty store a variant, and whether each fits in memory. Measures
 * nothing. */
bool session_plan(struct session *session, struct err *err);
/* How many processes share the time. */
int session_processes(const struct run_options *options);
/* What measure needs to know of the options; before a journal is opened. */
void session_prepare(struct session *session);
/* Looks at the device (roofline, tiles, time of a forward), gives every store its points, and says
 * how long to measure. What a resumed journal knew of it is not looked at again. */
bool session_scout(struct session *session, struct err *err);

#endif
