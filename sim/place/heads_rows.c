/* heads_rows.c - from numbers of heads to rows; see heads_rows.h. */
#include "sim/place/heads_rows.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"

#define NOBODY (-1)

struct writer {
    const struct cluster *cluster;
    struct placement_row *rows;
    int count;
};

struct heads_run heads_run_of(struct arena *arena, const struct heads_problem *problem,
                              const struct heads_answer *answer, const int32_t *devices,
                              int32_t layer_first, int32_t layer_last,
                              const struct heads_run *before)
{
    struct heads_run run = { layer_first, layer_last, devices[answer->projection],
                             devices[answer->ffn], NULL };
    int32_t *left = arena_array(arena, (size_t)problem->device_count, sizeof *left), next = 0;

    run.owners = arena_array(arena, (size_t)problem->head_count, sizeof *run.owners);
    for (int32_t d = 0; d < problem->device_count; d++)
        left[d] = answer->counts[d];
    for (int32_t h = 0; h < problem->head_count; h++) {
        run.owners[h] = NOBODY;
        for (int32_t d = 0; d < problem->device_count && before; d++)
            if (devices[d] == before->owners[h] && left[d] > 0) {
                run.owners[h] = devices[d];
                left[d]--;
            }
    }
    for (int32_t h = 0; h < problem->head_count; h++) {
        if (run.owners[h] != NOBODY)
            continue;
        while (left[next] == 0)
            next++;
        run.owners[h] = devices[next];
        left[next]--;
    }
    return run;
}

static struct placement_row *row_add(struct writer *w, const struct placement_row *like,
                                     int32_t device, unsigned blocks)
{
    struct placement_row *row = &w->rows[w->count++];

    *row = *like;
    row->device = w->cluster->devices[device].name;
    row->blocks = blocks;
    return row;
}

/* All heads of one device, a row for each stretch of them. */
static void owner_add(struct writer *w, const struct placement_row *like,
                      const struct heads_run *run, int32_t head_count, int32_t device)
{
    for (int32_t h = 0; h < head_count; h++) {
        int32_t last = h;
        struct placement_row *row;

        if (run->owners[h] != device)
            continue;
        while (last + 1 < head_count && run->owners[last + 1] == device)
            last++;
        row = row_add(w, like, device, 1u << BLOCK_ATTN);
        if (last - h + 1 < head_count) {
            row->part_first = h;
            row->part_last = last;
            row->part_of = head_count;
        }
        h = last;
    }
}

static void run_add(struct writer *w, const struct placement_row *end, const struct heads_run *run,
                    int32_t head_count)
{
    struct placement_row layer = *end;

    layer.layer_first = run->layer_first;
    layer.layer_last = run->layer_last;
    owner_add(w, &layer, run, head_count, run->ffn);
    for (int32_t d = 0; d < w->cluster->device_count; d++)
        if (d != run->ffn)
            owner_add(w, &layer, run, head_count, d);
    (void)row_add(w, &layer, run->projection, 1u << BLOCK_PROJ);
    (void)row_add(w, &layer, run->ffn, 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN);
}

struct placement_row *heads_rows(struct arena *arena, const struct cluster *cluster,
                                 const struct model *model, const char *service,
                                 const struct heads_plan *plan, int *row_count)
{
    const struct placement_row end = { .service = service,
                                       .model = model->name,
                                       .executable = "",
                                       .layer_first = -1,
                                       .layer_last = -1,
                                       .part_of = 1 };
    size_t most = (size_t)plan->run_count * ((size_t)model->kv_heads + 2) + 2;
    struct writer w = { .cluster = cluster, .rows = arena_array(arena, most, sizeof *w.rows) };

    (void)row_add(&w, &end, plan->end, 1u << BLOCK_EMBED);
    for (int32_t r = 0; r < plan->run_count; r++)
        run_add(&w, &end, &plan->runs[r], model->kv_heads);
    (void)row_add(&w, &end, plan->end, 1u << BLOCK_LM_HEAD);
    *row_count = w.count;
    return w.rows;
}
