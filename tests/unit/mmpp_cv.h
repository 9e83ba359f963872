/* mmpp_cv.h - what theory says of the gaps of a Markov-modulated Poisson process. */
#ifndef ORRERY_TESTS_UNIT_MMPP_CV_H
#define ORRERY_TESTS_UNIT_MMPP_CV_H

#include "lib/base/arena.h"
#include "lib/format/mmpp.h"
#include <math.h>

/* Coefficient of variation of the time between two arrivals.
 *
 * The gaps are of phase type: with D = diag(rates) - q and arrivals of mean rate r, the second
 * moment is 2/r pi D^-1 1 (Fischer and Meier-Hellstern 1993). D y = 1 is solved by elimination: D
 * is an M-matrix, so its pivots never vanish. */
static inline double mmpp_gap_cv(struct arena *arena, const struct mmpp *mmpp)
{
    int n = mmpp->state_count;
    double *d = arena_array(arena, (size_t)n * (size_t)n, sizeof *d);
    double *y = arena_array(arena, (size_t)n, sizeof *y), second = 0, squared;

    for (int i = 0; i < n; i++) {
        y[i] = 1;
        for (int j = 0; j < n; j++)
            d[i * n + j] = (i == j ? mmpp->rates_per_s[i] : 0) - mmpp->switches_per_s[i * n + j];
    }
    for (int k = 0; k < n; k++)
        for (int i = k + 1; i < n; i++) {
            double factor = d[i * n + k] / d[k * n + k];

            for (int j = k; j < n; j++)
                d[i * n + j] -= factor * d[k * n + j];
            y[i] -= factor * y[k];
        }
    for (int k = n - 1; k >= 0; k--) {
        for (int j = k + 1; j < n; j++)
            y[k] -= d[k * n + j] * y[j];
        y[k] /= d[k * n + k];
        second += mmpp->stationary[k] * y[k];
    }
    squared = 2 * mmpp->rate_per_s * second - 1;
    return squared > 0 ? sqrt(squared) : 0;
}

#endif
