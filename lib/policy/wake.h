/* wake.h - what the first job behind a pause costs a device more.
 *
 * The profiler times the first product after COST_IDLE_PS of sleep (idle_resume_ns of
 * roofline.csv): caches and clocks have gone down by then. Nothing is known of shorter pauses, so
 * that they cost nothing; nor is it known of black boxes, whose latency is what somebody measured.
 */
#ifndef ORRERY_POLICY_WAKE_H
#define ORRERY_POLICY_WAKE_H

#include <stdbool.h>
#include <stdint.h>

struct cost_table;

struct wake {          /* of a device */
    int64_t resume_ps; /* at speed ratio 1; 0: none is known */
    int64_t awake_ps;  /* until when it was at work; before its first job long ago */
    int64_t count, time_ps;
};

/* threads 0: the table's only count, else 1. A difference below 0 was disturbed: it counts as 0. */
struct wake wake_of(const struct cost_table *table, int threads);
/* Whether a job that starts then would wake it. */
bool wake_is_due(const struct wake *wake, int64_t start_ps);
/* A job that starts before that instant wakes nobody; INT64_MAX: none ever does. */
int64_t wake_could_ps(const struct wake *wake);
/* What a job of a model that starts then takes more; counts it. */
int64_t wake_take_ps(struct wake *wake, int64_t start_ps, double speed_ratio);

#endif
