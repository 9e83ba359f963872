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
#include <assert.h>

#define MAX_BATCH 1000000

enum column {
    REQUEST_ID,
    ARRIVAL_S,
    SERVICE,
    PROMPT_TOKENS,
    OUTPUT_TOKENS,
    SLO_S,
    CLIENT,
    THINK_S,
    SESSION,
    PREFIX_TOKENS,
    BATCH,
    COLUMN_COUNT
};

static const struct csv_column columns[COLUMN_COUNT] = {
    [REQUEST_ID] = { "request_id", true },
    [ARRIVAL_S] = { "arrival_s", true },
    [SERVICE] = { "service", true },
    [PROMPT_TOKENS] = { "prompt_tokens", false },
    [OUTPUT_TOKENS] = { "output_tokens", false },
    [SLO_S] = { "slo_s", false },
    [CLIENT] = { "client", false },
    [THINK_S] = { "think_s", false },
    [SESSION] = { "session", false },
    [PREFIX_TOKENS] = { "prefix_tokens", false },
    [BATCH] = { "batch", false },
};

struct reader {
    const struct csv *csv;
    struct workload_builder *builder;
    int64_t last_id, last_arrival_ps; /* -1 before the first */
};

static bool read_identity(struct reader *reader, struct workload_request *request, struct err *err)
{
    const struct csv *csv = reader->csv;
    struct workload_builder *builder = reader->builder;

    if (!csv_int(csv, REQUEST_ID, 0, INT64_MAX, &request->request_id, err))
        return false;
    if (request->request_id <= reader->last_id)
        return csv_bad(csv, REQUEST_ID, err, "must be above %lld, the one in the row before",
                       (long long)reader->last_id);
    reader->last_id = request->request_id;
    if (!csv_has(csv, SERVICE))
        return csv_bad(csv, SERVICE, err, "expected the name of a service");
    request->service = workload_builder_service(builder, csv_text(csv, SERVICE));
    if (csv_has(csv, CLIENT))
        request->client = workload_builder_client(builder, csv_text(csv, CLIENT));
    if (csv_has(csv, SESSION))
        request->session = workload_builder_session(builder, csv_text(csv, SESSION));
    return true;
}

static bool read_times(struct reader *reader, struct workload_request *request, struct err *err)
{
    const struct csv *csv = reader->csv;

    if (csv_has(csv, SLO_S) && !csv_seconds(csv, SLO_S, 1, &request->slo_ps, err))
        return false;
    if (csv_has(csv, THINK_S) && !csv_seconds(csv, THINK_S, 0, &request->think_ps, err))
        return false;
    if (!csv_has(csv, ARRIVAL_S)) {
        if (request->client < 0 && request->session < 0)
            return csv_bad(csv, ARRIVAL_S, err,
                           "expected seconds; only a row with a client or a session may leave it "
                           "empty");
        return true;
    }
    if (!csv_seconds(csv, ARRIVAL_S, 0, &request->arrival_ps, err))
        return false;
    if (request->arrival_ps < reader->last_arrival_ps) {
        char text[UNITS_TEXT_BYTES];

        return csv_bad(csv, ARRIVAL_S, err,
                       "earlier than %s, an arrival above it; rows must be sorted by arrival",
                       units_format_seconds(reader->last_arrival_ps, text));
    }
    reader->last_arrival_ps = request->arrival_ps;
    return true;
}

static bool read_count(const struct csv *csv, enum column column, int32_t min, int32_t max,
                       int32_t *value, struct err *err)
{
    return !csv_has(csv, (int)column) || csv_int32(csv, (int)column, min, max, value, err);
}

static bool read_tokens(struct reader *reader, struct workload_request *request, struct err *err)
{
    const struct csv *csv = reader->csv;

    if (!read_count(csv, PROMPT_TOKENS, 1, DIST_MAX_TOKENS, &request->prompt_tokens, err) ||
        !read_count(csv, OUTPUT_TOKENS, 1, DIST_MAX_TOKENS, &request->output_tokens, err) ||
        !read_count(csv, PREFIX_TOKENS, 0, DIST_MAX_TOKENS, &request->prefix_tokens, err) ||
        !read_count(csv, BATCH, 1, MAX_BATCH, &request->batch, err))
        return false;
    if (request->prefix_tokens > request->prompt_tokens)
        return csv_bad(csv, PREFIX_TOKENS, err, "expected at most prompt_tokens, which is %d",
                       request->prompt_tokens);
    return true;
}

static bool read_rows(struct reader *reader, struct csv *csv, struct err *err)
{
    while (csv_next(csv, err)) {
        struct workload_request request = {
            .arrival_ps = WORKLOAD_CLOSED, .client = -1, .session = -1, .batch = 1
        };

        if (!read_identity(reader, &request, err) || !read_times(reader, &request, err) ||
            !read_tokens(reader, &request, err))
            return false;
        workload_builder_add_line(reader->builder, &request, csv_line(csv));
    }
    if (err->kind != ERR_NONE)
        return false;
    if (workload_builder_count(reader->builder) == 0)
        return err_at(err, csv_path(csv), 0, 0, "no requests: expected at least one row");
    return true;
}

struct workload *workload_load(struct arena *arena, const char *path, struct err *err)
{
    struct csv *csv = csv_open(arena, path, "workload", columns, COLUMN_COUNT, err);
    struct reader reader = { csv, NULL, -1, -1 };
    struct workload *workload;
    bool is_ok;

    if (!csv)
        return NULL;
    reader.builder = workload_build(arena, csv_path(csv));
    is_ok = read_rows(&reader, csv, err);
    csv_close(csv);
    if (!is_ok)
        return NULL;
    workload = workload_builder_finish(reader.builder);
    workload->service_column = csv_position(csv, SERVICE);
    workload->prompt_column = csv_position(csv, PROMPT_TOKENS);
    workload->output_column = csv_position(csv, OUTPUT_TOKENS);
    workload->batch_column = csv_position(csv, BATCH);
    return workload;
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
static bool is_given(const struct workload_request *request, enum column column)
{
    switch (column) {
    case REQUEST_ID:
    case ARRIVAL_S:
    case SERVICE:
        return true;
    case PROMPT_TOKENS:
        return request->prompt_tokens > 0;
    case OUTPUT_TOKENS:
        return request->output_tokens > 0;
    case SLO_S:
        return request->slo_ps > 0;
    case CLIENT:
        return request->client >= 0;
    case THINK_S:
        return request->think_ps > 0;
    case SESSION:
        return request->session >= 0;
    case PREFIX_TOKENS:
        return request->prefix_tokens > 0;
    case BATCH:
        return request->batch > 1;
    case COLUMN_COUNT:
        break;
    }
    return false;
}

static void write_field(struct out *out, const struct workload *workload,
                        const struct workload_request *request, enum column column)
{
    switch (column) {
    case REQUEST_ID:
        out_int(out, request->request_id);
        break;
    case ARRIVAL_S:
        if (request->arrival_ps != WORKLOAD_CLOSED)
            out_seconds(out, request->arrival_ps);
        break;
    case SERVICE:
        out_csv(out, workload->services[request->service]);
        break;
    case PROMPT_TOKENS:
        out_int(out, request->prompt_tokens);
        break;
    case OUTPUT_TOKENS:
        out_int(out, request->output_tokens);
        break;
    case SLO_S:
        out_seconds(out, request->slo_ps);
        break;
    case CLIENT:
        out_csv(out, workload->clients[request->client]);
        break;
    case THINK_S:
        out_seconds(out, request->think_ps);
        break;
    case SESSION:
        out_csv(out, workload->sessions[request->session]);
        break;
    case PREFIX_TOKENS:
        out_int(out, request->prefix_tokens);
        break;
    case BATCH:
        out_int(out, request->batch);
        break;
    case COLUMN_COUNT:
        break;
    }
}

void workload_write(struct out *out, const struct workload *workload, const char *const *meta)
{
    bool is_used[COLUMN_COUNT] = { false };

    for (size_t i = 0; i < workload->count; i++) {
        const struct workload_request request = workload_at(workload, i);

        for (int c = 0; c < COLUMN_COUNT; c++)
            is_used[c] = is_used[c] || is_given(&request, (enum column)c);
    }
    table_begin(out, "workload", meta);
    out_text(out, "request_id,arrival_s,service");
    for (int c = SERVICE + 1; c < COLUMN_COUNT; c++)
        if (is_used[c])
            out_printf(out, ",%s", columns[c].name);
    out_char(out, '\n');
    for (size_t i = 0; i < workload->count; i++) {
        const struct workload_request request = workload_at(workload, i);

        for (int c = 0; c < COLUMN_COUNT; c++) {
            if (c > SERVICE && !is_used[c])
                continue;
            if (c > 0)
                out_char(out, ',');
            if (is_given(&request, (enum column)c))
                write_field(out, workload, &request, (enum column)c);
        }
        out_char(out, '\n');
    }
}
