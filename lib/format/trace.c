/* trace.c - reader and writer of requests.csv and stages.csv, writer of transfers.csv and of
 * utilisation over time. */
#include "lib/format/trace.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/names.h"
#include "lib/format/table.h"
#include <stdlib.h>
#include <string.h>

#define MAX_NUMBER 1000000000

const char *const trace_status_names[TRACE_STATUS_COUNT] = {
    [TRACE_OK] = "ok",
    [TRACE_DROPPED] = "dropped",
    [TRACE_REFUSED] = "refused",
    [TRACE_FAILED] = "failed",
};

enum request_column {
    REQUEST_ID,
    SERVICE,
    REPLICA,
    ARRIVAL_S,
    START_S,
    FIRST_TOKEN_S,
    FINISH_S,
    PROMPT_TOKENS,
    OUTPUT_TOKENS,
    CLIENT,
    STATUS,
    E2E_S,
    EPOCH, /* last: not in every file that is written */
    REQUEST_COLUMN_COUNT
};
static const struct csv_column request_columns[REQUEST_COLUMN_COUNT] = {
    [REQUEST_ID] = { "request_id", true },
    [SERVICE] = { "service", true },
    [REPLICA] = { "replica", true },
    [ARRIVAL_S] = { "arrival_s", true },
    [START_S] = { "start_s", true },
    [FIRST_TOKEN_S] = { "first_token_s", true },
    [FINISH_S] = { "finish_s", true },
    [PROMPT_TOKENS] = { "prompt_tokens", false },
    [OUTPUT_TOKENS] = { "output_tokens", false },
    [CLIENT] = { "client", false },
    [STATUS] = { "status", false },
    [E2E_S] = { "e2e_s", false },
    [EPOCH] = { "epoch", false },
};

enum stage_column {
    STAGE_REQUEST_ID,
    STAGE_SERVICE,
    STAGE_REPLICA,
    STAGE_STAGE,
    STAGE_DEVICE,
    STAGE_START_S,
    STAGE_FINISH_S,
    STAGE_STEP,
    STAGE_BATCH_ID,
    STAGE_PHASE,
    STAGE_COLUMN_COUNT
};
static const struct csv_column stage_columns[STAGE_COLUMN_COUNT] = {
    [STAGE_REQUEST_ID] = { "request_id", true }, [STAGE_SERVICE] = { "service", true },
    [STAGE_REPLICA] = { "replica", true },       [STAGE_STAGE] = { "stage", true },
    [STAGE_DEVICE] = { "device", true },         [STAGE_START_S] = { "start_s", true },
    [STAGE_FINISH_S] = { "finish_s", true },     [STAGE_STEP] = { "step", false },
    [STAGE_BATCH_ID] = { "batch_id", false },    [STAGE_PHASE] = { "phase", false },
};

/* Real starts may lie before the clock's zero. */
#define MIN_PS (-UNITS_MAX_PS)

static void put_header(struct out *out, const struct csv_column *columns, int count)
{
    for (int c = 0; c < count; c++)
        out_printf(out, "%s%s", c > 0 ? "," : "", columns[c].name);
    out_char(out, '\n');
}

static void put_time(struct out *out, int64_t time_ps)
{
    out_char(out, ',');
    if (time_ps != TRACE_NONE)
        out_seconds(out, time_ps);
}

/* A number that is empty below min. */
static void put_number(struct out *out, int64_t value, int64_t min)
{
    out_char(out, ',');
    if (value >= min)
        out_int(out, value);
}

static void put_name(struct out *out, const char *name)
{
    out_char(out, ',');
    out_csv(out, name);
}

/* An empty field gives TRACE_NONE, or the number `none`. */
static bool read_time(const struct csv *csv, int column, int64_t *time_ps, struct err *err)
{
    *time_ps = TRACE_NONE;
    return !csv_has(csv, column) || csv_seconds(csv, column, MIN_PS, time_ps, err);
}

static bool read_number(const struct csv *csv, int column, int32_t min, int32_t none,
                        int32_t *value, struct err *err)
{
    *value = none;
    return !csv_has(csv, column) || csv_int32(csv, column, min, MAX_NUMBER, value, err);
}

/* A name kept once however many rows it is in. "" when the field is empty. */
static const char *shared_name(const struct csv *csv, int column, struct names *names)
{
    int32_t index = names_put(names, csv_text(csv, column));

    return names_list(names)[index];
}

/* ---- requests ---- */

void trace_requests_begin(struct out *out, const char *const *meta)
{
    table_begin(out, "requests", meta);
    put_header(out, request_columns, EPOCH);
}

void trace_requests_begin_epochs(struct out *out, const char *const *meta)
{
    table_begin(out, "requests", meta);
    put_header(out, request_columns, REQUEST_COLUMN_COUNT);
}

static void put_request(struct out *out, const struct trace_request *request)
{
    out_int(out, request->request_id);
    put_name(out, request->service);
    put_number(out, request->replica, 0);
    put_time(out, request->arrival_ps);
    put_time(out, request->start_ps);
    put_time(out, request->first_token_ps);
    put_time(out, request->finish_ps);
    put_number(out, request->prompt_tokens, 1);
    put_number(out, request->output_tokens, 1);
    put_name(out, request->client);
    put_name(out, trace_status_names[request->status]);
    put_time(out, request->e2e_ps);
}

void trace_request_put(struct out *out, const struct trace_request *request)
{
    put_request(out, request);
    out_char(out, '\n');
}

void trace_request_put_epoch(struct out *out, const struct trace_request *request, int32_t epoch)
{
    put_request(out, request);
    put_number(out, epoch, 0);
    out_char(out, '\n');
}

struct numbered { /* a request and its line, until duplicates have been looked for */
    struct trace_request request;
    long line;
};

/* What ended ok has begun before it ends. A start before the arrival occurs in real files. */
static bool check_order(const struct csv *csv, const struct trace_request *request, struct err *err)
{
    int64_t first_ps = request->first_token_ps;

    if (request->start_ps != TRACE_NONE && request->finish_ps < request->start_ps)
        return csv_bad(csv, FINISH_S, err, "must not be before start_s");
    if (first_ps != TRACE_NONE && request->start_ps != TRACE_NONE && first_ps < request->start_ps)
        return csv_bad(csv, FIRST_TOKEN_S, err, "must not be before start_s");
    if (first_ps != TRACE_NONE && first_ps > request->finish_ps)
        return csv_bad(csv, FIRST_TOKEN_S, err, "must not be after finish_s");
    if (request->e2e_ps != TRACE_NONE && request->e2e_ps < 0)
        return csv_bad(csv, E2E_S, err, "must not be negative");
    return true;
}

static bool read_request(const struct csv *csv, struct names *names, struct numbered *row,
                         struct err *err)
{
    struct trace_request *request = &row->request;
    int status = TRACE_OK;
    int32_t epoch;

    row->line = csv_line(csv);
    if (!csv_int(csv, REQUEST_ID, 0, INT64_MAX, &request->request_id, err))
        return false;
    if (!csv_has(csv, SERVICE))
        return csv_bad(csv, SERVICE, err, "expected the name of a service");
    request->service = shared_name(csv, SERVICE, names);
    request->client = shared_name(csv, CLIENT, names);
    if (csv_has(csv, STATUS) &&
        !csv_choice(csv, STATUS, trace_status_names, TRACE_STATUS_COUNT, &status, err))
        return false;
    request->status = (enum trace_status)status;
    if (!read_number(csv, EPOCH, 0, -1, &epoch, err) || /* which its arrival says as well */
        !read_number(csv, REPLICA, 0, -1, &request->replica, err) ||
        !read_number(csv, PROMPT_TOKENS, 0, 0, &request->prompt_tokens, err) ||
        !read_number(csv, OUTPUT_TOKENS, 0, 0, &request->output_tokens, err) ||
        !read_time(csv, ARRIVAL_S, &request->arrival_ps, err) ||
        !read_time(csv, START_S, &request->start_ps, err) ||
        !read_time(csv, FIRST_TOKEN_S, &request->first_token_ps, err) ||
        !read_time(csv, FINISH_S, &request->finish_ps, err) ||
        !read_time(csv, E2E_S, &request->e2e_ps, err))
        return false;
    if (status != TRACE_OK)
        return true;
    if (request->arrival_ps == TRACE_NONE)
        return csv_bad(csv, ARRIVAL_S, err, "expected seconds, since the status is ok");
    if (request->finish_ps == TRACE_NONE)
        return csv_bad(csv, FINISH_S, err, "expected seconds, since the status is ok");
    return check_order(csv, request, err);
}

static int compare_requests(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;

    if (x->request.request_id != y->request.request_id)
        return x->request.request_id < y->request.request_id ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

/* A real log may be in order of finish: workload order is restored by request_id. */
static bool sort_requests(struct arena *arena, struct numbered *rows, const struct csv *csv,
                          struct trace_requests *requests, struct err *err)
{
    bool is_sorted = true;

    for (size_t i = 1; i < requests->count && is_sorted; i++)
        is_sorted = compare_requests(&rows[i - 1], &rows[i]) <= 0;
    if (!is_sorted)
        qsort(rows, requests->count, sizeof *rows, compare_requests);
    requests->requests = arena_array(arena, requests->count, sizeof *requests->requests);
    for (size_t i = 0; i < requests->count; i++) {
        if (i > 0 && rows[i].request.request_id == rows[i - 1].request.request_id)
            return err_at(err, csv_path(csv), rows[i].line, csv_position(csv, REQUEST_ID),
                          "request_id is '%lld': line %ld has it already",
                          (long long)rows[i].request.request_id, rows[i - 1].line);
        requests->requests[i] = rows[i].request;
    }
    return true;
}

bool trace_requests_load(struct arena *arena, const char *path, struct trace_requests *requests,
                         struct err *err)
{
    struct csv *csv = csv_open(arena, path, "requests", request_columns, REQUEST_COLUMN_COUNT, err);
    struct names *names = names_create(arena);
    struct numbered *rows = NULL;
    size_t capacity = 0;
    bool is_ok;

    requests->count = 0;
    requests->requests = NULL;
    if (!csv)
        return false;
    while (csv_next(csv, err)) {
        if (requests->count == capacity) {
            size_t larger = capacity ? 2 * capacity : 256;

            rows = arena_grow(arena, rows, capacity, larger, sizeof *rows);
            capacity = larger;
        }
        if (!read_request(csv, names, &rows[requests->count], err))
            break;
        requests->count++;
    }
    requests->is_partial = csv_meta(csv, TRACE_PARTIAL) != NULL;
    is_ok = err->kind == ERR_NONE && sort_requests(arena, rows, csv, requests, err);
    csv_close(csv);
    return is_ok;
}

/* ---- stages ---- */

void trace_stages_begin(struct out *out, const char *const *meta)
{
    table_begin(out, "stages", meta);
    put_header(out, stage_columns, STAGE_COLUMN_COUNT);
}

void trace_stage_put(struct out *out, const struct trace_stage *stage)
{
    out_int(out, stage->request_id);
    put_name(out, stage->service);
    put_number(out, stage->replica, 0);
    put_number(out, stage->stage, 0);
    put_name(out, stage->device);
    put_time(out, stage->start_ps);
    put_time(out, stage->finish_ps);
    put_number(out, stage->step, 0);
    put_number(out, stage->batch_id, 0);
    put_name(out, stage->phase == OP_ANY ? "" : op_phase_name(stage->phase));
    out_char(out, '\n');
}

static bool read_phase(const struct csv *csv, enum op_phase *phase, struct err *err)
{
    static const enum op_phase phases[] = { OP_PREFILL, OP_DECODE };
    const char *const names[] = { op_phase_name(OP_PREFILL), op_phase_name(OP_DECODE) };
    int index;

    *phase = OP_ANY;
    if (!csv_has(csv, STAGE_PHASE))
        return true;
    if (!csv_choice(csv, STAGE_PHASE, names, 2, &index, err))
        return false;
    *phase = phases[index];
    return true;
}

static bool read_stage(const struct csv *csv, struct names *names, struct trace_stage *stage,
                       struct err *err)
{
    if (!csv_int(csv, STAGE_REQUEST_ID, 0, INT64_MAX, &stage->request_id, err))
        return false;
    if (!csv_has(csv, STAGE_SERVICE))
        return csv_bad(csv, STAGE_SERVICE, err, "expected the name of a service");
    if (!csv_has(csv, STAGE_DEVICE))
        return csv_bad(csv, STAGE_DEVICE, err, "expected the name of a device");
    stage->service = shared_name(csv, STAGE_SERVICE, names);
    stage->device = shared_name(csv, STAGE_DEVICE, names);
    stage->batch_id = -1;
    stage->line = csv_line(csv);
    if (!csv_int32(csv, STAGE_REPLICA, 0, MAX_NUMBER, &stage->replica, err) ||
        !csv_int32(csv, STAGE_STAGE, 0, MAX_NUMBER, &stage->stage, err) ||
        !csv_seconds(csv, STAGE_START_S, MIN_PS, &stage->start_ps, err) ||
        !csv_seconds(csv, STAGE_FINISH_S, MIN_PS, &stage->finish_ps, err) ||
        !read_number(csv, STAGE_STEP, 0, -1, &stage->step, err) ||
        (csv_has(csv, STAGE_BATCH_ID) &&
         !csv_int(csv, STAGE_BATCH_ID, 0, INT64_MAX, &stage->batch_id, err)) ||
        !read_phase(csv, &stage->phase, err))
        return false;
    if (stage->finish_ps < stage->start_ps)
        return csv_bad(csv, STAGE_FINISH_S, err, "must not be before start_s");
    return true;
}

bool trace_stages_load(struct arena *arena, const char *path, struct trace_stages *stages,
                       struct err *err)
{
    struct csv *csv = csv_open(arena, path, "stages", stage_columns, STAGE_COLUMN_COUNT, err);
    struct names *names = names_create(arena);
    size_t capacity = 0;

    stages->is_partial = false;
    stages->count = 0;
    stages->stages = NULL;
    stages->path = path;
    if (!csv)
        return false;
    stages->path = csv_path(csv);
    stages->is_partial = csv_meta(csv, TRACE_PARTIAL) != NULL;
    while (csv_next(csv, err)) {
        if (stages->count == capacity) {
            size_t larger = capacity ? 2 * capacity : 256;

            stages->stages =
                arena_grow(arena, stages->stages, capacity, larger, sizeof *stages->stages);
            capacity = larger;
        }
        if (!read_stage(csv, names, &stages->stages[stages->count], err))
            break;
        stages->count++;
    }
    csv_close(csv);
    return err->kind == ERR_NONE;
}

static int compare_numbers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int compare_jobs(const struct trace_stage *a, const struct trace_stage *b)
{
    int order = compare_numbers(a->request_id, b->request_id);

    if (order == 0)
        order = compare_numbers(a->step < 0 ? 0 : a->step, b->step < 0 ? 0 : b->step);
    return order != 0 ? order : compare_numbers(a->stage, b->stage);
}

static int compare_job_rows(const void *left, const void *right)
{
    const struct trace_stage *a = left, *b = right;
    int order = compare_jobs(a, b);

    return order != 0 ? order : compare_numbers(a->line, b->line);
}

static int compare_devices(const void *left, const void *right)
{
    const struct trace_stage *a = left, *b = right;
    int order = strcmp(a->device, b->device);

    return order != 0 ? order : compare_numbers(a->line, b->line);
}

bool trace_stages_sort(struct trace_stages *stages, struct err *err)
{
    struct trace_stage *rows = stages->stages, *end = rows + stages->count, *next;
    bool is_sorted = true;

    for (size_t i = 1; i < stages->count && is_sorted; i++)
        is_sorted = compare_jobs(&rows[i - 1], &rows[i]) <= 0;
    if (!is_sorted) /* programs write them in order */
        qsort(rows, stages->count, sizeof *rows, compare_job_rows);
    for (; rows < end; rows = next) {
        next = rows + 1;
        while (next < end && compare_jobs(rows, next) == 0)
            next++;
        if (next - rows > 1)
            qsort(rows, (size_t)(next - rows), sizeof *rows, compare_devices);
        for (struct trace_stage *row = rows + 1; row < next; row++)
            if (strcmp(row[-1].device, row->device) == 0)
                return err_at(err, stages->path, row->line, 0,
                              "same request_id, step, stage and device as line %ld", row[-1].line);
    }
    return true;
}

/* ---- transfers ---- */

void trace_transfers_begin(struct out *out, const char *const *meta)
{
    table_begin(out, "transfers", meta);
    out_text(out, "request_id,step,batch_id,from_device,to_device,medium,bytes,send_s,receive_s\n");
}

void trace_transfer_put(struct out *out, const struct trace_transfer *transfer)
{
    out_int(out, transfer->request_id);
    put_number(out, transfer->step, 0);
    put_number(out, transfer->batch_id, 0);
    put_name(out, transfer->from_device);
    put_name(out, transfer->to_device);
    put_name(out, transfer->medium);
    put_number(out, transfer->bytes, 0);
    put_time(out, transfer->send_ps);
    put_time(out, transfer->receive_ps);
    out_char(out, '\n');
}

/* ---- utilisation over time ---- */

void trace_utilisation_begin(struct out *out, const char *const *meta)
{
    table_begin(out, "utilisation", meta);
    out_text(out, "window_start_s,window_end_s,kind,target,busy_ratio,gap_ratio,queue_mean,"
                  "kv_peak_bytes\n");
}

/* As a decimal without needless zeros. */
static void put_millionths(struct out *out, int64_t millionths)
{
    int digits = 6;
    int64_t rest = millionths % 1000000;

    out_char(out, ',');
    out_int(out, millionths / 1000000);
    if (rest == 0)
        return;
    for (; rest % 10 == 0; rest /= 10)
        digits--;
    out_printf(out, ".%0*d", digits, (int)rest);
}

void trace_utilisation_put(struct out *out, const struct trace_utilisation *row)
{
    int64_t length_ps = row->end_ps - row->start_ps;

    out_seconds(out, row->start_ps);
    put_time(out, row->end_ps);
    put_name(out, row->kind);
    put_name(out, row->target);
    put_millionths(out, units_mul_div(row->busy_ps, 1000000, length_ps));
    if (row->gap_ps == TRACE_NONE)
        out_char(out, ',');
    else
        put_millionths(out, units_mul_div(row->gap_ps, 1000000, length_ps));
    put_millionths(out, row->queue_millionths);
    put_number(out, row->kv_peak_bytes, 0);
    out_char(out, '\n');
}
