/* fuzz_cost.c - cost tables: kernels.csv, interp.csv, stages.csv, anchors.csv, roofline.csv and
 * device.csv, then look-ups.
 */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>

#define FILES 6

/* Steps of every kind, by whatever kernels tell them. */
static void look_up_mixed(const struct cost_table *table)
{
    static const struct cost_mixed steps[] = { { 4, 2, 8, 20, 40, 0, 0 },
                                               { 4, 2, 8, 0, 0, 3, 77 },
                                               { 4, 2, 8, 5, 0, 3, 7 } };
    struct arena *arena = arena_create();
    enum interp_origin origin;
    int64_t time_ps = -1;
    const int32_t *points;
    int count;

    for (int i = 0; i < 3; i++) {
        struct err err = ERR_INIT;
        bool found = cost_lookup_mixed(table, &steps[i], 1, 32, &time_ps, &origin, &err);

        assert(found ? time_ps >= 0 : err.kind != ERR_NONE);
        found = cost_lookup_sampler(table, i + 1, 10, 1, 32, &time_ps, &origin, &err);
        assert(!found || time_ps >= 0);
    }
    points = cost_decode_points(arena, table, &steps[1], 1, 32, &count);
    for (int i = 0; i < count; i++)
        assert(points[i] >= 0 && (i == 0 || points[i] > points[i - 1]));
    arena_destroy(arena);
}

static void look_up(const struct cost_table *table)
{
    static const struct model_op ops[] = {
        { .op = OP_ADD, .m_tokens = 3, .gemm_n = 768 },
        { .op = OP_ATTN,
          .phase = OP_DECODE,
          .batch = 3,
          .m_tokens = 3,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 8,
          .kv_len = 77 },
        { .op = OP_ATTN,
          .phase = OP_PREFILL,
          .batch = 1,
          .m_tokens = 20,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 8,
          .kv_len = 60 },
    };
    const int32_t *sizes;
    double kappa;

    for (int i = 0; i < cost_batch_sizes(table, "e", &sizes); i++)
        assert(cost_stage_find_batch(table, "e", 0, sizes[i]));
    for (int i = 0; i < 3; i++) {
        struct err err = ERR_INIT;
        enum interp_origin origin;
        int64_t time_ps = -1;
        bool found = cost_lookup(table, &ops[i], 1, 32, &time_ps, &origin, &err);

        assert(found ? time_ps >= 0 : err.kind != ERR_NONE);
    }
    look_up_mixed(table);
    for (int i = 0; i < cost_interp_count(table); i++)
        assert(cost_interp_at(table, i).tiles.period >= 1);
    (void)cost_kappa(table, "m", OP_PREFILL, 20, 20, 1, 1, 32, &kappa);
    assert(kappa > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char *const names[FILES] = { "kernels.csv", "interp.csv",   "stages.csv",
                                              "anchors.csv", "roofline.csv", "device.csv" };
    char path[FUZZ_PATH_BYTES];
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const struct cost_table *table;

    fuzz_make_folder(bytes, count, names, FILES, path);
    table = cost_load(arena, path, &err);
    assert(table ? err.kind == ERR_NONE : err.kind != ERR_NONE);
    if (table)
        look_up(table);
    arena_destroy(arena);
    fuzz_remove_folder(path, names, FILES);
    return 0;
}
