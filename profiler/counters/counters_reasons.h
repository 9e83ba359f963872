/* counters_reasons.h - why a counter is empty: PAPI's codes and what is behind them, in one word
 * and in a sentence that says what to do. Nothing here calls PAPI. */
#ifndef ORRERY_PROFILER_COUNTERS_REASONS_H
#define ORRERY_PROFILER_COUNTERS_REASONS_H

#include <stdbool.h>

struct arena;

enum { /* PAPI's codes; counters_papi.c checks that they are its own */
       COUNTERS_CODE_FULL = -1,
       COUNTERS_CODE_SYSTEM = -3,
       COUNTERS_CODE_NO_EVENT = -7,
       COUNTERS_CODE_NOT_PERMITTED = -15
};

struct counters_surroundings {
    const char *disabled;     /* PAPI's words on its perf_event component; "" when it is enabled */
    bool has_perf_event_open; /* the system call is there */
    bool has_kernel_pmu;      /* the kernel offers a PMU of the processor */
};

/* "papi:-25:no_default_pmu". */
const char *counters_explain(struct arena *arena, const struct counters_surroundings *around,
                             int code);
/* What the reason means and what can be done about it; never NULL. */
const char *counters_advice(const char *reason);

bool counters_has_perf_event_open(void);
bool counters_has_kernel_pmu(struct arena *arena, const char *sysroot);
/* The kernel lists the events that an ARM PMU has (its PMCEID registers). True when there are such
 * lists and the event is in none: it could be added and started, and would read 0. The event is a
 * native name, its PMU and masks do not matter. */
bool counters_kernel_lacks(struct arena *arena, const char *sysroot, const char *event);

#endif
