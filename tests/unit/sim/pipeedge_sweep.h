/* pipeedge_sweep.h - PipeEdge's 300 partitioning problems, with what they are made of. */
#ifndef ORRERY_TESTS_UNIT_SIM_PIPEEDGE_SWEEP_H
#define ORRERY_TESTS_UNIT_SIM_PIPEEDGE_SWEEP_H

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include <stdio.h>
#include <string.h>

#define SWEEP "../shared/data/pipeedge/sweep"

#define MOST_LAYERS 240
#define MOST_TYPES 6

struct sweep_model {
    char name[64];
    int32_t layers;
    double values_in[MOST_LAYERS], values_out[MOST_LAYERS], mem_mib[MOST_LAYERS];
};

struct sweep_type { /* of a variant */
    char variant[8], name[32];
    double bandwidth_mibit, mem_mib;
};

struct sweep_times {
    char type[32], model[64];
    double seconds[2][MOST_LAYERS]; /* batch 1, batch 8 */
};

struct sweep {
    struct sweep_model models[64];
    struct sweep_type types[64];
    struct sweep_times times[512];
    int model_count, type_count, times_count;
};

static inline void sweep_read_models(struct arena *arena, struct sweep *sweep)
{
    enum { MODEL, LAYER, IN, OUT, MEM, COUNT };
    static const struct csv_column columns[] = { { "model", true },
                                                 { "sublayer", true },
                                                 { "values_in", true },
                                                 { "values_out", true },
                                                 { "mem_mib", true } };
    struct err err = ERR_INIT;
    struct csv *csv = csv_open(arena, SWEEP "/models.csv", "models", columns, COUNT, &err);

    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        int last = sweep->model_count > 0 ? sweep->model_count - 1 : 0;
        struct sweep_model *model = &sweep->models[last];
        int32_t layer;

        if (strcmp(model->name, csv_text(csv, MODEL)) != 0) {
            model = &sweep->models[sweep->model_count++];
            assert_true(snprintf(model->name, sizeof model->name, "%s", csv_text(csv, MODEL)) > 0);
        }
        assert_true(csv_int32(csv, LAYER, 1, MOST_LAYERS, &layer, &err));
        model->layers = layer;
        assert_true(csv_double(csv, IN, 0, 1e12, &model->values_in[layer - 1], &err));
        assert_true(csv_double(csv, OUT, 0, 1e12, &model->values_out[layer - 1], &err));
        assert_true(csv_double(csv, MEM, 0, 1e12, &model->mem_mib[layer - 1], &err));
    }
    assert_int_equal(err.kind, ERR_NONE);
    csv_close(csv);
}

static inline void sweep_read_types(struct arena *arena, struct sweep *sweep)
{
    enum { VARIANT, TYPE, BANDWIDTH, MEM, COUNT };
    static const struct csv_column columns[] = { { "variant", true },
                                                 { "type", true },
                                                 { "bandwidth_mibit_per_s", true },
                                                 { "mem_mib", true } };
    struct err err = ERR_INIT;
    struct csv *csv = csv_open(arena, SWEEP "/types.csv", "types", columns, COUNT, &err);

    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        struct sweep_type *type = &sweep->types[sweep->type_count++];

        assert_true(snprintf(type->variant, sizeof type->variant, "%s", csv_text(csv, VARIANT)) >
                    0);
        assert_true(snprintf(type->name, sizeof type->name, "%s", csv_text(csv, TYPE)) > 0);
        assert_true(csv_double(csv, BANDWIDTH, 0, 1e12, &type->bandwidth_mibit, &err));
        assert_true(csv_double(csv, MEM, 0, 1e12, &type->mem_mib, &err));
    }
    assert_int_equal(err.kind, ERR_NONE);
    csv_close(csv);
}

static inline void sweep_read_times(struct arena *arena, struct sweep *sweep)
{
    enum { TYPE, MODEL, LAYER, ONE, EIGHT, COUNT };
    static const struct csv_column columns[] = { { "type", true },
                                                 { "model", true },
                                                 { "sublayer", true },
                                                 { "batch1_time_s", true },
                                                 { "batch8_time_s", true } };
    struct err err = ERR_INIT;
    struct csv *csv = csv_open(arena, SWEEP "/times.csv", "times", columns, COUNT, &err);

    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        int last = sweep->times_count > 0 ? sweep->times_count - 1 : 0;
        struct sweep_times *times = &sweep->times[last];
        int32_t layer;

        if (strcmp(times->model, csv_text(csv, MODEL)) != 0 ||
            strcmp(times->type, csv_text(csv, TYPE)) != 0) {
            times = &sweep->times[sweep->times_count++];
            assert_true(snprintf(times->model, sizeof times->model, "%s", csv_text(csv, MODEL)) >
                        0);
            assert_true(snprintf(times->type, sizeof times->type, "%s", csv_text(csv, TYPE)) > 0);
        }
        assert_true(csv_int32(csv, LAYER, 1, MOST_LAYERS, &layer, &err));
        assert_true(csv_double(csv, ONE, 0, 1e12, &times->seconds[0][layer - 1], &err));
        assert_true(csv_double(csv, EIGHT, 0, 1e12, &times->seconds[1][layer - 1], &err));
    }
    assert_int_equal(err.kind, ERR_NONE);
    csv_close(csv);
}

static inline const struct sweep_type *sweep_find_type(const struct sweep *sweep,
                                                       const char *variant, const char *name)
{
    for (int i = 0; i < sweep->type_count; i++)
        if (strcmp(sweep->types[i].variant, variant) == 0 &&
            strcmp(sweep->types[i].name, name) == 0)
            return &sweep->types[i];
    fail_msg("no type %s in variant %s", name, variant);
    return NULL;
}

enum {
    CASE,
    MODEL,
    VARIANT,
    BATCH,
    IN,
    OUT,
    HOSTS,
    FEASIBLE,
    PERIOD,
    LATENCY,
    PARTITION,
    LAYERS,
    NUMBER,
    STAGES,
    BOTTLENECK,
    COLUMN_COUNT
};
static const struct csv_column sweep_case_columns[] = {
    { "case", true },           { "model", true },      { "variant", true },
    { "batch", true },          { "buffers_in", true }, { "buffers_out", true },
    { "hosts_per_type", true }, { "feasible", true },   { "period_s", true },
    { "latency_s", true },      { "partition", true },  { "sublayers", false },
    { "hosts", false },         { "stages", false },    { "bottleneck", false },
};

#endif
