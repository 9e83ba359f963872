/* interrupt.c - blocked signals and a descriptor that tells of them. */
#include "profiler/measure/interrupt.h"
#include "lib/base/err.h"
#include <sys/signalfd.h>
#include <unistd.h>

bool interrupt_hold(struct interrupt *interrupt, struct err *err)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    sigset_t mask;

    sigemptyset(&mask);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct sigaction action;

        /* blocked, an ignored signal would be kept and told of after all */
        if (sigaction(signals[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&mask, signals[i]);
    }
    interrupt->fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (interrupt->fd < 0)
        return err_errno(err, "signalfd");
    sigprocmask(SIG_BLOCK, &mask, &interrupt->old_mask);
    return true;
}

bool interrupt_came(struct interrupt *interrupt, struct err *err)
{
    struct signalfd_siginfo taken;

    if (read(interrupt->fd, &taken, sizeof(taken)) < 0)
        return false;
    err_set(err, ERR_SYSTEM, "interrupted");
    return true;
}

void interrupt_release(struct interrupt *interrupt)
{
    struct err ignored = ERR_INIT;

    while (interrupt_came(interrupt, &ignored))
        ;
    close(interrupt->fd);
    sigprocmask(SIG_SETMASK, &interrupt->old_mask, NULL);
}
