/* workload.c - reader and writer of workload tables.
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
#include "lib/format/names.h"
#include "lib/format/table.h"

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
    struct names *services, *clients, *sessions;
    int64_t last_id, last_arrival_ps; /* -1 before the first */
};

static bool read_identity(struct reader *reader, struct workload_request *request, struct err *err)
{
    const struct csv *csv = reader->csv;

    if (!csv_int(csv, REQUEST_ID, 0, INT64_MAX, &request->request_id, err))
        return false;
    if (request->request_id <= reader->last_id)
        return csv_bad(csv, REQUEST_ID, err, "must be above %lld, the one in the row before",
                       (long long)reader->last_id);
    reader->last_id = request->request_id;
    if (!csv_has(csv, SERVICE))
        return csv_bad(csv, SERVICE, err, "expected the name of a service");
    request->service = names_put(reader->services, csv_text(csv, SERVICE));
    request->client = csv_has(csv, CLIENT) ? names_put(reader->clients, csv_text(csv, CLIENT)) : -1;
    request->session =
        csv_has(csv, SESSION) ? names_put(reader->sessions, csv_text(csv, SESSION)) : -1;
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
        request->arrival_ps = WORKLOAD_CLOSED;
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

    request->batch = 1;
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

static bool read_rows(struct arena *arena, struct reader *reader, struct workload *workload,
                      struct csv *csv, struct err *err)
{
    size_t capacity = 0;

    workload->has_tokens = true;
    while (csv_next(csv, err)) {
        struct workload_request *request;

        if (workload->count == capacity) {
            size_t larger = capacity ? 2 * capacity : 256;

            workload->requests =
                arena_grow(arena, workload->requests, capacity, larger, sizeof *workload->requests);
            workload->lines =
                arena_grow(arena, workload->lines, capacity, larger, sizeof *workload->lines);
            capacity = larger;
        }
        request = &workload->requests[workload->count];
        if (!read_identity(reader, request, err) || !read_times(reader, request, err) ||
            !read_tokens(reader, request, err))
            return false;
        if (request->prompt_tokens == 0)
            workload->has_tokens = false;
        workload->lines[workload->count++] = csv_line(csv);
    }
    if (err->kind != ERR_NONE)
        return false;
    if (workload->count == 0)
        return err_at(err, csv_path(csv), 0, 0, "no requests: expected at least one row");
    return true;
}

struct workload *workload_load(struct arena *arena, const char *path, struct err *err)
{
    struct csv *csv = csv_open(arena, path, "workload", columns, COLUMN_COUNT, err);
    struct workload *workload = arena_alloc(arena, sizeof *workload);
    struct reader reader = { csv, NULL, NULL, NULL, -1, -1 };
    bool is_ok;

    if (!csv)
        return NULL;
    reader.services = names_create(arena);
    reader.clients = names_create(arena);
    reader.sessions = names_create(arena);
    workload->path = arena_strdup(arena, csv_path(csv));
    workload->service_column = csv_position(csv, SERVICE);
    workload->prompt_column = csv_position(csv, PROMPT_TOKENS);
    workload->output_column = csv_position(csv, OUTPUT_TOKENS);
    workload->batch_column = csv_position(csv, BATCH);
    is_ok = read_rows(arena, &reader, workload, csv, err);
    csv_close(csv);
    workload->services = names_list(reader.services);
    workload->service_count = names_count(reader.services);
    workload->clients = names_list(reader.clients);
    workload->client_count = names_count(reader.clients);
    workload->sessions = names_list(reader.sessions);
    workload->session_count = names_count(reader.sessions);
    return is_ok ? workload : NULL;
}

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

    for (size_t i = 0; i < workload->count; i++)
        for (int c = 0; c < COLUMN_COUNT; c++)
            is_used[c] = is_used[c] || is_given(&workload->requests[i], (enum column)c);
    table_begin(out, "workload", meta);
    out_text(out, "request_id,arrival_s,service");
    for (int c = SERVICE + 1; c < COLUMN_COUNT; c++)
        if (is_used[c])
            out_printf(out, ",%s", columns[c].name);
    out_char(out, '\n');
    for (size_t i = 0; i < workload->count; i++) {
        const struct workload_request *request = &workload->requests[i];

        for (int c = 0; c < COLUMN_COUNT; c++) {
            if (c > SERVICE && !is_used[c])
                continue;
            if (c > 0)
                out_char(out, ',');
            if (is_given(request, (enum column)c))
                write_field(out, workload, request, (enum column)c);
        }
        out_char(out, '\n');
    }
}
