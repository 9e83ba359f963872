/* compare.c - joins two request traces by id and measures the distance. */
#include "sim/report/compare.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/trace.h"

/* One id in both files must be one request; tokens that a file leaves out say nothing. */
static bool check_same(const struct trace_request *p, const struct trace_request *r,
                       struct err *err)
{
    const char *field = "prompt_tokens";
    int32_t predicted = p->prompt_tokens, real = r->prompt_tokens;

    if (predicted == real || predicted == 0 || real == 0) {
        field = "output_tokens";
        predicted = p->output_tokens;
        real = r->output_tokens;
    }
    if (predicted == real || predicted == 0 || real == 0)
        return true;
    return err_set(err, ERR_INPUT,
                   "request %lld has %s %d in the predicted and %d in the measured file: these are "
                   "runs of different workloads",
                   (long long)p->request_id, field, predicted, real);
}

struct columns {
    struct compare_pairs latency, ttft, tpot, e2e;
};

static void columns_reserve(struct arena *arena, struct columns *columns, size_t count)
{
    compare_pairs_reserve(arena, &columns->latency, count);
    compare_pairs_reserve(arena, &columns->ttft, count);
    compare_pairs_reserve(arena, &columns->tpot, count);
    compare_pairs_reserve(arena, &columns->e2e, count);
}

static void columns_add(struct columns *columns, const struct trace_request *p,
                        const struct trace_request *r)
{
    int32_t tokens = r->output_tokens > 0 ? r->output_tokens : p->output_tokens;

    compare_pairs_add(&columns->latency, compare_minus(p->finish_ps, p->arrival_ps),
                      compare_minus(r->finish_ps, r->arrival_ps));
    if (p->e2e_ps != TRACE_NONE && r->e2e_ps != TRACE_NONE)
        compare_pairs_add(&columns->e2e, p->e2e_ps, r->e2e_ps);
    if (p->first_token_ps == TRACE_NONE || r->first_token_ps == TRACE_NONE)
        return;
    compare_pairs_add(&columns->ttft, compare_minus(p->first_token_ps, p->arrival_ps),
                      compare_minus(r->first_token_ps, r->arrival_ps));
    if (tokens > 1)
        compare_pairs_add(
            &columns->tpot,
            units_mul_div(compare_minus(p->finish_ps, p->first_token_ps), 1, tokens - 1),
            units_mul_div(compare_minus(r->finish_ps, r->first_token_ps), 1, tokens - 1));
}

/* Over the pairs of totals. */
static void summarize(struct arena *arena, struct compare_totals *totals)
{
    struct columns columns;

    columns_reserve(arena, &columns, totals->pairs);
    for (size_t i = 0; i < totals->pairs; i++)
        columns_add(&columns, totals->matches[i].predicted, totals->matches[i].real);
    totals->latency = compare_metric_of(&columns.latency);
    totals->ttft = compare_metric_of(&columns.ttft);
    totals->tpot = compare_metric_of(&columns.tpot);
    totals->e2e = compare_metric_of(&columns.e2e);
}

/* A pair that counts. */
static bool check_pair(struct compare *compare, const struct trace_request *p,
                       const struct trace_request *r, struct err *err)
{
    int64_t real_ps = compare_minus(r->finish_ps, r->arrival_ps);

    if (real_ps <= 0)
        return err_set(err, ERR_INPUT,
                       "measured request %lld finishes when it arrives or before: its latency "
                       "cannot be compared (--exclude it)",
                       (long long)r->request_id);
    compare_worst_add(&compare->worst, r->request_id, 0, compare_minus(p->finish_ps, p->arrival_ps),
                      real_ps);
    return true;
}

struct join { /* of two traces in order of id */
    struct compare *compare;
    const struct compare_excluded *excluded;
    struct compare_match *kept, *all;
};

/* One id: p or r is NULL when its file does not have it. */
static bool join_one(struct join *join, int64_t request_id, const struct trace_request *p,
                     const struct trace_request *r, struct err *err)
{
    struct compare *compare = join->compare;
    bool is_excluded = compare_is_excluded(join->excluded, request_id), is_ok;

    compare->excluded += is_excluded && r;
    if (!p || !r) {
        compare->missing += !is_excluded;
        return true;
    }
    if (!is_excluded && !check_same(p, r, err))
        return false;
    is_ok = p->status == TRACE_OK && r->status == TRACE_OK;
    compare->not_ok += !is_ok && !is_excluded;
    if (!is_ok)
        return true;
    join->all[compare->all.pairs++] = (struct compare_match){ p, r };
    if (is_excluded)
        return true;
    join->kept[compare->kept.pairs++] = (struct compare_match){ p, r };
    return check_pair(compare, p, r, err);
}

bool compare_run(struct arena *arena, const struct trace_requests *predicted,
                 const struct trace_requests *real, const struct compare_excluded *excluded,
                 struct compare *compare, struct err *err)
{
    const struct trace_request *p = predicted->requests, *p_end = p + predicted->count;
    const struct trace_request *r = real->requests, *r_end = r + real->count;
    struct join join = { .compare = compare, .excluded = excluded };

    *compare = (struct compare){ 0 };
    join.kept = arena_array(arena, real->count, sizeof *join.kept);
    join.all = arena_array(arena, real->count, sizeof *join.all);
    while (p < p_end || r < r_end) {
        bool has_p = p < p_end && (r == r_end || p->request_id <= r->request_id);
        bool has_r = r < r_end && (p == p_end || r->request_id <= p->request_id);

        if (!join_one(&join, has_p ? p->request_id : r->request_id, has_p ? p : NULL,
                      has_r ? r : NULL, err))
            return false;
        p += has_p;
        r += has_r;
    }
    if (compare->kept.pairs == 0)
        return err_set(err, ERR_INPUT, "no request is ok in both files: nothing to compare");
    compare->kept.matches = join.kept;
    compare->all.matches = join.all;
    summarize(arena, &compare->kept);
    if (compare->all.pairs == compare->kept.pairs)
        compare->all.pairs = 0;
    summarize(arena, &compare->all);
    return true;
}
