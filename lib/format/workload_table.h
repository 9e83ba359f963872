/* workload_table.h - what the files of the workload format share and nobody else includes:
 * workload.c reads rows through libcsv and writes them, workload_scan.c takes plain rows off the
 * text, workload_build.c keeps them. */
#ifndef ORRERY_FORMAT_WORKLOAD_TABLE_H
#define ORRERY_FORMAT_WORKLOAD_TABLE_H

#include "lib/format/workload.h"

struct csv;
struct names;

#define WORKLOAD_MAX_BATCH 1000000
#define WORKLOAD_FIRST_CAPACITY 256

enum workload_column {
    WORKLOAD_REQUEST_ID,
    WORKLOAD_ARRIVAL_S,
    WORKLOAD_SERVICE,
    WORKLOAD_PROMPT_TOKENS,
    WORKLOAD_OUTPUT_TOKENS,
    WORKLOAD_SLO_S,
    WORKLOAD_CLIENT,
    WORKLOAD_THINK_S,
    WORKLOAD_SESSION,
    WORKLOAD_PREFIX_TOKENS,
    WORKLOAD_BATCH,
    WORKLOAD_COLUMN_COUNT
};

struct workload_builder {
    struct arena *arena;
    struct workload *workload;
    size_t capacity; /* of every column that is there */
    size_t line_capacity;
    bool has_rare; /* a row had something that workload_builder_put_rare keeps */
    struct names *services, *clients, *sessions;
};

/* A new column, with its default in the rows so far. */
int64_t *workload_builder_begin64(const struct workload_builder *builder, int64_t normal);
int32_t *workload_builder_begin32(const struct workload_builder *builder, int32_t normal);
/* The column of ids, which are the numbers of the rows but for that of the next row. */
void workload_builder_begin_ids(struct workload_builder *builder, int64_t next_id);
/* What few workloads have, of the next row. */
void workload_builder_put_rare(struct workload_builder *builder,
                               const struct workload_request *request);
/* The next row stands on this line. */
void workload_builder_line(struct workload_builder *builder, long line);

static inline void workload_put64(const struct workload_builder *builder, int64_t **column,
                                  size_t at, int64_t value, int64_t normal)
{
    if (!*column) {
        if (value == normal)
            return;
        *column = workload_builder_begin64(builder, normal);
    }
    (*column)[at] = value;
}

static inline void workload_put32(const struct workload_builder *builder, int32_t **column,
                                  size_t at, int32_t value, int32_t normal)
{
    if (!*column) {
        if (value == normal)
            return;
        *column = workload_builder_begin32(builder, normal);
    }
    (*column)[at] = value;
}

/* workload_builder_add, where a call a row would be felt. Few workloads have has_rare. */
static inline void workload_builder_put(struct workload_builder *builder,
                                        const struct workload_request *request)
{
    struct workload *workload = builder->workload;
    size_t at = workload->count;

    if (at == builder->capacity)
        workload_builder_reserve(builder, at ? 2 * at : WORKLOAD_FIRST_CAPACITY);
    if (workload->request_ids)
        workload->request_ids[at] = request->request_id;
    else if (request->request_id != (int64_t)at)
        workload_builder_begin_ids(builder, request->request_id);
    workload->arrivals_ps[at] = request->arrival_ps;
    workload_put32(builder, &workload->service_ids, at, request->service, 0);
    workload_put32(builder, &workload->prompt_tokens, at, request->prompt_tokens, 0);
    workload_put32(builder, &workload->output_tokens, at, request->output_tokens, 0);
    builder->has_rare |= (request->think_ps | request->slo_ps | request->prefix_tokens) != 0 ||
                         (request->client & request->session) != -1 || request->batch != 1;
    if (builder->has_rare)
        workload_builder_put_rare(builder, request);
    workload->has_tokens &= request->prompt_tokens > 0;
    workload->count = at + 1;
}

/* Where a reader stands; both paths go on from it. */
struct workload_reader {
    struct csv *csv;
    struct workload_builder *builder;
    int64_t last_id, last_arrival_ps; /* -1 before the first */
    int64_t first_left_bytes;         /* of the file, behind its header; -1 = not known */
    bool has_reserved;                /* there is room for all rows, as far as one can tell */
};

/* A row as it is before anything is read into it. */
#define WORKLOAD_REQUEST_INIT                                                                      \
    {                                                                                              \
        .arrival_ps = WORKLOAD_CLOSED, .client = -1, .session = -1, .batch = 1                     \
    }

struct workload_scan;
struct workload_scan *workload_scan_create(struct arena *arena,
                                           const struct workload_reader *reader);
/* Takes rows off what the CSV reader has at hand, up to the first that is not plain: the next
 * csv_next gives that one. Never fails; what it takes is what libcsv would give. */
void workload_scan_rows(struct workload_scan *scan, struct workload_reader *reader);

/* workload_load, with the scanner or through libcsv alone: the same values and the same errors. */
struct workload *workload_read(struct arena *arena, const char *path, bool with_scan,
                               struct err *err);

#endif
