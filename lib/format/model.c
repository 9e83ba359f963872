/* model.c - see model.h: the catalogue, its reader and writer. What a block of a model costs is in
 * model_ops.c, Hugging Face files in model_hf.c. */
#include "lib/format/model.h"
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/model_hf.h"
#include "lib/format/table.h"
#include <string.h>

extern const char model_catalogue_text[]; /* workloads/models.csv, made by the Makefile */

struct model_catalogue {
    struct arena *arena;
    int count, capacity;
    const struct model **models;
};

enum {
    COL_MODEL,
    COL_KIND,
    COL_LAYERS,
    COL_HIDDEN,
    COL_HEADS,
    COL_KV_HEADS,
    COL_HEAD_DIM,
    COL_FFN_HIDDEN,
    COL_VOCAB,
    COL_FFN,
    COL_NORM,
    COL_POSITIONS,
    COL_TIED_LM_HEAD,
    COL_WEIGHT_BITS,
    COL_KV_BITS,
    COL_MAX_CONTEXT,
    COL_COUNT
};
static const struct csv_column columns[COL_COUNT] = {
    [COL_MODEL] = { "model", true },
    [COL_KIND] = { "kind", true },
    [COL_LAYERS] = { "layers", true },
    [COL_HIDDEN] = { "hidden", true },
    [COL_HEADS] = { "heads", true },
    [COL_KV_HEADS] = { "kv_heads", true },
    [COL_HEAD_DIM] = { "head_dim", true },
    [COL_FFN_HIDDEN] = { "ffn_hidden", true },
    [COL_VOCAB] = { "vocab", true },
    [COL_FFN] = { "ffn", true },
    [COL_NORM] = { "norm", true },
    [COL_POSITIONS] = { "positions", false },
    [COL_TIED_LM_HEAD] = { "tied_lm_head", true },
    [COL_WEIGHT_BITS] = { "weight_bits", true },
    [COL_KV_BITS] = { "kv_bits", true },
    [COL_MAX_CONTEXT] = { "max_context", false },
};

static const char *const kinds[MODEL_KIND_COUNT] = { "decoder", "encoder", "vision" };
static const char *const ffns[MODEL_FFN_COUNT] = { "gelu", "swiglu" };
static const char *const norms[MODEL_NORM_COUNT] = { "layer", "rms" };
static const char *const positions[MODEL_POSITIONS_COUNT] = { "learned", "rope" };
static const char *const answers[] = { "no", "yes", "false", "true" };

/* ---- reading ---- */

static bool read_size(const struct csv *csv, int column, int32_t *value, struct err *err)
{
    return csv_int32(csv, column, 1, MODEL_SIZE_MAX, value, err);
}

static bool read_bits(const struct csv *csv, int column, int32_t *bits, struct err *err)
{
    return csv_int32(csv, column, 0, INT32_MAX, bits, err) &&
           (*bits == 32 || *bits == 16 || *bits == 8 ||
            csv_bad(csv, column, err, "expected 32, 16 or 8"));
}

static bool read_shape(const struct csv *csv, struct model *model, struct err *err)
{
    if (!csv_int32(csv, COL_LAYERS, 1, MODEL_LAYERS_MAX, &model->layers, err) ||
        !read_size(csv, COL_HIDDEN, &model->hidden, err) ||
        !read_size(csv, COL_HEADS, &model->heads, err) ||
        !read_size(csv, COL_KV_HEADS, &model->kv_heads, err) ||
        !read_size(csv, COL_HEAD_DIM, &model->head_dim, err) ||
        !read_size(csv, COL_FFN_HIDDEN, &model->ffn_hidden, err) ||
        !csv_int32(csv, COL_VOCAB, 1, MODEL_VOCAB_MAX, &model->vocab, err) ||
        !read_bits(csv, COL_WEIGHT_BITS, &model->weight_bits, err) ||
        !read_bits(csv, COL_KV_BITS, &model->kv_bits, err))
        return false;
    if (model->heads % model->kv_heads != 0)
        return csv_bad(csv, COL_KV_HEADS, err, "expected a divisor of the %d heads", model->heads);
    if ((int64_t)model->heads * model->head_dim > MODEL_SIZE_MAX)
        return csv_bad(csv, COL_HEAD_DIM, err, "expected heads x head_dim of at most %d",
                       MODEL_SIZE_MAX);
    return !csv_has(csv, COL_MAX_CONTEXT) ||
           csv_int32(csv, COL_MAX_CONTEXT, 1, INT32_MAX, &model->max_context, err);
}

static struct model *read_model(const struct csv *csv, struct arena *arena, struct err *err)
{
    struct model *model = arena_alloc(arena, sizeof *model);
    int kind, ffn, norm, position, tied;

    if (!csv_name(csv, COL_MODEL, arena, &model->name, err) ||
        !csv_choice(csv, COL_KIND, kinds, MODEL_KIND_COUNT, &kind, err) ||
        !csv_choice(csv, COL_FFN, ffns, MODEL_FFN_COUNT, &ffn, err) ||
        !csv_choice(csv, COL_NORM, norms, MODEL_NORM_COUNT, &norm, err) ||
        !csv_choice(csv, COL_TIED_LM_HEAD, answers, 4, &tied, err) || !read_shape(csv, model, err))
        return NULL;
    position = norm == MODEL_RMSNORM ? MODEL_ROPE : MODEL_LEARNED;
    if (csv_has(csv, COL_POSITIONS) &&
        !csv_choice(csv, COL_POSITIONS, positions, MODEL_POSITIONS_COUNT, &position, err))
        return NULL;
    model->kind = (enum model_kind)kind;
    model->ffn = (enum model_ffn)ffn;
    model->norm = (enum model_norm)norm;
    model->positions = (enum model_positions)position;
    model->tied_lm_head = tied % 2 == 1;
    return model;
}

static int find(const struct model_catalogue *catalogue, const char *name)
{
    for (int i = 0; i < catalogue->count; i++) {
        if (strcmp(catalogue->models[i]->name, name) == 0)
            return i;
    }
    return -1;
}

static void add(struct model_catalogue *catalogue, const struct model *model)
{
    if (catalogue->count == catalogue->capacity) {
        int capacity = catalogue->capacity > 0 ? 2 * catalogue->capacity : 32;

        catalogue->models =
            arena_grow(catalogue->arena, catalogue->models, (size_t)catalogue->capacity,
                       (size_t)capacity, sizeof(const struct model *));
        catalogue->capacity = capacity;
    }
    catalogue->models[catalogue->count++] = model;
}

/* Names below first_own were there before this file: its rows replace them, but one another not. */
static bool read_rows(struct model_catalogue *catalogue, struct csv *csv, struct err *err)
{
    int first_own = catalogue->count;
    bool *is_replaced = arena_array(catalogue->arena, (size_t)first_own, sizeof *is_replaced);

    while (csv && csv_next(csv, err)) {
        const struct model *model = read_model(csv, catalogue->arena, err);
        int old = model ? find(catalogue, model->name) : -1;

        if (!model)
            break;
        if (old >= first_own || (old >= 0 && is_replaced[old])) {
            csv_bad(csv, COL_MODEL, err, "this model is there twice");
            break;
        }
        if (old >= 0) {
            catalogue->models[old] = model;
            is_replaced[old] = true;
        } else {
            add(catalogue, model);
        }
    }
    csv_close(csv);
    return err->kind == ERR_NONE;
}

struct model_catalogue *model_catalogue_load(struct arena *arena, const char *path, struct err *err)
{
    struct model_catalogue *catalogue = arena_alloc(arena, sizeof *catalogue);

    catalogue->arena = arena;
    if (!read_rows(catalogue,
                   csv_open_text(arena, model_catalogue_text, strlen(model_catalogue_text),
                                 "workloads/models.csv", "models", columns, COL_COUNT, err),
                   err))
        return NULL;
    if (path &&
        !read_rows(catalogue, csv_open(arena, path, "models", columns, COL_COUNT, err), err))
        return NULL;
    return catalogue;
}

struct model_catalogue *model_catalogue_of(struct arena *arena, const struct model *model)
{
    struct model_catalogue *catalogue = arena_alloc(arena, sizeof *catalogue);

    catalogue->arena = arena;
    add(catalogue, model);
    return catalogue;
}

int model_count(const struct model_catalogue *catalogue)
{
    return catalogue->count;
}

const struct model *model_at(const struct model_catalogue *catalogue, int index)
{
    return catalogue->models[index];
}

static bool is_path(const char *name)
{
    size_t length = strlen(name);

    return strchr(name, '/') || (length > 5 && strcmp(name + length - 5, ".json") == 0);
}

const struct model *model_find(struct model_catalogue *catalogue, const char *name, struct err *err)
{
    int index = find(catalogue, name);
    const struct model *model;
    const char **names, *closest;

    if (index >= 0)
        return catalogue->models[index];
    if (is_path(name)) {
        model = model_hf_load(catalogue->arena, name, err);
        if (model)
            add(catalogue, model); /* so that the same path gives the same pointer */
        return model;
    }
    names = arena_array(catalogue->arena, (size_t)catalogue->count, sizeof *names);
    for (int i = 0; i < catalogue->count; i++)
        names[i] = catalogue->models[i]->name;
    closest = err_closest(name, names, catalogue->count);
    err_set(err, ERR_INPUT,
            "model is '%.60s': expected a name of the catalogue or the path of a config.json"
            "%s%s%s",
            name, closest ? "; did you mean '" : "", closest ? closest : "", closest ? "'?" : "");
    return NULL;
}

/* ---- writing ---- */

void model_write(struct out *out, const struct model *const *models, int count)
{
    table_begin(out, "models", NULL);
    for (int i = 0; i < COL_COUNT; i++)
        out_printf(out, "%s%s", i == 0 ? "" : ",", columns[i].name);
    out_char(out, '\n');
    for (int i = 0; i < count; i++) {
        const struct model *m = models[i];

        out_csv(out, m->name);
        out_printf(out, ",%s,%d,%d,%d,%d,%d,%d,%d,%s,%s,%s,%s,%d,%d,", kinds[m->kind], m->layers,
                   m->hidden, m->heads, m->kv_heads, m->head_dim, m->ffn_hidden, m->vocab,
                   ffns[m->ffn], norms[m->norm], positions[m->positions], answers[m->tied_lm_head],
                   m->weight_bits, m->kv_bits);
        if (m->max_context > 0)
            out_int(out, m->max_context);
        out_char(out, '\n');
    }
}
