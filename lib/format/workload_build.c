/* workload_build.c - puts rows into the columns of a workload.
 *
 * A column comes into being with the first row that says something in it; the rows above get its
 * default then. */
#include "lib/format/workload.h"

#include "lib/base/arena.h"
#include "lib/format/names.h"
#include <assert.h>

#define FIRST_CAPACITY 256

struct workload_builder {
    struct arena *arena;
    struct workload *workload;
    size_t capacity; /* of every column that is there */
    size_t line_capacity;
    struct names *services, *clients, *sessions;
};

struct workload_builder *workload_build(struct arena *arena, const char *path)
{
    struct workload_builder *builder = arena_alloc(arena, sizeof *builder);

    builder->arena = arena;
    builder->workload = arena_alloc(arena, sizeof *builder->workload);
    builder->workload->path = path;
    builder->workload->has_tokens = true;
    builder->services = names_create(arena);
    builder->clients = names_create(arena);
    builder->sessions = names_create(arena);
    return builder;
}

int32_t workload_builder_service(struct workload_builder *builder, const char *name)
{
    return names_put(builder->services, name);
}

int32_t workload_builder_client(struct workload_builder *builder, const char *name)
{
    return names_put(builder->clients, name);
}

int32_t workload_builder_session(struct workload_builder *builder, const char *name)
{
    return names_put(builder->sessions, name);
}

size_t workload_builder_count(const struct workload_builder *builder)
{
    return builder->workload->count;
}

static void widen64(struct workload_builder *builder, int64_t **column, size_t capacity)
{
    if (*column)
        *column = arena_grow(builder->arena, *column, builder->workload->count, capacity,
                             sizeof **column);
}

static void widen32(struct workload_builder *builder, int32_t **column, size_t capacity)
{
    if (*column)
        *column = arena_grow(builder->arena, *column, builder->workload->count, capacity,
                             sizeof **column);
}

void workload_builder_reserve(struct workload_builder *builder, size_t count)
{
    struct workload *workload = builder->workload;

    if (count <= builder->capacity)
        return;
    if (!workload->arrivals_ps)
        workload->arrivals_ps = arena_array(builder->arena, count, sizeof *workload->arrivals_ps);
    else
        widen64(builder, &workload->arrivals_ps, count);
    widen64(builder, &workload->request_ids, count);
    widen64(builder, &workload->thinks_ps, count);
    widen64(builder, &workload->slos_ps, count);
    widen32(builder, &workload->service_ids, count);
    widen32(builder, &workload->client_ids, count);
    widen32(builder, &workload->session_ids, count);
    widen32(builder, &workload->prompt_tokens, count);
    widen32(builder, &workload->output_tokens, count);
    widen32(builder, &workload->prefix_tokens, count);
    widen32(builder, &workload->batches, count);
    builder->capacity = count;
}

static int64_t *begin64(const struct workload_builder *builder, int64_t normal)
{
    int64_t *column = arena_array(builder->arena, builder->capacity, sizeof *column);

    if (normal != 0)
        for (size_t i = 0; i < builder->workload->count; i++)
            column[i] = normal;
    return column;
}

static int32_t *begin32(const struct workload_builder *builder, int32_t normal)
{
    int32_t *column = arena_array(builder->arena, builder->capacity, sizeof *column);

    if (normal != 0)
        for (size_t i = 0; i < builder->workload->count; i++)
            column[i] = normal;
    return column;
}

static void begin_ids(struct workload_builder *builder)
{
    struct workload *workload = builder->workload;

    workload->request_ids = begin64(builder, 0);
    for (size_t i = 0; i < workload->count; i++)
        workload->request_ids[i] = (int64_t)i;
}

/* Into the row that is being added; `normal` is what a column that is not there stands for. */
static inline void put64(const struct workload_builder *builder, int64_t **column, int64_t value,
                         int64_t normal)
{
    if (!*column) {
        if (value == normal)
            return;
        *column = begin64(builder, normal);
    }
    (*column)[builder->workload->count] = value;
}

static inline void put32(const struct workload_builder *builder, int32_t **column, int32_t value,
                         int32_t normal)
{
    if (!*column) {
        if (value == normal)
            return;
        *column = begin32(builder, normal);
    }
    (*column)[builder->workload->count] = value;
}

void workload_builder_add(struct workload_builder *builder, const struct workload_request *request)
{
    struct workload *workload = builder->workload;
    size_t at = workload->count;

    if (at == builder->capacity)
        workload_builder_reserve(builder, at ? 2 * at : FIRST_CAPACITY);
    if (!workload->request_ids && request->request_id != (int64_t)at)
        begin_ids(builder);
    if (workload->request_ids)
        workload->request_ids[at] = request->request_id;
    workload->arrivals_ps[at] = request->arrival_ps;
    put64(builder, &workload->thinks_ps, request->think_ps, 0);
    put64(builder, &workload->slos_ps, request->slo_ps, 0);
    put32(builder, &workload->service_ids, request->service, 0);
    put32(builder, &workload->client_ids, request->client, -1);
    put32(builder, &workload->session_ids, request->session, -1);
    put32(builder, &workload->prompt_tokens, request->prompt_tokens, 0);
    put32(builder, &workload->output_tokens, request->output_tokens, 0);
    put32(builder, &workload->prefix_tokens, request->prefix_tokens, 0);
    put32(builder, &workload->batches, request->batch, 1);
    workload->has_tokens = workload->has_tokens && request->prompt_tokens > 0;
    workload->count++;
}

void workload_builder_add_line(struct workload_builder *builder,
                               const struct workload_request *request, long line)
{
    struct workload *workload = builder->workload;
    const struct workload_lines *last =
        workload->line_count > 0 ? &workload->lines[workload->line_count - 1] : NULL;

    if (!last || last->line + (long)(workload->count - last->first) != line) {
        assert(!last || last->line + (long)(workload->count - last->first) < line);
        if (workload->line_count == builder->line_capacity) {
            size_t wider = builder->line_capacity ? 2 * builder->line_capacity : 4;

            workload->lines = arena_grow(builder->arena, workload->lines, builder->line_capacity,
                                         wider, sizeof *workload->lines);
            builder->line_capacity = wider;
        }
        workload->lines[workload->line_count++] = (struct workload_lines){ workload->count, line };
    }
    workload_builder_add(builder, request);
}

struct workload *workload_builder_finish(struct workload_builder *builder)
{
    struct workload *workload = builder->workload;

    workload->services = names_list(builder->services);
    workload->service_count = names_count(builder->services);
    workload->clients = names_list(builder->clients);
    workload->client_count = names_count(builder->clients);
    workload->sessions = names_list(builder->sessions);
    workload->session_count = names_count(builder->sessions);
    return workload;
}
