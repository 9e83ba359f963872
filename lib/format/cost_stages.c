/* cost_stages.c - stages.csv: black boxes, profiled stage by stage. */
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/format/cost_table.h"
#include "lib/format/names.h"
#include <stdlib.h>
#include <string.h>

enum {
    COL_EXECUTABLE,
    COL_STAGE,
    COL_LATENCY_S,
    COL_DEVICE_TYPE,
    COL_MODEL,
    COL_DEVICES,
    COL_BATCH,
    COL_GAP_S,
    COL_WEIGHT_BYTES,
    COL_ACTIVATION_BYTES,
    COL_OUTPUT_BYTES,
    COL_COUNT
};
static const struct csv_column columns[COL_COUNT] = {
    [COL_EXECUTABLE] = { "executable", true },
    [COL_STAGE] = { "stage", true },
    [COL_LATENCY_S] = { "latency_s", true },
    [COL_DEVICE_TYPE] = { "device_type", false },
    [COL_MODEL] = { "model", false },
    [COL_DEVICES] = { "devices", false },
    [COL_BATCH] = { "batch", false },
    [COL_GAP_S] = { "gap_s", false },
    [COL_WEIGHT_BYTES] = { "weight_bytes", false },
    [COL_ACTIVATION_BYTES] = { "activation_bytes", false },
    [COL_OUTPUT_BYTES] = { "output_bytes", false },
};

/* As memory_bytes of a device: sums over any number of rows stay far within int64. */
#define MAX_BYTES (INT64_C(1) << 50)

static bool read_bytes(const struct csv *csv, int column, int64_t *size_bytes, struct err *err)
{
    return !csv_has(csv, column) || csv_int(csv, column, 0, MAX_BYTES, size_bytes, err);
}

static bool read_stage(const struct csv *csv, struct arena *arena, struct cost_stage *stage,
                       struct err *err)
{
    *stage = (struct cost_stage){ .batch = 1, .line = csv_line(csv) };
    if (!csv_name(csv, COL_EXECUTABLE, arena, &stage->executable, err) ||
        !csv_int32(csv, COL_STAGE, 0, INT32_MAX, &stage->stage, err) ||
        !csv_seconds(csv, COL_LATENCY_S, 0, &stage->latency_ps, err))
        return false;
    stage->model = arena_strdup(arena, csv_text(csv, COL_MODEL));
    return (!csv_has(csv, COL_DEVICES) ||
            csv_int32(csv, COL_DEVICES, 1, INT32_MAX, &stage->devices, err)) &&
           (!csv_has(csv, COL_BATCH) ||
            csv_int32(csv, COL_BATCH, 1, INT32_MAX, &stage->batch, err)) &&
           (!csv_has(csv, COL_GAP_S) || csv_seconds(csv, COL_GAP_S, 0, &stage->gap_ps, err)) &&
           read_bytes(csv, COL_WEIGHT_BYTES, &stage->weight_bytes, err) &&
           read_bytes(csv, COL_ACTIVATION_BYTES, &stage->activation_bytes, err) &&
           read_bytes(csv, COL_OUTPUT_BYTES, &stage->output_bytes, err);
}

static int compare_keys(const struct cost_stage *a, const struct cost_stage *b)
{
    int order = strcmp(a->executable, b->executable);

    if (order == 0)
        order = a->batch < b->batch ? -1 : a->batch > b->batch;
    if (order == 0)
        order = a->stage < b->stage ? -1 : a->stage > b->stage;
    return order;
}

static int compare_stages(const void *left, const void *right)
{
    const struct cost_stage *a = left, *b = right;
    int order = compare_keys(a, b);

    return order != 0 ? order : a->line < b->line ? -1 : a->line > b->line;
}

static bool is_same_executable(const struct cost_stage *a, const struct cost_stage *b)
{
    return strcmp(a->executable, b->executable) == 0;
}

static bool is_same_batch(const struct cost_stage *a, const struct cost_stage *b)
{
    return a->batch == b->batch && is_same_executable(a, b);
}

/* Sorted stages: none twice, none left out. */
static bool check_numbers(const struct cost_table *table, const char *path, struct err *err)
{
    for (int i = 0; i < table->stage_count; i++) {
        const struct cost_stage *stage = &table->stages[i], *before = stage - 1;
        bool is_first = i == 0 || !is_same_batch(before, stage);
        int32_t expected = is_first ? 0 : before->stage + 1;

        if (i > 0 && compare_keys(before, stage) == 0)
            return err_at(err, path, stage->line, 0, "same executable, stage and batch as line %ld",
                          before->line);
        if (stage->stage != expected)
            return err_at(err, path, stage->line, 0, "stage is '%d': '%.60s' has no stage %d",
                          stage->stage, stage->executable, expected);
    }
    return true;
}

/* One executable is one way to cut and spread a model, in whatever batches it was profiled: first
 * points to its stages in the smallest batch, here to those in another one. */
static bool check_batch(const struct cost_stage *first, int count, const struct cost_stage *here,
                        int here_count, const char *path, struct err *err)
{
    if (count != here_count)
        return err_at(err, path, here[here_count - 1].line, 0,
                      "'%.60s' has stages 0 to %d in batch %d, but 0 to %d in batch %d (line %ld)",
                      here->executable, here_count - 1, here->batch, count - 1, first->batch,
                      first[count - 1].line);
    for (int i = 0; i < count; i++)
        if (first[i].devices != here[i].devices && first[i].devices != 0 && here[i].devices != 0)
            return err_at(err, path, here[i].line, 0,
                          "devices is '%d': line %ld says %d for the same executable and stage",
                          here[i].devices, first[i].line, first[i].devices);
    return true;
}

/* Executables and their batch sizes, which must have the same stages. */
static bool list_batches(struct cost_table *table, struct arena *arena, const char *path,
                         struct err *err)
{
    const struct cost_stage *end = table->stages + table->stage_count, *here, *next, *first = NULL;
    int32_t batch_count = 0;
    int first_count = 0;

    table->executables = arena_array(arena, (size_t)table->stage_count, sizeof *table->executables);
    table->batches = arena_array(arena, (size_t)table->stage_count, sizeof *table->batches);
    for (here = table->stages; here < end; here = next) {
        next = here;
        while (next < end && is_same_batch(here, next))
            next++;
        if (!first || !is_same_executable(first, here)) {
            first = here;
            first_count = (int)(next - here);
            table->executables[table->executable_count++] =
                (struct cost_executable){ here->executable, batch_count, 0 };
        } else if (!check_batch(first, first_count, here, (int)(next - here), path, err)) {
            return false;
        }
        table->batches[batch_count++] = here->batch;
        table->executables[table->executable_count - 1].batch_count++;
    }
    return true;
}

/* A row that names no type is of the folder's; the other types are noted. */
static bool belongs(const struct csv *csv, struct cost_table *table, bool is_folder)
{
    const char *type = csv_text(csv, COL_DEVICE_TYPE);

    if (type[0] == '\0')
        return is_folder;
    if (strcmp(type, table->type) == 0)
        return true;
    names_put(table->other_types, type);
    return false;
}

bool cost_read_stages(struct cost_table *table, struct arena *arena, const char *path,
                      bool is_folder, struct err *err)
{
    struct csv *csv = csv_open(arena, path, "stage-costs", columns, COL_COUNT, err);
    int capacity = 0;

    table->other_types = names_create(arena);
    while (csv && csv_next(csv, err)) {
        struct cost_stage stage;

        if (!read_stage(csv, arena, &stage, err))
            break;
        if (!belongs(csv, table, is_folder))
            continue;
        if (table->stage_count == capacity) {
            int larger = capacity > 0 ? 2 * capacity : 16;

            table->stages = arena_grow(arena, table->stages, (size_t)capacity, (size_t)larger,
                                       sizeof *table->stages);
            capacity = larger;
        }
        table->stages[table->stage_count++] = stage;
    }
    csv_close(csv);
    if (err->kind != ERR_NONE || table->stage_count == 0)
        return err->kind == ERR_NONE;
    qsort(table->stages, (size_t)table->stage_count, sizeof *table->stages, compare_stages);
    return check_numbers(table, path, err) && list_batches(table, arena, path, err);
}

const struct cost_stage *cost_stage_find_batch(const struct cost_table *table,
                                               const char *executable, int32_t stage, int32_t batch)
{
    struct cost_stage key = { .executable = executable, .stage = stage, .batch = batch };
    int low = 0, high = table->stage_count;

    while (low < high) {
        int middle = low + (high - low) / 2;

        if (compare_keys(&table->stages[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < table->stage_count && compare_keys(&table->stages[low], &key) == 0
               ? &table->stages[low]
               : NULL;
}

const struct cost_stage *cost_stage_first(const struct cost_table *table, const char *executable,
                                          int32_t stage)
{
    const int32_t *sizes;

    return cost_batch_sizes(table, executable, &sizes) > 0
               ? cost_stage_find_batch(table, executable, stage, sizes[0])
               : NULL;
}

int cost_stage_row_count(const struct cost_table *table)
{
    return table->stage_count;
}

const struct cost_stage *cost_stage_row_at(const struct cost_table *table, int index)
{
    return &table->stages[index];
}

int cost_stage_count(const struct cost_table *table, const char *executable)
{
    const struct cost_stage *first = cost_stage_first(table, executable, 0);
    int count = 0;

    while (first && first + count < table->stages + table->stage_count &&
           is_same_batch(first, first + count))
        count++;
    return count;
}

int cost_batch_sizes(const struct cost_table *table, const char *executable, const int32_t **sizes)
{
    int low = 0, high = table->executable_count;

    while (low < high) {
        int middle = low + (high - low) / 2;

        if (strcmp(table->executables[middle].name, executable) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *sizes = NULL;
    if (low == table->executable_count || strcmp(table->executables[low].name, executable) != 0)
        return 0;
    *sizes = &table->batches[table->executables[low].first_batch];
    return table->executables[low].batch_count;
}

bool cost_stage_memory(const struct cost_table *table, const char *executable, int32_t first,
                       int32_t last, int32_t items, int64_t *weight_bytes,
                       int64_t *activation_bytes)
{
    const int32_t *sizes;
    int count = cost_batch_sizes(table, executable, &sizes);

    *weight_bytes = *activation_bytes = 0;
    if (count == 0 || items > sizes[count - 1])
        return false;
    for (int b = 0; b < count && (b == 0 || sizes[b - 1] < items); b++)
        for (int32_t k = first; k <= last; k++) {
            const struct cost_stage *row = cost_stage_find_batch(table, executable, k, sizes[b]);

            if (!row)
                return false;
            *weight_bytes += b == 0 ? row->weight_bytes : 0;
            if (row->activation_bytes > *activation_bytes)
                *activation_bytes = row->activation_bytes;
        }
    return true;
}
