/* measure.c - fork, read, wait. SIGINT and SIGTERM end the child and come back as an error. */
#include "profiler/measure.h"
#include "lib/base/cli.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "profiler/counters.h"
#include "profiler/message.h"
#include "profiler/store.h"
#include "profiler/worker.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define POLL_MS 200
#define MIN_PROCESSES 2

struct run {
    struct measure *measure;
    struct cli_progress progress;
    int64_t began_ns;
    int signal_fd;
    sigset_t old_mask;
};

static int child_main(struct run *run, const struct worker *worker, bool is_counting, int fd)
{
    sigprocmask(SIG_SETMASK, &run->old_mask, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* do not outlive the parent */
    signal(SIGPIPE, SIG_IGN);
    return is_counting ? worker_count(worker, run->measure->counters, fd) : worker_time(worker, fd);
}

static void show_progress(struct run *run, const struct worker *worker, bool is_counting)
{
    double share = (double)(clock_now_ns() - run->began_ns) / (double)run->measure->budget_ns;
    char note[80];

    snprintf(note, sizeof(note), "%d thread%s, process %d of %d%s", worker->store->threads,
             worker->store->threads > 1 ? "s" : "", worker->proc + 1, worker->processes,
             is_counting ? ", counters" : "");
    cli_progress_update(&run->progress, share > 0.99 ? 0.99 : share, note);
}

/* Reads until the child closes its end. Messages may arrive in pieces. */
static bool read_messages(struct run *run, const struct worker *worker, bool is_counting, int fd,
                          struct err *err)
{
    struct message message;
    size_t have = 0;

    for (;;) {
        struct pollfd fds[2] = { { fd, POLLIN, 0 }, { run->signal_fd, POLLIN, 0 } };

        show_progress(run, worker, is_counting);
        if (poll(fds, 2, POLL_MS) < 0 && errno != EINTR)
            return err_errno(err, "poll");
        if (fds[1].revents) {
            struct signalfd_siginfo taken; /* or it would end this process when unblocked */

            if (read(run->signal_fd, &taken, sizeof(taken)) < 0)
                return err_errno(err, "signalfd");
            return err_set(err, ERR_SYSTEM, "interrupted: nothing was written");
        }
        if (!fds[0].revents)
            continue;
        ssize_t got = read(fd, (char *)&message + have, sizeof(message) - have);
        if (got < 0 && errno != EINTR)
            return err_errno(err, "pipe");
        if (got == 0)
            return true;
        have += got > 0 ? (size_t)got : 0;
        if (have < sizeof(message))
            continue;
        have = 0;
        if (!message_apply(worker->store, worker->proc, &message, &run->measure->counter_state,
                           err))
            return false;
    }
}

static bool run_child(struct run *run, const struct worker *worker, bool is_counting,
                      struct err *err)
{
    int ends[2], status = 0;

    if (pipe(ends) != 0)
        return err_errno(err, "pipe");
    pid_t child = fork();
    if (child < 0) {
        close(ends[0]);
        close(ends[1]);
        return err_errno(err, "fork");
    }
    if (child == 0) {
        close(ends[0]);
        _exit(child_main(run, worker, is_counting, ends[1]));
    }
    close(ends[1]);
    bool is_read = read_messages(run, worker, is_counting, ends[0], err);
    close(ends[0]);
    if (!is_read)
        kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (!is_read)
        return false;
    if (WIFSIGNALED(status))
        return err_set(err, ERR_SYSTEM, "a measuring process was killed by signal %d%s",
                       WTERMSIG(status), WTERMSIG(status) == SIGKILL ? " (out of memory?)" : "");
    if (WEXITSTATUS(status) != 0)
        return err_set(err, ERR_SYSTEM, "a measuring process failed with status %d",
                       WEXITSTATUS(status));
    return true;
}

/* Thread counts take turns, so that a slow minute of the machine does not hit one of them alone.
 * What a process leaves of its share goes to those after it. */
static bool time_all(struct run *run, struct err *err)
{
    struct measure *measure = run->measure;
    int left = measure->processes * measure->store_count;

    for (int proc = 0; proc < measure->processes; proc++) {
        /* On a slow device one round a process may be all that is possible. */
        if (proc >= MIN_PROCESSES && clock_now_ns() > run->began_ns + measure->budget_ns)
            break;
        for (int s = 0; s < measure->store_count; s++, left--) {
            int64_t now = clock_now_ns();
            int64_t remaining = run->began_ns + measure->budget_ns - now;
            struct worker worker = { .store = measure->stores[s],
                                     .pool = measure->pool,
                                     .proc = proc,
                                     .processes = measure->processes,
                                     .deadline_ns = now + remaining / left,
                                     .seed = measure->seed + (uint64_t)s,
                                     .sysroot = measure->sysroot };

            if (!run_child(run, &worker, false, err))
                return false;
        }
        measure->processes_done = proc + 1;
    }
    return true;
}

/* After the timing, in processes of their own: reading a counter takes longer than many operators.
 */
static bool count_all(struct run *run, struct err *err)
{
    const struct measure *measure = run->measure;

    for (int s = 0; s < measure->store_count; s++) {
        struct worker worker = { .store = measure->stores[s],
                                 .pool = measure->pool,
                                 .proc = 0,
                                 .processes = 1,
                                 .seed = measure->seed,
                                 .sysroot = measure->sysroot };
        bool is_single = worker.store->threads == 1;

        /* a counter follows one thread: with several it would count a part as if it were all */
        for (int c = 0; c < COST_COUNTER_COUNT && !is_single; c++)
            worker.store->counter_reason[c] = "several_threads";
        if (is_single && !run_child(run, &worker, true, err))
            return false;
    }
    return true;
}

bool measure_run(struct measure *measure, struct err *err)
{
    struct run run = { .measure = measure, .began_ns = clock_now_ns() };
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGHUP);
    sigprocmask(SIG_BLOCK, &mask, &run.old_mask);
    run.signal_fd = signalfd(-1, &mask, SFD_CLOEXEC);
    cli_progress_begin(&run.progress, "measuring");
    bool is_done = run.signal_fd >= 0 ? time_all(&run, err) && count_all(&run, err)
                                      : err_errno(err, "signalfd");
    cli_progress_end(&run.progress);
    if (run.signal_fd >= 0)
        close(run.signal_fd);
    /* After an interrupt they stay blocked: a second signal must not cut the cleaning up short. */
    if (is_done)
        sigprocmask(SIG_SETMASK, &run.old_mask, NULL);
    return is_done;
}
