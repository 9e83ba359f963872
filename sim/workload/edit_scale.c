/* edit_scale.c - the same requests at other times, or more of them.
 *
 * Times are multiplied by exact ratios of integers and rounded to picoseconds once. */
#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/generate/generate.h"
#include "sim/workload/edit.h"
#include "sim/workload/rows.h"
#include <stddef.h>

#define MAX_S 9e6 /* UNITS_MAX_PS */

/* ---- copies ---- */

static struct workload *copy(struct arena *arena, const struct workload *workload, int copies,
                             struct err *err)
{
    struct workload_builder *builder = workload_build(arena, workload->path);
    struct rows *rows = arena_array(arena, (size_t)copies, sizeof(*rows));
    size_t total;

    if (__builtin_mul_overflow(workload->count, (size_t)copies, &total) ||
        total > (size_t)GENERATE_MAX_REQUESTS) {
        err_set(err, ERR_USAGE,
                "--replicate: %d copies of %zu requests: expected at most %lld in "
                "all",
                copies, workload->count, (long long)GENERATE_MAX_REQUESTS);
        return NULL;
    }
    for (int k = 0; k < copies; k++) {
        rows[k] = rows_begin(arena, workload, builder);
        rows[k].suffix = k == 0 ? "" : arena_printf(arena, ".%d", k + 1);
    }
    workload_builder_reserve(builder, total);
    for (size_t i = 0; i < workload->count; i++)
        for (int k = 0; k < copies; k++) {
            struct workload_request request = rows_get(&rows[k], i);
            long line = workload_line(workload, i);

            if (copies > 1)
                request.request_id = (int64_t)workload_builder_count(builder);
            if (copies == 1 && line > 0) /* so that later errors have their place */
                workload_builder_add_line(builder, &request, line);
            else
                workload_builder_add(builder, &request);
        }
    return workload_builder_finish(builder);
}

/* ---- the variation of gaps ---- */

#define MAX_POWER 64.0
#define MAX_STEPS 200
#define TOLERANCE 1e-9

/* Gaps to a power, as multiples of the largest one. */
struct gaps {
    size_t count;
    double *logs; /* of the gap; -HUGE for 0 */
    double most;  /* the largest of logs */
};

#define LOG_OF_0 (-1e300)

static double powered(const struct gaps *gaps, size_t i, double power)
{
    return gaps->logs[i] <= LOG_OF_0 ? 0 : dmath_exp(power * (gaps->logs[i] - gaps->most));
}

static double cv_of(const struct gaps *gaps, double power)
{
    double sum = 0, squares = 0, mean;

    for (size_t i = 0; i < gaps->count; i++)
        sum += powered(gaps, i, power);
    mean = sum / (double)gaps->count;
    for (size_t i = 0; i < gaps->count; i++) {
        double away = powered(gaps, i, power) - mean;

        squares += away * away;
    }
    return dmath_sqrt(squares / (double)gaps->count) / mean;
}

/* The power that gives the cv, which rises with it. */
static bool find_power(const struct gaps *gaps, double cv, double *power, struct err *err)
{
    double low = 0, high = MAX_POWER, least = cv_of(gaps, low), most = cv_of(gaps, high);

    if (cv < least - TOLERANCE || cv > most)
        return err_set(err, ERR_USAGE,
                       "--cv is '%g': the gaps of this workload can be made to vary from %.4g to "
                       "%.4g",
                       cv, least, most);
    for (int step = 0; step < MAX_STEPS && high - low > TOLERANCE * high; step++) {
        double middle = (low + high) / 2;

        if (cv_of(gaps, middle) < cv)
            low = middle;
        else
            high = middle;
    }
    *power = cv <= least ? 0 : high;
    return true;
}

static bool vary(struct arena *arena, struct workload *workload, double cv, struct err *err)
{
    struct gaps gaps = { .most = LOG_OF_0 };
    size_t *rows = arena_array(arena, workload->count, sizeof(*rows)), arrivals = 0;
    int64_t *at_ps = workload->arrivals_ps, first_ps, span_ps;
    double power = 0, sum = 0, total = 0;

    for (size_t i = 0; i < workload->count; i++)
        if (at_ps[i] != WORKLOAD_CLOSED)
            rows[arrivals++] = i;
    if (arrivals < 3 || at_ps[rows[arrivals - 1]] == at_ps[rows[0]])
        return err_at(err, workload->path, 0, 0,
                      "%zu arrivals of different times: --cv needs at least three", arrivals);
    first_ps = at_ps[rows[0]];
    span_ps = at_ps[rows[arrivals - 1]] - first_ps;
    gaps.count = arrivals - 1;
    gaps.logs = arena_array(arena, gaps.count, sizeof(*gaps.logs));
    for (size_t i = 0; i < gaps.count; i++) {
        int64_t gap_ps = at_ps[rows[i + 1]] - at_ps[rows[i]];

        gaps.logs[i] = gap_ps > 0 ? dmath_log((double)gap_ps) : LOG_OF_0;
        gaps.most = gaps.logs[i] > gaps.most ? gaps.logs[i] : gaps.most;
    }
    if (!find_power(&gaps, cv, &power, err))
        return false;
    for (size_t i = 0; i < gaps.count; i++)
        total += powered(&gaps, i, power);
    for (size_t i = 0; i < gaps.count; i++) {
        int64_t after_ps;

        sum += powered(&gaps, i, power);
        after_ps = i + 1 < gaps.count ? dmath_round(sum / total * (double)span_ps) : span_ps;
        at_ps[rows[i + 1]] = first_ps + (after_ps < span_ps ? after_ps : span_ps);
    }
    return true;
}

/* ---- time ---- */

static bool multiply(struct workload *workload, int64_t by, int64_t over, bool with_thinks,
                     struct err *err)
{
    for (size_t i = 0; i < workload->count; i++) {
        int64_t *at_ps = &workload->arrivals_ps[i];
        int64_t *think_ps = with_thinks && workload->thinks_ps ? &workload->thinks_ps[i] : NULL;

        if (*at_ps != WORKLOAD_CLOSED)
            *at_ps = units_mul_div(*at_ps, by, over);
        if (think_ps)
            *think_ps = units_mul_div(*think_ps, by, over);
        if (*at_ps > UNITS_MAX_PS || (think_ps && *think_ps > UNITS_MAX_PS))
            return err_at(err, workload->path, workload_line(workload, i), 0,
                          "this row would come after %lld s, where time ends", (long long)MAX_S);
    }
    return true;
}

/* First and last arrival; false (an error) when rows come at no two times. */
static bool find_span(const struct workload *workload, const char *option, size_t *arrivals,
                      int64_t *span_ps, struct err *err)
{
    int64_t first_ps = 0, last_ps = 0;

    *arrivals = 0;
    for (size_t i = 0; i < workload->count; i++) {
        if (workload->arrivals_ps[i] == WORKLOAD_CLOSED)
            continue;
        if ((*arrivals)++ == 0)
            first_ps = workload->arrivals_ps[i];
        last_ps = workload->arrivals_ps[i];
    }
    *span_ps = last_ps - first_ps;
    if (*arrivals == 0)
        return err_at(err, workload->path, 0, 0,
                      "no row has an arrival_s: --%s has no meaning for clients that wait for one "
                      "another; --time-scale stretches their think times",
                      option);
    return *span_ps > 0 || err_at(err, workload->path, 0, 0,
                                  "all rows arrive at once: --%s has nothing to scale", option);
}

static bool scale_rate(struct workload *workload, const struct edit_scale *scale, struct err *err)
{
    const char *option = scale->rate_scale > 0 ? "rate-scale" : "rate";
    double span_s;
    size_t arrivals;
    int64_t span_ps;

    if (!find_span(workload, option, &arrivals, &span_ps, err))
        return false;
    if (scale->rate_scale > 0)
        return multiply(workload, GENERATE_SCALE_UNIT, scale->rate_scale, false, err);
    span_s = (double)(arrivals - 1) / scale->rate_per_s;
    if (!(span_s >= 1e-12 && span_s <= MAX_S))
        return err_set(err, ERR_USAGE,
                       "--rate: %zu requests at %g/s take %g s: expected 1 ps to %lld s", arrivals,
                       scale->rate_per_s, span_s, (long long)MAX_S);
    return multiply(workload, dmath_round(span_s * (double)UNITS_PS_PER_S), span_ps, false, err);
}

struct workload *edit_scale(struct arena *arena, const struct workload *workload,
                            const struct edit_scale *scale, struct err *err)
{
    struct workload *scaled = copy(arena, workload, scale->copies > 0 ? scale->copies : 1, err);

    if (!scaled)
        return NULL;
    if (scale->has_cv && !vary(arena, scaled, scale->cv, err))
        return NULL;
    if (scale->time_scale > 0 &&
        !multiply(scaled, scale->time_scale, GENERATE_SCALE_UNIT, true, err))
        return NULL;
    if ((scale->rate_scale > 0 || scale->rate_per_s > 0) && !scale_rate(scaled, scale, err))
        return NULL;
    return scaled;
}
