/* facts_clock.h - clock, heat, throttling and load, as the system's files show them now. */
#ifndef ORRERY_PROFILER_FACTS_CLOCK_H
#define ORRERY_PROFILER_FACTS_CLOCK_H

#include <stdint.h>

struct arena;
struct facts;

void facts_collect_clock(struct facts *facts);

/* Read again in every round; -1 when not known. */
int64_t facts_freq_khz(struct arena *arena,
                       const char *sysroot);                     /* slowest of the clocked groups */
int64_t facts_temp_mc(struct arena *arena, const char *sysroot); /* hottest zone */
/* Raspberry Pi firmware: sysfs, else (on the device itself) its mailbox /dev/vcio. */
int64_t facts_throttle_bits(struct arena *arena, const char *sysroot);
int64_t facts_pressure_us(struct arena *arena, const char *sysroot); /* CPU waits since boot */

/* Bits first .. first + 3 in words: "under-voltage, throttled"; "nothing" when none is set. first
 * is 0 (now) or 16 (since boot). */
const char *facts_throttle_words(struct arena *arena, int64_t bits, int first);

#endif
