/* link_fit.c - two straight lines, the first of them bent where a link is shaped. */
#include "profiler/link/link_fit.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/stats.h"
#include <math.h>

#define BENT_POINTS 4    /* fewer cannot tell a bend from noise */
#define SMALL_ERROR 0.02 /* a line that is this good has no bend */
#define BEND_GAIN 8      /* times smaller must the squared error become */
#define BEND_FROM 512    /* bytes */
#define BEND_STEP 32     /* the grid's step, as a part of where it is */

struct line {
    double start, slope;
};

/* Weighted least squares of y = start + slope x. weights NULL: all 1. */
static bool fit_line(const double *x, const double *y, const double *weights, int count,
                     struct line *line)
{
    double w = 0, wx = 0, wy = 0, wxx = 0, wxy = 0, determinant;

    for (int i = 0; i < count; i++) {
        double weight = weights ? weights[i] : 1;

        w += weight;
        wx += weight * x[i];
        wy += weight * y[i];
        wxx += weight * x[i] * x[i];
        wxy += weight * x[i] * y[i];
    }
    determinant = w * wxx - wx * wx;
    if (!(determinant > 0))
        return false;
    line->slope = (w * wxy - wx * wy) / determinant;
    line->start = (wy - line->slope * wx) / w;
    return isfinite(line->slope) && isfinite(line->start);
}

double link_fit_ns(const struct link_fit *fit, int64_t bytes)
{
    return (double)(fit->latency_ps + fit->per_message_ps) * 1e-3 +
           8e9 * (double)bytes / fit->bits_per_s;
}

double link_efficiency_ratio(int64_t mtu_bytes)
{
    return mtu_bytes > 52 ? (double)(mtu_bytes - 52) / (double)(mtu_bytes + 14) : 1;
}

/* Sum of the squared relative errors of start + slope x max(0, x - bend). */
static double misfit(const struct link_point *points, int count, const struct line *line,
                     double bend)
{
    double sum = 0;

    for (int i = 0; i < count; i++) {
        double beyond = (double)points[i].bytes - bend, y = (double)points[i].time_ns;
        double error = (line->start + line->slope * (beyond > 0 ? beyond : 0)) / y - 1;

        sum += error * error;
    }
    return sum;
}

/* The best line behind any bend of a fine grid; *bend 0: straight. scratch: count each. */
static bool fit_bent(const struct link_point *points, int count, double *x, double *y,
                     double *weights, struct line *line, double *bend)
{
    double best = INFINITY, straight;
    struct line tried;

    for (int i = 0; i < count; i++) {
        x[i] = (double)points[i].bytes;
        y[i] = (double)points[i].time_ns;
        weights[i] = 1 / (y[i] * y[i]);
    }
    *bend = 0;
    if (!fit_line(x, y, weights, count, line))
        return false;
    straight = misfit(points, count, line, 0);
    if (count < BENT_POINTS || straight < count * SMALL_ERROR * SMALL_ERROR)
        return true;
    /* two points at least must lie beyond the bend */
    for (int64_t at = BEND_FROM; at < points[count - 2].bytes; at += at / BEND_STEP) {
        double error;

        for (int i = 0; i < count; i++)
            x[i] = points[i].bytes > at ? (double)(points[i].bytes - at) : 0;
        if (!fit_line(x, y, weights, count, &tried) || !(tried.slope > 0))
            continue;
        error = misfit(points, count, &tried, (double)at);
        if (error < best && error * BEND_GAIN < straight) {
            best = error;
            *line = tried;
            *bend = (double)at;
        }
    }
    return true;
}

static void judge(struct arena *arena, const struct link_point *points, int count,
                  struct link_fit *fit)
{
    int64_t *errors = arena_array(arena, (size_t)count, sizeof *errors); /* in millionths */

    for (int i = 0; i < count; i++) {
        double measured = (double)points[i].time_ns;

        errors[i] = llround(1e6 * fabs(link_fit_ns(fit, points[i].bytes) - measured) / measured);
    }
    stats_sort(errors, (size_t)count);
    fit->median_error_ratio = (double)stats_quantile(errors, (size_t)count, 1, 2) * 1e-6;
    fit->max_error_ratio = (double)errors[count - 1] * 1e-6;
}

bool link_fit(struct arena *arena, const struct link_point *points, int point_count,
              const struct link_burst *bursts, int burst_count, struct link_fit *fit,
              struct err *err)
{
    int count = point_count > burst_count ? point_count : burst_count;
    double *x = arena_array(arena, (size_t)count, sizeof *x);
    double *y = arena_array(arena, (size_t)count, sizeof *y);
    double *weights = arena_array(arena, (size_t)count, sizeof *weights);
    struct line by_bytes, by_messages;
    double per_message_ns, fixed_ns, bend;

    for (int i = 0; i < point_count; i++)
        if (points[i].time_ns <= 0)
            return err_set(err, ERR_SYSTEM, "a message took no time: the clock does not move");
    if (!fit_bent(points, point_count, x, y, weights, &by_bytes, &bend) || !(by_bytes.slope > 0))
        return err_set(err, ERR_SYSTEM,
                       "larger messages took no longer than small ones: no rate can be stated; "
                       "measure again on a quieter machine");
    for (int i = 0; i < burst_count; i++) {
        x[i] = (double)bursts[i].messages;
        y[i] = (double)bursts[i].time_ns;
    }
    if (!fit_line(x, y, NULL, burst_count, &by_messages))
        return err_set(err, ERR_SYSTEM, "bursts of one length only: expected two or more");
    /* together they are what a message of no bytes takes; noise may make either negative */
    fixed_ns = by_bytes.start > 0 ? by_bytes.start : 0;
    per_message_ns = by_messages.slope > 0 ? by_messages.slope : 0;
    if (per_message_ns > fixed_ns)
        per_message_ns = fixed_ns;
    fit->efficiency_ratio = 1;
    fit->burst_bytes = llround(bend);
    fit->bits_per_s = floor(8e9 / by_bytes.slope + 0.5);
    fit->per_message_ps = llround(per_message_ns) * 1000;
    fit->latency_ps = llround(fixed_ns) * 1000 - fit->per_message_ps;
    judge(arena, points, point_count, fit);
    return true;
}
