/* black_box.c - see black_box.h. */
#include "lib/policy/black_box.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/saturate.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/policy/plan.h"

const struct cost_table *black_box_table(struct arena *arena, const struct plan *plan,
                                         const struct cost_set *costs, int32_t device,
                                         struct err *err)
{
    const struct cluster_device *d = &plan->cluster->devices[device];
    const struct cost_table *table = cost_set_find(costs, d->type);

    if (!table)
        err_at(err, arena_printf(arena, "%s/devices.csv", plan->cluster->path), d->line, 0,
               "type is '%s': none of the cost tables given is of that device type", d->type);
    return table;
}

/* What both lists hold stays in the first. */
static int intersect(int32_t *sizes, int count, const int32_t *others, int other_count)
{
    int kept = 0, at = 0;

    for (int i = 0; i < count; i++) {
        while (at < other_count && others[at] < sizes[i])
            at++;
        if (at < other_count && others[at] == sizes[i])
            sizes[kept++] = sizes[i];
    }
    return kept;
}

int32_t *black_box_sizes(struct arena *arena, const struct plan *plan, const struct cost_set *costs,
                         const struct plan_replica *replica, int *count, struct err *err)
{
    int32_t *common = NULL;

    for (int k = 0; k < replica->total_count; k++) {
        const struct plan_stage *stage = &replica->stages[k];

        for (int i = 0; i < stage->device_count; i++) {
            const struct cost_table *table =
                black_box_table(arena, plan, costs, stage->devices[i], err);
            const int32_t *sizes;
            int size_count;

            if (!table)
                return NULL;
            size_count = cost_batch_sizes(table, stage->executable, &sizes);
            if (!common) {
                common = arena_array(arena, (size_t)size_count, sizeof *common);
                for (*count = 0; *count < size_count; ++*count)
                    common[*count] = sizes[*count];
            }
            *count = intersect(common, *count, sizes, size_count);
        }
    }
    return common;
}

bool black_box_read(const struct cost_table *table, const struct plan_stage *stage, int32_t size,
                    struct black_box *box, struct err *err)
{
    *box = (struct black_box){ 0 };
    for (int32_t k = stage->exec_first; k <= stage->exec_last; k++) {
        const struct cost_stage *row = cost_stage_find_batch(table, stage->executable, k, size);

        if (!row)
            return err_set(err, ERR_INPUT, "%s/stages.csv: no row for stage %d of '%s' in batch %d",
                           cost_path(table), (int)k, stage->executable, (int)size);
        box->latency_ps = saturate_add(box->latency_ps, row->latency_ps);
        box->gap_ps = row->gap_ps;
        box->output_bytes = row->output_bytes;
    }
    return true;
}
