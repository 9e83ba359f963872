/* workload.c - reader and writer of workload tables; workload_build.c holds the columns.
 *
 * Names become numbers while reading; order and closed-loop rules that need one row and the one
 * above are checked here, those that need a model in lib/policy/plan. */
#include "lib/format/workload.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/dist.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/table.h"
#include "lib/format/workload_table.h"
#include <assert.h>

/* How much room is made for rows: after SAMPLE_ROWS of them, for FIRST_RESERVE at most at first,
 * and for 1 / RESERVE_MORE more than it looks like. */
#define SAMPLE_ROWS 1000
#define FIRST_RESERVE (INT64_C(1) << 24)
#define RESERVE_MORE 32

static const struct csv_column columns[WORKLOAD_COLUMN_COUNT] = {
    [WORKLOAD_REQUEST_ID] = { "request_id", true },
    [WORKLOAD_ARRIVAL_S] = { "arrival_s", true },
    [WORKLOAD_SERVICE] = { "service", true },
    [WORKLOAD_PROMPT_TOKENS] = { "prompt_tokens", false },
    [WORKLOAD_OUTPUT_TOKENS] = { "output_tokens", false },
    [WORKLOAD_SLO_S] = { "slo_s", false },
    [WORKLOAD_CLIENT] = { "client", false },
    [WORKLOAD_THINK_S] = { "think_s", false },
    [WORKLOAD_SESSION] = { "session", false },
    [WORKLOAD_PREFIX_TOKENS] = { "prefix_tokens", false },
    [WORKLOAD_BATCH] = { "batch", false },
};

static bool read_identity(struct workload_reader *reader, struct workload_request *request,
                          struct err *err)
{
    const struct csv *csv = reader->csv;
    struct workload_builder *builder = reader->builder;

    if (!csv_int(csv, WORKLOAD_REQUEST_ID, 0, INT64_MAX, &request->request_id, err))
        return false;
    if (request->request_id <= reader->last_id)
        return csv_bad(csv, WORKLOAD_REQUEST_ID, err,
                       "must be above %lld, the one in the row before", (long long)reader->last_id);
    reader->last_id = request->request_id;
    if (!csv_has(csv, WORKLOAD_SERVICE))
        return csv_bad(csv, WORKLOAD_SERVICE, err, "expected the name of a service");
    request->service = workload_builder_service(builder, csv_text(csv, WORKLOAD_SERVICE));
    if (csv_has(csv, WORKLOAD_CLIENT))
        request->client = workload_builder_client(builder, csv_text(csv, WORKLOAD_CLIENT));
    if (csv_has(csv, WORKLOAD_SESSION))
        request->session = workload_builder_session(builder, csv_text(csv, WORKLOAD_SESSION));
    return true;
}

static bool read_times(struct workload_reader *reader, struct workload_request *request,
                       struct err *err)
{
    const struct csv *csv = reader->csv;

    if (csv_has(csv, WORKLOAD_SLO_S) && !csv_seconds(csv, WORKLOAD_SLO_S, 1, &request->slo_ps, err))
        return false;
    if (csv_has(csv, WORKLOAD_THINK_S) &&
        !csv_seconds(csv, WORKLOAD_THINK_S, 0, &request->think_ps, err))
        return false;
    if (!csv_has(csv, WORKLOAD_ARRIVAL_S)) {
        if (request->client < 0 && request->session < 0)
            return csv_bad(csv, WORKLOAD_ARRIVAL_S, err,
                           "expected seconds; only a row with a client or a session may leave it "
                           "empty");
        return true;
    }
    if (!csv_seconds(csv, WORKLOAD_ARRIVAL_S, 0, &request->arrival_ps, err))
        return false;
    if (request->arrival_ps < reader->last_arrival_ps) {
        char text[UNITS_TEXT_BYTES];

        return csv_bad(csv, WORKLOAD_ARRIVAL_S, err,
                       "earlier than %s, an arrival above it; rows must be sorted by arrival",
                       units_format_seconds(reader->last_arrival_ps, text));
    }
    reader->last_arrival_ps = request->arrival_ps;
    return true;
}

static bool read_count(const struct csv *csv, enum workload_column column, int32_t min, int32_t max,
                       int32_t *value, struct err *err)
{
    return !csv_has(csv, (int)column) || csv_int32(csv, (int)column, min, max, value, err);
}

static bool read_tokens(struct workload_reader *reader, struct workload_request *request,
                        struct err *err)
{
    const struct csv *csv = reader->csv;

    if (!read_count(csv, WORKLOAD_PROMPT_TOKENS, 1, DIST_MAX_TOKENS, &request->prompt_tokens,
                    err) ||
        !read_count(csv, WORKLOAD_OUTPUT_TOKENS, 1, DIST_MAX_TOKENS, &request->output_tokens,
                    err) ||
        !read_count(csv, WORKLOAD_PREFIX_TOKENS, 0, DIST_MAX_TOKENS, &request->prefix_tokens,
                    err) ||
        !read_count(csv, WORKLOAD_BATCH, 1, WORKLOAD_MAX_BATCH, &request->batch, err))
        return false;
    if (request->prefix_tokens > request->prompt_tokens)
        return csv_bad(csv, WORKLOAD_PREFIX_TOKENS, err,
                       "expected at most prompt_tokens, which is %d", request->prompt_tokens);
    return true;
}

static bool is_half_full(const struct workload_builder *builder)
{
    return builder->workload->count >= SAMPLE_ROWS &&
           builder->workload->count >= builder->capacity / 2;
}

/* Room for the rows that are left, if they are as long as those so far: most files get longer ids
 * and times. Limited, so that rows which turn out longer do not cost memory for ever so many; then
 * this is asked for again. */
static void reserve(struct workload_reader *reader)
{
    int64_t left = csv_bytes_left(reader->csv), read = reader->first_left_bytes - left;
    int64_t count = (int64_t)workload_builder_count(reader->builder), rest;
    int64_t limit = count > FIRST_RESERVE / 16 ? 16 * count : FIRST_RESERVE;

    if (left < 0 || read <= 0)
        return;
    rest = units_mul_div(left, count, read);
    rest += (count + rest) / RESERVE_MORE;
    reader->has_reserved = rest <= limit;
    workload_builder_reserve(reader->builder, (size_t)(count + (rest < limit ? rest : limit)));
}

static bool read_rows(struct workload_reader *reader, struct workload_scan *scan, struct err *err)
{
    for (;;) {
        struct workload_request request = WORKLOAD_REQUEST_INIT;

        if (scan)
            workload_scan_rows(scan, reader);
        if (!reader->has_reserved && is_half_full(reader->builder))
            reserve(reader);
        if (!csv_next(reader->csv, err))
            break;
        if (!read_identity(reader, &request, err) || !read_times(reader, &request, err) ||
            !read_tokens(reader, &request, err))
            return false;
        workload_builder_add_line(reader->builder, &request, csv_line(reader->csv));
    }
    if (err->kind != ERR_NONE)
        return false;
    if (workload_builder_count(reader->builder) == 0)
        return err_at(err, csv_path(reader->csv), 0, 0, "no requests: expected at least one row");
    return true;
}

struct workload *workload_read(struct arena *arena, const char *path, bool with_scan,
                               struct err *err)
{
    struct csv *csv = csv_open(arena, path, "workload", columns, WORKLOAD_COLUMN_COUNT, err);
    struct workload_reader reader = { .csv = csv, .last_id = -1, .last_arrival_ps = -1 };
    struct workload *workload;
    bool is_ok;

    if (!csv)
        return NULL;
    reader.builder = workload_build(arena, csv_path(csv));
    reader.first_left_bytes = csv_bytes_left(csv);
    reader.has_reserved = reader.first_left_bytes < 0;
    is_ok = read_rows(&reader, with_scan ? workload_scan_create(arena, &reader) : NULL, err);
    csv_close(csv);
    if (!is_ok)
        return NULL;
    workload = workload_builder_finish(reader.builder);
    workload->service_column = csv_position(csv, WORKLOAD_SERVICE);
    workload->prompt_column = csv_position(csv, WORKLOAD_PROMPT_TOKENS);
    workload->output_column = csv_position(csv, WORKLOAD_OUTPUT_TOKENS);
    workload->batch_column = csv_position(csv, WORKLOAD_BATCH);
    return workload;
}

struct workload *workload_load(struct arena *arena, const char *path, struct err *err)
{
    return workload_read(arena, path, true, err);
}

/* ---- lines ---- */

long workload_line(const struct workload *workload, size_t index)
{
    size_t low = 0, high = workload->line_count;

    assert(index < workload->count);
    if (high == 0)
        return 0;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (workload->lines[middle].first <= index)
            low = middle;
        else
            high = middle;
    }
    return workload->lines[low].line + (long)(index - workload->lines[low].first);
}

/* ---- writing ---- */

/* Whether the request says anything in this column. */
static bool is_given(const struct workload_request *request, enum workload_column column)
{
    switch (column) {
    case WORKLOAD_REQUEST_ID:
    case WORKLOAD_ARRIVAL_S:
    case WORKLOAD_SERVICE:
        return true;
    case WORKLOAD_PROMPT_TOKENS:
        return request->prompt_tokens > 0;
    case WORKLOAD_OUTPUT_TOKENS:
        return request->output_tokens > 0;
    case WORKLOAD_SLO_S:
        return request->slo_ps > 0;
    case WORKLOAD_CLIENT:
        return request->client >= 0;
    case WORKLOAD_THINK_S:
        return request->think_ps > 0;
    case WORKLOAD_SESSION:
        return request->session >= 0;
    case WORKLOAD_PREFIX_TOKENS:
        return request->prefix_tokens > 0;
    case WORKLOAD_BATCH:
        return request->batch > 1;
    case WORKLOAD_COLUMN_COUNT:
        break;
    }
    return false;
}

static void write_field(struct out *out, const struct workload *workload,
                        const struct workload_request *request, enum workload_column column)
{
    switch (column) {
    case WORKLOAD_REQUEST_ID:
        out_int(out, request->request_id);
        break;
    case WORKLOAD_ARRIVAL_S:
        if (request->arrival_ps != WORKLOAD_CLOSED)
            out_seconds(out, request->arrival_ps);
        break;
    case WORKLOAD_SERVICE:
        out_csv(out, workload->services[request->service]);
        break;
    case WORKLOAD_PROMPT_TOKENS:
        out_int(out, request->prompt_tokens);
        break;
    case WORKLOAD_OUTPUT_TOKENS:
        out_int(out, request->output_tokens);
        break;
    case WORKLOAD_SLO_S:
        out_seconds(out, request->slo_ps);
        break;
    case WORKLOAD_CLIENT:
        out_csv(out, workload->clients[request->client]);
        break;
    case WORKLOAD_THINK_S:
        out_seconds(out, request->think_ps);
        break;
    case WORKLOAD_SESSION:
        out_csv(out, workload->sessions[request->session]);
        break;
    case WORKLOAD_PREFIX_TOKENS:
        out_int(out, request->prefix_tokens);
        break;
    case WORKLOAD_BATCH:
        out_int(out, request->batch);
        break;
    case WORKLOAD_COLUMN_COUNT:
        break;
    }
}

void workload_write(struct out *out, const struct workload *workload, const char *const *meta)
{
    bool is_used[WORKLOAD_COLUMN_COUNT] = { false };

    for (size_t i = 0; i < workload->count; i++) {
        const struct workload_request request = workload_at(workload, i);

        for (int c = 0; c < WORKLOAD_COLUMN_COUNT; c++)
            is_used[c] = is_used[c] || is_given(&request, (enum workload_column)c);
    }
    table_begin(out, "workload", meta);
    out_text(out, "request_id,arrival_s,service");
    for (int c = WORKLOAD_SERVICE + 1; c < WORKLOAD_COLUMN_COUNT; c++)
        if (is_used[c])
            out_printf(out, ",%s", columns[c].name);
    out_char(out, '\n');
    for (size_t i = 0; i < workload->count; i++) {
        const struct workload_request request = workload_at(workload, i);

        for (int c = 0; c < WORKLOAD_COLUMN_COUNT; c++) {
            if (c > WORKLOAD_SERVICE && !is_used[c])
                continue;
            if (c > 0)
                out_char(out, ',');
            if (is_given(&request, (enum workload_column)c))
                write_field(out, workload, &request, (enum workload_column)c);
        }
        out_char(out, '\n');
    }
}
