/* vidur.c - Vidur (Agrawal et al., MLSys 2024, MIT): compute profiles mlp.csv and attention.csv as
 * a cost table.
 *
 * Both are wide: a row a shape, with time_stats.<operator>.{min,max,mean,median,std} in
 * milliseconds. A row of mlp.csv is of num_tokens tokens; one of attention.csv is a prefill of
 * prefill_chunk_size tokens behind kv_cache_size, or a decode of batch_size sequences. The header
 * tells which columns there are. */
#include "sim/import/vidur.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/csv.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/lines.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cost.h"
#include "sim/import/bundle.h"
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 256

enum {
    KEY_MODEL = 0x300,
    KEY_TYPE,
    KEY_BACKEND,
    KEY_WEIGHT_BITS,
    KEY_KV_BITS,
    KEY_PARTS,
    KEY_BLOCK
};

static const struct argp_option vidur_options[] = {
    { NULL, 0, NULL, 0, "Vidur:", 2 },
    { "model", KEY_MODEL, "NAME", 0,
      "Model that was profiled: of the catalogue, or a config.json (required)", 2 },
    { "type", KEY_TYPE, "NAME", 0, "Device type of the cost table (gpu)", 2 },
    { "weight-bits", KEY_WEIGHT_BITS, "N", 0, "8, 16 or 32 (16)", 2 },
    { "kv-bits", KEY_KV_BITS, "N", 0, "8, 16 or 32 (16, with weights of 32 bits 32)", 2 },
    { "tensor-parallel", KEY_PARTS, "N", 0,
      "Take the rows of a model on N devices: costs of one part (1)", 2 },
    { "block-size", KEY_BLOCK, "N", 0, "Take the attention rows with this block_size", 2 },
    { "backend", KEY_BACKEND, "TEXT", 0, "Take the rows with this attention_backend", 2 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct vidur_settings *settings = state->input;

    switch (key) {
    case KEY_MODEL:
        settings->model = text;
        return 0;
    case KEY_TYPE:
        settings->type = text;
        return 0;
    case KEY_BACKEND:
        settings->backend = text;
        return 0;
    case KEY_WEIGHT_BITS:
        settings->weight_bits = bundle_bits(state, "--weight-bits", text);
        return 0;
    case KEY_KV_BITS:
        settings->kv_bits = bundle_bits(state, "--kv-bits", text);
        return 0;
    case KEY_PARTS:
        settings->tensor_parallel = (int32_t)cli_int(state, "--tensor-parallel", text, 1, 1024);
        return 0;
    case KEY_BLOCK:
        settings->block_size = (int32_t)cli_int(state, "--block-size", text, 1, INT32_MAX);
        return 0;
    case ARGP_KEY_END:
        if (!settings->model)
            cli_error(state, "--model is missing: which model was profiled");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- tables whose header says what is in them ---- */

struct wide {
    struct csv_column *columns; /* of the header, in its order */
    int column_count;
    struct csv *csv;
};

static int wide_find(const struct wide *wide, const char *name)
{
    for (int i = 0; i < wide->column_count; i++)
        if (strcmp(wide->columns[i].name, name) == 0)
            return i;
    return -1;
}

/* Every column of the header is known; the index that pandas writes first has no name. */
static bool wide_open(struct import_job *job, const char *path, struct wide *wide, struct err *err)
{
    struct lines *lines = lines_open(job->arena, path, err);
    char *header = NULL;
    int room = 1;

    while (lines && (header = lines_next(lines, err)) != NULL && *header == '\0')
        continue;
    header = header ? arena_strdup(job->arena, header) : NULL;
    if (lines)
        lines_close(lines);
    if (err->kind != ERR_NONE)
        return false;
    if (!header)
        return err_at(err, path, 0, 0, "no header row");
    if (strncmp(header, "\xef\xbb\xbf", 3) == 0)
        header += 3;
    for (const char *at = header; *at; at++)
        room += *at == ',';
    wide->columns = arena_array(job->arena, (size_t)room, sizeof *wide->columns);
    for (char *at = header, *next; at; at = next) {
        next = strchr(at, ',');
        if (next)
            *next++ = '\0';
        wide->columns[wide->column_count++] = (struct csv_column){ at, false };
    }
    wide->csv = csv_open(job->arena, path, NULL, wide->columns, wide->column_count, err);
    return wide->csv != NULL;
}

/* ---- rows ---- */

struct reader {
    struct import_job *job;
    const struct vidur_settings *settings;
    const struct model *model; /* as one device computes it */
    const struct model *whole;
    struct wide wide;
    int count, room;
    struct cost_row *rows;
};

static bool read_ms(const struct reader *reader, const char *op, const char *stat, int64_t *time_ps,
                    struct err *err)
{
    const char *name = arena_printf(reader->job->arena, "time_stats.%s.%s", op, stat);
    int column = wide_find(&reader->wide, name);
    const struct csv *csv = reader->wide.csv;

    *time_ps = COST_UNKNOWN;
    if (column < 0 || !csv_has(csv, column))
        return true;
    if (!units_parse_decimal(csv_text(csv, column), 9, time_ps))
        return csv_bad(csv, column, err, "expected decimal milliseconds");
    return (*time_ps >= 1 && *time_ps <= UNITS_MAX_PS) ||
           csv_bad(csv, column, err, "expected milliseconds above 0");
}

/* Whether the operator was measured in this row: then its mean, median and minimum. */
static bool read_times(const struct reader *reader, const char *op, struct cost_row *row,
                       struct err *err)
{
    return read_ms(reader, op, "mean", &row->mean_ps, err) &&
           read_ms(reader, op, "median", &row->median_ps, err) &&
           read_ms(reader, op, "min", &row->min_ps, err);
}

static void rows_add(struct reader *reader, const struct cost_row *row)
{
    if (reader->count == reader->room) {
        int room = reader->room > 0 ? 2 * reader->room : FIRST_ROOM;

        reader->rows = arena_grow(reader->job->arena, reader->rows, (size_t)reader->room,
                                  (size_t)room, sizeof *reader->rows);
        reader->room = room;
    }
    reader->rows[reader->count++] = *row;
}

/* A whole number of a column that must be there. */
static bool read_int(const struct reader *reader, const char *name, int32_t min, int32_t *value,
                     struct err *err)
{
    int column = wide_find(&reader->wide, name);

    if (column < 0)
        return err_at(err, csv_path(reader->wide.csv), 0, 0, "missing column '%s'", name);
    return csv_int32(reader->wide.csv, column, min, INT32_MAX, value, err);
}

/* A size of the model, where the table states it. */
static bool check_size(const struct reader *reader, const char *name, int32_t expected,
                       struct err *err)
{
    int column = wide_find(&reader->wide, name);
    int32_t value;

    if (column < 0)
        return true;
    return csv_int32(reader->wide.csv, column, 1, INT32_MAX, &value, err) &&
           (value == expected || csv_bad(reader->wide.csv, column, err, "model '%s' has %d",
                                         reader->whole->name, expected));
}

static bool check_model(const struct reader *reader, struct err *err)
{
    const struct model *whole = reader->whole;

    return check_size(reader, "n_embd", whole->hidden, err) &&
           check_size(reader, "n_head", whole->heads, err) &&
           check_size(reader, "n_q_head", whole->heads, err) &&
           check_size(reader, "n_kv_head", whole->kv_heads, err) &&
           check_size(reader, "n_expanded_embd", whole->ffn_hidden, err);
}

/* Rows of another part size, block size or backend are passed over. */
static bool is_wanted(struct reader *reader, bool *is_one, struct err *err)
{
    const struct vidur_settings *settings = reader->settings;
    int parts = wide_find(&reader->wide, "num_tensor_parallel_workers");
    int block = wide_find(&reader->wide, "block_size");
    int backend = wide_find(&reader->wide, "attention_backend");
    int32_t wanted = settings->tensor_parallel > 0 ? settings->tensor_parallel : 1, value;

    *is_one = false;
    if (parts >= 0) {
        if (!csv_int32(reader->wide.csv, parts, 1, INT32_MAX, &value, err))
            return false;
        if (value != wanted) {
            import_drop(reader->job, "of another number of parts", 1);
            return true;
        }
    }
    if (block >= 0 && settings->block_size > 0) {
        if (!csv_int32(reader->wide.csv, block, 1, INT32_MAX, &value, err))
            return false;
        if (value != settings->block_size) {
            import_drop(reader->job, "of another block size", 1);
            return true;
        }
    }
    if (backend >= 0 && settings->backend &&
        strcmp(csv_text(reader->wide.csv, backend), settings->backend) != 0) {
        import_drop(reader->job, "of another backend", 1);
        return true;
    }
    *is_one = true;
    return check_model(reader, err);
}

/* ---- mlp.csv ---- */

static const struct {
    const char *name; /* of Vidur */
    enum op op;
    enum model_block block;
} layers[] = {
    { "emb", OP_EMBED, BLOCK_EMBED },
    { "input_layernorm", OP_NORM, BLOCK_CONN },
    { "post_attention_layernorm", OP_NORM, BLOCK_CONN },
    { "attn_pre_proj", OP_QKV, BLOCK_ATTN },
    { "attn_rope", OP_ROPE, BLOCK_ATTN },
    { "attn_post_proj", OP_OPROJ, BLOCK_PROJ },
    { "mlp_up_proj", OP_FFN_UP, BLOCK_FFN_UP },
    { "mlp_act", OP_ACT, BLOCK_FFN_UP },
    { "mlp_down_proj", OP_FFN_DOWN, BLOCK_FFN_DOWN },
    { "add", OP_ADD, BLOCK_CONN },
    { "input_layernorm", OP_FNORM, BLOCK_LM_HEAD }, /* the same kernel on the same width */
    { "lm_head", OP_LMHEAD, BLOCK_LM_HEAD },
};
#define LAYER_COUNT (sizeof layers / sizeof layers[0])

/* False when the model has no such operator. */
static bool shape_row(const struct model *model, enum op op, enum model_block block,
                      struct cost_row *row)
{
    struct model_op ops[MODEL_MAX_OPS];
    int count = model_block_ops(model, block, 1, 0, ops);

    for (int i = 0; i < count; i++)
        if (ops[i].op == op) {
            row->op = op;
            row->gemm_n = ops[i].gemm_n;
            row->gemm_k = ops[i].gemm_k;
            row->heads = ops[i].heads;
            row->kv_heads = ops[i].kv_heads;
            row->head_dim = ops[i].head_dim;
            return true;
        }
    return false;
}

static void row_begin(const struct reader *reader, struct cost_row *row)
{
    cost_row_init(row);
    row->dtype = cost_dtype_of_bits(reader->model->weight_bits);
}

static bool read_layers(struct reader *reader, struct err *err)
{
    int32_t tokens;

    if (!read_int(reader, "num_tokens", 1, &tokens, err))
        return false;
    reader->job->report.kept++;
    for (size_t i = 0; i < LAYER_COUNT; i++) {
        struct cost_row row;

        row_begin(reader, &row);
        if (!read_times(reader, layers[i].name, &row, err))
            return false;
        if (row.mean_ps == COST_UNKNOWN ||
            !shape_row(reader->model, layers[i].op, layers[i].block, &row))
            continue;
        row.m_tokens = tokens;
        rows_add(reader, &row);
    }
    return true;
}

/* ---- attention.csv ---- */

static bool read_is_prefill(const struct reader *reader, bool *is_prefill, struct err *err)
{
    static const char *const names[] = { "False", "True", "false", "true", "0", "1" };
    int column = wide_find(&reader->wide, "is_prefill"), index;

    if (column < 0)
        return err_at(err, csv_path(reader->wide.csv), 0, 0, "missing column 'is_prefill'");
    if (!csv_choice(reader->wide.csv, column, names, 6, &index, err))
        return false;
    *is_prefill = index % 2 == 1;
    return true;
}

static bool add_attention(struct reader *reader, const char *name, const struct cost_row *shape,
                          struct err *err)
{
    struct cost_row row = *shape;

    if (!read_times(reader, name, &row, err))
        return false;
    if (row.mean_ps != COST_UNKNOWN)
        rows_add(reader, &row);
    return true;
}

static bool read_attention(struct reader *reader, struct err *err)
{
    int32_t batch = 0, chunk = 0, past = 0;
    struct cost_row row, append;
    bool is_prefill = false;

    if (!read_is_prefill(reader, &is_prefill, err) ||
        !read_int(reader, "batch_size", 1, &batch, err) ||
        !read_int(reader, "prefill_chunk_size", is_prefill, &chunk, err) ||
        !read_int(reader, "kv_cache_size", 0, &past, err))
        return false;
    if (is_prefill && batch > 1) {
        import_drop(reader->job, "prefills of several requests", 1);
        return true;
    }
    if (past > INT32_MAX - 1 - chunk)
        return csv_bad_row(reader->wide.csv, err, "kv_cache_size is too large");
    reader->job->report.kept++;
    row_begin(reader, &row);
    (void)shape_row(reader->model, OP_ATTN, BLOCK_ATTN, &row);
    row.phase = is_prefill ? OP_PREFILL : OP_DECODE;
    row.batch = batch;
    row.m_tokens = is_prefill ? chunk : batch;
    row.kv_len = past + (is_prefill ? chunk : 1); /* keys of new tokens count */
    row_begin(reader, &append);
    (void)shape_row(reader->model, OP_KVAPPEND, BLOCK_ATTN, &append);
    append.m_tokens = row.m_tokens;
    return add_attention(reader, is_prefill ? "attn_prefill" : "attn_decode", &row, err) &&
           add_attention(reader, "attn_kv_cache_save", &append, err);
}

/* ---- the table ---- */

static int compare_numbers(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_rows(const void *left, const void *right)
{
    const struct cost_row *a = left, *b = right;
    const int64_t x[] = { a->op, a->phase, a->batch, a->m_tokens, a->kv_len };
    const int64_t y[] = { b->op, b->phase, b->batch, b->m_tokens, b->kv_len };
    int order = 0;

    for (size_t i = 0; i < sizeof x / sizeof x[0] && order == 0; i++)
        order = compare_numbers(x[i], y[i]);
    if (order == 0)
        order = compare_numbers(a->mean_ps, b->mean_ps);
    return order != 0 ? order : compare_numbers(a->median_ps, b->median_ps);
}

/* What was measured several times (two norms of a layer, saves behind other caches) counts with its
 * mean; of medians and minima there is then none. */
static void merge(struct reader *reader)
{
    struct cost_row *rows = reader->rows;
    int kept = 0, merged = 0;

    if (reader->count > 0)
        qsort(rows, (size_t)reader->count, sizeof *rows, compare_rows);
    for (int first = 0, next; first < reader->count; first = next) {
        double sum_ps = 0;

        for (next = first;
             next < reader->count && rows[next].op == rows[first].op &&
             rows[next].phase == rows[first].phase && rows[next].batch == rows[first].batch &&
             rows[next].m_tokens == rows[first].m_tokens && rows[next].kv_len == rows[first].kv_len;
             next++)
            sum_ps += (double)rows[next].mean_ps;
        rows[kept] = rows[first];
        if (next - first > 1) {
            rows[kept].mean_ps = dmath_round(sum_ps / (next - first));
            rows[kept].median_ps = rows[kept].min_ps = COST_UNKNOWN;
            merged++;
        }
        kept++;
    }
    reader->count = kept;
    if (merged > 0)
        import_note(reader->job, "%d points are means of several rows", merged);
}

static bool read_file(struct reader *reader, const char *path, struct err *err)
{
    bool is_attention, is_one;

    reader->wide = (struct wide){ 0 };
    if (!wide_open(reader->job, path, &reader->wide, err))
        return false;
    is_attention = wide_find(&reader->wide, "kv_cache_size") >= 0;
    if (!is_attention && wide_find(&reader->wide, "num_tokens") < 0)
        err_at(err, path, 0, 0, "neither mlp.csv (num_tokens) nor attention.csv (kv_cache_size)");
    while (err->kind == ERR_NONE && csv_next(reader->wide.csv, err)) {
        reader->job->report.read++;
        if (!is_wanted(reader, &is_one, err) ||
            (is_one && !(is_attention ? read_attention(reader, err) : read_layers(reader, err))))
            break;
    }
    csv_close(reader->wide.csv);
    return err->kind == ERR_NONE;
}

/* Operators of the model that no row tells. */
static void note_missing(struct reader *reader)
{
    const char *text = "";

    for (int block = 0; block < BLOCK_COUNT; block++) {
        struct model_op ops[MODEL_MAX_OPS];
        int count = model_block_ops(reader->model, (enum model_block)block, 1, 0, ops);

        for (int i = 0; i < count; i++) {
            bool has_rows = false;

            for (int k = 0; k < reader->count; k++)
                has_rows = has_rows || reader->rows[k].op == ops[i].op;
            if (!has_rows)
                text = arena_printf(reader->job->arena, "%s%s%s", text, text[0] ? ", " : "",
                                    op_name(ops[i].op));
        }
    }
    if (text[0])
        import_note(reader->job, "not in the profile, to be added before a run: %s", text);
}

static bool write_all(struct reader *reader, struct err *err)
{
    const struct vidur_settings *settings = reader->settings;
    const char *type = settings->type ? settings->type : "gpu";
    struct out *out;

    import_meta(reader->job, "backend", settings->backend);
    out = bundle_open(reader->job, arena_printf(reader->job->arena, "costs/%s", type),
                      "kernels.csv", err);
    if (!out)
        return false;
    cost_write_engine(out, type, import_meta_list(reader->job), reader->rows, reader->count, NULL,
                      0);
    return bundle_write_model(reader->job, reader->whole, err);
}

bool vidur_import(struct import_job *job, const void *from, struct err *err)
{
    const struct vidur_settings *settings = from;
    struct reader reader = { .job = job, .settings = settings };
    struct model_catalogue *catalogue = model_catalogue_load(job->arena, NULL, err);
    const struct model *found = catalogue ? model_find(catalogue, settings->model, err) : NULL;

    if (!found)
        return false;
    if (job->file_count == 0)
        return err_set(err, ERR_USAGE, "a FILE is missing: mlp.csv, attention.csv or both");
    reader.whole =
        bundle_model(job->arena, found, settings->weight_bits > 0 ? settings->weight_bits : 16,
                     settings->kv_bits);
    reader.model = model_slice(job->arena, reader.whole,
                               settings->tensor_parallel > 0 ? settings->tensor_parallel : 1, err);
    if (!reader.model)
        return false;
    for (int i = 0; i < job->file_count; i++) {
        if (strcmp(job->files[i], "-") == 0)
            return err_set(err, ERR_USAGE, "-: expected files, which are looked at twice");
        if (!read_file(&reader, job->files[i], err))
            return false;
    }
    merge(&reader);
    if (reader.count == 0)
        return err_at(err, job->files[0], 0, 0,
                      "no row is left: all are of other parts, block "
                      "sizes or backends, or nothing was measured");
    note_missing(&reader);
    return write_all(&reader, err);
}

static const struct argp vidur_argp = { .options = vidur_options, .parser = on_option };

const struct importer import_vidur = {
    .name = "vidur",
    .reads = "Vidur: compute profiles mlp.csv and attention.csv as a cost table",
    .arguments = "FILE...",
    .text =
        "Reads compute profiles of Vidur, told apart by their columns, and writes "
        "costs/<type>/kernels.csv and models.csv into the folder -o.\v"
        "Means are taken, in milliseconds. Both norms of a layer are one operator, with their "
        "mean; "
        "the final norm is taken to cost as much. A decode attends to its own token as well, so "
        "kv_len is kv_cache_size + 1. Where attention was measured with several block sizes or "
        "backends, choose one, or their mean is taken. What the profile lacks (the LM head, which "
        "Vidur does not time) is named, and must be added before a run.\n\n"
        "Example: orrery-sim import vidur mlp.csv attention.csv --model llama-2-7b \\\n"
        "    --type a100 -o a100",
    .argp = &vidur_argp,
    .settings_bytes = sizeof(struct vidur_settings),
    .run = vidur_import,
};
