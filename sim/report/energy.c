/* energy.c - see energy.h. */
#include "sim/report/energy.h"

#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "sim/serve/serve.h"

bool energy_of_device(const struct cluster *cluster, const struct serve_result *result, int device,
                      double *energy_j)
{
    const struct cluster_device *about = &cluster->devices[device];
    const struct serve_device *done = &result->devices[device];
    double busy_s = (double)(done->busy_ps + done->gap_ps) / (double)UNITS_PS_PER_S;
    double run_s = (double)result->end_ps / (double)UNITS_PS_PER_S;

    if (about->idle_w < 0 || about->busy_w < 0)
        return false;
    *energy_j = about->busy_w * busy_s + about->idle_w * (run_s > busy_s ? run_s - busy_s : 0);
    return true;
}

bool energy_of_all(const struct cluster *cluster, const struct serve_result *result,
                   double *energy_j)
{
    double sum_j = 0, one_j;

    for (int i = 0; i < cluster->device_count; i++) {
        if (!energy_of_device(cluster, result, i, &one_j))
            return false;
        sum_j += one_j;
    }
    *energy_j = sum_j;
    return cluster->device_count > 0;
}
