/* test_metrics.c - what a meter says of requests equals what follows from all of them at once; an
 * observer that stands for several tells each. */
#include "sim/report/metrics.h"

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include "lib/policy/plan.h"
#include "sim/report/watch.h"
#include "sim/serve/serve.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#define MS UNITS_PS_PER_MS
#define S UNITS_PS_PER_S

static const struct model decoder = { .kind = MODEL_DECODER }, encoder = { .kind = MODEL_ENCODER };
static const struct plan_service services[] = { { .name = "box" },
                                                { .name = "chat", .model = &decoder },
                                                { .name = "search", .model = &encoder } };
static const struct plan plan = { .service_count = 3, .services = services };

static int make_arena(void **state)
{
    *state = arena_create();
    return 0;
}

static int end_arena(void **state)
{
    arena_destroy(*state);
    return 0;
}

/* A request of the given service that ended ok. */
static struct serve_end ok_end(int32_t service, int64_t arrival_ps, int64_t finish_ps)
{
    return (struct serve_end){ .service = service,
                               .status = TRACE_OK,
                               .arrival_ps = arrival_ps,
                               .start_ps = arrival_ps,
                               .first_token_ps = service == 0 ? TRACE_NONE : finish_ps,
                               .finish_ps = finish_ps,
                               .e2e_ps = TRACE_NONE };
}

static void services_have_the_statistics_that_suit_them(void **state)
{
    struct metrics_options options = { 0 };
    struct meter *meter = metrics_begin(*state, &plan, &options);
    struct serve_end end = ok_end(0, 0, 10 * MS);
    struct metrics all, *each;

    metrics_add(meter, &end);
    end = ok_end(1, 0, 60 * MS);
    end.first_token_ps = 20 * MS;
    end.output_tokens = 5;
    metrics_add(meter, &end);
    end.output_tokens = 1; /* has no time between tokens */
    metrics_add(meter, &end);
    end = ok_end(2, 0, 30 * MS);
    end.output_tokens = 7; /* not of a decoder */
    metrics_add(meter, &end);
    end = ok_end(2, 0, TRACE_NONE);
    end.status = TRACE_DROPPED;
    metrics_add(meter, &end);
    all = metrics_end(meter, 2 * S, &each);
    assert_string_equal(each[1].service, "chat");
    assert_null(all.service);
    assert_int_equal(all.total, 5);
    assert_int_equal(all.status[TRACE_OK], 4);
    assert_int_equal(all.status[TRACE_DROPPED], 1);
    assert_int_equal(all.good, 4);
    assert_int_equal(metrics_missed(&all), 1);
    assert_int_equal(all.latency.count, 4);
    assert_int_equal(all.ttft.count, 3);
    assert_int_equal(all.tpot.count, 1);
    assert_int_equal(all.tpot.mean, 10 * MS);
    assert_int_equal(all.output_tokens, 6);
    assert_int_equal(all.window_ps, 2 * S);
    assert_int_equal(each[0].ttft.count, 0);
    assert_int_equal(each[2].ttft.count, 1);
    assert_int_equal(each[2].tpot.count, 0);
    assert_int_equal(each[2].total, 2);
    assert_int_equal(each[2].window_ps, 2 * S);
}

static void the_objective_of_the_request_comes_first(void **state)
{
    struct metrics_options options = { .slo_ps = 20 * MS };
    struct meter *meter = metrics_begin(*state, &plan, &options);
    struct serve_end end = ok_end(0, 0, 20 * MS);
    struct metrics all, *each;

    metrics_add(meter, &end); /* good: just in time */
    end.finish_ps++;
    metrics_add(meter, &end);
    end.slo_ps = 30 * MS;
    metrics_add(meter, &end); /* good */
    end.slo_ps = 10 * MS;
    metrics_add(meter, &end);
    all = metrics_end(meter, S, &each);
    assert_int_equal(all.good, 2);
    assert_int_equal(each[0].good, 2);
    assert_int_equal(metrics_missed(&all), 2);
}

/* Each objective for itself; an executable has no tokens, an encoder only a first one. */
static void tokens_have_objectives_of_their_own(void **state)
{
    struct metrics_options options = { .slo_ttft_ps = 20 * MS, .slo_tpot_ps = 10 * MS };
    struct meter *meter = metrics_begin(*state, &plan, &options);
    struct serve_end end = ok_end(0, 0, 500 * MS);
    struct metrics all, *each;

    assert_true(metrics_has_slo(&options));
    metrics_add(meter, &end); /* good */
    end = ok_end(1, 0, 60 * MS);
    end.first_token_ps = 20 * MS;
    end.output_tokens = 5;
    metrics_add(meter, &end); /* good: both just in time */
    end.first_token_ps++;
    metrics_add(meter, &end);
    end.first_token_ps = 10 * MS; /* 12.5 ms a token */
    metrics_add(meter, &end);
    end.output_tokens = 1;
    metrics_add(meter, &end); /* good: no time between tokens */
    end = ok_end(2, 0, 21 * MS);
    metrics_add(meter, &end);
    end = ok_end(2, 0, 19 * MS);
    end.slo_ps = 18 * MS; /* its own of the latency */
    metrics_add(meter, &end);
    all = metrics_end(meter, S, &each);
    assert_int_equal(each[0].good, 1);
    assert_int_equal(each[1].good, 2);
    assert_int_equal(each[2].good, 0);
    assert_int_equal(metrics_missed(&all), 4);
    options = (struct metrics_options){ 0 };
    assert_false(metrics_has_slo(&options));
}

static void queues_and_gaps_are_counted_when_asked(void **state)
{
    struct metrics_options options = { .has_all = true, .trim_ps = 5 * MS };
    struct meter *meter = metrics_begin(*state, &plan, &options);
    struct serve_observer observer = metrics_observer(meter);
    struct metrics all, *each;

    for (int i = 0; i <= 20; i++) { /* one a millisecond; queues for as long as it arrives late */
        struct serve_end end = ok_end(0, i * MS, 100 * MS);

        end.start_ps = 2 * i * MS;
        observer.on_end(observer.end_arg, &end);
    }
    assert_true(observer.wants_arrivals);
    observer.on_gap(observer.end_arg, &(struct serve_gap){ 1, 10 * MS, MS, 3, 2, 5 * MS });
    observer.on_gap(observer.end_arg,
                    &(struct serve_gap){ 1, 70 * MS, 0, 1, 1, 16 * MS }); /* late */
    observer.on_gap(observer.end_arg, &(struct serve_gap){ 1, 60 * MS, 0, 1, 1, 4 * MS });
    observer.on_gap(observer.end_arg, &(struct serve_gap){ 1, 100 * MS, 0, 1, 1, 15 * MS });
    all = metrics_end(meter, S, &each);
    assert_int_equal(all.queue.count, 11); /* 5 to 15 */
    assert_int_equal(all.queue.min, 5 * MS);
    assert_int_equal(all.queue.max, 15 * MS);
    assert_int_equal(all.queue.p50, 10 * MS);
    assert_int_equal(all.run_ok, 21);   /* trimmed or not */
    assert_int_equal(all.itl.count, 7); /* 10 10 11 11 12 12 100 */
    assert_int_equal(all.itl.p50, 11 * MS);
    assert_int_equal(all.itl.max, 100 * MS);
    assert_int_equal(each[0].itl.count, 0);
    assert_int_equal(each[1].itl.mean, 166 * MS / 7);
    options.has_all = false;
    meter = metrics_begin(*state, &plan, &options);
    observer = metrics_observer(meter);
    assert_true(!observer.on_gap && !observer.wants_starts);
    for (int i = 0; i < 20; i++) {
        struct serve_end end = ok_end(0, i * MS, 100 * MS);

        observer.on_end(observer.end_arg, &end);
    }
    assert_int_equal(metrics_end(meter, S, &each).queue.count, 0);
}

static void trim_leaves_out_both_ends(void **state)
{
    struct metrics_options options = { .trim_ps = 10 * S };
    struct meter *meter = metrics_begin(*state, &plan, &options);
    struct metrics all, *each;

    for (int i = 0; i <= 30; i++) { /* one a second; latency tells the arrival */
        struct serve_end end = ok_end(i % 2, i * S, i * S + i * MS);

        metrics_add(meter, &end);
    }
    all = metrics_end(meter, 31 * S, &each);
    assert_int_equal(all.total, 11); /* 10 to 20 */
    assert_int_equal(all.trimmed, 20);
    assert_int_equal(all.latency.min, 10 * MS);
    assert_int_equal(all.latency.max, 20 * MS);
    assert_int_equal(all.window_ps, 10 * S);
    assert_int_equal(each[0].total, 6);
    assert_int_equal(each[0].trimmed, 10);
    assert_int_equal(each[1].total, 5);
    assert_int_equal(each[1].trimmed, 10);
}

static void a_trim_may_leave_nothing(void **state)
{
    for (int count = 0; count <= 3; count++) {
        struct metrics_options options = { .trim_ps = 10 * S };
        struct meter *meter = metrics_begin(*state, &plan, &options);
        struct metrics all, *each;

        for (int i = 0; i < count; i++) {
            struct serve_end end = ok_end(0, (5 + i) * S, 30 * S);

            metrics_add(meter, &end);
        }
        all = metrics_end(meter, 30 * S, &each);
        assert_int_equal(all.total, 0);
        assert_int_equal(all.trimmed, count);
        assert_int_equal(all.latency.count, 0);
        assert_int_equal(all.window_ps, 0);
    }
}

/* ---- against all requests at once ---- */

#define REQUESTS 20000

static int compare_ends(const void *left, const void *right)
{
    const struct serve_end *a = left, *b = right;

    if (a->finish_ps != b->finish_ps)
        return a->finish_ps < b->finish_ps ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

/* In order of ending, which is not that of arrival. */
static struct serve_end *draw(struct arena *arena, uint64_t seed)
{
    struct rng rng = rng_stream(seed, RNG_TEST, 0);
    struct serve_end *ends = arena_array(arena, REQUESTS, sizeof(*ends));
    int64_t now_ps = 0;

    for (size_t i = 0; i < REQUESTS; i++) {
        now_ps += (int64_t)rng_exponential(&rng, (double)(5 * MS));
        ends[i] = ok_end((int32_t)rng_below(&rng, 3), now_ps,
                         now_ps + (int64_t)rng_exponential(&rng, (double)(800 * MS)));
        ends[i].index = i;
        if (ends[i].service != 0)
            ends[i].first_token_ps -= (ends[i].finish_ps - now_ps) / 3;
        ends[i].output_tokens = 1 + (int32_t)rng_below(&rng, 4);
        if (rng_below(&rng, 10) == 0)
            ends[i].status = TRACE_REFUSED;
    }
    qsort(ends, REQUESTS, sizeof(*ends), compare_ends);
    return ends;
}

static bool *kept_of(struct arena *arena, const struct serve_end *ends, int64_t trim_ps)
{
    bool *kept = arena_array(arena, REQUESTS, sizeof(*kept));
    int64_t last_ps = 0;

    for (size_t i = 0; i < REQUESTS; i++)
        last_ps = ends[i].arrival_ps > last_ps ? ends[i].arrival_ps : last_ps;
    for (size_t i = 0; i < REQUESTS; i++)
        kept[i] = trim_ps == 0 ||
                  (ends[i].arrival_ps >= trim_ps && ends[i].arrival_ps <= last_ps - trim_ps);
    return kept;
}

/* service -1: all. */
static void assert_is_of(struct arena *arena, const struct metrics *seen, int32_t service,
                         const struct serve_end *ends, const bool *kept)
{
    int64_t *latency = arena_array(arena, REQUESTS, sizeof(*latency));
    int64_t *ttft = arena_array(arena, REQUESTS, sizeof(*ttft));
    int64_t *tpot = arena_array(arena, REQUESTS, sizeof(*tpot));
    size_t total = 0, ok = 0, first = 0, between = 0, trimmed = 0;
    struct stats_summary summary;

    for (size_t i = 0; i < REQUESTS; i++) {
        const struct serve_end *end = &ends[i];

        if (service >= 0 && end->service != service)
            continue;
        trimmed += !kept[i];
        total += kept[i];
        if (!kept[i] || end->status != TRACE_OK)
            continue;
        latency[ok++] = end->finish_ps - end->arrival_ps;
        if (end->service != 0)
            ttft[first++] = end->first_token_ps - end->arrival_ps;
        if (end->service == 1 && end->output_tokens > 1)
            tpot[between++] =
                units_mul_div(end->finish_ps - end->first_token_ps, 1, end->output_tokens - 1);
    }
    assert_int_equal(seen->total, total);
    assert_int_equal(seen->trimmed, trimmed);
    assert_int_equal(seen->status[TRACE_OK], ok);
    summary = stats_summarize(latency, ok);
    assert_memory_equal(&seen->latency, &summary, sizeof(summary));
    summary = stats_summarize(ttft, first);
    assert_memory_equal(&seen->ttft, &summary, sizeof(summary));
    summary = stats_summarize(tpot, between);
    assert_memory_equal(&seen->tpot, &summary, sizeof(summary));
}

static void a_meter_says_what_all_requests_at_once_say(void **state)
{
    static const int64_t trims_ps[] = { 0, 1, S, 20 * S, 49 * S };
    struct serve_end *ends = draw(*state, 1);

    for (size_t t = 0; t < sizeof(trims_ps) / sizeof(trims_ps[0]); t++) {
        struct metrics_options options = { .trim_ps = trims_ps[t] };
        struct meter *meter = metrics_begin(*state, &plan, &options);
        struct metrics all, *each;
        const bool *kept = kept_of(*state, ends, trims_ps[t]);

        for (size_t i = 0; i < REQUESTS; i++)
            metrics_add(meter, &ends[i]);
        all = metrics_end(meter, 1, &each);
        assert_is_of(*state, &all, -1, ends, kept);
        for (int32_t s = 0; s < 3; s++)
            assert_is_of(*state, &each[s], s, ends, kept);
    }
}

static void a_histogram_is_near_and_its_counts_are_exact(void **state)
{
    struct serve_end *ends = draw(*state, 2);
    struct metrics_options options = { .samples = SAMPLES_HISTOGRAM, .trim_ps = S };
    struct meter *rough = metrics_begin(*state, &plan, &options), *exact;
    struct metrics near, real, *each;

    options.samples = SAMPLES_EXACT;
    exact = metrics_begin(*state, &plan, &options);
    for (size_t i = 0; i < REQUESTS; i++) {
        metrics_add(rough, &ends[i]);
        metrics_add(exact, &ends[i]);
    }
    near = metrics_end(rough, 1, &each);
    real = metrics_end(exact, 1, &each);
    assert_int_equal(near.total, real.total);
    assert_int_equal(near.latency.mean, real.latency.mean);
    assert_int_equal(near.latency.max, real.latency.max);
    assert_true(fabs((double)near.latency.p99 / (double)real.latency.p99 - 1) <=
                SAMPLES_ERROR_RATIO);
    assert_true(near.latency.p99 != real.latency.p99);
}

static void memory_is_eight_bytes_a_request_or_none(void **state)
{
    for (int kind = 0; kind < SAMPLES_KIND_COUNT; kind++) {
        struct metrics_options options = { .samples = (enum samples_kind)kind, .trim_ps = S };
        struct meter *meter = metrics_begin(*state, &plan, &options);
        size_t begin, used;

        for (int i = 0; i < 10000; i++) {
            struct serve_end end = ok_end(0, i * MS, i * MS + (i % 100) * MS);

            metrics_add(meter, &end);
        }
        begin = arena_used_bytes(*state);
        for (int i = 10000; i < 1000000; i++) {
            struct serve_end end = ok_end(0, i * MS, i * MS + (i % 100) * MS);

            metrics_add(meter, &end);
        }
        used = arena_used_bytes(*state) - begin;
        if (kind == SAMPLES_EXACT)
            assert_true(used <= 8 * 990000 + 8 * 65536 + 4096);
        else
            assert_int_equal(used, 0);
    }
}

/* ---- several observers ---- */

struct ear {
    int spans, transfers, uses, ends, caches;
};

static void hear_span(void *arg, const struct serve_span *span)
{
    (void)span;
    ((struct ear *)arg)->spans++;
}

static void hear_transfer(void *arg, const struct serve_transfer *transfer)
{
    (void)transfer;
    ((struct ear *)arg)->transfers++;
}

static void hear_use(void *arg, const struct serve_use *use)
{
    (void)use;
    ((struct ear *)arg)->uses++;
}

static void hear_busy(void *arg, const struct serve_busy *busy)
{
    (void)busy;
    ((struct ear *)arg)->uses += 10;
}

static void hear_end(void *arg, const struct serve_end *end)
{
    (void)end;
    ((struct ear *)arg)->ends++;
}

static void hear_cache(void *arg, int32_t device, int64_t now_ps, int64_t kv_bytes)
{
    assert_true(device == 3 && now_ps == 5 && kv_bytes == 7);
    ((struct ear *)arg)->caches++;
}

static void tell(const struct serve_observer *observer)
{
    struct serve_span span = { 0 };
    struct serve_transfer transfer = { 0 };
    struct serve_use use = { 0 };
    struct serve_busy busy = { 0 };
    struct serve_end end = { 0 };

    if (observer->on_span)
        observer->on_span(observer->arg, &span);
    if (observer->on_cache)
        observer->on_cache(observer->arg, 3, 5, 7);
    if (observer->on_transfer)
        observer->on_transfer(observer->arg, &transfer);
    if (observer->on_use)
        observer->on_use(observer->arg, &use);
    if (observer->on_busy)
        observer->on_busy(observer->arg, &busy);
    if (observer->on_end)
        observer->on_end(observer->end_arg, &end);
}

static void each_observer_is_told(void **state)
{
    struct ear a = { 0 }, a_end = { 0 }, b = { 0 };
    struct serve_observer list[] = {
        { .arg = &a, .end_arg = &a_end, .on_span = hear_span, .on_end = hear_end },
        { .arg = NULL },
        { .arg = &b,
          .end_arg = &b,
          .on_span = hear_span,
          .on_transfer = hear_transfer,
          .on_end = hear_end,
          .on_use = hear_use,
          .on_busy = hear_busy,
          .on_cache = hear_cache },
    };
    struct serve_observer joined = watch_join(*state, list, 3);

    tell(&joined);
    assert_true(a.spans == 1 && a.transfers == 0 && a.ends == 0 && a_end.ends == 1);
    assert_true(a.uses == 0 && b.uses == 11);
    assert_true(b.spans == 1 && b.transfers == 1 && b.ends == 1);
    assert_true(a.caches == 0 && b.caches == 1);
}

static void a_lone_observer_is_told_directly(void **state)
{
    struct ear a = { 0 }, b = { 0 };
    struct serve_observer list[] = {
        { .arg = &a, .on_transfer = hear_transfer, .on_use = hear_use, .on_busy = hear_busy },
        { .end_arg = &b, .on_end = hear_end },
    };
    struct serve_observer joined = watch_join(*state, list, 2);

    assert_ptr_equal(joined.arg, &a);
    assert_ptr_equal(joined.end_arg, &b);
    assert_null(joined.on_span);
    assert_true(joined.on_transfer == hear_transfer && joined.on_end == hear_end);
    tell(&joined);
    assert_true(a.transfers == 1 && a.uses == 11 && b.ends == 1);
    assert_true(joined.on_use == hear_use && joined.on_busy == hear_busy);
    joined = watch_join(*state, list, 0);
    assert_true(!joined.on_span && !joined.on_transfer && !joined.on_end);
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, make_arena, end_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(services_have_the_statistics_that_suit_them),
        RULE(the_objective_of_the_request_comes_first),
        RULE(tokens_have_objectives_of_their_own),
        RULE(queues_and_gaps_are_counted_when_asked),
        RULE(trim_leaves_out_both_ends),
        RULE(a_trim_may_leave_nothing),
        RULE(a_meter_says_what_all_requests_at_once_say),
        RULE(a_histogram_is_near_and_its_counts_are_exact),
        RULE(memory_is_eight_bytes_a_request_or_none),
        RULE(each_observer_is_told),
        RULE(a_lone_observer_is_told_directly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
