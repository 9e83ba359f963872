/* interrupt.h - SIGINT, SIGTERM and SIGHUP as something to look at, not as a sudden end.
 *
 * A run holds them from its first folder to its last file, so that there is always somebody left to
 * take away what is half done. Signals that the caller ignores (nohup) stay ignored. */
#ifndef ORRERY_PROFILER_INTERRUPT_H
#define ORRERY_PROFILER_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>

struct err;

struct interrupt {
    sigset_t old_mask;
    int fd; /* readable when a signal has come: for poll */
};

bool interrupt_hold(struct interrupt *interrupt, struct err *err);
/* Whether a signal has come since the last call; fills err then. */
bool interrupt_came(struct interrupt *interrupt, struct err *err);
/* Back to how it was. A signal that came too late to undo anything is dropped. */
void interrupt_release(struct interrupt *interrupt);

#endif
