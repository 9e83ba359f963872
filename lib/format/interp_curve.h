/* interp_curve.h - one prediction, as interp.c makes it and interp_fit.c tries it out. Private to
 * lib/format/interp*.c. */
#ifndef ORRERY_FORMAT_INTERP_CURVE_H
#define ORRERY_FORMAT_INTERP_CURVE_H

#include "lib/format/interp.h"

struct interp_curve {
    const int32_t *x;
    const int64_t *y_ps;
    int count;
    enum interp_form form;
    int without;                      /* index of a point that is passed over; -1 = none */
    const struct interp_tiles *tiles; /* never NULL */
    uint32_t known;                   /* set of the residues whose adder counts */
};

/* On the bases of the period (1: all points) at the multiple `at`: measured there, between two, or
 * beyond the ends. False when there are fewer than two bases. */
bool interp_on_bases(const struct interp_curve *curve, int32_t period, int32_t at,
                     int64_t *result_ps, bool *is_bracketed);
/* The prediction proper, without regard to a point that is exactly at. *is_proper: by the curve's
 * own tiles, or without tiles between two points. */
int64_t interp_at(const struct interp_curve *curve, int32_t at, bool *is_proper);
int64_t interp_add(int64_t a_ps, int64_t b_ps); /* saturates */

#endif
