/* llmservingsim_meta.c - meta.csv: which model was profiled on what, and the limits of its engine.
 */
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "sim/import/bundle.h"
#include "sim/import/llmservingsim.h"
#include <string.h>
#include <strings.h>

enum { KEY, VALUE, UNIT, NOTE, COLUMN_COUNT };
static const struct csv_column columns[COLUMN_COUNT] = { [KEY] = { "key", true },
                                                         [VALUE] = { "value", true },
                                                         [UNIT] = { "unit", false },
                                                         [NOTE] = { "note", false } };

static const char *const size_names[] = { "layers",   "hidden",   "ffn_hidden", "heads",
                                          "kv_heads", "head_dim", "vocab" };
#define SIZE_COUNT ((int)(sizeof size_names / sizeof size_names[0]))

static int32_t *size_at(struct llmservingsim_meta *meta, int index)
{
    switch (index) {
    case 0:
        return &meta->layers;
    case 1:
        return &meta->hidden;
    case 2:
        return &meta->ffn_hidden;
    case 3:
        return &meta->heads;
    case 4:
        return &meta->kv_heads;
    case 5:
        return &meta->head_dim;
    default:
        return &meta->vocab;
    }
}

static bool read_memory(const struct csv *csv, int64_t *size_bytes, struct err *err)
{
    double amount;

    if (!csv_double(csv, VALUE, 0, 1e6, &amount, err))
        return false;
    if (strcmp(csv_text(csv, UNIT), "GB") != 0)
        return csv_bad(csv, UNIT, err, "expected GB");
    return units_parse_decimal(csv_text(csv, VALUE), 9, size_bytes) ||
           csv_bad(csv, VALUE, err, "expected a decimal number");
}

/* Whole numbers that are taken over; others are information. */
static bool read_number(const struct csv *csv, struct llmservingsim_meta *meta, struct err *err)
{
    const struct {
        const char *key;
        int32_t *value;
    } numbers[] = { { "tensor_parallel", &meta->tensor_parallel },
                    { "max_num_seqs", &meta->max_seqs },
                    { "max_num_batched_tokens", &meta->token_budget },
                    { "block_size", &meta->block_tokens },
                    { "kv_blocks", &meta->kv_blocks } };
    const char *key = csv_text(csv, KEY);

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(numbers[i].key, key) == 0)
            return csv_int32(csv, VALUE, 1, INT32_MAX, numbers[i].value, err);
    for (int i = 0; i < SIZE_COUNT; i++)
        if (strcmp(size_names[i], key) == 0) {
            meta->line_of[i] = csv_line(csv);
            return csv_int32(csv, VALUE, 1, INT32_MAX, size_at(meta, i), err);
        }
    return strcmp(key, "device_memory") != 0 || read_memory(csv, &meta->memory_bytes, err);
}

static bool read_row(const struct csv *csv, struct arena *arena, struct llmservingsim_meta *meta,
                     struct err *err)
{
    const struct {
        const char *key;
        const char **text;
        long *line;
    } texts[] = { { "model", &meta->model, &meta->model_line },
                  { "device", &meta->device, NULL },
                  { "dtype", &meta->dtype, &meta->dtype_line },
                  { "engine", &meta->engine, NULL } };

    if (!csv_has(csv, VALUE))
        return true;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(texts[i].key, csv_text(csv, KEY)) == 0) {
            *texts[i].text = arena_strdup(arena, csv_text(csv, VALUE));
            if (texts[i].line)
                *texts[i].line = csv_line(csv);
            return true;
        }
    return read_number(csv, meta, err);
}

bool llmservingsim_read_meta(struct import_job *job, const char *path,
                             struct llmservingsim_meta *meta, struct err *err)
{
    struct csv *csv;

    *meta = (struct llmservingsim_meta){
        .path = path, .model = "", .device = "", .dtype = "", .engine = ""
    };
    if (!path)
        return true;
    csv = csv_open(job->arena, path, NULL, columns, COLUMN_COUNT, err);
    while (csv && csv_next(csv, err) && read_row(csv, job->arena, meta, err))
        continue;
    csv_close(csv);
    return err->kind == ERR_NONE;
}

/* ---- the model ---- */

static const struct model *find_model(struct import_job *job,
                                      const struct llmservingsim_settings *settings,
                                      const struct llmservingsim_meta *meta, struct err *err)
{
    struct model_catalogue *catalogue = model_catalogue_load(job->arena, NULL, err);
    const char *name;

    if (!catalogue)
        return NULL;
    if (settings->model)
        return model_find(catalogue, settings->model, err);
    if (meta->model[0] == '\0') {
        err_set(err, ERR_USAGE, "--model is missing: which model was profiled");
        return NULL;
    }
    name =
        strrchr(meta->model, '/'); /* "meta-llama/Llama-3.1-8B" is the catalogue's llama-3.1-8b */
    name = name ? name + 1 : meta->model;
    for (int i = 0; i < model_count(catalogue); i++)
        if (strcasecmp(model_at(catalogue, i)->name, name) == 0)
            return model_at(catalogue, i);
    err_at(err, meta->path, meta->model_line, 0,
           "model is '%.60s': not in the catalogue; name it, or its config.json, with --model",
           meta->model);
    return NULL;
}

static bool check_sizes(const struct llmservingsim_meta *meta, const struct model *model,
                        struct err *err)
{
    struct llmservingsim_meta copy = *meta;
    const int32_t sizes[] = { model->layers,   model->hidden,   model->ffn_hidden, model->heads,
                              model->kv_heads, model->head_dim, model->vocab };

    for (int i = 0; i < SIZE_COUNT; i++) {
        int32_t told = *size_at(&copy, i);

        if (told != 0 && told != sizes[i])
            return err_at(err, meta->path, meta->line_of[i], 0, "%s is '%d': model '%.60s' has %d",
                          size_names[i], told, model->name, sizes[i]);
    }
    return true;
}

static bool bits_of(const struct llmservingsim_meta *meta, int32_t *bits, struct err *err)
{
    static const struct {
        const char *dtype;
        int32_t bits;
    } known[] = { { "bf16", 16 }, { "bfloat16", 16 }, { "fp16", 16 }, { "float16", 16 },
                  { "half", 16 }, { "fp8", 8 },       { "int8", 8 },  { "fp32", 32 },
                  { "f32", 32 },  { "float32", 32 },  { "float", 32 } };

    *bits = 16;
    if (meta->dtype[0] == '\0')
        return true;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcasecmp(known[i].dtype, meta->dtype) == 0) {
            *bits = known[i].bits;
            return true;
        }
    return err_at(err, meta->path, meta->dtype_line, 0,
                  "dtype is '%.60s': say how many bits weights have with --weight-bits",
                  meta->dtype);
}

const struct model *llmservingsim_model(struct import_job *job,
                                        const struct llmservingsim_settings *settings,
                                        const struct llmservingsim_meta *meta, struct err *err)
{
    const struct model *found = find_model(job, settings, meta, err);
    int32_t weight_bits = settings->weight_bits;

    if (!found || !check_sizes(meta, found, err) ||
        (weight_bits == 0 && !bits_of(meta, &weight_bits, err)))
        return NULL;
    return bundle_model(job->arena, found, weight_bits, settings->kv_bits);
}
