/* link_fit.c - two straight lines. */
#include "profiler/link/link_fit.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/stats.h"
#include <math.h>

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
    double per_message_ns, fixed_ns;

    for (int i = 0; i < point_count; i++) {
        x[i] = (double)points[i].bytes;
        y[i] = (double)points[i].time_ns;
        if (!(y[i] > 0))
            return err_set(err, ERR_SYSTEM, "a message took no time: the clock does not move");
        weights[i] = 1 / (y[i] * y[i]);
    }
    if (!fit_line(x, y, weights, point_count, &by_bytes) || !(by_bytes.slope > 0))
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
    fit->bits_per_s = floor(8e9 / by_bytes.slope + 0.5);
    fit->per_message_ps = llround(per_message_ns) * 1000;
    fit->latency_ps = llround(fixed_ns) * 1000 - fit->per_message_ps;
    judge(arena, points, point_count, fit);
    return true;
}
