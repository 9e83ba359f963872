/* instant.h - points in time as foreign files write them, kept exactly.
 *
 * Simulated time is 64 bits of picoseconds, 106 days: too few for a date, and for the last months
 * of a long trace. An instant counts whole seconds and picoseconds apart; what is simulated is the
 * difference of two. No double on the way. */
#ifndef ORRERY_SIM_IMPORT_INSTANT_H
#define ORRERY_SIM_IMPORT_INSTANT_H

#include <stdbool.h>
#include <stdint.h>

struct instant {
    int64_t seconds; /* of 1970-01-01 00:00 UTC for dates, of the file's own origin for numbers */
    int64_t ps;      /* 0 to 10^12 - 1 on top of it */
};

/* Decimal seconds ("79.42642", "-3", "1e-05"); digits beyond 1 ps are rounded half to even. False
 * when the whole text is none, or beyond 10^15 s. */
bool instant_parse_seconds(const char *text, struct instant *instant);
/* "2023-11-16 18:15:46.6805900", also with T between date and time, and with Z or an offset from
 * UTC (+02:00) behind it; UTC without. Gregorian, no leap seconds. */
bool instant_parse_date(const char *text, struct instant *instant);

struct instant instant_minus(struct instant instant, int64_t ps);
int instant_compare(struct instant a, struct instant b); /* -1, 0, 1 */
/* later - earlier; false when it is beyond UNITS_MAX_PS either way. */
bool instant_difference(struct instant later, struct instant earlier, int64_t *ps);

#endif
