/* energy.h - energy between two instants, and energy of one call of a kernel.
 *
 * A thread reads the sensor (20 times a second; a program such as vcgencmd 5 times) while the
 * caller works. Power is integrated by trapezoids, counters are differences with their wraps
 * undone. What the board draws when idle is measured apart and subtracted, and never hidden: both
 * are given. */
#ifndef ORRERY_PROFILER_ENERGY_H
#define ORRERY_PROFILER_ENERGY_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct meter;
struct sensor;

struct energy_reading {
    const char *reason; /* "" when known, else no_sensor, permission, too_short,
                         * below_resolution, no_thread */
    double energy_uj, elapsed_s;
    double power_uw, power_sd_uw; /* mean, and sd of single readings about it */
    int readings;
};

/* Starts reading; the sensor outlives the meter. NULL when the sensor is SENSOR_NONE, cannot be
 * read now, or no thread can be had; *reason then says which. */
struct meter *meter_start(struct arena *arena, const struct sensor *sensor, const char **reason);
/* Takes the last reading and ends the thread. Call exactly once. too_short: fewer than 4 readings;
 * permission: the sensor could no longer be read. */
struct energy_reading meter_stop(struct meter *meter);

/* Mean power while this process sleeps. */
struct energy_reading energy_idle(struct arena *arena, const struct sensor *sensor,
                                  int64_t span_ns);

struct energy_per_call {
    const char *reason;   /* as above */
    double call_uj;       /* less idle; 0 when there is a reason */
    double call_total_uj; /* idle included */
    double call_sd_uj;    /* from the scatter of power, loaded and idle */
    int64_t calls;
};
typedef void energy_call_fn(void *arg);

/* Calls fn again and again for at least span_ns (1 s or more is sensible: the sensors average over
 * tens of ms). idle: from energy_idle with the same sensor. below_resolution: what is left after
 * idle is not above twice its own uncertainty. */
struct energy_per_call energy_measure(struct arena *arena, const struct sensor *sensor,
                                      const struct energy_reading *idle, energy_call_fn *fn,
                                      void *arg, int64_t span_ns);

#endif
