/* test_alpaserve_naive.c - AlpaServe's rules against a slow program in doubles, written from the
 * text of their pseudo-code, on random placements and workloads. */
#include "sim/alpaserve/alpaserve.h"

#include "lib/base/rng.h"
#include "tests/unit/sim/booked.h"
#include <math.h>

#define MOST_SERVICES 5
#define MOST_GROUPS 4
#define MOST_STAGES 4
#define MOST_DEVICES 3 /* of a stage */
#define REQUESTS 400
#define SIZES 5
static const int batch_sizes[SIZES] = { 1, 2, 4, 8, 16 };

struct naive_replica { /* a service on a group */
    int service, group, number;
    double latency_s[SIZES][MOST_STAGES]; /* with the penalty */
};

struct naive {
    int service_count, group_count, replica_count, size_count;
    int stage_count[MOST_GROUPS];
    int device_count[MOST_GROUPS][MOST_STAGES];
    int devices[MOST_GROUPS][MOST_STAGES][MOST_DEVICES];
    struct naive_replica replicas[MOST_SERVICES * MOST_GROUPS]; /* in file order */
    int group_order[MOST_GROUPS];                               /* by first replica in the file */
    int ordered;
    double clock_s[64]; /* by device */
    /* requests */
    double arrival_s[REQUESTS], slo_s[REQUESTS], finish_s[REQUESTS]; /* slo 0 = none */
    int service[REQUESTS];
    bool is_good[REQUESTS];
    /* batches */
    int queue[MOST_SERVICES][REQUESTS], head[MOST_SERVICES], tail[MOST_SERVICES];
    double idle_s[MOST_GROUPS], event_s[MOST_GROUPS]; /* INFINITY = no event */
};

/* ---- the pseudo-code ---- */

static double stage_clock(const struct naive *n, int group, int stage)
{
    double clock_s = 0;

    for (int i = 0; i < n->device_count[group][stage]; i++)
        clock_s = fmax(clock_s, n->clock_s[n->devices[group][stage][i]]);
    return clock_s;
}

static double predict(const struct naive *n, const struct naive_replica *replica, int size,
                      double time_s, double *ends_s)
{
    for (int k = 0; k < n->stage_count[replica->group]; k++) {
        time_s = fmax(time_s, stage_clock(n, replica->group, k)) + replica->latency_s[size][k];
        ends_s[k] = time_s;
    }
    return time_s;
}

static void commit(struct naive *n, int group, const double *ends_s)
{
    for (int k = 0; k < n->stage_count[group]; k++)
        for (int i = 0; i < n->device_count[group][k]; i++)
            n->clock_s[n->devices[group][k][i]] = ends_s[k];
}

static const struct naive_replica *choose(const struct naive *n, int service)
{
    const struct naive_replica *best = NULL;
    double best_s = INFINITY;

    for (int r = 0; r < n->replica_count; r++) {
        const struct naive_replica *replica = &n->replicas[r];
        double clock_s = stage_clock(n, replica->group, n->stage_count[replica->group] - 1);

        if (replica->service != service || clock_s >= best_s)
            continue;
        best = replica;
        best_s = clock_s;
    }
    return best;
}

static bool is_in_time(const struct naive *n, int request, double finish_s)
{
    return n->slo_s[request] == 0 || finish_s - n->arrival_s[request] <= n->slo_s[request];
}

static void naive_run(struct naive *n)
{
    for (int i = 0; i < REQUESTS; i++) {
        const struct naive_replica *replica = choose(n, n->service[i]);
        double ends_s[MOST_STAGES] = { 0 };
        double finish_s = predict(n, replica, 0, n->arrival_s[i], ends_s) + 0.011;

        n->is_good[i] = is_in_time(n, i, finish_s);
        n->finish_s[i] = n->is_good[i] ? finish_s : n->arrival_s[i];
        if (n->is_good[i])
            commit(n, replica->group, ends_s);
    }
}

static const struct naive_replica *replica_on(const struct naive *n, int service, int group)
{
    for (int r = 0; r < n->replica_count; r++)
        if (n->replicas[r].service == service && n->replicas[r].group == group)
            return &n->replicas[r];
    return NULL;
}

/* Whether anything of the service ran. */
static bool serve(struct naive *n, double now_s, int service, int group)
{
    const struct naive_replica *replica = replica_on(n, service, group);
    double ends_s[MOST_STAGES] = { 0 }, finish_s;
    int *head = &n->head[service], size = 0;
    const int *queue = n->queue[service];

    while (*head < n->tail[service] &&
           !is_in_time(n, queue[*head], predict(n, replica, 0, now_s + 0.011, ends_s)))
        n->finish_s[queue[(*head)++]] = now_s; /* dropped */
    if (*head == n->tail[service])
        return false;
    while (size + 1 < n->size_count && batch_sizes[size + 1] <= n->tail[service] - *head &&
           is_in_time(n, queue[*head], predict(n, replica, size + 1, now_s + 0.011, ends_s)))
        size++;
    finish_s = predict(n, replica, size, now_s + 0.011, ends_s);
    commit(n, group, ends_s);
    n->idle_s[group] = n->event_s[group] = ends_s[0];
    for (int i = 0; i < batch_sizes[size]; i++, (*head)++) {
        n->is_good[queue[*head]] = true;
        n->finish_s[queue[*head]] = finish_s;
    }
    return true;
}

/* The models of the group by their oldest heads, until one of them has something valid. */
static void serve_oldest(struct naive *n, double now_s, int group, int first)
{
    bool is_tried[MOST_SERVICES] = { false };

    if (first >= 0 && serve(n, now_s, first, group))
        return;
    if (first >= 0)
        is_tried[first] = true;
    for (;;) {
        int oldest = -1;

        for (int s = 0; s < n->service_count; s++)
            if (!is_tried[s] && replica_on(n, s, group) && n->head[s] < n->tail[s] &&
                (oldest < 0 || n->queue[s][n->head[s]] < n->queue[oldest][n->head[oldest]]))
                oldest = s;
        if (oldest < 0 || serve(n, now_s, oldest, group))
            return;
        is_tried[oldest] = true;
    }
}

/* Pops (idle time, group) events up to now. */
static void serve_idle(struct naive *n, double now_s)
{
    for (;;) {
        int next = n->group_order[0];
        double event_s;

        for (int i = 1; i < n->ordered; i++)
            if (n->event_s[n->group_order[i]] < n->event_s[next])
                next = n->group_order[i];
        event_s = n->event_s[next];
        if (event_s > now_s || event_s == INFINITY)
            return;
        n->event_s[next] = INFINITY;
        serve_oldest(n, event_s, next, -1);
    }
}

static void naive_run_batches(struct naive *n)
{
    for (int g = 0; g < n->group_count; g++)
        n->event_s[g] = INFINITY;
    for (int i = 0; i < REQUESTS; i++) {
        int service = n->service[i], group;

        serve_idle(n, n->arrival_s[i]);
        group = choose(n, service)->group;
        n->queue[service][n->tail[service]++] = i;
        if (n->arrival_s[i] >= n->idle_s[group])
            serve_oldest(n, n->arrival_s[i], group, service);
    }
    serve_idle(n, INFINITY);
}

/* ---- the same for both ---- */

static int below(struct rng *rng, int bound)
{
    return (int)rng_below(rng, (uint64_t)bound);
}

/* Groups of devices, disjoint unless does_share; each service on some of them. */
static void draw_places(struct naive *n, struct rng *rng, bool does_share)
{
    int device = 0;

    n->service_count = 1 + below(rng, MOST_SERVICES);
    n->group_count = 1 + below(rng, MOST_GROUPS);
    for (int g = 0; g < n->group_count; g++) {
        n->stage_count[g] = 1 + below(rng, MOST_STAGES);
        for (int k = 0; k < n->stage_count[g]; k++) {
            n->device_count[g][k] = 1 + below(rng, MOST_DEVICES);
            for (int i = 0; i < n->device_count[g][k]; i++)
                n->devices[g][k][i] =
                    does_share ? 3 * i + below(rng, 3) : device++; /* no device twice in a stage */
        }
    }
    for (int s = 0; s < n->service_count; s++) {
        int forced = below(rng, n->group_count), number = 0;

        for (int g = 0; g < n->group_count; g++)
            if (g == forced || below(rng, 2) == 0) {
                n->replicas[n->replica_count++] =
                    (struct naive_replica){ .service = s, .group = g, .number = number };
                number++;
            }
    }
    for (int r = 0; r < n->replica_count; r++) {
        int group = n->replicas[r].group, at = 0;

        while (at < n->ordered && n->group_order[at] != group)
            at++;
        if (at == n->ordered)
            n->group_order[n->ordered++] = group;
    }
}

static struct booked *write_files(struct scratch *scratch, struct naive *n, struct rng *rng)
{
    struct out *places = out_open_memory(scratch->arena);
    struct out *costs = out_open_memory(scratch->arena);

    out_text(places, "service,replica,stage,device,executable\n");
    out_text(costs, "executable,stage,latency_s,batch\n");
    for (int r = 0; r < n->replica_count; r++) {
        struct naive_replica *replica = &n->replicas[r];
        int g = replica->group;

        for (int k = 0; k < n->stage_count[g]; k++) {
            int64_t base_ns = 1000 + below(rng, 50000000);

            for (int i = 0; i < n->device_count[g][k]; i++)
                out_printf(places, "s%d,%d,%d,d%02d,e%d\n", replica->service, replica->number, k,
                           n->devices[g][k][i], r);
            for (int b = 0; b < SIZES; b++) {
                int64_t latency_ns = base_ns + base_ns / 4 * (batch_sizes[b] - 1);

                out_printf(costs, "e%d,%d,%.9f,%d\n", r, k, (double)latency_ns * 1e-9,
                           batch_sizes[b]);
                replica->latency_s[b][k] =
                    (double)latency_ns * 1e-9 * (1 + 0.009 * n->stage_count[g]);
            }
        }
    }
    return booked_create(scratch, scratch_text(places), scratch_text(costs), NULL);
}

static void draw_requests(struct naive *n, struct rng *rng, struct booked *b)
{
    double load = 0.5 + rng_uniform(rng), at_s = 0, mean_s = 0;
    bool has_slo = below(rng, 4) > 0;

    for (int r = 0; r < n->replica_count; r++)
        mean_s += n->replicas[r].latency_s[0][0] / n->replica_count / n->ordered / load;
    for (int i = 0; i < REQUESTS; i++) {
        int64_t arrival_ps, slo_ps;

        at_s += rng_exponential(rng, mean_s);
        arrival_ps = (int64_t)(at_s * 1e12);
        slo_ps = has_slo && below(rng, 8) > 0 ? (int64_t)(rng_exponential(rng, 0.4) * 1e12) : 0;
        n->service[i] = below(rng, n->service_count);
        n->arrival_s[i] = (double)arrival_ps * 1e-12;
        n->slo_s[i] = (double)slo_ps * 1e-12;
        booked_add(b, n->service[i], arrival_ps, slo_ps);
    }
}

/* The plan numbers services and devices in the order of the file, as they were drawn. */
static void assert_same(const struct naive *n, const struct booked *b, int *good)
{
    for (int i = 0; i < REQUESTS; i++) {
        const struct alpaserve_end *end = &b->ends[i];

        assert_int_equal(end->status, n->is_good[i] ? TRACE_OK : TRACE_DROPPED);
        assert_true(fabs((double)end->end_ps * 1e-12 - n->finish_s[i]) <= 1e-9);
        *good += n->is_good[i];
    }
}

static void assert_devices_do_one_thing_at_a_time(const struct booked *b)
{
    for (size_t i = 0; i < b->span_count; i++)
        for (size_t k = i + 1; k < b->span_count && k < i + 400; k++) {
            const struct alpaserve_span *x = &b->spans[i], *y = &b->spans[k];

            if (x->device != y->device || (x->batch_id >= 0 && x->batch_id == y->batch_id))
                continue;
            assert_true(x->finish_ps <= y->start_ps || y->finish_ps <= x->start_ps);
        }
}

static void assert_busy_is_the_sum_of_spans(const struct booked *b)
{
    int device_count = b->input.plan->cluster->device_count;

    for (int d = 0; d < device_count; d++) {
        int64_t busy_ps = 0;

        for (size_t i = 0; i < b->span_count; i++)
            if (b->spans[i].device == d && b->spans[i].share == 0)
                busy_ps += b->spans[i].finish_ps - b->spans[i].start_ps;
        assert_int_equal(b->result.busy_ps[d], busy_ps);
    }
}

static void assert_repeats(struct booked *b)
{
    struct alpaserve_end *ends = b->ends;
    struct alpaserve_span *spans = b->spans;
    size_t span_count = b->span_count;

    b->spans = NULL;
    b->span_capacity = 0;
    b->is_pulled_singly = !b->is_pulled_singly; /* nor does it matter how requests are pulled */
    booked_run(b);
    for (size_t i = 0; i < b->count; i++) {
        assert_int_equal(b->ends[i].status, ends[i].status);
        assert_int_equal(b->ends[i].replica, ends[i].replica);
        assert_int_equal(b->ends[i].start_ps, ends[i].start_ps);
        assert_int_equal(b->ends[i].finish_ps, ends[i].finish_ps);
        assert_int_equal(b->ends[i].end_ps, ends[i].end_ps);
    }
    assert_int_equal(b->span_count, span_count);
    assert_memory_equal(b->spans, spans, span_count * sizeof *spans);
}

static void run_cases(struct scratch *scratch, bool has_batches, int count)
{
    int64_t batches = 0;
    int good = 0;

    for (int i = 0; i < count; i++) {
        struct rng rng = rng_stream(7, RNG_TEST, (uint64_t)i);
        struct naive *n = arena_alloc(scratch->arena, sizeof *n);
        struct booked *b;

        draw_places(n, &rng, !has_batches && i % 2 == 1);
        b = write_files(scratch, n, &rng);
        draw_requests(n, &rng, b);
        if (has_batches) {
            n->size_count = 1 + below(&rng, SIZES);
            b->options.batch = (struct batch_options){
                .kind = BATCH_FIXED, .max_size = batch_sizes[n->size_count - 1] + below(&rng, 2)
            };
            if (b->options.batch.max_size == 2)
                n->size_count = 2;
            naive_run_batches(n);
        } else {
            naive_run(n);
        }
        booked_run(b);
        assert_same(n, b, &good);
        assert_devices_do_one_thing_at_a_time(b);
        assert_busy_is_the_sum_of_spans(b);
        assert_repeats(b);
        batches += b->result.batch_count;
    }
    assert_in_range(good, count * REQUESTS / 4, count * REQUESTS * 19 / 20);
    assert_in_range(batches, has_batches ? 1 : 0, good * 3 / 4);
}

static void bookings_are_those_of_the_pseudo_code(void **state)
{
    run_cases(*state, false, 150);
}

static void batches_are_those_of_the_pseudo_code(void **state)
{
    run_cases(*state, true, 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(bookings_are_those_of_the_pseudo_code),
        scratch_test(batches_are_those_of_the_pseudo_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
