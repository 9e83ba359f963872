/* facts_cpu.h - facts of the board and its processor. */
#ifndef ORRERY_PROFILER_FACTS_CPU_H
#define ORRERY_PROFILER_FACTS_CPU_H

#include "profiler/device/facts_clock.h"
#include <stdint.h>

struct arena;
struct facts;

void facts_collect_cpu(struct facts *facts);

/* Part number of an ARM core (0xd08 = Cortex-A72), or 0. */
int64_t facts_arm_part(struct arena *arena, const char *sysroot);
/* Name of an ARM core by implementer (0x41 = Arm) and part, or NULL. */
const char *facts_arm_name(int64_t implementer, int64_t part);

#endif
