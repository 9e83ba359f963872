/* verdict.h - may the times of a round be believed, and what to do when the machine is too hot.
 *
 * Pure functions over readings: nothing here touches the machine.
 *
 * Two fixed pieces of work run in every round, a small product (compute canary) and a cold read
 * (memory canary). What "slow" means is learnt from the run itself, because machines differ: on a
 * quiet virtual machine the compute canary has two levels 8 % apart that last for many rounds
 * (turbo), so that a fixed 2 % over the best decile would flag most quiet rounds. Hence
 *   compute limit = median * (1 + tolerance), tolerance = 3 robust sigma within 2 % .. 10 %, and in
 *                   no case above 1.15 best deciles, so that a run that is throttled for most of
 *                   its time does not become its own reference (a Raspberry Pi loses 17 % and
 * more); release limit = half of the tolerance: a slow machine is slow until it is clearly back;
 *   memory limit  = best decile * (1 + 3.4 * (median / best decile - 1) within 12 % .. 20 %): a
 *                   quiet one varies by 2.4 to 6 % (sigma), a second core that streams memory adds
 *                   20 to 100 %. The best decile stays clean while a neighbour comes and goes. */
#ifndef ORRERY_PROFILER_VERDICT_H
#define ORRERY_PROFILER_VERDICT_H

#include "profiler/measure/machine.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum round_verdict { /* in the order in which they are looked for: hard evidence first */
                     ROUND_OK,
                     ROUND_THROTTLED, /* the firmware says so, or the clock fell during the round */
                     ROUND_STOLEN,    /* the hypervisor gave over 5 % of a core to other guests */
                     ROUND_BUSY,      /* other processes used over 5 % of a core */
                     ROUND_SLOW,      /* the compute canary is beyond its limit */
                     ROUND_MEMORY,    /* the memory canary is beyond its limit */
                     ROUND_VERDICT_COUNT
};
const char *round_verdict_name(enum round_verdict verdict); /* "ok", "throttled", ... */

struct round_readings {
    struct machine_state before, after;
    int64_t own_cpu_ns;            /* CPU time of the measuring process between both */
    int64_t compute_ns, memory_ns; /* canaries; -1: not taken */
};

/* What is normal for this run (one thread count); zero-initialised: nothing is known yet. */
struct verdict_reference {
    int64_t compute_ns, compute_limit_ns, compute_release_ns, memory_ns, memory_limit_ns;
    int rounds;
};

/* Learns from the canaries of rounds that hard evidence (throttled, stolen, busy) does not speak
 * against. Sorts both in place; count 0 is allowed, values <= 0 are left out. Below 8 rounds the
 * spread is not known: the widest tolerances hold. */
struct verdict_reference verdict_learn(int64_t *compute_ns, int64_t *memory_ns, size_t count);

/* What speaks against a round whatever its canaries say: ROUND_OK, THROTTLED, STOLEN or BUSY.
 * Bits 16-19 of the firmware stay set until the next boot: only those newly set count. Shares of a
 * core below three ticks (30 ms) are beyond what /proc/stat resolves and do not count. */
enum round_verdict verdict_evidence(const struct round_readings *round);
/* The whole verdict. previous: that of the same process's round before (ROUND_OK for the first). */
enum round_verdict verdict_round(const struct round_readings *round,
                                 const struct verdict_reference *reference,
                                 enum round_verdict previous);

/* ---- heat: wait until the board is cool, and when to stop waiting ---- */

#define COOLING_MARGIN_MC 5000
#define COOLING_GOOD_CANARIES 3
#define COOLING_MAX_WAIT_NS INT64_C(120000000000)
#define COOLING_MAX_RETRIES 5

enum cooling_action {
    COOLING_KEEP,  /* the round counts (when sustained: marked throttled as its verdict says) */
    COOLING_WAIT,  /* drop the round; sleep about 1 s, read heat and canary, ask cooling_wait */
    COOLING_RETRY, /* cool enough, or waited long enough: make the round again */
};

struct cooling {
    int64_t start_temp_mc; /* MACHINE_UNKNOWN: the canaries alone decide */
    int64_t wait_began_ns;
    int good_canaries, retries;
    bool is_waiting, is_sustained;
};

/* is_sustained: --regime sustained, no waiting from the start. */
void cooling_begin(struct cooling *cooling, int64_t start_temp_mc, bool is_sustained);
/* After a round: throttled and slow rounds are made again, at most 5 times in a run. Then
 * is_sustained becomes true and everything is kept: a board without a fan *is* that slow. */
enum cooling_action cooling_round(struct cooling *cooling, enum round_verdict verdict,
                                  int64_t now_ns);
/* While waiting: COOLING_WAIT or COOLING_RETRY. The canaries must be good 3 times in a row. */
enum cooling_action cooling_wait(struct cooling *cooling, int64_t temp_mc, bool is_canary_good,
                                 int64_t now_ns);

#endif
