/* interp.c - see interp.h. Lines are integer arithmetic with one rounding; the power law goes
 * through dmath, so both give the same bits on every machine. */
#include "lib/format/interp.h"
#include "lib/base/dmath.h"
#include "lib/base/units.h"
#include "lib/format/interp_curve.h"
#include <assert.h>
#include <stddef.h>

static int64_t clamp(int64_t y_ps)
{
    return y_ps < 0 ? 0 : y_ps > UNITS_MAX_PS ? UNITS_MAX_PS : y_ps;
}

int64_t interp_add(int64_t a_ps, int64_t b_ps)
{
    int64_t sum_ps;

    if (__builtin_add_overflow(a_ps, b_ps, &sum_ps))
        sum_ps = a_ps < 0 ? INT64_MIN : INT64_MAX;
    return sum_ps;
}

/* ---- bases ---- */

struct base { /* cost at a multiple of the period */
    int32_t x;
    int64_t y_ps;
};

/* Of the line (or the power law) through two bases. */
static int64_t on_line(const struct base *low, const struct base *high, enum interp_form form,
                       int32_t at)
{
    if (form == INTERP_LOGLOG && low->y_ps > 0 && high->y_ps > 0 && low->x > 0 && at > 0) {
        double base = dmath_log((double)low->y_ps), start = dmath_log(low->x);
        double slope = (dmath_log((double)high->y_ps) - base) / (dmath_log(high->x) - start);

        return clamp(dmath_round(dmath_exp(base + slope * (dmath_log(at) - start))));
    }
    int64_t run = (int64_t)at - low->x, rise_ps = high->y_ps - low->y_ps;

    if (run < 0) { /* units_mul_div wants the sign in front */
        run = -run;
        rise_ps = -rise_ps;
    }
    return clamp(interp_add(low->y_ps, units_mul_div(rise_ps, run, (int64_t)high->x - low->x)));
}

/* Index of the last point at or below at; -1 when all are above. */
static int find_last_not_above(const int32_t *x, int count, int64_t at)
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

/* The base of the tile that point i lies in: measured, or what the tile's points say of it. False
 * when they say nothing. */
static bool base_of(const struct interp_curve *c, int32_t period, int i, struct base *base)
{
    int64_t sum_ps = 0, count = 0;
    int first = i;

    base->x = c->x[i] - c->x[i] % period;
    if (base->x == 0 && period > 1)
        return false;
    while (first > 0 && c->x[first - 1] >= base->x)
        first--;
    for (int k = first; k < c->count && c->x[k] - base->x < period; k++) {
        int32_t residue = c->x[k] - base->x;

        if (k == c->without || !(c->known & 1u << residue))
            continue;
        if (residue == 0) {
            base->y_ps = c->y_ps[k];
            return true;
        }
        sum_ps = interp_add(sum_ps, interp_add(c->y_ps[k], -c->tiles->adder_ps[residue]));
        count++;
    }
    base->y_ps = count > 0 ? clamp(units_mul_div(sum_ps, 1, count)) : 0;
    return count > 0;
}

/* First base from point i on, in steps of +1 or -1, that is at most high and at least low. */
static bool find_base(const struct interp_curve *c, int32_t period, int i, int step, int64_t low,
                      int64_t high, struct base *base)
{
    for (; i >= 0 && i < c->count; i += step) {
        if (base_of(c, period, i, base) && base->x >= low && base->x <= high)
            return true;
    }
    return false;
}

/* A second base far enough from the outermost one: a slope between two shapes that are close to
 * one another is mostly noise. Else the nearest. */
static bool find_second(const struct interp_curve *c, int32_t period, int step,
                        const struct base *outer, struct base *second)
{
    int from = step > 0 ? 0 : c->count - 1;
    int64_t x = outer->x;

    if (step > 0)
        return find_base(c, period, from, 1, x + (x + 2) / 3, INT32_MAX, second) ||
               find_base(c, period, from, 1, x + 1, INT32_MAX, second);
    return find_base(c, period, from, -1, INT32_MIN, x - (x + 3) / 4, second) ||
           find_base(c, period, from, -1, INT32_MIN, x - 1, second);
}

bool interp_on_bases(const struct interp_curve *c, int32_t period, int32_t at, int64_t *result_ps,
                     bool *is_bracketed)
{
    int last = find_last_not_above(c->x, c->count, (int64_t)at + period - 1);
    struct base low, high;
    bool has_low = find_base(c, period, last, -1, INT32_MIN, at, &low);
    bool has_high = find_base(c, period, last + 1, 1, at, INT32_MAX, &high);

    *is_bracketed = has_low && (low.x == at || has_high);
    if (has_low && low.x == at) {
        *result_ps = low.y_ps;
        return true;
    }
    if (has_low && !has_high) {
        high = low;
        has_high = true;
        has_low = find_second(c, period, -1, &high, &low);
    } else if (has_high && !has_low) {
        low = high;
        has_low = true;
        has_high = find_second(c, period, 1, &low, &high);
    }
    if (!has_low || !has_high)
        return false;
    *result_ps = on_line(&low, &high, c->form, at);
    return true;
}

/* ---- prediction ---- */

/* Index of the point exactly at, that is not passed over; -1 = none. */
static int find_point(const struct interp_curve *c, int32_t at)
{
    int last = find_last_not_above(c->x, c->count, at);

    return last >= 0 && c->x[last] == at && last != c->without ? last : -1;
}

/* Below the first tile the same remainder loops run, on top of the largest of them that fits. */
static bool on_part(const struct interp_curve *c, int32_t at, int64_t *result_ps)
{
    int32_t part = 1;
    int i;

    while (2 * part <= at)
        part *= 2;
    i = find_point(c, part);
    if (i < 0 || part >= at || !(c->known & 1u << (at - part)))
        return false;
    *result_ps = clamp(interp_add(c->y_ps[i], c->tiles->adder_ps[at - part]));
    return true;
}

int64_t interp_at(const struct interp_curve *c, int32_t at, bool *is_proper)
{
    int32_t period = c->tiles->period, residue = at % period;
    int only = c->without == 0 && c->count > 1 ? 1 : 0;
    bool is_beyond = at < c->x[0] || at > c->x[c->count - 1];
    int64_t result_ps;

    *is_proper = true;
    if (period > 1 && at < period && on_part(c, at, &result_ps))
        return result_ps;
    /* Tiles that would have to be extrapolated are worse than the measured neighbours. */
    if (period > 1 && at >= period && c->known & 1u << residue &&
        interp_on_bases(c, period, at - residue, &result_ps, is_proper) &&
        (is_beyond || *is_proper))
        return clamp(interp_add(result_ps, c->tiles->adder_ps[residue]));
    if (interp_on_bases(c, 1, at, &result_ps, is_proper)) {
        *is_proper = *is_proper && (period == 1 || at < period);
        return result_ps;
    }
    /* A single point: proportional to x. */
    *is_proper = false;
    return c->x[only] > 0 && at > 0 ? clamp(units_mul_div(c->y_ps[only], at, c->x[only]))
                                    : c->y_ps[only];
}

int64_t interp_predict(const int32_t *x, const int64_t *y_ps, int count, enum interp_form form,
                       const struct interp_tiles *tiles, int32_t at, enum interp_origin *origin)
{
    static const struct interp_tiles none = { .period = 1 };
    const struct interp_curve curve = { x, y_ps, count, form, -1, tiles ? tiles : &none, ~0u };
    bool is_proper;
    int last;

    assert(count >= 1 && at >= 0);
    last = find_last_not_above(x, count, at);
    if (last >= 0 && x[last] == at) {
        *origin = INTERP_MEASURED;
        return y_ps[last];
    }
    *origin = last >= 0 && last < count - 1 ? INTERP_INTERPOLATED : INTERP_EXTRAPOLATED;
    return interp_at(&curve, at, &is_proper);
}
