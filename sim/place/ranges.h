/* ranges.h - sums and maxima over any range of a list, in constant time: what consecutive profiled
 * stages hold, which searches ask for at every cut. */
#ifndef ORRERY_SIM_PLACE_RANGES_H
#define ORRERY_SIM_PLACE_RANGES_H

#include <stdint.h>

struct arena;
struct ranges;

/* Of count values >= 0 each; sums end at INT64_MAX. In arena. */
const struct ranges *ranges_create(struct arena *arena, const int64_t *summed, const int64_t *maxed,
                                   int32_t count);
/* From first to last, both included. */
int64_t ranges_sum(const struct ranges *ranges, int32_t first, int32_t last);
int64_t ranges_max(const struct ranges *ranges, int32_t first, int32_t last);

#endif
