/* facts_cpu.h - facts of the board and its processor. */
#ifndef ORRERY_PROFILER_FACTS_CPU_H
#define ORRERY_PROFILER_FACTS_CPU_H

#include <stdint.h>

struct arena;
struct facts;

void facts_collect_cpu(struct facts *facts);

/* Part number of an ARM core (0xd08 = Cortex-A72), or 0. */
int64_t facts_arm_part(struct arena *arena, const char *sysroot);

/* Read again in every round; -1 when not known. */
int64_t facts_freq_khz(struct arena *arena, const char *sysroot);
int64_t facts_temp_mc(struct arena *arena, const char *sysroot);       /* hottest zone */
int64_t facts_throttle_bits(struct arena *arena, const char *sysroot); /* Raspberry Pi firmware */
int64_t facts_pressure_us(struct arena *arena, const char *sysroot);   /* CPU waits since boot */

#endif
