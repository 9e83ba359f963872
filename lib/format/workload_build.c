/* workload_build.c - puts rows into the columns of a workload.
 *
 * A column comes into being with the first row that says something in it; the rows above get its
 * default then. */
#include "lib/format/workload_table.h"

#include "lib/base/arena.h"
#include "lib/format/names.h"
#include <assert.h>

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

int64_t *workload_builder_begin64(const struct workload_builder *builder, int64_t normal)
{
    int64_t *column = arena_array(builder->arena, builder->capacity, sizeof *column);

    if (normal != 0)
        for (size_t i = 0; i < builder->workload->count; i++)
            column[i] = normal;
    return column;
}

int32_t *workload_builder_begin32(const struct workload_builder *builder, int32_t normal)
{
    int32_t *column = arena_array(builder->arena, builder->capacity, sizeof *column);

    if (normal != 0)
        for (size_t i = 0; i < builder->workload->count; i++)
            column[i] = normal;
    return column;
}

void workload_builder_begin_ids(struct workload_builder *builder, int64_t next_id)
{
    struct workload *workload = builder->workload;

    workload->request_ids = workload_builder_begin64(builder, 0);
    for (size_t i = 0; i < workload->count; i++)
        workload->request_ids[i] = (int64_t)i;
    workload->request_ids[workload->count] = next_id;
}

void workload_builder_put_rare(struct workload_builder *builder,
                               const struct workload_request *request)
{
    struct workload *workload = builder->workload;
    size_t at = workload->count;

    workload_put64(builder, &workload->thinks_ps, at, request->think_ps, 0);
    workload_put64(builder, &workload->slos_ps, at, request->slo_ps, 0);
    workload_put32(builder, &workload->client_ids, at, request->client, -1);
    workload_put32(builder, &workload->session_ids, at, request->session, -1);
    workload_put32(builder, &workload->prefix_tokens, at, request->prefix_tokens, 0);
    workload_put32(builder, &workload->batches, at, request->batch, 1);
}

void workload_builder_line(struct workload_builder *builder, long line)
{
    struct workload *workload = builder->workload;
    const struct workload_lines *last =
        workload->line_count > 0 ? &workload->lines[workload->line_count - 1] : NULL;

    if (last && last->line + (long)(workload->count - last->first) == line)
        return;
    assert(!last || last->line + (long)(workload->count - last->first) < line);
    if (!workload->lines || workload->line_count == builder->line_capacity) {
        size_t wider = builder->line_capacity ? 2 * builder->line_capacity : 4;

        workload->lines = arena_grow(builder->arena, workload->lines, builder->line_capacity, wider,
                                     sizeof *workload->lines);
        builder->line_capacity = wider;
    }
    workload->lines[workload->line_count++] = (struct workload_lines){ workload->count, line };
}

void workload_builder_add(struct workload_builder *builder, const struct workload_request *request)
{
    workload_builder_put(builder, request);
}

void workload_builder_add_line(struct workload_builder *builder,
                               const struct workload_request *request, long line)
{
    workload_builder_line(builder, line);
    workload_builder_put(builder, request);
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
