/* measure.c - fork, read, wait. An interruption ends the child and comes back as an error. */
#include "profiler/measure.h"
#include "lib/base/cli.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "profiler/counters.h"
#include "profiler/interrupt.h"
#include "profiler/message.h"
#include "profiler/store.h"
#include "profiler/worker.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define POLL_MS 200
#define MIN_PROCESSES 2
#define SLOW_TIMES 3 /* a round that takes so many budgets is told of */

enum job { JOB_CHECK, JOB_TIME, JOB_COUNT }; /* of a child */

struct run {
    struct measure *measure;
    struct cli_progress progress;
    int64_t began_ns;
};

/* The signals that the parent holds stay blocked here: it alone answers them. */
static int child_main(struct run *run, const struct worker *worker, enum job job, int fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* do not outlive the parent */
    signal(SIGPIPE, SIG_IGN);
    switch (job) {
    case JOB_CHECK:
        return worker_check(worker, fd);
    case JOB_TIME:
        return worker_time(worker, fd);
    case JOB_COUNT:
        return worker_count(worker, run->measure->counters, fd);
    }
    return 1;
}

static void show_progress(struct run *run, const struct worker *worker, enum job job)
{
    double share = (double)(clock_now_ns() - run->began_ns) / (double)run->measure->budget_ns;
    char note[40]; /* with the bar at most 80 columns */

    if (job == JOB_TIME)
        snprintf(note, sizeof(note), "proc %d/%d, %d thread%s", worker->proc + 1, worker->processes,
                 worker->store->threads, worker->store->threads > 1 ? "s" : "");
    else
        snprintf(note, sizeof(note), "%s", job == JOB_COUNT ? "counters" : "");
    cli_progress_update(&run->progress, share > 0.99 ? 0.99 : share, note);
}

/* Reads until the child closes its end. Messages may arrive in pieces. */
static bool read_messages(struct run *run, const struct worker *worker, enum job job, int fd,
                          struct err *err)
{
    struct measure *measure = run->measure;
    struct message message;
    size_t have = 0;

    for (;;) {
        struct pollfd fds[2] = { { fd, POLLIN, 0 }, { measure->interrupt->fd, POLLIN, 0 } };

        show_progress(run, worker, job);
        if (poll(fds, 2, POLL_MS) < 0 && errno != EINTR)
            return err_errno(err, "poll");
        if (fds[1].revents && interrupt_came(measure->interrupt, err))
            return false;
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
        if (message.kind == MESSAGE_SLOW) {
            cli_progress_end(&run->progress);
            measure->on_slow(measure->arg, message.ns);
            cli_progress_begin(&run->progress, "measuring");
        }
        if (!message_apply(worker->store, worker->proc, &message, &measure->counter_state, err))
            return false;
    }
}

static bool run_child(struct run *run, const struct worker *worker, enum job job, struct err *err)
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
        _exit(child_main(run, worker, job, ends[1]));
    }
    close(ends[1]);
    bool is_read = read_messages(run, worker, job, ends[0], err);
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

/* Before minutes are spent on thread counts that the BLAS does not give. */
static bool check_all(struct run *run, struct err *err)
{
    for (int s = 0; s < run->measure->store_count; s++) {
        struct worker worker = { .store = run->measure->stores[s], .processes = 1 };

        if (worker.store->threads > 1 && !run_child(run, &worker, JOB_CHECK, err))
            return false;
    }
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
                                     /* one thread count and process speaks for all */
                                     .slow_ns = proc + s == 0 ? SLOW_TIMES * measure->budget_ns : 0,
                                     .seed = measure->seed + (uint64_t)s,
                                     .sysroot = measure->sysroot };

            if (!run_child(run, &worker, JOB_TIME, err))
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
        if (is_single && !run_child(run, &worker, JOB_COUNT, err))
            return false;
    }
    return true;
}

bool measure_run(struct measure *measure, struct err *err)
{
    struct run run = { .measure = measure, .began_ns = clock_now_ns() };

    cli_progress_begin(&run.progress, "measuring");
    bool is_done = check_all(&run, err) && time_all(&run, err) && count_all(&run, err);
    cli_progress_end(&run.progress);
    return is_done;
}
