/* interp.h - the predictor that profiler and simulator share: cost at a shape nobody measured.
 *
 * Linear operators over m_tokens, and attention of a decode over kv_len, follow tiles: piecewise
 * linear over multiples of the period, plus an adder for each residue (traces/README.md; reference:
 * profiling study, section 5). A point that is no multiple, and whose multiple was not measured,
 * speaks for it less its own adder. Between points without such multiples on either side, plainly
 * piecewise linear. Attention of a prefill is a power law between points (log-log). */
#ifndef ORRERY_FORMAT_INTERP_H
#define ORRERY_FORMAT_INTERP_H

#include <stdbool.h>
#include <stdint.h>

struct arena;

enum interp_origin { INTERP_MEASURED, INTERP_INTERPOLATED, INTERP_EXTRAPOLATED };
enum interp_form { INTERP_LINEAR, INTERP_LOGLOG };

#define INTERP_MAX_PERIOD 16

struct interp_tiles {
    int32_t period;                         /* 1 = no tiles */
    int64_t adder_ps[INTERP_MAX_PERIOD];    /* [0] is 0 */
    double loo_median_ratio, loo_max_ratio; /* leave-one-out error of the fit; -1 = unknown */
};

/* Points sorted by x, strictly increasing, count >= 1. tiles may be NULL. Beyond the ends the line
 * of the outermost point and the next one at least a third away goes on (log-log for INTERP_LOGLOG;
 * a single point is taken as proportional to x), never below 0, and the origin says extrapolated.
 * Below the first tile a shape lies as far above the power of two under it as its residue adds;
 * when that power was not measured, on the line. Integer result, the same bits on every machine. */
int64_t interp_predict(const int32_t *x, const int64_t *y_ps, int count, enum interp_form form,
                       const struct interp_tiles *tiles, int32_t at, enum interp_origin *origin);

/* Finds the tile period among 1, 2, 4, 8, 16 and its adders: the shortest one that no longer one
 * beats clearly (by a quarter of the mean leave-one-out error at the points that both predict).
 * Only periods of which each residue that is a power of two was measured are considered. Fewer than
 * 6 points give period 1. */
struct interp_tiles interp_fit(struct arena *scratch, const int32_t *x, const int64_t *y_ps,
                               int count);
/* The same for a period that is known (1, 2, 4, 8 or 16). False when the points do not determine
 * its adders; tiles is then that of period 1. Residues that were not measured are composed of those
 * that were, as the remainder loops of a BLAS kernel are: 8, 4, 2 and 1 rows in turn. */
bool interp_fit_period(struct arena *scratch, const int32_t *x, const int64_t *y_ps, int count,
                       int32_t period, struct interp_tiles *tiles);

/* Error of predicting each point from the others, |predicted / measured - 1| into ratio[count],
 * with the adders fitted anew without it; tiles (NULL: none) states the period. Negative = not
 * judged: the ends, residues that no other point tells, and points below the first tile that have
 * both neighbours beside them, between which nothing is ever predicted. Never NaN. */
void interp_leave_one_out(struct arena *scratch, const int32_t *x, const int64_t *y_ps, int count,
                          enum interp_form form, const struct interp_tiles *tiles, double *ratio);

/* The points to measure from first to last (1 <= first <= last) for a period: at most room of them,
 * ascending, into points[room]; returns their number. In order of importance: the ends; what the
 * first tile is made of; one tile with each residue that interp_fit needs; then whatever halves the
 * widest gap by ratio, at powers of two where it can. Room for fewer than a period needs gives the
 * points of half the period. Needs room >= 2. */
int interp_grid(int32_t first, int32_t last, int32_t period, int room, int32_t *points);

#endif
