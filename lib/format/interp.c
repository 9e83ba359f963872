/* interp.c - see interp.h. Lines are integer arithmetic with one rounding; the power law goes
 * through dmath, so both give the same bits on every machine. */
#include "lib/format/interp.h"
#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/stats.h"
#include "lib/base/units.h"
#include <assert.h>
#include <stddef.h>

#define FIT_MIN_POINTS 6

static int64_t clamp(int64_t y_ps)
{
    return y_ps < 0 ? 0 : y_ps > UNITS_MAX_PS ? UNITS_MAX_PS : y_ps;
}

static int64_t add(int64_t a_ps, int64_t b_ps)
{
    int64_t sum_ps;

    if (__builtin_add_overflow(a_ps, b_ps, &sum_ps))
        sum_ps = a_ps < 0 ? INT64_MIN : INT64_MAX;
    return sum_ps;
}

/* Of the line (or the power law) through two points. */
static int64_t on_line(const int32_t *x, const int64_t *y_ps, int low, int high,
                       enum interp_form form, int32_t at)
{
    if (form == INTERP_LOGLOG && y_ps[low] > 0 && y_ps[high] > 0 && x[low] > 0 && at > 0) {
        double base = dmath_log((double)y_ps[low]), start = dmath_log(x[low]);
        double slope = (dmath_log((double)y_ps[high]) - base) / (dmath_log(x[high]) - start);

        return clamp(dmath_round(dmath_exp(base + slope * (dmath_log(at) - start))));
    }
    int64_t run = (int64_t)at - x[low], rise_ps = y_ps[high] - y_ps[low];

    if (run < 0) { /* units_mul_div wants the sign in front */
        run = -run;
        rise_ps = -rise_ps;
    }
    return clamp(add(y_ps[low], units_mul_div(rise_ps, run, (int64_t)x[high] - x[low])));
}

/* Index of the last point at or below at; -1 when all are above. */
static int find_last_not_above(const int32_t *x, int count, int32_t at)
{
    int low = 0, high = count;

    while (low < high) {
        int middle = low + (high - low) / 2;

        if (x[middle] <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

/* Nearest point from start on, in steps of +1 or -1, that is a multiple of the period and is not
 * `without`; -1 when there is none. */
static int next_base(const int32_t *x, int count, int start, int step, int32_t period, int without)
{
    for (int i = start; i >= 0 && i < count; i += step) {
        if (x[i] % period == 0 && i != without)
            return i;
    }
    return -1;
}

/* Between (or, at the ends, along) the points that are multiples of the period, leaving one out
 * (-1: none). False when there are fewer than two such points and none is exactly at. */
static bool on_bases(const int32_t *x, const int64_t *y_ps, int count, enum interp_form form,
                     int32_t period, int without, int32_t at, int64_t *result_ps)
{
    int last = find_last_not_above(x, count, at);
    int low = next_base(x, count, last, -1, period, without);
    int high = next_base(x, count, last + 1, 1, period, without);

    if (low >= 0 && x[low] == at) {
        *result_ps = y_ps[low];
        return true;
    }
    if (high < 0 && low >= 0) {
        high = low;
        low = next_base(x, count, high - 1, -1, period, without);
    } else if (low < 0 && high >= 0) {
        low = high;
        high = next_base(x, count, low + 1, 1, period, without);
    }
    if (low < 0 || high < 0)
        return false;
    *result_ps = on_line(x, y_ps, low, high, form, at);
    return true;
}

/* Whether at is a multiple of the period that was measured, or lies between two such points. */
static bool is_bracketed(const int32_t *x, int count, int32_t period, int without, int32_t at)
{
    int last = find_last_not_above(x, count, at);
    int low = next_base(x, count, last, -1, period, without);

    return low >= 0 && (x[low] == at || next_base(x, count, last + 1, 1, period, without) >= 0);
}

/* The prediction proper, without regard to a point that is exactly at. */
static int64_t predict(const int32_t *x, const int64_t *y_ps, int count, enum interp_form form,
                       const struct interp_tiles *tiles, int without, int32_t at)
{
    int32_t period = tiles ? tiles->period : 1;
    int32_t residue = at % period;
    int only = without == 0 ? 1 : 0;
    bool is_beyond = at < x[0] || at > x[count - 1];
    int64_t result_ps;

    /* Tiles that would have to be extrapolated are worse than the measured neighbours. */
    if (period > 1 && at >= period &&
        (is_beyond || is_bracketed(x, count, period, without, at - residue)) &&
        on_bases(x, y_ps, count, form, period, without, at - residue, &result_ps))
        return clamp(add(result_ps, tiles->adder_ps[residue]));
    if (on_bases(x, y_ps, count, form, 1, without, at, &result_ps))
        return result_ps;
    /* A single point: proportional to x. */
    return x[only] > 0 && at > 0 ? clamp(units_mul_div(y_ps[only], at, x[only])) : y_ps[only];
}

int64_t interp_predict(const int32_t *x, const int64_t *y_ps, int count, enum interp_form form,
                       const struct interp_tiles *tiles, int32_t at, enum interp_origin *origin)
{
    int last;

    assert(count >= 1 && at >= 0);
    last = find_last_not_above(x, count, at);
    if (last >= 0 && x[last] == at) {
        *origin = INTERP_MEASURED;
        return y_ps[last];
    }
    *origin = last >= 0 && last < count - 1 ? INTERP_INTERPOLATED : INTERP_EXTRAPOLATED;
    return predict(x, y_ps, count, form, tiles, -1, at);
}

/* ---- fit ---- */

/* What a residue adds, on average, to the line between the multiples of the period; points whose
 * base lies outside the multiples have no such line and say nothing. False when a residue was not
 * measured: its adder is then 0, which is no measurement. */
static bool fit_adders(struct interp_tiles *tiles, const int32_t *x, const int64_t *y_ps, int count,
                       int without)
{
    bool is_covered = true;

    int64_t sum_ps[INTERP_MAX_PERIOD] = { 0 }, base_ps;
    int64_t number[INTERP_MAX_PERIOD] = { 0 };

    for (int i = 0; i < count; i++) {
        int32_t residue = x[i] % tiles->period;

        if (i == without || residue == 0 || x[i] < tiles->period ||
            !is_bracketed(x, count, tiles->period, without, x[i] - residue) ||
            !on_bases(x, y_ps, count, INTERP_LINEAR, tiles->period, without, x[i] - residue,
                      &base_ps))
            continue;
        sum_ps[residue] = add(sum_ps[residue], y_ps[i] - base_ps);
        number[residue]++;
    }
    for (int r = 0; r < tiles->period; r++) {
        tiles->adder_ps[r] = number[r] > 0 ? units_mul_div(sum_ps[r], 1, number[r]) : 0;
        is_covered = is_covered && (r == 0 || number[r] > 0);
    }
    return is_covered;
}

/* Errors of predicting each inner point from the others; sorted. Returns how many there are, 0 when
 * the points do not determine the tiles. */
static int leave_one_out(struct interp_tiles *tiles, const int32_t *x, const int64_t *y_ps,
                         int count, int64_t *error_ppb)
{
    int errors = 0;

    if (!fit_adders(tiles, x, y_ps, count, -1))
        return 0;
    for (int i = 1; i < count - 1; i++) {
        int64_t off_ps;

        if (y_ps[i] <= 0)
            continue;
        (void)fit_adders(tiles, x, y_ps, count, i);
        off_ps = predict(x, y_ps, count, INTERP_LINEAR, tiles, i, x[i]) - y_ps[i];
        error_ppb[errors++] = units_mul_div(off_ps < 0 ? -off_ps : off_ps, 1000000000, y_ps[i]);
    }
    stats_sort(error_ppb, (size_t)errors);
    (void)fit_adders(tiles, x, y_ps, count, -1);
    return errors;
}

struct interp_tiles interp_fit(struct arena *scratch, const int32_t *x, const int64_t *y_ps,
                               int count)
{
    struct interp_tiles best = { .period = 1, .loo_median_ratio = -1, .loo_max_ratio = -1 };
    int64_t *error_ppb = arena_array(scratch, (size_t)count, sizeof *error_ppb);
    int64_t best_mean_ppb = INT64_MAX;

    for (int32_t period = 1; period <= INTERP_MAX_PERIOD && count > 2; period *= 2) {
        struct interp_tiles tiles = { .period = period };
        int errors = leave_one_out(&tiles, x, y_ps, count, error_ppb);
        int64_t mean_ppb;

        if (errors == 0 || (period > 1 && count < FIT_MIN_POINTS))
            break;
        /* The mean: a median is blind to the few points that a wrong period misses, a maximum to
         * all others. On a tie the shorter period, which has fewer adders to be wrong about. */
        mean_ppb = stats_mean(error_ppb, (size_t)errors);
        if (mean_ppb >= best_mean_ppb)
            continue;
        best_mean_ppb = mean_ppb;
        best = tiles;
        best.loo_median_ratio = (double)stats_quantile(error_ppb, (size_t)errors, 1, 2) / 1e9;
        best.loo_max_ratio = (double)error_ppb[errors - 1] / 1e9;
    }
    return best;
}
