/* served.h - how a run served its requests: its options, as one would type them. */
#ifndef ORRERY_SIM_REPORT_SERVED_H
#define ORRERY_SIM_REPORT_SERVED_H

struct arena;
struct serve_options;
struct serve_result;

/* "batch", "fixed:8:0.005", "dispatch", "round-robin", ..., NULL-ended, in arena: these two always,
 * and whatever is not as it is by default. Paths that give the same result are not told apart. */
const char *const *served_options(struct arena *arena, const struct serve_options *options,
                                  const struct serve_result *result);

#endif
