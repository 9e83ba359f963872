/* roofline.c - the parent of the measuring processes, the knee, the file. */
#include "profiler/device/roofline.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/cost.h"
#include "profiler/measure/interrupt.h"
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_SIZES 48
#define MIN_SIZES 4
#define FASTER 1.3
#define LEVEL 1.15

const char *const roofline_metrics[ROOFLINE_METRIC_COUNT] = {
    "sgemm_peak", "read_bw",      "triad_bw",     "copy_bw",        "ws_bw",
    "timer_ns",   "call_gemm_ns", "call_gemv_ns", "idle_resume_ns", "page_fault_ns",
};
const char *const roofline_units[ROOFLINE_METRIC_COUNT] = {
    "GFLOP/s", "bytes/s", "bytes/s", "bytes/s", "bytes/s", "ns", "ns", "ns", "ns", "ns",
};

/* ---- the processes ---- */

struct heard { /* what all processes have told */
    struct arena *arena;
    struct cost_roofline *rows;
    int count, room;
};

static bool keep(struct heard *heard, int threads, const struct roofline_told *told,
                 struct err *err)
{
    if (told->metric < 0)
        return err_set(err, ERR_USAGE, "%.*s", ROOFLINE_TEXT_BYTES, told->text);
    if (told->metric >= ROOFLINE_METRIC_COUNT || !isfinite(told->value))
        return err_set(err, ERR_SYSTEM, "a measuring process told no number");
    if (heard->count == heard->room) {
        int room = heard->room ? 2 * heard->room : 64;

        heard->rows = arena_grow(heard->arena, heard->rows, (size_t)heard->count, (size_t)room,
                                 sizeof(*heard->rows));
        heard->room = room;
    }
    heard->rows[heard->count++] = (struct cost_roofline){ .threads = threads,
                                                          .metric = roofline_metrics[told->metric],
                                                          .ws_bytes = told->ws_bytes,
                                                          .value = told->value,
                                                          .unit = roofline_units[told->metric] };
    return true;
}

/* Until the child closes its end. Messages may arrive in pieces. */
static bool listen_to(struct heard *heard, const struct roofline_plan *plan, int threads, int fd,
                      struct err *err)
{
    struct roofline_told told;
    size_t have = 0;

    for (;;) {
        struct pollfd fds[2] = { { fd, POLLIN, 0 },
                                 { plan->interrupt ? plan->interrupt->fd : -1, POLLIN, 0 } };

        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return err_errno(err, "poll");
        if (plan->interrupt && fds[1].revents && interrupt_came(plan->interrupt, err))
            return false;
        if (!fds[0].revents)
            continue;
        ssize_t got = read(fd, (char *)&told + have, sizeof(told) - have);
        if (got < 0 && errno != EINTR)
            return err_errno(err, "pipe");
        if (got == 0)
            return true;
        have += got > 0 ? (size_t)got : 0;
        if (have < sizeof(told))
            continue;
        have = 0;
        if (!keep(heard, threads, &told, err))
            return false;
    }
}

static bool measure_one(struct heard *heard, const struct roofline_plan *plan, int threads,
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
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* do not outlive the parent */
        signal(SIGPIPE, SIG_IGN);
        _exit(roofline_child(plan, threads, ends[1]));
    }
    close(ends[1]);
    bool is_heard = listen_to(heard, plan, threads, ends[0], err);
    close(ends[0]);
    if (!is_heard)
        kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (!is_heard)
        return false;
    if (WIFSIGNALED(status))
        return err_set(err, ERR_SYSTEM, "a measuring process was killed by signal %d%s",
                       WTERMSIG(status), WTERMSIG(status) == SIGKILL ? " (out of memory?)" : "");
    if (WEXITSTATUS(status) != 0)
        return err_set(err, ERR_SYSTEM, "a measuring process failed with status %d",
                       WEXITSTATUS(status));
    return true;
}

bool roofline_measure(struct arena *arena, const struct roofline_plan *plan,
                      struct cost_roofline **rows, int *count, struct err *err)
{
    struct heard heard = { .arena = arena };

    for (int t = 0; t < plan->thread_count; t++)
        if (!measure_one(&heard, plan, plan->threads[t], err))
            return false;
    *rows = heard.rows;
    *count = heard.count;
    return true;
}

/* ---- the knee ---- */

struct curve {
    int64_t ws_bytes[MAX_SIZES];
    double log_bw[MAX_SIZES];
    int count;
};

/* Ascending; a size that comes twice keeps its faster value. */
static void insert(struct curve *curve, int64_t ws_bytes, double bw)
{
    int at = curve->count;

    while (at > 0 && curve->ws_bytes[at - 1] > ws_bytes)
        at--;
    if (at > 0 && curve->ws_bytes[at - 1] == ws_bytes) {
        if (log(bw) > curve->log_bw[at - 1])
            curve->log_bw[at - 1] = log(bw);
        return;
    }
    if (curve->count == MAX_SIZES)
        return;
    size_t behind = (size_t)(curve->count - at);
    memmove(&curve->ws_bytes[at + 1], &curve->ws_bytes[at], behind * sizeof(curve->ws_bytes[0]));
    memmove(&curve->log_bw[at + 1], &curve->log_bw[at], behind * sizeof(curve->log_bw[0]));
    curve->ws_bytes[at] = ws_bytes;
    curve->log_bw[at] = log(bw);
    curve->count++;
}

static bool is_ws_bw(const struct cost_roofline *row)
{
    return strcmp(row->metric, roofline_metrics[ROOFLINE_WS_BW]) == 0 && row->ws_bytes > 0 &&
           isfinite(row->value) && row->value > 0.0;
}

static struct curve curve_of(const struct cost_roofline *rows, int count)
{
    struct curve curve = { .count = 0 };
    int32_t threads = INT32_MAX;

    for (int i = 0; i < count; i++)
        if (is_ws_bw(&rows[i]) && rows[i].threads < threads)
            threads = rows[i].threads;
    for (int i = 0; i < count; i++)
        if (is_ws_bw(&rows[i]) && rows[i].threads == threads)
            insert(&curve, rows[i].ws_bytes, rows[i].value);
    return curve;
}

/* Pool adjacent violators (Ayer et al. 1955): the closest curve that never rises with size. */
static void make_falling(struct curve *curve)
{
    double mean[MAX_SIZES];
    int weight[MAX_SIZES], blocks = 0;

    for (int i = 0; i < curve->count; i++) {
        mean[blocks] = curve->log_bw[i];
        weight[blocks++] = 1;
        while (blocks > 1 && mean[blocks - 1] > mean[blocks - 2]) {
            int a = blocks - 2, b = blocks - 1;

            mean[a] = (mean[a] * weight[a] + mean[b] * weight[b]) / (weight[a] + weight[b]);
            weight[a] += weight[b];
            blocks--;
        }
    }
    for (int b = 0, i = 0; b < blocks; b++)
        for (int w = 0; w < weight[b]; w++)
            curve->log_bw[i++] = mean[b];
}

int64_t roofline_knee(const struct cost_roofline *rows, int count)
{
    struct curve curve = curve_of(rows, count);
    int last = curve.count - 1, knee = -1;

    if (curve.count < MIN_SIZES)
        return 0;
    make_falling(&curve);
    double memory = curve.log_bw[last], above = curve.log_bw[0];
    if (above - memory < log(FASTER))
        return 0;
    for (int i = last; i > 0; i--)
        if (curve.log_bw[i] - memory >= log(FASTER) &&
            curve.log_bw[i - 1] - curve.log_bw[i] <= log(LEVEL)) {
            above = curve.log_bw[i - 1];
            break;
        }
    for (int i = 0; i <= last; i++)
        if (curve.log_bw[i] >= (memory + above) / 2.0)
            knee = i;
    return knee < 0 ? 0 : curve.ws_bytes[knee];
}

int64_t roofline_llc(int64_t reported_bytes, const struct cost_roofline *rows, int count)
{
    struct curve curve = curve_of(rows, count);
    int64_t largest = curve.count ? curve.ws_bytes[curve.count - 1] : 0;
    int64_t knee = roofline_knee(rows, count);

    if (knee > 0 && (reported_bytes <= 0 || largest / ROOFLINE_REPORTED_TIMES >= reported_bytes))
        return knee;
    return reported_bytes > 0 ? reported_bytes : 0;
}

double roofline_best(const struct cost_roofline *rows, int count, int threads,
                     enum roofline_metric metric)
{
    double best = -1.0;

    for (int i = 0; i < count; i++)
        if (rows[i].threads == threads && strcmp(rows[i].metric, roofline_metrics[metric]) == 0 &&
            rows[i].value > best)
            best = rows[i].value;
    return best;
}
