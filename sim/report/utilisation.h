/* utilisation.h - what devices and links did over time, in windows of equal length.
 *
 * Told of jobs and messages by the simulator; memory is 64 bytes for each window and each device or
 * link that did something in it. Sums are exact: those of all windows are what the whole run says,
 * except for what no span tells of: the part of a job that a failure cut off, and switches between
 * epochs. Format: traces/README.md. */
#ifndef ORRERY_SIM_REPORT_UTILISATION_H
#define ORRERY_SIM_REPORT_UTILISATION_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cluster;
struct err;
struct out;
struct serve_observer;
struct serve_result;
struct utilisation;

#define UTILISATION_MAX_ROWS 10000000

struct utilisation *utilisation_begin(struct arena *arena, const struct cluster *cluster,
                                      int64_t window_ps);
struct serve_observer utilisation_observer(struct utilisation *utilisation);
/* Once, after the run. Fails when there are more rows than UTILISATION_MAX_ROWS; the two below need
 * its success. */
bool utilisation_end(struct utilisation *utilisation, const struct serve_result *result,
                     struct err *err);
/* One row a window and device, then link. meta: a NULL-ended list of "key", "value", ... */
void utilisation_write(const struct utilisation *utilisation, struct out *out,
                       const char *const *meta);
/* A line a device and link for the terminal: the darker, the busier. */
void utilisation_text(const struct utilisation *utilisation, struct out *out);

#endif
