/* triosim_csv.c - trace.csv, a row an operator in order of launch, and tensor.csv, a row an
 * occurrence of a tensor.
 *
 * Lists are "[4; 6; 8]". Of a tensor that occurs with several sizes TrioSim takes the last, and so
 * does this. Weights are the tensors that occur somewhere as `weight` or `bias...`. The time of an
 * operator is Operator_cudatimenooverlap, the sum of its kernels. */
#include "sim/import/triosim.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/ops.h"
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

enum trace_column {
    OPERATOR_ID,
    OPERATOR_NAME,
    INPUT,
    OUTPUT,
    CUDA_TIME,
    CUDA_BUSY,
    INPUT_SIZE,
    OUTPUT_SIZE,
    TRACE_GPU,
    STAGE,
    TP_FLAG,
    TRACE_COLUMN_COUNT
};
static const struct csv_column trace_columns[TRACE_COLUMN_COUNT] = {
    [OPERATOR_ID] = { "OperatorID", true },
    [OPERATOR_NAME] = { "OperatorName", true },
    [INPUT] = { "Operator_input", true },
    [OUTPUT] = { "Operator_output", true },
    [CUDA_TIME] = { "Operator_cudatime", false },
    [CUDA_BUSY] = { "Operator_cudatimenooverlap", true },
    [INPUT_SIZE] = { "InputSize", false },
    [OUTPUT_SIZE] = { "OutputSize", false },
    [TRACE_GPU] = { "gpuid", false },
    [STAGE] = { "stage", true },
    [TP_FLAG] = { "tpflag", true },
};

enum tensor_column {
    INDEX,
    TENSOR_ID,
    SHAPE,
    ELEMENTS,
    ELEMENT_BYTES,
    TYPE,
    STORAGE,
    TENSOR_GPU,
    TENSOR_COLUMN_COUNT
};
static const struct csv_column tensor_columns[TENSOR_COLUMN_COUNT] = {
    [INDEX] = { "Index", false },
    [TENSOR_ID] = { "TensorID", true },
    [SHAPE] = { "TensorShape", false },
    [ELEMENTS] = { "TensorNumElement", true },
    [ELEMENT_BYTES] = { "TensorEachByte", true },
    [TYPE] = { "TensorType", true },
    [STORAGE] = { "TensorStorgeid", false },
    [TENSOR_GPU] = { "gpuid", false },
};

#define US_DECIMALS 6
#define MAX_ELEMENT_BYTES 64

/* A trace is of one device. */
static bool check_gpu(const struct csv *csv, int column, int64_t *gpu, struct err *err)
{
    int64_t own;

    if (!csv_has(csv, column))
        return true;
    if (!csv_int(csv, column, 0, INT32_MAX, &own, err))
        return false;
    if (*gpu < 0)
        *gpu = own;
    return own == *gpu || csv_bad(csv, column, err, "a second device: expected %" PRId64, *gpu);
}

/* ---- tensors ---- */

/* "[128, 3]" as "[128,3]"; "" when it is no shape, or not one of so many elements. */
static const char *shape_of(struct arena *arena, const char *text, int64_t elements)
{
    char *shape = arena_alloc(arena, strlen(text) + 1);
    size_t length = 0;
    int64_t own;

    for (; *text; text++)
        if (*text != ' ')
            shape[length++] = *text;
    shape[length] = '\0';
    if (!ops_shape_elements(shape, &own) || (own != elements && strcmp(shape, "[]") != 0))
        return "";
    return shape;
}

static bool read_tensor(struct import_job *job, const struct csv *csv, struct ops_builder *builder,
                        int64_t *resized, struct err *err)
{
    struct ops_tensor *tensor;
    int64_t id, elements, bytes;
    const char *type = csv_text(csv, TYPE);

    if (!csv_int(csv, TENSOR_ID, 0, INT64_MAX, &id, err) ||
        !csv_int(csv, ELEMENTS, 0, OPS_MAX_BYTES / MAX_ELEMENT_BYTES, &elements, err) ||
        !csv_int(csv, ELEMENT_BYTES, 0, MAX_ELEMENT_BYTES, &bytes, err))
        return false;
    tensor = ops_builder_at(builder, ops_builder_tensor(builder, id));
    *resized += tensor->bytes >= 0 && tensor->bytes != elements * bytes;
    tensor->bytes = elements * bytes;
    tensor->shape = shape_of(job->arena, csv_text(csv, SHAPE), elements);
    if (tensor->bytes > 0 && (strncmp(type, "weight", 6) == 0 || strncmp(type, "bias", 4) == 0))
        tensor->is_weight = true;
    return true;
}

static bool read_tensors(struct import_job *job, const char *path, struct ops_builder *builder,
                         struct err *err)
{
    struct csv *csv = csv_open(job->arena, path, NULL, tensor_columns, TENSOR_COLUMN_COUNT, err);
    int64_t gpu = -1, resized = 0;

    while (csv && csv_next(csv, err) && check_gpu(csv, TENSOR_GPU, &gpu, err) &&
           read_tensor(job, csv, builder, &resized, err))
        continue;
    csv_close(csv);
    if (resized > 0)
        import_note(job,
                    "%" PRId64 " rows of tensor.csv change the size of a tensor, the last holds",
                    resized);
    return err->kind == ERR_NONE;
}

/* ---- operators ---- */

/* Items of "[4; 6; 8]". False when the text is no list. */
static bool count_items(const char *text, int32_t *count)
{
    size_t length = strlen(text);

    *count = 0;
    if (length < 2 || text[0] != '[' || text[length - 1] != ']')
        return false;
    text++;
    if (text[strspn(text, " ")] == ']')
        return text[strspn(text, " ") + 1] == '\0';
    *count = 1;
    for (; *text; text++)
        *count += *text == ';';
    return true;
}

static bool read_list(struct import_job *job, const struct csv *csv, int column,
                      const struct ops_builder *builder, int32_t *count, const int32_t **list,
                      struct err *err)
{
    const char *text = csv_text(csv, column);
    int32_t *indices;

    if (!count_items(text, count))
        return csv_bad(csv, column, err, "expected a list of tensors such as [4; 6; 8]");
    *list = indices = arena_array(job->arena, (size_t)*count, sizeof *indices);
    text++;
    for (int32_t i = 0; i < *count; i++) {
        size_t length;
        const char *item;
        int64_t id;

        text += strspn(text, " ");
        length = strcspn(text, " ;]");
        item = arena_strndup(job->arena, text, length);
        text += length + strspn(text + length, " ");
        if (!units_parse_int(item, &id) || (*text != ';' && *text != ']'))
            return csv_bad(csv, column, err, "'%.40s': expected the id of a tensor", item);
        text++;
        indices[i] = ops_builder_find(builder, id);
        if (indices[i] < 0)
            return csv_bad(csv, column, err, "tensor %" PRId64 " is not in tensor.csv", id);
    }
    return true;
}

static bool read_us(const struct csv *csv, int column, int64_t *time_ps, struct err *err)
{
    return (units_parse_decimal(csv_text(csv, column), US_DECIMALS, time_ps) && *time_ps >= 0 &&
            *time_ps <= UNITS_MAX_PS) ||
           csv_bad(csv, column, err, "expected microseconds from 0 to 9e12");
}

static bool read_operator(struct import_job *job, const struct csv *csv,
                          struct ops_builder *builder, struct err *err)
{
    struct ops_row *row = ops_builder_row(builder);
    int64_t is_split;
    int stage;

    row->line = csv_line(csv);
    row->span_ps = -1;
    if (!csv_int(csv, OPERATOR_ID, 0, INT64_MAX, &row->op_id, err))
        return false;
    if (!csv_name(csv, OPERATOR_NAME, job->arena, &row->name, err) ||
        !read_us(csv, CUDA_BUSY, &row->busy_ps, err) ||
        (csv_has(csv, CUDA_TIME) && !read_us(csv, CUDA_TIME, &row->span_ps, err)) ||
        !csv_choice(csv, STAGE, ops_stage_names, OPS_STAGE_COUNT, &stage, err) ||
        !csv_int(csv, TP_FLAG, 0, 1, &is_split, err))
        return false;
    row->stage = (enum ops_stage)stage;
    row->is_tp_split = is_split == 1;
    return read_list(job, csv, INPUT, builder, &row->in_count, &row->ins, err) &&
           read_list(job, csv, OUTPUT, builder, &row->out_count, &row->outs, err);
}

bool triosim_read_tables(struct import_job *job, const char *trace, const char *tensors,
                         struct ops_builder *builder, struct err *err)
{
    int64_t gpu = -1;
    struct csv *csv;

    job->report.layout = "trace.csv and tensor.csv";
    if (!read_tensors(job, tensors, builder, err))
        return false;
    csv = csv_open(job->arena, trace, NULL, trace_columns, TRACE_COLUMN_COUNT, err);
    while (csv && csv_next(csv, err) && check_gpu(csv, TRACE_GPU, &gpu, err)) {
        job->report.read++;
        if (job->report.read > OPS_MAX_ROWS)
            csv_bad_row(csv, err, "more than %d rows", OPS_MAX_ROWS);
        else
            (void)read_operator(job, csv, builder, err);
        if (err->kind != ERR_NONE)
            break;
    }
    csv_close(csv);
    return err->kind == ERR_NONE;
}
