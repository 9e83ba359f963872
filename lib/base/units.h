/* units.h - exact conversion between text and integer units. No double on any time path.
 *
 * Time inside Orrery is signed 64-bit picoseconds (106 days). Decimals are read by fixed point: up
 * to 12 decimals of a second are exact, further digits are rounded half to even to 1 ps. */
#ifndef ORRERY_BASE_UNITS_H
#define ORRERY_BASE_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNITS_PS_PER_NS INT64_C(1000)
#define UNITS_PS_PER_US INT64_C(1000000)
#define UNITS_PS_PER_MS INT64_C(1000000000)
#define UNITS_PS_PER_S INT64_C(1000000000000)
/* Longest time accepted from outside: 104 days. Two of them overflow int64 when added: sums of
 * times from outside saturate or go through 128 bits. */
#define UNITS_MAX_PS (INT64_C(9000000) * UNITS_PS_PER_S)
/* Text of the longest formatted value with its NUL. */
#define UNITS_TEXT_BYTES 40

/* Decimal text ("0.126", "1e-3", "-2.5") times 10^decimals as an integer, rounded half to even.
 * False when the text is not wholly a finite decimal number or the result leaves int64. */
bool units_parse_decimal(const char *text, int decimals, int64_t *value);

/* A `_s` field: decimal seconds to ps. A `_ns` field: decimal nanoseconds to ps. */
bool units_parse_seconds(const char *text, int64_t *time_ps);
bool units_parse_ns(const char *text, int64_t *time_ps);

/* A duration on the command line: "60s", "250us", "1.5ms", "10ns", "5ps", "2min", "1h", or "0". A
 * bare number other than 0 is refused. */
bool units_parse_duration(const char *text, int64_t *time_ps);
/* A rate: "200/s", "12/min", "3/h", or a bare number per second. Positive and finite. */
bool units_parse_rate(const char *text, double *rate_per_s);
/* A size: "4096", "64kB", "512MB", "2GB" (powers of ten), "64KiB", "512MiB", "2GiB" (of two). */
bool units_parse_bytes(const char *text, int64_t *size_bytes);
/* Whole text as a finite double ("nan", "inf", hex floats and trailing text are refused). */
bool units_parse_double(const char *text, double *value);
/* Whole text as a decimal integer, optional sign, no spaces. */
bool units_parse_int(const char *text, int64_t *value);

/* Shortest decimal of a picosecond value in seconds ("0.126", "12", "-0.000000000001"), and in ns
 * ("12.5"). Return text. */
const char *units_format_seconds(int64_t time_ps, char text[UNITS_TEXT_BYTES]);
const char *units_format_ns(int64_t time_ps, char text[UNITS_TEXT_BYTES]);
/* For people: three significant digits and a unit ("126 ms", "3.20 us", "1.50 s"; "1.50 GiB"). */
const char *units_format_human(int64_t time_ps, char text[UNITS_TEXT_BYTES]);
const char *units_format_bytes(int64_t size_bytes, char text[UNITS_TEXT_BYTES]);
/* Shortest decimal that reads back to the same double ("0.1", "1e+30"); "" for NaN or infinity. */
const char *units_format_double(double value, char text[UNITS_TEXT_BYTES]);

/* a * b / c rounded half to even in 128 bits, for b, c > 0; saturates at INT64_MAX/MIN. */
int64_t units_mul_div(int64_t a, int64_t b, int64_t c);

/* The end of a regular noun behind a count: "" of one, "s" of others. */
static inline const char *units_s(int64_t count)
{
    return count == 1 ? "" : "s";
}

#endif
