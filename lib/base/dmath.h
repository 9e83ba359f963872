/* dmath.h - exp, log, pow and square root that give the same bits on every machine.
 *
 * libm's log may differ in the last bit between machines (FMA variants), and then simulated
 * arrivals differ. These use only IEEE +, -, *, / and sqrt, compiled with -ffp-contract=off.
 * Relative error below 1e-14 over the normal range. */
#ifndef ORRERY_BASE_DMATH_H
#define ORRERY_BASE_DMATH_H

double dmath_log(double x);           /* x > 0, finite */
double dmath_exp(double x);           /* 0 below -745, +infinity above 709.78 */
double dmath_pow(double x, double y); /* x > 0 */
double dmath_sqrt(double x);          /* x >= 0; correctly rounded */
/* Nearest integer, halves to even; saturates to the int64 range; NaN gives 0. */
long long dmath_round(double x);

#endif
