/* watch.h - several observers of one run. */
#ifndef ORRERY_SIM_REPORT_WATCH_H
#define ORRERY_SIM_REPORT_WATCH_H

struct arena;
struct serve_observer;

/* An observer that tells each of them, in their order. A function that none of them has stays NULL,
 * and one that a single observer has is called without a detour. */
struct serve_observer watch_join(struct arena *arena, const struct serve_observer *observers,
                                 int count);

#endif
