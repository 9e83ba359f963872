/* interp_fit.c - tile periods and adders from measured points (interp.h), and how far off the
 * points would have been predicted. Doubles here see +, -, * and / only: the same on every machine.
 */
#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/stats.h"
#include "lib/base/units.h"
#include "lib/format/interp_curve.h"
#include <stddef.h>

#define FIT_MIN_POINTS 6
/* A longer period has more adders to be wrong about: it must be better by more than luck. */
#define CLEARLY_BETTER 0.75
#define NOT_JUDGED (-1.0)

static int find_exact(const struct interp_curve *c, int32_t x)
{
    for (int i = 0; i < c->count; i++) {
        if (c->x[i] == x)
            return i;
    }
    return -1;
}

/* ---- adders ---- */

struct adder { /* weighted sums of what points say of one residue */
    double weight, sum;
};

/* Differences to a base that was measured itself count alone when there are any: a line between
 * bases has errors of its own. Noise grows with the time measured, hence the weights. */
static void add_evidence(struct interp_curve *c, int i, struct adder *direct,
                         struct adder *inferred)
{
    int32_t period = c->tiles->period, residue = c->x[i] % period, base = c->x[i] - residue;
    int at_base = find_exact(c, base);
    struct adder *adder = at_base >= 0 && at_base != c->without ? direct : inferred;
    double y = (double)c->y_ps[i], weight = y > 0 ? 1 / (y * y) : 0;
    bool is_bracketed;
    int64_t base_ps;

    if (residue == 0 || base == 0 || i == c->without ||
        !interp_on_bases(c, period, base, &base_ps, &is_bracketed) || !is_bracketed)
        return;
    adder[residue].weight += weight;
    adder[residue].sum += weight * (y - (double)base_ps);
}

/* What was not measured, from the powers of two in it. Remainder loops add up; a kernel that pads
 * takes the largest alone. The last residue, where it was measured, says how much of either. */
static void compose(struct interp_tiles *tiles, uint32_t measured)
{
    double share = 1;
    int32_t last = tiles->period - 1;

    for (int pass = 0; pass < 2; pass++)
        for (int32_t residue = pass == 0 ? last : 1; residue <= last; residue++) {
            double sum = 0, most = 0, own = (double)tiles->adder_ps[residue];

            for (int32_t part = 1; part <= residue; part *= 2) {
                double adder = (residue & part) != 0 ? (double)tiles->adder_ps[part] : 0;

                sum += adder;
                most = adder > most ? adder : most;
            }
            if (pass == 0 && measured & 1u << residue && sum > most)
                share = own < most ? 0 : (own - most) / (sum - most);
            else if (pass == 1 && !(measured & 1u << residue))
                tiles->adder_ps[residue] = dmath_round(most + share * (sum - most));
        }
}

/* Into tiles and curve->known; *measured is the set of residues that points tell, the others are
 * composed. False when a residue that is a power of two was not measured. */
static bool fit_adders(struct interp_curve *c, struct interp_tiles *tiles, uint32_t *measured)
{
    struct adder direct[INTERP_MAX_PERIOD] = { { 0, 0 } },
                 inferred[INTERP_MAX_PERIOD] = { { 0, 0 } };

    *measured = 1;
    c->tiles = tiles;
    c->known = 1; /* while adders are being found, measured bases alone speak */
    for (int i = 0; i < c->count; i++)
        add_evidence(c, i, direct, inferred);
    for (int32_t r = 1; r < tiles->period; r++) {
        const struct adder *adder = direct[r].weight > 0 ? &direct[r] : &inferred[r];

        tiles->adder_ps[r] = adder->weight > 0 ? dmath_round(adder->sum / adder->weight) : 0;
        *measured |= adder->weight > 0 ? 1u << r : 0;
    }
    compose(tiles, *measured);
    for (int32_t r = 1; r < tiles->period; r++) {
        bool is_known = true;

        for (int32_t part = 1; part <= r; part *= 2)
            is_known = is_known && (!(r & part) || *measured & 1u << part);
        c->known |= is_known || *measured & 1u << r ? 1u << r : 0;
    }
    return c->known == (1u << tiles->period) - 1;
}

/* ---- leave one out ---- */

/* Below the first tile, between two points with nothing left out between them. */
static bool is_never_predicted(const struct interp_curve *c, int32_t period, int i)
{
    return period > 1 && c->x[i] < period && c->x[i - 1] == c->x[i] - 1 &&
           c->x[i + 1] == c->x[i] + 1;
}

static double error_at(const struct interp_curve *all, int32_t period, int i)
{
    struct interp_tiles tiles = { .period = period };
    struct interp_curve c = *all;
    uint32_t measured;
    bool is_proper;
    int64_t off_ps;

    if (i == 0 || i == c.count - 1 || c.y_ps[i] <= 0 || is_never_predicted(&c, period, i))
        return NOT_JUDGED;
    c.without = i;
    (void)fit_adders(&c, &tiles, &measured);
    /* one whose residue nobody else was measured at is not what composing is for */
    if (c.x[i] >= period && !(measured & 1u << c.x[i] % period))
        return NOT_JUDGED;
    off_ps = interp_at(&c, c.x[i], &is_proper) - c.y_ps[i];
    if (!is_proper)
        return NOT_JUDGED;
    return (double)(off_ps < 0 ? -off_ps : off_ps) / (double)c.y_ps[i];
}

void interp_leave_one_out(struct arena *scratch, const int32_t *x, const int64_t *y_ps, int count,
                          enum interp_form form, const struct interp_tiles *tiles, double *ratio)
{
    const struct interp_curve curve = { x, y_ps, count, form, -1, tiles, 1 };

    (void)scratch;
    for (int i = 0; i < count; i++)
        ratio[i] = error_at(&curve, tiles ? tiles->period : 1, i);
}

static void summarize(struct arena *scratch, struct interp_tiles *tiles, const double *ratio,
                      int count)
{
    int64_t *error_ppb = arena_array(scratch, (size_t)count, sizeof *error_ppb);
    size_t judged = 0;

    tiles->loo_median_ratio = tiles->loo_max_ratio = NOT_JUDGED;
    for (int i = 0; i < count; i++) {
        if (ratio[i] >= 0)
            error_ppb[judged++] = dmath_round(ratio[i] * 1e9);
    }
    if (judged == 0)
        return;
    stats_sort(error_ppb, judged);
    tiles->loo_median_ratio = (double)stats_quantile(error_ppb, judged, 1, 2) / 1e9;
    tiles->loo_max_ratio = (double)error_ppb[judged - 1] / 1e9;
}

/* ---- fit ---- */

bool interp_fit_period(struct arena *scratch, const int32_t *x, const int64_t *y_ps, int count,
                       int32_t period, struct interp_tiles *tiles)
{
    struct interp_curve curve = { x, y_ps, count, INTERP_LINEAR, -1, tiles, 1 };
    double *ratio = arena_array(scratch, (size_t)count, sizeof *ratio);
    uint32_t measured;
    bool is_covered;

    *tiles = (struct interp_tiles){ .period = period };
    is_covered = fit_adders(&curve, tiles, &measured);
    if (!is_covered)
        *tiles = (struct interp_tiles){ .period = 1 };
    interp_leave_one_out(scratch, x, y_ps, count, INTERP_LINEAR, tiles, ratio);
    summarize(scratch, tiles, ratio, count);
    return is_covered;
}

/* Whether errors a, of the longer period, are clearly below b, where both are judged. */
static bool is_clearly_better(const double *a, const double *b, const int32_t *x, int count,
                              int32_t period)
{
    double sum_a = 0, sum_b = 0;

    for (int i = 0; i < count; i++) {
        if (x[i] < period || a[i] < 0 || b[i] < 0)
            continue;
        sum_a += a[i];
        sum_b += b[i];
    }
    return sum_a < CLEARLY_BETTER * sum_b;
}

struct interp_tiles interp_fit(struct arena *scratch, const int32_t *x, const int64_t *y_ps,
                               int count)
{
    double *best_ratio = arena_array(scratch, (size_t)count, sizeof *best_ratio);
    double *ratio = arena_array(scratch, (size_t)count, sizeof *ratio);
    struct interp_tiles best = { .period = 1 }, tiles = { .period = 1 };

    (void)interp_fit_period(scratch, x, y_ps, count, 1, &best);
    interp_leave_one_out(scratch, x, y_ps, count, INTERP_LINEAR, &best, best_ratio);
    for (int32_t period = 2; period <= INTERP_MAX_PERIOD && count >= FIT_MIN_POINTS; period *= 2) {
        if (!interp_fit_period(scratch, x, y_ps, count, period, &tiles))
            continue;
        interp_leave_one_out(scratch, x, y_ps, count, INTERP_LINEAR, &tiles, ratio);
        if (!is_clearly_better(ratio, best_ratio, x, count, period))
            continue;
        best = tiles;
        for (int i = 0; i < count; i++)
            best_ratio[i] = ratio[i];
    }
    return best;
}
