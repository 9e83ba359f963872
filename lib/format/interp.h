/* interp.h - the predictor that profiler and simulator share: cost at a shape nobody measured.
 *
 * Linear operators over m_tokens follow OpenBLAS's tiles: piecewise linear over multiples of the
 * period, plus an adder for each residue (traces/README.md; reference: profiling study, section 5);
 * between points without such multiples on either side, plainly piecewise linear.
 * Attention of a prefill is a power law between points (log-log); of a decode, linear in kv_len. */
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
 * of the two outermost points goes on (log-log for INTERP_LOGLOG; a single point is taken as
 * proportional to x), never below 0, and the origin says extrapolated. Integer result, the same
 * bits on every machine. */
int64_t interp_predict(const int32_t *x, const int64_t *y_ps, int count, enum interp_form form,
                       const struct interp_tiles *tiles, int32_t at, enum interp_origin *origin);

/* Finds the tile period among 1, 2, 4, 8, 16 with the least leave-one-out error and its adders.
 * Fewer than 6 points give period 1. */
struct interp_tiles interp_fit(struct arena *scratch, const int32_t *x, const int64_t *y_ps,
                               int count);

#endif
