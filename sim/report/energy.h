/* energy.h - what devices took, by idle_w and busy_w of devices.csv: a device draws busy_w while it
 * computes or is in a gap, idle_w else, over the whole run. */
#ifndef ORRERY_SIM_REPORT_ENERGY_H
#define ORRERY_SIM_REPORT_ENERGY_H

#include <stdbool.h>

struct cluster;
struct serve_result;

/* False when devices.csv does not give both for the device. */
bool energy_of_device(const struct cluster *cluster, const struct serve_result *result, int device,
                      double *energy_j);
/* Of all devices of the cluster; false when one of them is not known. */
bool energy_of_all(const struct cluster *cluster, const struct serve_result *result,
                   double *energy_j);

#endif
