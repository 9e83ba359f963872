/* hold.h - event queues under the hold model: take the first event, plan another at its time plus
 * an increment, n of them pending throughout.
 *
 * The classical experiment for event queues (Vaucher and Duval 1975; Jones 1986). Each step depends
 * on the one before, as in a simulation. The yardsticks are the heaps of a textbook: 16-byte
 * entries in an array, push sifts up, pop sifts down. */
#ifndef ORRERY_TESTS_BENCH_HOLD_H
#define ORRERY_TESTS_BENCH_HOLD_H

#include <stddef.h>
#include <stdint.h>

enum hold_queue {
    HOLD_TREE,   /* the winner tree of sim/engine */
    HOLD_BINARY, /* heap with 2 children */
    HOLD_QUAD,   /* heap with 4 children, each family in one cache line */
    HOLD_QUEUE_COUNT
};

enum hold_increments {
    HOLD_EXPONENTIAL,
    HOLD_BIMODAL, /* 90 % are short, 10 % are 10^5 times as long */
    HOLD_TIES,    /* one of 4 values */
    HOLD_EQUAL,   /* all the same, and all begin at once */
    HOLD_INCREMENTS_COUNT
};
extern const char *const hold_increments_names[HOLD_INCREMENTS_COUNT];

#define HOLD_DRAWS ((size_t)1 << 16) /* increments are drawn beforehand, and come again */

/* NULL when there is no memory; the caller frees it. */
int64_t *hold_draw(enum hold_increments increments);

/* Mean time of a step in ns of the thread's processor. *sum gets the sum of the times that were
 * taken: the same for every queue. Negative when there is no memory. */
double hold_ns(enum hold_queue queue, int pending, const int64_t *increments_ps, int64_t steps,
               uint64_t *sum);

#endif
