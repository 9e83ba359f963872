/* monitor.h - what a run is doing just now, for `orrery-run status`: rates over the last second,
 * the last ten and all of it (as PipeEdge's monitors), and InfScale's moving averages. */
#ifndef ORRERY_RUNNER_LOAD_MONITOR_H
#define ORRERY_RUNNER_LOAD_MONITOR_H

#include <stdint.h>

struct serve;

void monitor_create(struct serve *serve); /* into serve->monitor */
/* Behind those that there were. */
void monitor_add_workers(struct serve *serve, int old_count);
/* A device has computed a step. */
void monitor_computed(struct serve *serve, int worker, int64_t start_ps, int64_t finish_ps);
/* A request has ended well. */
void monitor_ended(struct serve *serve, int64_t latency_ps);
/* Takes a sample each second, and answers who has asked. */
void monitor_look(struct serve *serve);

#endif
