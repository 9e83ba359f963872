/* ops.c - reader and writer of operator traces. */
#include "lib/format/ops.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/ops_table.h"
#include "lib/format/table.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct csv_column columns[OPS_COLUMN_COUNT] = {
    [OPS_OP_ID] = { "op_id", true },
    [OPS_OP_NAME] = { "op_name", true },
    [OPS_STAGE] = { "stage", true },
    [OPS_TP_SPLIT] = { "tp_split", true },
    [OPS_BUSY_US] = { "busy_us", true },
    [OPS_SPAN_US] = { "span_us", false },
    [OPS_ACT_IN_BYTES] = { "act_in_bytes", true },
    [OPS_WEIGHT_BYTES] = { "weight_bytes", true },
    [OPS_OUT_BYTES] = { "out_bytes", true },
    [OPS_IN_IDS] = { "in_ids", true },
    [OPS_OUT_IDS] = { "out_ids", true },
    [OPS_IN_SHAPES] = { "in_shapes", false },
    [OPS_OUT_SHAPES] = { "out_shapes", false },
    [OPS_WEIGHT_IDS] = { "weight_ids", false },
    [OPS_IN_SIZES] = { "in_sizes_bytes", false },
    [OPS_OUT_SIZES] = { "out_sizes_bytes", false },
};

const char *const ops_stage_names[OPS_STAGE_COUNT] = {
    [OPS_FORWARD] = "forward",
    [OPS_BACKWARD] = "backward",
    [OPS_OPTIMIZER] = "optimizer",
};

#define BATCH_MAX 1000000000
#define US_DECIMALS 6 /* of a microsecond in ps */
#define DIMENSION_MAX (INT64_C(1) << 40)

struct reader {
    struct arena *arena;
    struct csv *csv;
    struct ops_builder *builder;
    int64_t id_count;
};

/* ---- shapes ---- */

/* The number behind one '[' or ','; NULL when there is none. */
static const char *shape_number(const char *at, int64_t *value)
{
    *value = 0;
    if (*at < '0' || *at > '9')
        return NULL;
    for (; *at >= '0' && *at <= '9'; at++) {
        *value = *value * 10 + (*at - '0');
        if (*value > DIMENSION_MAX)
            return NULL;
    }
    return at;
}

bool ops_shape_elements(const char *shape, int64_t *elements)
{
    const char *at = shape;
    int64_t value;

    *elements = 1;
    if (strcmp(shape, "[]") == 0)
        return true;
    if (*at != '[')
        return false;
    do {
        at = shape_number(at + 1, &value);
        if (!at || (value > 0 && *elements > OPS_MAX_BYTES / value))
            return false;
        *elements *= value;
    } while (*at == ',');
    return strcmp(at, "]") == 0;
}

int64_t ops_shape_dimension(const char *shape, int index)
{
    const char *at = shape;
    int64_t value = -1;

    for (int i = 0; i <= index; i++) {
        if (*at != '[' && *at != ',')
            return -1;
        at = shape_number(at + 1, &value);
        if (!at)
            return -1;
    }
    return value;
}

/* ---- lists within a field ---- */

/* The next word of a list that is separated by spaces, copied; NULL at its end. */
static const char *next_word(struct arena *arena, const char **list)
{
    const char *from = *list + strspn(*list, " ");
    size_t length = strcspn(from, " ");

    *list = from + length;
    return length > 0 ? arena_strndup(arena, from, length) : NULL;
}

static int32_t count_words(const char *list)
{
    int32_t count = 0;

    for (list += strspn(list, " "); *list; list += strspn(list, " ")) {
        list += strcspn(list, " ");
        count++;
    }
    return count;
}

static bool read_ids(struct reader *reader, int column, int32_t *count, const int32_t **ids,
                     struct err *err)
{
    const char *list = csv_text(reader->csv, column), *word;
    int32_t i = 0, *indices;

    *count = count_words(list);
    reader->id_count += *count;
    if (reader->id_count > OPS_MAX_IDS)
        return csv_bad_row(reader->csv, err, "more than %d tensor ids in the file", OPS_MAX_IDS);
    *ids = indices = arena_array(reader->arena, (size_t)*count, sizeof *indices);
    while ((word = next_word(reader->arena, &list))) {
        int64_t id;

        if (!units_parse_int(word, &id) || id < 0)
            return csv_bad(reader->csv, column, err,
                           "'%.40s': expected tensor ids, whole numbers of at least 0 with spaces "
                           "between",
                           word);
        indices[i++] = ops_builder_tensor(reader->builder, id);
    }
    return true;
}

static bool read_shapes(struct reader *reader, int column, int32_t count, const int32_t *ids,
                        struct err *err)
{
    const char *list = csv_text(reader->csv, column), *word;
    int32_t words = count_words(list), i = 0;

    if (words == 0)
        return true;
    if (words != count)
        return csv_bad(reader->csv, column, err, "%d shapes for %d tensors", words, count);
    while ((word = next_word(reader->arena, &list))) {
        struct ops_tensor *tensor = ops_builder_at(reader->builder, ids[i++]);
        int64_t elements;

        if (!ops_shape_elements(word, &elements))
            return csv_bad(reader->csv, column, err, "'%.40s': expected a shape such as [128,64]",
                           word);
        if (tensor->shape[0] == '\0')
            tensor->shape = word;
        else if (strcmp(tensor->shape, word) != 0)
            return csv_bad(reader->csv, column, err,
                           "tensor %" PRId64 " is %.40s here and %.40s before", tensor->id, word,
                           tensor->shape);
    }
    return true;
}

static bool read_sizes(struct reader *reader, int column, int32_t count, const int32_t *ids,
                       struct err *err)
{
    const char *list = csv_text(reader->csv, column), *word;
    int32_t words = count_words(list), i = 0;

    if (words == 0 && (count > 0 || !csv_has(reader->csv, column)))
        return true;
    if (words != count)
        return csv_bad(reader->csv, column, err, "%d sizes for %d tensors", words, count);
    while ((word = next_word(reader->arena, &list))) {
        struct ops_tensor *tensor = ops_builder_at(reader->builder, ids[i++]);
        int64_t bytes;

        if (!units_parse_int(word, &bytes) || bytes < 0 || bytes > OPS_MAX_BYTES)
            return csv_bad(reader->csv, column, err, "'%.40s': expected bytes from 0 to 2^50",
                           word);
        if (tensor->bytes == OPS_UNKNOWN)
            tensor->bytes = bytes;
        else if (tensor->bytes != bytes)
            return csv_bad(reader->csv, column, err,
                           "tensor %" PRId64 " has %" PRId64 " bytes here and %" PRId64 " before",
                           tensor->id, bytes, tensor->bytes);
    }
    return true;
}

/* ids of the row's inputs that are weights. */
static bool read_weights(struct reader *reader, const struct ops_row *row, struct err *err)
{
    const char *list = csv_text(reader->csv, OPS_WEIGHT_IDS), *word;

    while ((word = next_word(reader->arena, &list))) {
        bool is_input = false;
        int64_t id;

        if (!units_parse_int(word, &id))
            id = -1;
        for (int32_t i = 0; i < row->in_count; i++) {
            struct ops_tensor *tensor = ops_builder_at(reader->builder, row->ins[i]);

            if (tensor->id == id)
                is_input = tensor->is_weight = true;
        }
        if (!is_input)
            return csv_bad(reader->csv, OPS_WEIGHT_IDS, err, "'%.40s' is none of in_ids", word);
    }
    return true;
}

/* ---- rows ---- */

static bool read_us(const struct csv *csv, int column, int64_t *time_ps, struct err *err)
{
    if (units_parse_decimal(csv_text(csv, column), US_DECIMALS, time_ps) && *time_ps >= 0 &&
        *time_ps <= UNITS_MAX_PS)
        return true;
    return csv_bad(csv, column, err, "expected microseconds from 0 to 9e12");
}

static bool read_row(struct reader *reader, struct ops_row *row, struct err *err)
{
    const struct csv *csv = reader->csv;
    int64_t is_split;
    int stage;

    row->line = csv_line(csv);
    row->span_ps = -1;
    if (!csv_int(csv, OPS_OP_ID, 0, INT64_MAX, &row->op_id, err))
        return false;
    if (!csv_name(csv, OPS_OP_NAME, reader->arena, &row->name, err) ||
        !csv_choice(csv, OPS_STAGE, ops_stage_names, OPS_STAGE_COUNT, &stage, err) ||
        !csv_int(csv, OPS_TP_SPLIT, 0, 1, &is_split, err) ||
        !read_us(csv, OPS_BUSY_US, &row->busy_ps, err) ||
        (csv_has(csv, OPS_SPAN_US) && !read_us(csv, OPS_SPAN_US, &row->span_ps, err)) ||
        !csv_int(csv, OPS_ACT_IN_BYTES, 0, OPS_MAX_BYTES, &row->act_in_bytes, err) ||
        !csv_int(csv, OPS_WEIGHT_BYTES, 0, OPS_MAX_BYTES, &row->weight_bytes, err) ||
        !csv_int(csv, OPS_OUT_BYTES, 0, OPS_MAX_BYTES, &row->out_bytes, err))
        return false;
    row->stage = (enum ops_stage)stage;
    row->is_tp_split = is_split == 1;
    return read_ids(reader, OPS_IN_IDS, &row->in_count, &row->ins, err) &&
           read_ids(reader, OPS_OUT_IDS, &row->out_count, &row->outs, err) &&
           read_shapes(reader, OPS_IN_SHAPES, row->in_count, row->ins, err) &&
           read_shapes(reader, OPS_OUT_SHAPES, row->out_count, row->outs, err) &&
           read_sizes(reader, OPS_IN_SIZES, row->in_count, row->ins, err) &&
           read_sizes(reader, OPS_OUT_SIZES, row->out_count, row->outs, err) &&
           read_weights(reader, row, err);
}

static bool read_rows(struct reader *reader, struct err *err)
{
    while (csv_next(reader->csv, err)) {
        if (ops_builder_count(reader->builder) == OPS_MAX_ROWS)
            return csv_bad_row(reader->csv, err, "more than %d rows", OPS_MAX_ROWS);
        if (!read_row(reader, ops_builder_row(reader->builder), err))
            return false;
    }
    if (err->kind != ERR_NONE)
        return false;
    return ops_builder_count(reader->builder) > 0 ||
           err_at(err, csv_path(reader->csv), 0, 0, "no rows: expected at least one operator");
}

static bool read_batch(const struct csv *csv, int64_t *batch, struct err *err)
{
    const char *text = csv_meta(csv, "batch");

    if (!text || (units_parse_int(text, batch) && *batch >= 1 && *batch <= BATCH_MAX))
        return true;
    return err_at(err, csv_path(csv), 0, 0,
                  "the line '# batch:' is '%.40s': expected a whole number from 1 to %d", text,
                  BATCH_MAX);
}

static bool check_ids(struct arena *arena, const struct ops *ops,
                      const struct ops_positions *positions, struct err *err)
{
    const struct ops_row *first, *second = ops_find_double(arena, ops, &first);

    return !second ||
           err_at(err, ops->path, second->line, positions->at[OPS_OP_ID],
                  "op_id is '%" PRId64 "': line %ld has it already", second->op_id, first->line);
}

struct ops *ops_load(struct arena *arena, const char *path, struct err *err)
{
    struct csv *csv = csv_open(arena, path, "ops", columns, OPS_COLUMN_COUNT, err);
    struct reader reader = { .arena = arena, .csv = csv };
    struct ops_positions positions;
    struct ops *ops;
    int64_t batch = 0;
    bool has_weights, is_ok;

    if (!csv)
        return NULL;
    reader.builder = ops_build(arena, csv_path(csv));
    for (int c = 0; c < OPS_COLUMN_COUNT; c++)
        positions.at[c] = csv_position(csv, c);
    has_weights = csv_has_column(csv, OPS_WEIGHT_IDS);
    is_ok = read_batch(csv, &batch, err) && read_rows(&reader, err);
    csv_close(csv);
    if (!is_ok)
        return NULL;
    ops = ops_builder_finish(reader.builder);
    ops->batch = batch;
    is_ok = check_ids(arena, ops, &positions, err) && ops_infer_sizes(ops, &positions, err) &&
            (has_weights || ops_infer_weights(ops, &positions, err)) &&
            ops_check_bytes(ops, &positions, err);
    return is_ok ? ops : NULL;
}

/* ---- writer ---- */

static void write_us(struct out *out, int64_t time_ps)
{
    char text[UNITS_TEXT_BYTES];

    /* ps as ns, and 1000 ps are a ns as 1000 ns are a us: the decimal moves by six in all. */
    if (time_ps < 0)
        return;
    if (time_ps % UNITS_PS_PER_US == 0) {
        out_int(out, time_ps / UNITS_PS_PER_US);
        return;
    }
    (void)snprintf(text, sizeof text, "%" PRId64 ".%06" PRId64, time_ps / UNITS_PS_PER_US,
                   time_ps % UNITS_PS_PER_US);
    for (size_t end = strlen(text); text[end - 1] == '0'; end--)
        text[end - 1] = '\0';
    out_text(out, text);
}

static void write_ids(struct out *out, const struct ops *ops, int32_t count, const int32_t *ids,
                      bool is_weights)
{
    const char *between = ",";

    if (count == 0)
        out_char(out, ',');
    for (int32_t i = 0; i < count; i++) {
        const struct ops_tensor *tensor = &ops->tensors[ids[i]];

        if (is_weights && !tensor->is_weight)
            continue;
        out_text(out, between);
        out_int(out, tensor->id);
        between = " ";
    }
    if (count > 0 && between[0] == ',')
        out_char(out, ',');
}

static void write_sizes(struct out *out, const struct ops *ops, int32_t count, const int32_t *ids)
{
    out_char(out, ',');
    for (int32_t i = 0; i < count; i++) {
        out_text(out, i > 0 ? " " : "");
        out_int(out, ops->tensors[ids[i]].bytes);
    }
}

/* All shapes of a field, or none: a list has one for each id. */
static void write_shapes(struct out *out, const struct ops *ops, int32_t count, const int32_t *ids)
{
    out_char(out, ',');
    for (int32_t i = 0; i < count; i++)
        if (ops->tensors[ids[i]].shape[0] == '\0')
            return;
    if (count == 0)
        return;
    out_char(out, '"');
    for (int32_t i = 0; i < count; i++)
        out_printf(out, "%s%s", i > 0 ? " " : "", ops->tensors[ids[i]].shape);
    out_char(out, '"');
}

void ops_write(struct out *out, const struct ops *ops, const char *const *meta)
{
    table_begin(out, "ops", meta);
    if (ops->batch > 0)
        out_printf(out, "# batch: %" PRId64 "\n", ops->batch);
    for (int c = 0; c < OPS_COLUMN_COUNT; c++)
        out_printf(out, "%s%s", c > 0 ? "," : "", columns[c].name);
    out_char(out, '\n');
    for (int32_t i = 0; i < ops->row_count; i++) {
        const struct ops_row *row = &ops->rows[i];

        out_printf(out, "%" PRId64 ",", row->op_id);
        out_csv(out, row->name);
        out_printf(out, ",%s,%d,", ops_stage_names[row->stage], row->is_tp_split);
        write_us(out, row->busy_ps);
        out_char(out, ',');
        write_us(out, row->span_ps);
        out_printf(out, ",%" PRId64 ",%" PRId64 ",%" PRId64, row->act_in_bytes, row->weight_bytes,
                   row->out_bytes);
        write_ids(out, ops, row->in_count, row->ins, false);
        write_ids(out, ops, row->out_count, row->outs, false);
        write_shapes(out, ops, row->in_count, row->ins);
        write_shapes(out, ops, row->out_count, row->outs);
        write_ids(out, ops, row->in_count, row->ins, true);
        write_sizes(out, ops, row->in_count, row->ins);
        write_sizes(out, ops, row->out_count, row->outs);
        out_char(out, '\n');
    }
}
