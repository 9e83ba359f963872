/* wake.c - devices that have been idle. */
#include "lib/policy/wake.h"

#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include "lib/format/cost.h"
#include "lib/policy/price.h"
#include <math.h>
#include <string.h>

#define LONG_AGO_PS (-COST_IDLE_PS) /* time begins at 0 */

struct wake wake_of(const struct cost_table *table, int threads)
{
    int known = threads > 0 ? threads : cost_only_threads(table);
    struct wake wake = { .awake_ps = LONG_AGO_PS };

    for (int i = 0; i < cost_roofline_count(table); i++) {
        const struct cost_roofline *row = cost_roofline_at(table, i);
        double time_ps = row->value * UNITS_PS_PER_NS;

        if (row->threads == (known > 0 ? known : 1) && strcmp(row->metric, "idle_resume_ns") == 0 &&
            time_ps > 0)
            wake.resume_ps = time_ps < (double)UNITS_PS_PER_S ? llround(time_ps) : UNITS_PS_PER_S;
    }
    return wake;
}

int64_t wake_could_ps(const struct wake *wake)
{
    return wake->resume_ps > 0 ? saturate_add(wake->awake_ps, COST_IDLE_PS) : INT64_MAX;
}

bool wake_is_due(const struct wake *wake, int64_t start_ps)
{
    return wake->resume_ps > 0 && start_ps >= wake_could_ps(wake);
}

int64_t wake_take_ps(struct wake *wake, int64_t start_ps, double speed_ratio)
{
    int64_t time_ps;

    if (!wake_is_due(wake, start_ps))
        return 0;
    time_ps = price_scale(wake->resume_ps, speed_ratio);
    wake->count++;
    wake->time_ps += time_ps;
    return time_ps;
}
