/* counters.h - hardware counters behind one interface, so that "there is none" is an ordinary
 * answer.
 *
 * Back ends: papi, fake (scripted values and failures, for tests), none. A value is written only
 * when it was truly counted: everything else is COST_UNKNOWN and has a reason. profiler/README.md
 * lists the reasons. */
#ifndef ORRERY_PROFILER_COUNTERS_H
#define ORRERY_PROFILER_COUNTERS_H

#include "lib/format/cost.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;

/* A value that a failed read leaves where it was. No counter reaches it. */
#define COUNTERS_SENTINEL INT64_C(-0x5afe5afe5afe5afe)

struct counters {
    const char *name; /* "papi", "fake", "none" */
    void *state;
    /* Sets up those of the wanted counters (bits of enum cost_counter) that fit at once and returns
     * their bits; for each that can never be had, reason() says why. */
    unsigned (*open)(struct counters *counters, unsigned wanted);
    /* Code < 0 on failure. */
    int (*start)(struct counters *counters);
    /* values[] of the opened counters since start; others are left untouched. */
    int (*stop)(struct counters *counters, int64_t values[COST_COUNTER_COUNT]);
    void (*close)(struct counters *counters);
    /* Why a counter cannot be had; NULL when nothing is known against it. */
    const char *(*reason)(struct counters *counters, enum cost_counter counter);
    /* One line on the back end's own state, after the first open: version, what is disabled. */
    const char *(*describe)(struct counters *counters);
    /* The event that was last set up for a counter, by the back end's name; NULL: none was. */
    const char *(*event)(struct counters *counters, enum cost_counter counter);
};

/* spec: auto | off | papi | fake:FILE. auto is papi where it is built in, else none. Nothing is
 * initialised before the first open. */
struct counters *counters_create(struct arena *arena, const char *spec, const char *sysroot,
                                 struct err *err);
struct counters *counters_create_none(struct arena *arena, const char *reason);
struct counters *counters_create_papi(struct arena *arena, const char *sysroot);
/* The same with other events, by PAPI name; a NULL among them leaves a
 * counter without one, events NULL means those of the processor. */
struct counters *counters_create_papi_events(struct arena *arena, const char *sysroot,
                                             const char *const events[COST_COUNTER_COUNT]);
struct counters *counters_create_fake(struct arena *arena, const char *path, struct err *err);

/* A pass counts what fits at once. After the last pass bits is 0. */
struct counters_pass {
    unsigned left; /* not yet counted */
    unsigned bits; /* opened now */
};
struct counters_pass counters_first_pass(struct counters *counters);
void counters_next_pass(struct counters *counters, struct counters_pass *pass);

/* Counts one interval: call begin, do the work, call end. Values that were not truly counted become
 * COST_UNKNOWN, with the reason in reasons[] (kept when set already). */
struct counters_read {
    int started;
    int64_t values[COST_COUNTER_COUNT];
};
void counters_begin(struct counters *counters, struct counters_read *read);
void counters_end(struct counters *counters, const struct counters_pass *pass,
                  struct counters_read *read, const char *reasons[COST_COUNTER_COUNT],
                  struct arena *arena);

/* What is left over: reasons for every counter that has neither a value nor a reason. */
const char *counters_reason(struct counters *counters, enum cost_counter counter);
/* "cyc:not_there" for all that are unknown; one word when all share it; "" when none is. */
const char *counters_join_reasons(struct arena *arena, const int64_t values[COST_COUNTER_COUNT],
                                  const char *const reasons[COST_COUNTER_COUNT]);

#endif
