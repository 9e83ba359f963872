/* compare_stages.c - joins two stage traces job by job: a merge of sorted rows, so that a million
 * of them take a second. */
#include "sim/report/compare_stages.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/names.h"
#include "lib/format/trace.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- offsets ---- */

void compare_offset_add(struct compare_offset *offset, int64_t predicted_ps, int64_t real_ps,
                        int64_t request_id)
{
    int64_t off_ps = compare_minus(predicted_ps, real_ps);
    int64_t abs_ps = off_ps < 0 ? compare_minus(0, off_ps) : off_ps;

    if (offset->count++ == 0 || abs_ps > offset->max_abs_ps) {
        offset->max_abs_ps = abs_ps;
        offset->max_request_id = request_id;
    }
    offset->sum_ps += (double)off_ps;
    offset->sum_abs_ps += (double)abs_ps;
}

double compare_offset_mean_ps(const struct compare_offset *offset)
{
    return offset->count > 0 ? offset->sum_ps / (double)offset->count : 0;
}

double compare_offset_mean_abs_ps(const struct compare_offset *offset)
{
    return offset->count > 0 ? offset->sum_abs_ps / (double)offset->count : 0;
}

/* ---- jobs ---- */

struct job { /* rows of one request, step and stage */
    const struct trace_stage *rows;
    size_t count;
    int64_t start_ps, finish_ps;
};

static int32_t step_of(const struct trace_stage *row)
{
    return row->step < 0 ? 0 : row->step;
}

static int compare_jobs(const struct trace_stage *a, const struct trace_stage *b)
{
    if (a->request_id != b->request_id)
        return a->request_id < b->request_id ? -1 : 1;
    if (step_of(a) != step_of(b))
        return step_of(a) < step_of(b) ? -1 : 1;
    return (a->stage > b->stage) - (a->stage < b->stage);
}

struct cursor { /* over the jobs of one sorted trace */
    const struct trace_stage *next, *end;
    struct job job; /* count 0: at the end */
};

static void advance(struct cursor *cursor)
{
    struct job *job = &cursor->job;

    *job = (struct job){ .rows = cursor->next };
    while (cursor->next < cursor->end && compare_jobs(job->rows, cursor->next) == 0) {
        const struct trace_stage *row = cursor->next++;

        if (job->count == 0 || row->start_ps < job->start_ps)
            job->start_ps = row->start_ps;
        if (job->count == 0 || row->finish_ps > job->finish_ps)
            job->finish_ps = row->finish_ps;
        job->count++;
    }
}

static struct cursor cursor_of(const struct trace_stages *trace)
{
    struct cursor cursor = { .next = trace->stages };

    cursor.end = cursor.next ? cursor.next + trace->count : NULL;
    advance(&cursor);
    return cursor;
}

/* ---- the join ---- */

struct pair {
    int32_t group;
    int32_t step;
    int64_t request_id, predicted_ps, real_ps; /* finish - start */
};

struct join {
    struct arena *arena;
    const struct compare_totals *totals;
    const struct compare_excluded *excluded;
    struct compare_stages *stages;
    size_t match;           /* the first that is not below the present job */
    struct names *services; /* in order of first request */
    struct names *groups;   /* numbered as stages->stages */
    size_t group_capacity;
    size_t pair_capacity;
    struct pair *pairs;
};

/* The pair of requests that a job belongs to, or NULL. Jobs come in order of id. */
static const struct compare_match *find_match(struct join *join, int64_t request_id)
{
    const struct compare_totals *totals = join->totals;

    while (join->match < totals->pairs &&
           totals->matches[join->match].real->request_id < request_id)
        join->match++;
    return join->match < totals->pairs &&
                   totals->matches[join->match].real->request_id == request_id
               ? &totals->matches[join->match]
               : NULL;
}

static int32_t group_of(struct join *join, const char *service, int32_t stage, enum op_phase phase)
{
    static const char digits[] = "0123456789abcdef";
    int32_t parts[3] = { names_put(join->services, service), stage, (int32_t)phase };
    char key[3 * 8 + 1], *to = key;
    struct compare_stages *stages = join->stages;
    int32_t group;

    for (int p = 0; p < 3; p++)
        for (int shift = 28; shift >= 0; shift -= 4)
            *to++ = digits[((uint32_t)parts[p] >> shift) & 15];
    *to = '\0';
    group = names_put(join->groups, key);
    if ((size_t)group < stages->stage_count)
        return group;
    if (stages->stage_count == join->group_capacity) {
        size_t larger = join->group_capacity ? 2 * join->group_capacity : 16;

        stages->stages = arena_grow(join->arena, stages->stages, join->group_capacity, larger,
                                    sizeof *stages->stages);
        join->group_capacity = larger;
    }
    assert(stages->stages);
    stages->stages[stages->stage_count++] =
        (struct compare_stage){ .service = service, .stage = stage, .phase = phase };
    return group;
}

/* Rows of a job are in order of their devices' names in both files. */
static bool is_on_same_devices(const struct job *a, const struct job *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->rows[i].device, b->rows[i].device) != 0)
            return false;
    return true;
}

/* "a b c", for a report: the first few. */
static const char *list_devices(struct arena *arena, const struct job *job)
{
    const char *text = job->rows[0].device;

    for (size_t i = 1; i < job->count && i < 4; i++)
        text = arena_printf(arena, "%s %s", text, job->rows[i].device);
    return job->count > 4 ? arena_printf(arena, "%s ...", text) : text;
}

static void note_devices(struct join *join, const struct job *predicted, const struct job *real)
{
    struct compare_stages *stages = join->stages;

    if (is_on_same_devices(predicted, real))
        return;
    if (stages->moved++ > 0)
        return;
    stages->moved_request_id = real->rows[0].request_id;
    stages->moved_stage = real->rows[0].stage;
    stages->moved_predicted = list_devices(join->arena, predicted);
    stages->moved_real = list_devices(join->arena, real);
}

static void add_pair(struct join *join, const struct compare_match *match,
                     const struct job *predicted, const struct job *real)
{
    const struct trace_stage *row = &real->rows[0];
    enum op_phase phase = row->phase != OP_ANY ? row->phase : predicted->rows[0].phase;
    int64_t predicted_arrival_ps = match->predicted->arrival_ps;
    int64_t real_arrival_ps = match->real->arrival_ps;
    int32_t number = group_of(join, match->real->service, row->stage, phase);
    struct compare_stage *group = &join->stages->stages[number];
    struct pair *pair = &join->pairs[join->stages->pairs++];
    int64_t times_ps[2][2] = { { compare_minus(predicted->start_ps, predicted_arrival_ps),
                                 compare_minus(real->start_ps, real_arrival_ps) },
                               { compare_minus(predicted->finish_ps, predicted_arrival_ps),
                                 compare_minus(real->finish_ps, real_arrival_ps) } };

    pair->group = number;
    pair->step = step_of(row);
    pair->request_id = row->request_id;
    pair->predicted_ps = compare_minus(predicted->finish_ps, predicted->start_ps);
    pair->real_ps = compare_minus(real->finish_ps, real->start_ps);
    group->pairs++;
    compare_worst_add(&group->worst, pair->request_id, pair->step, pair->predicted_ps,
                      pair->real_ps);
    compare_offset_add(&group->start, times_ps[0][0], times_ps[0][1], row->request_id);
    compare_offset_add(&group->finish, times_ps[1][0], times_ps[1][1], row->request_id);
    for (int i = 0; i < 2; i++)
        compare_offset_add(&join->stages->timeline, times_ps[i][0], times_ps[i][1],
                           row->request_id);
    note_devices(join, predicted, real);
}

/* A job that is in one file only, or whose request is not compared. */
static void pass_over(struct join *join, const struct job *job)
{
    int64_t id = job->rows[0].request_id;

    if (find_match(join, id))
        join->stages->missing++;
    else if (!compare_is_excluded(join->excluded, id))
        join->stages->not_compared += job->count;
}

static void merge(struct join *join, struct cursor predicted, struct cursor real)
{
    while (predicted.job.count > 0 || real.job.count > 0) {
        int order = predicted.job.count == 0 ? 1
                    : real.job.count == 0    ? -1
                                             : compare_jobs(predicted.job.rows, real.job.rows);
        const struct job *here = order <= 0 ? &predicted.job : &real.job;
        const struct compare_match *match = find_match(join, here->rows[0].request_id);

        if (order == 0 && match) {
            add_pair(join, match, &predicted.job, &real.job);
        } else {
            if (order <= 0)
                pass_over(join, &predicted.job);
            if (order >= 0)
                pass_over(join, &real.job);
        }
        if (order <= 0)
            advance(&predicted);
        if (order >= 0)
            advance(&real);
    }
}

/* ---- groups ---- */

/* Pairs sorted by group into columns, a metric a group. */
static void summarize(struct join *join)
{
    struct compare_stages *stages = join->stages;
    struct compare_pairs *columns = arena_array(join->arena, stages->stage_count, sizeof *columns);

    for (size_t g = 0; g < stages->stage_count; g++)
        compare_pairs_reserve(join->arena, &columns[g], stages->stages[g].pairs);
    for (size_t i = 0; i < stages->pairs; i++)
        compare_pairs_add(&columns[join->pairs[i].group], join->pairs[i].predicted_ps,
                          join->pairs[i].real_ps);
    for (size_t g = 0; g < stages->stage_count; g++)
        stages->stages[g].time = compare_metric_of(&columns[g]);
}

struct ranked { /* a group with what it is sorted by */
    struct compare_stage stage;
    int32_t service;
};

static int compare_groups(const void *left, const void *right)
{
    const struct ranked *a = left, *b = right;

    if (a->service != b->service)
        return a->service < b->service ? -1 : 1;
    if (a->stage.stage != b->stage.stage)
        return a->stage.stage < b->stage.stage ? -1 : 1;
    return (a->stage.phase > b->stage.phase) - (a->stage.phase < b->stage.phase);
}

static void sort_groups(struct join *join)
{
    struct compare_stages *stages = join->stages;
    struct ranked *ranked = arena_array(join->arena, stages->stage_count, sizeof *ranked);

    for (size_t i = 0; i < stages->stage_count; i++) {
        ranked[i].stage = stages->stages[i];
        ranked[i].service = names_find(join->services, stages->stages[i].service);
    }
    qsort(ranked, stages->stage_count, sizeof *ranked, compare_groups);
    for (size_t i = 0; i < stages->stage_count; i++)
        stages->stages[i] = ranked[i].stage;
}

bool compare_stages_run(struct arena *arena, struct trace_stages *predicted,
                        struct trace_stages *real, const struct compare_totals *totals,
                        const struct compare_excluded *excluded, struct compare_stages *stages,
                        struct err *err)
{
    struct join join = { .arena = arena, .totals = totals, .excluded = excluded };

    *stages = (struct compare_stages){ 0 };
    join.stages = stages;
    join.services = names_create(arena);
    join.groups = names_create(arena);
    join.pairs = arena_array(arena, real->count, sizeof *join.pairs);
    if (!trace_stages_sort(predicted, err) || !trace_stages_sort(real, err))
        return false;
    merge(&join, cursor_of(predicted), cursor_of(real));
    if (stages->pairs == 0)
        return err_set(err, ERR_INPUT,
                       "%s and %s: no stage of a request that is ok in both requests files is in "
                       "both: nothing to compare",
                       predicted->path, real->path);
    summarize(&join);
    sort_groups(&join);
    return true;
}
