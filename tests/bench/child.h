/* child.h - the processor time and the largest memory of a process. */
#ifndef ORRERY_TESTS_BENCH_CHILD_H
#define ORRERY_TESTS_BENCH_CHILD_H

#include <stdbool.h>

struct child {
    double cpu_s; /* user and system time of its threads */
    double wall_s;
    double peak_bytes; /* resident */
};

/* Runs work(arg) in a process of its own. False when it returned false or could not run. A forked
 * child begins with the memory of its parent: call it while that is small. */
bool child_call(bool (*work)(void *arg), void *arg, struct child *child);
/* Runs a program, found by PATH, its stdout into /dev/null. *status is its exit status. */
bool child_run(char *const *arguments, struct child *child, int *status);

#endif
