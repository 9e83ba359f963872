/* table.c - states of requests and counts of replicas and stages. */
#include "runner/load/table.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include <assert.h>

struct table *table_create(struct arena *arena, size_t request_count, int replica_count,
                           int stage_count)
{
    struct table *table = arena_alloc(arena, sizeof *table);

    table->count = request_count;
    table->requests = arena_array(arena, request_count, sizeof *table->requests);
    table->ended = arena_array(arena, request_count, sizeof *table->ended);
    table_grow(arena, table, replica_count, stage_count);
    for (size_t i = 0; i < request_count; i++)
        table->requests[i] = (struct table_request){ .replica = -1,
                                                     .sent_to = -1,
                                                     .arrival_ps = TRACE_NONE,
                                                     .start_ps = TRACE_NONE,
                                                     .first_token_ps = TRACE_NONE,
                                                     .finish_ps = TRACE_NONE,
                                                     .next = TABLE_NOBODY,
                                                     .previous = TABLE_NOBODY };
    return table;
}

void table_grow(struct arena *arena, struct table *table, int replica_count, int stage_count)
{
    table->replicas = arena_grow(arena, table->replicas, (size_t)table->replica_count,
                                 (size_t)replica_count, sizeof *table->replicas);
    for (int i = table->replica_count; i < replica_count; i++)
        table->replicas[i] = (struct table_replica){ .is_up = true, .running = TABLE_NOBODY };
    table->replica_count = replica_count;
    table->stages = arena_grow(arena, table->stages, (size_t)table->stage_count,
                               (size_t)stage_count, sizeof *table->stages);
    for (int i = table->stage_count; i < stage_count; i++)
        table->stages[i] = (struct table_stage){ .is_up = true, .lost_ps = -1 };
    table->stage_count = stage_count;
}

void table_arrive(struct table *table, size_t request, int64_t arrival_ps)
{
    assert(table->requests[request].state == TABLE_WAITING);
    table->requests[request].arrival_ps = arrival_ps;
}

void table_start(struct table *table, size_t request, int32_t replica, int32_t step_count)
{
    struct table_request *r = &table->requests[request];
    struct table_replica *p = &table->replicas[replica];

    assert(r->state == TABLE_WAITING && step_count >= 1);
    r->state = TABLE_RUNNING;
    r->replica = replica;
    r->step_count = step_count;
    r->next = p->running;
    if (p->running != TABLE_NOBODY)
        table->requests[p->running].previous = request;
    p->running = request;
    p->outstanding++;
    table->running_count++;
}

/* Its step does not wait at stage 0 any more. */
static void leave_first(struct table *table, size_t request)
{
    struct table_request *r = &table->requests[request];

    if (r->sent_to >= 0)
        table->stages[r->sent_to].waiting--;
    r->sent_to = -1;
}

static void unlink_running(struct table *table, size_t request)
{
    struct table_request *r = &table->requests[request];
    struct table_replica *p = &table->replicas[r->replica];

    if (r->previous != TABLE_NOBODY)
        table->requests[r->previous].next = r->next;
    else
        p->running = r->next;
    if (r->next != TABLE_NOBODY)
        table->requests[r->next].previous = r->previous;
    r->next = r->previous = TABLE_NOBODY;
    leave_first(table, request);
    p->outstanding--;
    table->running_count--;
}

void table_restart(struct table *table, size_t request, int64_t now_ps)
{
    struct table_request *r = &table->requests[request];

    assert(r->state == TABLE_RUNNING);
    unlink_running(table, request);
    r->state = TABLE_WAITING;
    r->replica = -1;
    r->step = 0;
    r->attempt++;
    r->begun_ps = now_ps;
    r->start_ps = r->first_token_ps = TRACE_NONE;
}

void table_end(struct table *table, size_t request, enum trace_status status, int64_t now_ps)
{
    struct table_request *r = &table->requests[request];

    assert(r->state != TABLE_ENDED);
    if (r->state == TABLE_RUNNING)
        unlink_running(table, request);
    r->state = TABLE_ENDED;
    r->status = status;
    if (status == TRACE_OK)
        r->finish_ps = now_ps;
    table->ended[table->ended_count++] = request;
    table->by_status[status]++;
}

int64_t table_name(const struct table *table, size_t request)
{
    return (int64_t)request + table->requests[request].attempt * (int64_t)table->count;
}

bool table_find(const struct table *table, int64_t name, size_t *request)
{
    if (name < 0 || table->count == 0)
        return false;
    *request = (size_t)name % table->count;
    return table_name(table, *request) == name;
}

enum table_next table_result(struct table *table, size_t request, int32_t step, int32_t token,
                             int64_t now_ps)
{
    struct table_request *r = request < table->count ? &table->requests[request] : NULL;

    if (!r || r->state != TABLE_RUNNING || r->step != step)
        return TABLE_STALE;
    if (step == 0)
        r->first_token_ps = now_ps;
    r->token = token;
    r->step++;
    if (r->step < r->step_count)
        return TABLE_STEP;
    table_end(table, request, TRACE_OK, now_ps);
    return TABLE_FINISHED;
}

void table_sent(struct table *table, size_t request, int32_t stage)
{
    leave_first(table, request);
    table->requests[request].sent_to = stage;
    table->stages[stage].waiting++;
}

void table_computed(struct table *table, size_t request, int32_t stage, int64_t compute_ps)
{
    struct table_stage *p = &table->stages[stage];

    if (table->requests[request].sent_to == stage)
        leave_first(table, request);
    if (compute_ps <= 0 || p->total_ps > UNITS_MAX_PS - compute_ps)
        return;
    p->count++;
    p->total_ps += compute_ps;
}

/* 1 ps each before the first one is known. */
static int64_t times_mean(const struct table_stage *stage, int64_t steps)
{
    return stage->count == 0 ? steps : units_mul_div(steps, stage->total_ps, stage->count);
}

int64_t table_backlog_ps(const struct table *table, int32_t stage)
{
    return times_mean(&table->stages[stage], table->stages[stage].waiting);
}

int64_t table_last_backlog_ps(const struct table *table, int32_t stage)
{
    return times_mean(&table->stages[stage], table->stages[stage].outstanding);
}
