/* placement.c - reader and writer of placement tables, one row at a time.
 *
 * What a field says is checked here; what rows say together is checked in lib/policy/plan. */
#include "lib/format/placement.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/table.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define MAX_NUMBER 999999999
#define MAX_WIRE_BITS 32
#define FIELD_BYTES 64

static const struct csv_column columns[PLACEMENT_COLUMN_COUNT] = {
    [PLACEMENT_SERVICE] = { "service", true },
    [PLACEMENT_REPLICA] = { "replica", true },
    [PLACEMENT_STAGE] = { "stage", true },
    [PLACEMENT_DEVICE] = { "device", true },
    [PLACEMENT_MODEL] = { "model", false },
    [PLACEMENT_EXECUTABLE] = { "executable", false },
    [PLACEMENT_LAYERS] = { "layers", false },
    [PLACEMENT_BLOCK] = { "block", false },
    [PLACEMENT_PARTS] = { "parts", false },
    [PLACEMENT_PHASE] = { "phase", false },
    [PLACEMENT_EPOCH] = { "epoch", false },
    [PLACEMENT_FROM_S] = { "from_s", false },
    [PLACEMENT_COPY] = { "copy", false },
    [PLACEMENT_MAX_BATCH] = { "max_batch", false },
    [PLACEMENT_QUEUE_DEPTH] = { "queue_depth", false },
    [PLACEMENT_WIRE_BITS] = { "wire_bits", false },
};

const char *const placement_phase_names[PLACEMENT_PHASE_COUNT] = {
    [PLACEMENT_BOTH] = "both",
    [PLACEMENT_PREFILL] = "prefill",
    [PLACEMENT_DECODE] = "decode",
};

/* The words of the block column, and the blocks that each stands for. */
enum word {
    WORD_EMBED,
    WORD_ATTN,
    WORD_PROJ,
    WORD_FFN,
    WORD_FFN_UP,
    WORD_FFN_DOWN,
    WORD_CONN,
    WORD_LM_HEAD,
    WORD_LAYER,
    WORD_ALL,
    WORD_COUNT
};
static const char *const word_names[WORD_COUNT] = { "embed",  "attn",     "proj", "ffn",
                                                    "ffn_up", "ffn_down", "conn", "lm_head",
                                                    "layer",  "all" };
#define FFN_BLOCKS (1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN)
#define LAYER_BLOCKS (1u << BLOCK_ATTN | 1u << BLOCK_PROJ | FFN_BLOCKS | 1u << BLOCK_CONN)
static const unsigned word_blocks[WORD_COUNT] = {
    [WORD_EMBED] = 1u << BLOCK_EMBED,
    [WORD_ATTN] = 1u << BLOCK_ATTN,
    [WORD_PROJ] = 1u << BLOCK_PROJ,
    [WORD_FFN] = FFN_BLOCKS,
    [WORD_FFN_UP] = 1u << BLOCK_FFN_UP,
    [WORD_FFN_DOWN] = 1u << BLOCK_FFN_DOWN,
    [WORD_CONN] = 1u << BLOCK_CONN,
    [WORD_LM_HEAD] = 1u << BLOCK_LM_HEAD,
    [WORD_LAYER] = LAYER_BLOCKS,
    [WORD_ALL] = 1u << BLOCK_EMBED | LAYER_BLOCKS | 1u << BLOCK_LM_HEAD,
};

/* ---- reading ---- */

/* Digits at *text as a number of at most nine digits; moves *text behind them. */
static bool read_number(const char **text, int32_t *value)
{
    int digits = 0;

    *value = 0;
    while (isdigit((unsigned char)**text) && digits < 9) {
        *value = *value * 10 + (**text - '0');
        (*text)++;
        digits++;
    }
    return digits > 0;
}

/* `3` or `0-5` up to the character `end`; moves *text behind it. */
static bool read_range(const char **text, char end, int32_t *first, int32_t *last)
{
    if (!read_number(text, first))
        return false;
    *last = *first;
    if (**text == '-') {
        (*text)++;
        if (!read_number(text, last))
            return false;
    }
    if (**text != end || *last < *first)
        return false;
    if (end != '\0')
        (*text)++;
    return true;
}

static bool read_layers(const struct csv *csv, struct placement_row *row, struct err *err)
{
    const char *text = csv_text(csv, PLACEMENT_LAYERS);

    row->layer_first = row->layer_last = -1;
    if (csv_has(csv, PLACEMENT_LAYERS) &&
        !read_range(&text, '\0', &row->layer_first, &row->layer_last))
        return csv_bad(csv, PLACEMENT_LAYERS, err,
                       "expected a layer such as 3, or a range such as 0-5, counted from 0");
    return true;
}

static bool read_parts(const struct csv *csv, struct placement_row *row, struct err *err)
{
    const char *text = csv_text(csv, PLACEMENT_PARTS);
    const char *expected = "expected slices such as 0-3/8 or 2/8, counted from 0";

    row->part_of = 1;
    if (!csv_has(csv, PLACEMENT_PARTS))
        return true;
    if (!read_range(&text, '/', &row->part_first, &row->part_last) ||
        !read_number(&text, &row->part_of) || *text != '\0')
        return csv_bad(csv, PLACEMENT_PARTS, err, "%s", expected);
    if (row->part_last >= row->part_of)
        return csv_bad(csv, PLACEMENT_PARTS, err, "slice %d is not below %d: %s", row->part_last,
                       row->part_of, expected);
    return true;
}

/* A black box: `layers` may name some of its profiled stages; nothing else describes its inside. */
static bool read_executable(const struct csv *csv, struct arena *arena, struct placement_row *row,
                            struct err *err)
{
    row->model = "";
    row->executable = arena_strdup(arena, csv_text(csv, PLACEMENT_EXECUTABLE));
    if (csv_has(csv, PLACEMENT_MODEL))
        return csv_bad(csv, PLACEMENT_MODEL, err, "a row has a model or an executable, not both");
    if (csv_has(csv, PLACEMENT_BLOCK))
        return csv_bad(csv, PLACEMENT_BLOCK, err, "must be empty for an executable");
    if (csv_has(csv, PLACEMENT_PARTS))
        return csv_bad(csv, PLACEMENT_PARTS, err, "must be empty for an executable");
    return true;
}

static bool read_model(const struct csv *csv, struct arena *arena, struct placement_row *row,
                       struct err *err)
{
    bool has_layers = row->layer_first >= 0;
    int word = has_layers ? WORD_LAYER : WORD_ALL;

    row->executable = "";
    row->model = arena_strdup(arena, csv_text(csv, PLACEMENT_MODEL));
    if (csv_has(csv, PLACEMENT_BLOCK) &&
        !csv_choice(csv, PLACEMENT_BLOCK, word_names, WORD_COUNT, &word, err))
        return false;
    row->blocks = word_blocks[word];
    row->is_all = word == WORD_ALL;
    if (has_layers && (word == WORD_ALL || word == WORD_EMBED || word == WORD_LM_HEAD))
        return csv_bad(csv, PLACEMENT_LAYERS, err, "must be empty for block %s", word_names[word]);
    if (!has_layers && word != WORD_ALL && word != WORD_EMBED && word != WORD_LM_HEAD)
        return csv_bad(csv, PLACEMENT_LAYERS, err,
                       "expected the layers of block %s, such as 3 or 0-5", word_names[word]);
    return true;
}

static bool read_optional(const struct csv *csv, enum placement_column column, int32_t min,
                          int32_t max, int32_t *value, struct err *err)
{
    return !csv_has(csv, (int)column) || csv_int32(csv, (int)column, min, max, value, err);
}

static bool read_settings(const struct csv *csv, struct placement_row *row, struct err *err)
{
    int phase = PLACEMENT_BOTH;

    if (csv_has(csv, PLACEMENT_PHASE) && !csv_choice(csv, PLACEMENT_PHASE, placement_phase_names,
                                                     PLACEMENT_PHASE_COUNT, &phase, err))
        return false;
    row->phase = (enum placement_phase)phase;
    if (!read_optional(csv, PLACEMENT_EPOCH, 0, MAX_NUMBER, &row->epoch, err) ||
        !read_optional(csv, PLACEMENT_COPY, 0, MAX_NUMBER, &row->copy, err) ||
        !read_optional(csv, PLACEMENT_MAX_BATCH, 1, MAX_NUMBER, &row->max_batch, err) ||
        !read_optional(csv, PLACEMENT_QUEUE_DEPTH, 1, MAX_NUMBER, &row->queue_depth, err) ||
        !read_optional(csv, PLACEMENT_WIRE_BITS, 1, MAX_WIRE_BITS, &row->wire_bits, err))
        return false;
    if (csv_has(csv, PLACEMENT_FROM_S)) {
        if (!csv_seconds(csv, PLACEMENT_FROM_S, 0, &row->from_ps, err))
            return false;
        if (row->epoch == 0 && row->from_ps != 0)
            return csv_bad(csv, PLACEMENT_FROM_S, err, "epoch 0 starts at 0");
    } else if (row->epoch > 0) {
        return csv_bad(csv, PLACEMENT_FROM_S, err, "expected the second at which epoch %d starts",
                       row->epoch);
    }
    return true;
}

static bool read_row(const struct csv *csv, struct arena *arena, struct placement_row *row,
                     struct err *err)
{
    row->line = csv_line(csv);
    if (!csv_name(csv, PLACEMENT_SERVICE, arena, &row->service, err) ||
        !csv_int32(csv, PLACEMENT_REPLICA, 0, MAX_NUMBER, &row->replica, err) ||
        !csv_int32(csv, PLACEMENT_STAGE, 0, MAX_NUMBER, &row->stage, err) ||
        !csv_name(csv, PLACEMENT_DEVICE, arena, &row->device, err) || !read_layers(csv, row, err) ||
        !read_parts(csv, row, err) || !read_settings(csv, row, err))
        return false;
    if (csv_has(csv, PLACEMENT_EXECUTABLE))
        return read_executable(csv, arena, row, err);
    if (csv_has(csv, PLACEMENT_MODEL))
        return read_model(csv, arena, row, err);
    return csv_bad_row(csv, err, "expected a model or an executable");
}

static bool read_rows(struct arena *arena, struct csv *csv, struct placement *placement,
                      struct err *err)
{
    int capacity = 0;

    while (csv_next(csv, err)) {
        if (placement->count == capacity) {
            int larger = capacity ? 2 * capacity : 64;

            placement->rows = arena_grow(arena, placement->rows, (size_t)capacity, (size_t)larger,
                                         sizeof *placement->rows);
            capacity = larger;
        }
        if (!read_row(csv, arena, &placement->rows[placement->count], err))
            return false;
        if (++placement->count > MAX_NUMBER / 2)
            return csv_bad_row(csv, err, "more than %d rows", MAX_NUMBER / 2);
    }
    if (err->kind != ERR_NONE)
        return false;
    if (placement->count == 0)
        return err_at(err, csv_path(csv), 0, 0, "nothing placed: expected at least one row");
    return true;
}

static bool read_switch_cost(const struct csv *csv, struct placement *placement, struct err *err)
{
    const char *text = csv_meta(csv, "switch_cost_s");

    return !text || units_parse_seconds(text, &placement->switch_cost_ps) ||
           err_at(err, csv_path(csv), 0, 0,
                  "# switch_cost_s: is '%.60s': expected a number of seconds from 0", text);
}

static struct placement *load(struct arena *arena, struct csv *csv, struct err *err)
{
    struct placement *placement = arena_alloc(arena, sizeof *placement);
    bool is_ok;

    if (!csv)
        return NULL;
    placement->path = arena_strdup(arena, csv_path(csv));
    for (int c = 0; c < PLACEMENT_COLUMN_COUNT; c++)
        placement->column[c] = csv_position(csv, c);
    is_ok = read_rows(arena, csv, placement, err) && read_switch_cost(csv, placement, err);
    csv_close(csv);
    return is_ok ? placement : NULL;
}

struct placement *placement_load(struct arena *arena, const char *path, struct err *err)
{
    return load(arena, csv_open(arena, path, "placement", columns, PLACEMENT_COLUMN_COUNT, err),
                err);
}

struct placement *placement_load_text(struct arena *arena, const char *text, size_t length_bytes,
                                      const char *path, struct err *err)
{
    return load(arena,
                csv_open_text(arena, text, length_bytes, path, "placement", columns,
                              PLACEMENT_COLUMN_COUNT, err),
                err);
}

/* ---- writing ---- */

static const char *block_text(const struct placement_row *row)
{
    for (int w = 0; w < WORD_COUNT; w++)
        if (row->blocks == word_blocks[w])
            return word_names[w];
    return "";
}

static const char *number_text(int32_t value, char text[FIELD_BYTES])
{
    (void)snprintf(text, FIELD_BYTES, "%d", value);
    return text;
}

static const char *range_text(int32_t first, int32_t last, int32_t of, char text[FIELD_BYTES])
{
    int used = first == last ? snprintf(text, FIELD_BYTES, "%d", first)
                             : snprintf(text, FIELD_BYTES, "%d-%d", first, last);

    if (of > 1)
        (void)snprintf(text + used, FIELD_BYTES - (size_t)used, "/%d", of);
    return text;
}

/* The field as it stands in a file; "" for a default. text is room for numbers. */
static const char *field_text(const struct placement_row *row, enum placement_column column,
                              char text[FIELD_BYTES])
{
    switch (column) {
    case PLACEMENT_SERVICE:
        return row->service;
    case PLACEMENT_REPLICA:
        return number_text(row->replica, text);
    case PLACEMENT_STAGE:
        return number_text(row->stage, text);
    case PLACEMENT_DEVICE:
        return row->device;
    case PLACEMENT_MODEL:
        return row->model;
    case PLACEMENT_EXECUTABLE:
        return row->executable;
    case PLACEMENT_LAYERS:
        return row->layer_first < 0 ? "" : range_text(row->layer_first, row->layer_last, 1, text);
    case PLACEMENT_BLOCK:
        return block_text(row);
    case PLACEMENT_PARTS:
        return row->part_of <= 1 ? ""
                                 : range_text(row->part_first, row->part_last, row->part_of, text);
    case PLACEMENT_PHASE:
        return row->phase == PLACEMENT_BOTH ? "" : placement_phase_names[row->phase];
    case PLACEMENT_EPOCH:
        return row->epoch == 0 ? "" : number_text(row->epoch, text);
    case PLACEMENT_FROM_S:
        return row->epoch == 0 ? "" : units_format_seconds(row->from_ps, text);
    case PLACEMENT_COPY:
        return row->copy == 0 ? "" : number_text(row->copy, text);
    case PLACEMENT_MAX_BATCH:
        return row->max_batch == 0 ? "" : number_text(row->max_batch, text);
    case PLACEMENT_QUEUE_DEPTH:
        return row->queue_depth == 0 ? "" : number_text(row->queue_depth, text);
    case PLACEMENT_WIRE_BITS:
        return row->wire_bits == 0 ? "" : number_text(row->wire_bits, text);
    case PLACEMENT_COLUMN_COUNT:
        break;
    }
    return "";
}

void placement_write(struct out *out, const struct placement_row *rows, int count)
{
    placement_write_epochs(out, rows, count, 0);
}

void placement_write_epochs(struct out *out, const struct placement_row *rows, int count,
                            int64_t switch_cost_ps)
{
    char cost[UNITS_TEXT_BYTES];
    const char *const meta[] = { switch_cost_ps > 0 ? "switch_cost_s" : NULL,
                                 units_format_seconds(switch_cost_ps, cost), NULL };
    bool is_used[PLACEMENT_COLUMN_COUNT] = { false };
    char text[FIELD_BYTES];

    for (int c = 0; c < PLACEMENT_COLUMN_COUNT; c++) {
        is_used[c] = c <= PLACEMENT_DEVICE;
        for (int i = 0; i < count && !is_used[c]; i++)
            is_used[c] = field_text(&rows[i], (enum placement_column)c, text)[0] != '\0';
    }
    table_begin(out, "placement", meta);
    for (int c = 0; c < PLACEMENT_COLUMN_COUNT; c++)
        if (is_used[c])
            out_printf(out, "%s%s", c > 0 ? "," : "", columns[c].name);
    out_char(out, '\n');
    for (int i = 0; i < count; i++) {
        for (int c = 0; c < PLACEMENT_COLUMN_COUNT; c++) {
            if (!is_used[c])
                continue;
            if (c > 0)
                out_char(out, ',');
            out_csv(out, field_text(&rows[i], (enum placement_column)c, text));
        }
        out_char(out, '\n');
    }
}

bool placement_bad(const struct placement *placement, const struct placement_row *row,
                   enum placement_column column, struct err *err, const char *format, ...)
{
    struct err detail = ERR_INIT;
    char text[FIELD_BYTES];
    va_list args;

    va_start(args, format);
    (void)err_vset(&detail, ERR_INPUT, format, args);
    va_end(args);
    return err_at(err, placement->path, row->line, placement->column[column], "%s is '%.60s': %s",
                  columns[column].name, field_text(row, column, text), detail.text);
}
