/* machine.h - the state of the whole machine at one instant, read before and after a round.
 *
 * About ten small reads, 0.1 to 0.3 ms: outside of what is timed. A value that cannot be had is
 * MACHINE_UNKNOWN, never a guess. */
#ifndef ORRERY_PROFILER_MACHINE_H
#define ORRERY_PROFILER_MACHINE_H

#include <stdint.h>

struct arena;

#define MACHINE_UNKNOWN INT64_C(-1)

struct machine_state {
    int64_t t_ns;          /* clock_now_ns */
    int64_t freq_khz;      /* slowest core */
    int64_t temp_mc;       /* hottest zone, millidegrees C */
    int64_t throttle_bits; /* Raspberry Pi firmware: 0-3 now, 16-19 since boot */
    int64_t psi_us;        /* tasks waited for a CPU, since boot */
    int64_t busy_ns;       /* all CPUs together, since boot, in steps of a tick (10 ms) */
    int64_t steal_ns;      /* all CPUs: what the hypervisor gave to others */
    int64_t switches;      /* context switches of all CPUs, since boot */
};

void machine_read(struct machine_state *state, struct arena *scratch, const char *sysroot);

/* Share of one core (may exceed 1) that other processes used between two readings, when this one
 * and its children used own_cpu_ns; never below 0. -1 when not known or no time has passed. */
double machine_others_busy_ratio(const struct machine_state *before,
                                 const struct machine_state *after, int64_t own_cpu_ns);
/* Share of one core that the hypervisor withheld; -1 when not known. */
double machine_steal_ratio(const struct machine_state *before, const struct machine_state *after);

#endif
