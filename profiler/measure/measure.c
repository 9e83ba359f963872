/* measure.c - fork, read, wait. An interruption ends the child and comes back as an error. */
#include "profiler/measure/measure.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "profiler/counters/counters.h"
#include "profiler/journal/journal.h"
#include "profiler/measure/interrupt.h"
#include "profiler/measure/message.h"
#include "profiler/measure/store.h"
#include "profiler/measure/worker.h"
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
#define SCOUT_ROUNDS 5
#define REFINE_AFTER 2 /* processes */

enum job { JOB_CHECK, JOB_SCOUT, JOB_TIME, JOB_COUNT, JOB_ENERGY }; /* of a child */

/* What the progress bar says of a job that has no number. */
static const char *const job_notes[] = { "", "looking for tiles", "", "counters", "energy" };

struct run {
    struct measure *measure;
    struct cli_progress progress;
    int64_t began_ns, budget_ns; /* of what is left to do */
};

/* The signals that the parent holds stay blocked here: it alone answers them. */
static int child_main(struct run *run, const struct worker *worker, enum job job, int fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* do not outlive the parent */
    signal(SIGPIPE, SIG_IGN);
    switch (job) {
    case JOB_CHECK:
        return worker_check(worker, fd);
    case JOB_SCOUT:
        return worker_scout(worker, fd);
    case JOB_TIME:
        return worker_time(worker, fd);
    case JOB_COUNT:
        return worker_count(worker, run->measure->counters, fd);
    case JOB_ENERGY:
        return worker_energy(worker, fd);
    }
    return 1;
}

static void show_progress(struct run *run, const struct worker *worker, enum job job)
{
    double share = (double)(clock_now_ns() - run->began_ns) / (double)run->budget_ns;
    char note[40]; /* with the bar at most 80 columns */

    if (job == JOB_TIME)
        snprintf(note, sizeof(note), "proc %d/%d, %d thread%s", worker->proc + 1, worker->processes,
                 worker->store->variant.threads, worker->store->variant.threads > 1 ? "s" : "");
    else
        snprintf(note, sizeof(note), "%s", job_notes[job]);
    cli_progress_update(&run->progress, share > 0.99 ? 0.99 : share, note);
}

/* Index of the store among those of the run; -1 for the scout's, which is not kept. */
static int variant_of(const struct measure *measure, const struct store *store)
{
    for (int s = 0; s < measure->store_count; s++)
        if (measure->stores[s] == store)
            return s;
    return -1;
}

static bool keep(struct run *run, const struct worker *worker, const struct message *message,
                 struct err *err)
{
    struct measure *measure = run->measure;
    int variant = variant_of(measure, worker->store);

    if (message->kind == MESSAGE_STATE)
        measure->counter_state = arena_strdup(worker->store->arena, message->body.text);
    if (measure->journal && variant >= 0 &&
        !journal_put(measure->journal, variant, worker->proc, message, err))
        return false;
    return message_apply(worker->store, worker->proc, message, err);
}

/* Waits for the child or a signal. Between two visits the pipe is empty: then what the last one
 * brought is written. */
static bool wait_for_input(const struct measure *measure, struct pollfd fds[2], struct err *err)
{
    int ready = poll(fds, 2, 0);

    if (ready == 0 && measure->journal && !journal_flush(measure->journal, err))
        return false;
    if (ready == 0)
        ready = poll(fds, 2, POLL_MS);
    return ready >= 0 || errno == EINTR || err_errno(err, "poll");
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
        if (!wait_for_input(measure, fds, err))
            return false;
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
        if (!keep(run, worker, &message, err))
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
        journal_leave(run->measure->journal);
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

        if (worker.store->variant.threads > 1 && !run_child(run, &worker, JOB_CHECK, err))
            return false;
    }
    return true;
}

/* More points where two processes have shown that the first ones interpolate badly. */
static void refine(const struct measure *measure, struct store *store)
{
    struct arena *scratch = arena_create();
    int sizes = 0;

    for (int p = 0; p < store->point_count; p++)
        sizes += store->points[p].phase == OP_PREFILL && !store->is_held_out[p] &&
                 store->points[p].kv == store->points[p].m;
    if (sizes < measure->max_sizes)
        store_refine(store, scratch, measure->max_sizes - sizes);
    arena_destroy(scratch);
}

/* One process of a store, numbered after those that an earlier run has left. left: processes to
 * come, this one included. */
static bool time_one(struct run *run, int s, int turn, int proc, int left, struct err *err)
{
    struct measure *measure = run->measure;
    int64_t now = clock_now_ns();
    int64_t remaining = run->began_ns + run->budget_ns - now;
    struct worker worker = { .store = measure->stores[s],
                             .pool = measure->pools[s],
                             .proc = proc,
                             .processes = measure->processes,
                             .deadline_ns = now + remaining / left,
                             /* one process speaks for all */
                             .slow_ns = turn + s == 0 ? SLOW_TIMES * measure->budget_ns : 0,
                             .anchor_percent = measure->anchor_percent,
                             .preheat_ns = measure->preheat_ns,
                             .seed = measure->seed + (uint64_t)s,
                             .sysroot = measure->sysroot };

    if (turn >= REFINE_AFTER)
        refine(measure, measure->stores[s]);
    return run_child(run, &worker, JOB_TIME, err) &&
           (!measure->journal || journal_end_process(measure->journal, s, proc, err));
}

static int complete_count(const struct measure *measure, int s)
{
    return measure->journal ? journal_complete_count(measure->journal, s) : 0;
}

static int fewest_complete(const struct measure *measure)
{
    int fewest = measure->processes;

    for (int s = 0; s < measure->store_count; s++)
        if (complete_count(measure, s) < fewest)
            fewest = complete_count(measure, s);
    return fewest;
}

/* Variants take turns, so that a slow minute of the machine does not hit one of them alone. What a
 * process leaves of its share goes to those after it. What an earlier run has completed is not done
 * again, and its share of the budget is not used. */
static bool time_all(struct run *run, struct err *err)
{
    struct measure *measure = run->measure;
    int all = measure->processes * measure->store_count, left = all;

    for (int s = 0; s < measure->store_count; s++)
        left -= complete_count(measure, s) < measure->processes ? complete_count(measure, s)
                                                                : measure->processes;
    measure->processes_done = fewest_complete(measure);
    if (left == 0) /* killed after the last process */
        return true;
    run->budget_ns = units_mul_div(measure->budget_ns, left, all);
    for (int turn = 0; turn < measure->processes; turn++) {
        /* On a slow device one round a process may be all that is possible. */
        if (turn >= MIN_PROCESSES && clock_now_ns() > run->began_ns + run->budget_ns)
            break;
        for (int s = 0; s < measure->store_count; s++) {
            if (complete_count(measure, s) > turn)
                continue;
            int proc = measure->journal ? journal_next_proc(measure->journal, s) : turn;

            if (!time_one(run, s, turn, proc, left--, err))
                return false;
        }
        if (measure->processes_done <= turn)
            measure->processes_done = turn + 1;
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
                                 .pool = measure->pools[s],
                                 .proc = 0,
                                 .processes = 1,
                                 .seed = measure->seed,
                                 .sysroot = measure->sysroot };
        bool is_single = worker.store->variant.threads == 1;

        /* a counter follows one thread: with several it would count a part as if it were all */
        for (int c = 0; c < COST_COUNTER_COUNT && !is_single; c++)
            worker.store->counter_reason[c] = "several_threads";
        if (is_single && !run_child(run, &worker, JOB_COUNT, err))
            return false;
    }
    return true;
}

/* After the counters, in processes of their own: each operator for a second. */
static bool meter_all(struct run *run, struct err *err)
{
    const struct measure *measure = run->measure;

    for (int s = 0; s < measure->store_count; s++) {
        struct store *store = measure->stores[s];
        struct worker worker = { .store = store,
                                 .pool = measure->pools[s],
                                 .processes = 1,
                                 .seed = measure->seed,
                                 .sysroot = measure->sysroot };

        for (int r = 0; r < store->row_count && !measure->has_energy; r++)
            store->rows[r].energy_reason = measure->energy_reason;
        if (measure->has_energy && !run_child(run, &worker, JOB_ENERGY, err))
            return false;
    }
    return true;
}

bool measure_run(struct measure *measure, struct err *err)
{
    struct run run = { .measure = measure,
                       .began_ns = clock_now_ns(),
                       .budget_ns = measure->budget_ns };

    cli_progress_begin(&run.progress, "measuring");
    bool is_done = check_all(&run, err) && time_all(&run, err) &&
                   (!measure->counters || count_all(&run, err)) && meter_all(&run, err);
    cli_progress_end(&run.progress);
    return is_done;
}

bool measure_scout(struct measure *measure, struct store *store, const struct pool_plan *pool,
                   struct err *err)
{
    struct run run = { .measure = measure,
                       .began_ns = clock_now_ns(),
                       .budget_ns = measure->budget_ns };
    struct worker worker = { .store = store,
                             .pool = *pool,
                             .processes = 1,
                             .max_rounds = SCOUT_ROUNDS,
                             .seed = measure->seed,
                             .sysroot = measure->sysroot };

    cli_progress_begin(&run.progress, "measuring");
    bool is_done = run_child(&run, &worker, JOB_SCOUT, err);
    cli_progress_end(&run.progress);
    return is_done;
}
