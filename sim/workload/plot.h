/* plot.h - columns in a terminal. */
#ifndef ORRERY_SIM_WORKLOAD_PLOT_H
#define ORRERY_SIM_WORKLOAD_PLOT_H

#include <stdbool.h>
#include <stddef.h>

struct out;

#define PLOT_WIDTH 66 /* characters that columns may take; with the scale, less than 80 */

/* One column a value, 1 to PLOT_WIDTH of them, the highest over the whole height. top is written
 * beside it; left and right below the ends. Block characters, or (not is_utf8) ASCII. */
void plot_columns(struct out *out, const size_t *values, int count, const char *top,
                  const char *left, const char *right, bool is_utf8);

#endif
