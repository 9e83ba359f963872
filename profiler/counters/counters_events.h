/* counters_events.h - which event of which processor is behind a logical counter.
 *
 * Sources: the event tables of libpfm 4.13 (tests/unit/profiler/test_counters_events.c looks every
 * name up there) and the presets of PAPI 7.0. */
#ifndef ORRERY_PROFILER_COUNTERS_EVENTS_H
#define ORRERY_PROFILER_COUNTERS_EVENTS_H

#include "lib/format/cost.h"
#include <stdint.h>

#define COUNTERS_MAX_EVENTS 2

struct counters_pmu {
    const char *name; /* libpfm's */
    /* Best first, without the name of the PMU; all NULL: this processor has no such event. */
    const char *events[COST_COUNTER_COUNT][COUNTERS_MAX_EVENTS];
};

/* An ARM core by the part number of its MIDR. */
struct counters_core {
    int64_t part;
    const char *name, *pmu; /* whose table describes its counters */
};

/* PAPI's own name for the counter, on every processor for which it has presets. */
const char *counters_preset(enum cost_counter counter);
/* NULL behind the last one. */
const struct counters_pmu *counters_pmu_at(int index);
/* NULL: not in the table. */
const struct counters_pmu *counters_pmu_find(const char *name);
const struct counters_core *counters_core_find(int64_t part);

#endif
