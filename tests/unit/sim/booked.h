/* booked.h - a placement of executables, requests for it, and a run of AlpaServe's rules on them.
 */
#ifndef ORRERY_TESTS_UNIT_SIM_BOOKED_H
#define ORRERY_TESTS_UNIT_SIM_BOOKED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/overhead.h"
#include "lib/format/placement.h"
#include "lib/policy/plan.h"
#include "sim/alpaserve/alpaserve.h"
#include "tests/unit/scratch.h"

#define MS UNITS_PS_PER_MS

struct booked {
    struct scratch *scratch;
    struct cost_set costs;
    struct alpaserve_input input;
    struct alpaserve_options options;
    struct alpaserve_result result;
    struct err *err;
    /* requests, by index; a closed one (arrival_ps < 0) comes think_ps after the end of the one
     * before */
    struct alpaserve_arrival *arrivals;
    int64_t *thinks_ps;
    size_t count, capacity, next;
    int64_t known_ps; /* of the next one, when it is closed */
    bool is_pulled_singly;
    /* what was told */
    struct alpaserve_end *ends; /* by index */
    size_t *order;              /* in which they came */
    size_t end_count;
    struct alpaserve_span *spans;
    size_t span_count, span_capacity;
};

/* stages_text NULL: nothing was profiled. cluster_text: devices.csv, or NULL for the devices of the
 * placement. */
static inline struct booked *booked_create(struct scratch *scratch, const char *placement_text,
                                           const char *stages_text, const char *cluster_text)
{
    struct booked *b = arena_alloc(scratch->arena, sizeof *b);
    const char *folder = arena_printf(scratch->arena, "%s/t", scratch->folder);
    struct err *err = scratch_err(scratch);
    const struct placement *placement;
    const struct cluster *cluster = NULL;

    if (stages_text)
        (void)scratch_write(scratch, "t/stages.csv", stages_text);
    placement =
        placement_load(scratch->arena, scratch_write(scratch, "p.csv", placement_text), err);
    if (cluster_text) {
        (void)scratch_write(scratch, "cluster/devices.csv", cluster_text);
        cluster = cluster_load(scratch->arena,
                               arena_printf(scratch->arena, "%s/cluster", scratch->folder), err);
    }
    if (placement && (!stages_text || cost_set_load(scratch->arena, &folder, 1, &b->costs, err)))
        b->input.plan =
            plan_build(scratch->arena, placement, cluster, stages_text ? &b->costs : NULL,
                       model_catalogue_load(scratch->arena, NULL, err), err);
    if (!b->input.plan)
        fail_msg("%s", err->text);
    b->input.costs = &b->costs;
    b->scratch = scratch;
    b->err = err;
    return b;
}

static inline struct alpaserve_arrival *booked_add(struct booked *b, int32_t service,
                                                   int64_t arrival_ps, int64_t slo_ps)
{
    if (b->count == b->capacity) {
        size_t capacity = b->capacity ? 2 * b->capacity : 16;

        b->arrivals =
            arena_grow(b->scratch->arena, b->arrivals, b->capacity, capacity, sizeof *b->arrivals);
        b->thinks_ps = arena_grow(b->scratch->arena, b->thinks_ps, b->capacity, capacity,
                                  sizeof *b->thinks_ps);
        b->capacity = capacity;
    }
    b->arrivals[b->count] = (struct alpaserve_arrival){ .index = b->count,
                                                        .request_id = 100 + (int64_t)b->count,
                                                        .arrival_ps = arrival_ps,
                                                        .slo_ps = slo_ps,
                                                        .service = service,
                                                        .items = 1 };
    return &b->arrivals[b->count++];
}

/* It comes think_ps after the one before has ended. */
static inline void booked_add_closed(struct booked *b, int32_t service, int64_t think_ps)
{
    (void)booked_add(b, service, -1, 0);
    b->thinks_ps[b->count - 1] = think_ps;
    b->is_pulled_singly = true;
}

static inline int64_t booked_peek(void *arg)
{
    const struct booked *b = arg;

    if (b->next == b->count)
        return ALPASERVE_NEVER;
    return b->arrivals[b->next].arrival_ps < 0 ? b->known_ps : b->arrivals[b->next].arrival_ps;
}

static inline size_t booked_take(void *arg, struct alpaserve_arrival *arrivals, size_t room)
{
    struct booked *b = arg;
    size_t count = 0;

    while (count < room && booked_peek(b) != ALPASERVE_NEVER) {
        arrivals[count] = b->arrivals[b->next];
        arrivals[count++].arrival_ps = booked_peek(b);
        b->next++;
        b->known_ps = ALPASERVE_NEVER;
    }
    return count;
}

static inline void booked_ended(void *arg, size_t index, int64_t end_ps)
{
    struct booked *b = arg;

    if (index + 1 < b->count && b->arrivals[index + 1].arrival_ps < 0)
        b->known_ps = end_ps + b->thinks_ps[index + 1];
}

static inline void booked_on_end(void *arg, const struct alpaserve_end *end)
{
    struct booked *b = arg;

    assert_true(end->index < b->count && b->end_count < b->count);
    assert_int_equal(end->request_id, b->arrivals[end->index].request_id);
    assert_int_equal(end->service, b->arrivals[end->index].service);
    assert_int_equal(end->slo_ps, b->arrivals[end->index].slo_ps);
    b->ends[end->index] = *end;
    b->order[b->end_count++] = end->index;
}

static inline void booked_on_span(void *arg, const struct alpaserve_span *span)
{
    struct booked *b = arg;

    if (b->span_count == b->span_capacity) {
        size_t capacity = b->span_capacity ? 2 * b->span_capacity : 16;

        b->spans =
            arena_grow(b->scratch->arena, b->spans, b->span_capacity, capacity, sizeof *b->spans);
        b->span_capacity = capacity;
    }
    b->spans[b->span_count++] = *span;
}

static inline bool booked_try(struct booked *b)
{
    struct alpaserve_source source = { .arg = b, .take = booked_take };
    struct alpaserve_observer observer = { b, b, booked_on_span, booked_on_end };

    if (b->is_pulled_singly) {
        source.peek_ps = booked_peek;
        source.ended = booked_ended;
    }
    b->ends = arena_array(b->scratch->arena, b->count, sizeof *b->ends);
    b->order = arena_array(b->scratch->arena, b->count, sizeof *b->order);
    b->end_count = b->span_count = b->next = 0;
    b->known_ps = ALPASERVE_NEVER;
    return alpaserve_run(b->scratch->arena, &b->input, &b->options, &source, &observer, &b->result,
                         b->err);
}

static inline void booked_run(struct booked *b)
{
    if (!booked_try(b))
        fail_msg("%s", b->err->text);
    assert_int_equal(b->end_count, b->count);
    assert_int_equal(b->result.taken_count, b->count);
    assert_int_equal(b->result.ok_count + b->result.dropped_count + b->result.refused_count,
                     b->count);
}

static inline void assert_ok(const struct booked *b, size_t index, int32_t replica,
                             int64_t start_ps, int64_t finish_ps)
{
    const struct alpaserve_end *end = &b->ends[index];

    assert_int_equal(end->status, TRACE_OK);
    assert_int_equal(end->replica, replica);
    assert_int_equal(end->start_ps, start_ps);
    assert_int_equal(end->finish_ps, finish_ps);
    assert_int_equal(end->end_ps, finish_ps);
}

static inline void assert_gone(const struct booked *b, size_t index, enum trace_status status,
                               int64_t end_ps)
{
    const struct alpaserve_end *end = &b->ends[index];

    assert_int_equal(end->status, status);
    assert_int_equal(end->replica, -1);
    assert_true(end->start_ps == TRACE_NONE && end->finish_ps == TRACE_NONE);
    assert_int_equal(end->end_ps, end_ps);
}

#endif
