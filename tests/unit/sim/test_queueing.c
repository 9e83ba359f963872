/* test_queueing.c - open queues: M/M/1, M/D/1, M/G/1, M/M/c, M/D/c, batches, losses, tandems. */
#include "tests/unit/sim/oracle.h"

/* ---- one server ---- */

/* Latency is exponential as well: P(T > t) = e^(-(mu - lambda) t). */
static void mm1(void **state)
{
    (void)state;
    encoder_costs();
    encoders(1);
    for (int load = 5; load <= 8; load += 3) {
        double rate = 100.0 * load, left = 1000 - rate;

        open_load(rate, 20000);
        fixture.files.load.texts[LOAD_PROMPT] = "exp:1000";
        oracle.over_ps = (int64_t)(log(10) / left * 1e12);
        assert_latency("M/M/1: latency", 1 / left, 0.1);
        assert_theory("M/M/1: share of those above p90", oracle.figures[3], 0.1, 0.2);
        assert_theory("M/M/1: share of those that wait", oracle.figures[2], 1 - rate / 1000, 0.1);
    }
}

/* Pollaczek and Khinchine: mean wait = rho S / (2 (1 - rho)). */
static void md1(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010\n");
    replicas(1);
    for (int load = 3; load <= 9; load += 2) {
        double rho = load / 10.0;

        for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
            fixture.options.fast_path = (enum serve_fast)fast;
            open_load(10.0 * load, 20000);
            assert_latency("M/D/1: latency", 0.010 + rho * 0.010 / (2 * (1 - rho)), 0.2);
            assert_theory("M/D/1: wait", oracle.figures[1], rho * 0.010 / (2 * (1 - rho)), 0.2);
            assert_theory("M/D/1: share of those that do not wait", oracle.figures[2], 1 - rho,
                          0.05 / (1 - rho));
        }
    }
}

/* Requests of 1 to 8 items, each number as often, of service times with a cv of 1.4. */
static void mg1(void **state)
{
    static const int times_ms[8] = { 1, 2, 2, 3, 4, 7, 15, 40 };
    const char *rows = "executable,stage,batch,latency_s\n";
    double mean = 0, square = 0;

    (void)state;
    for (int i = 0; i < 8; i++) {
        rows = arena_printf(fixture.arena, "%sx,0,%d,0.%03d\n", rows, i + 1, times_ms[i]);
        mean += times_ms[i] / 8e3;
        square += times_ms[i] * times_ms[i] / 8e6;
    }
    fixture_stages(rows);
    replicas(1);
    for (int load = 3; load <= 9; load += 3) {
        double rate = load / 10.0 / mean;

        open_load(rate, 20000);
        fixture.files.load.texts[LOAD_ITEMS] = "uniform:1:8";
        assert_latency("M/G/1: latency", mean + rate * square / (2 * (1 - rate * mean)), 0.2);
    }
}

/* The gap is taken as part of the service, of which the request itself does not see the last. */
static void a_gap_makes_the_service_longer_for_those_behind(void **state)
{
    double rho = 70 * 0.012;

    (void)state;
    fixture_stages("executable,stage,latency_s,gap_s\nx,0,0.010,0.002\n");
    replicas(1);
    open_load(70, 20000);
    assert_latency("M/D/1 with gaps: latency", 0.010 + rho * 0.012 / (2 * (1 - rho)), 0.1);
}

/* ---- several servers ---- */

static double erlang_c(int c, double a)
{
    double term = 1, sum = 1;

    for (int k = 1; k < c; k++) {
        term *= a / k;
        sum += term;
    }
    term *= a / c * c / (c - a);
    return term / (sum + term);
}

static double erlang_b(int c, double a)
{
    double blocked = 1;

    for (int k = 1; k <= c; k++)
        blocked = a * blocked / (k + a * blocked);
    return blocked;
}

/* least-idle knows how long each replica is booked and takes the one that is free first: that is
 * the central queue, whatever the service times (Kiefer and Wolfowitz 1955). */
static void mmc(void **state)
{
    (void)state;
    encoder_costs();
    for (int c = 2; c <= 5; c += 3) {
        double rate = 800.0 * c, wait = erlang_c(c, 0.8 * c) / (1000.0 * c - rate);

        encoders(c);
        open_load(rate, 20000);
        fixture.files.load.texts[LOAD_PROMPT] = "exp:1000";
        assert_latency("M/M/c: latency", 0.001 + wait, 0.1);
        assert_theory("M/M/c: wait", oracle.figures[1], wait, 0.2);
    }
}

/* Crommelin (1932): after one service time the number in the system is what did not leave and what
 * has come, n' = max(n - c, 0) + Poisson(rate D). The mean number follows from iterating that. */
static double mdc_wait(int c, double rate, double service)
{
    enum { MOST = 400 };
    static double now[MOST], next[MOST], arrivals[MOST];
    double queue = 0;

    arrivals[0] = exp(-rate * service);
    for (int i = 1; i < MOST; i++)
        arrivals[i] = arrivals[i - 1] * rate * service / i;
    memset(now, 0, sizeof(now));
    now[0] = 1;
    for (int round = 0; round < 3000; round++) {
        memset(next, 0, sizeof(next));
        for (int n = 0; n < MOST; n++)
            for (int k = 0; k < 100 && (n > c ? n - c : 0) + k < MOST && now[n] > 0; k++)
                next[(n > c ? n - c : 0) + k] += now[n] * arrivals[k];
        memcpy(now, next, sizeof(now));
    }
    for (int n = c + 1; n < MOST; n++)
        queue += (n - c) * now[n];
    return queue / rate;
}

static void mdc(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010\n");
    for (int c = 2; c <= 4; c++) {
        double rate = 80.0 * c, wait = mdc_wait(c, rate, 0.010);

        replicas(c);
        for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
            fixture.options.fast_path = (enum serve_fast)fast;
            open_load(rate, 20000);
            assert_latency("M/D/c: latency", 0.010 + wait, 0.1);
            assert_theory("M/D/c: wait", oracle.figures[1], wait, 0.2);
        }
    }
}

/* Random dispatch makes c queues of their own: c times M/M/1 or M/D/1 of a c-th of the rate. */
static void random_dispatch_makes_queues_of_their_own(void **state)
{
    double rho = 0.7;

    (void)state;
    fixture_stages(STAGES "x,0,0.010\n");
    replicas(3);
    fixture.options.dispatch = DISPATCH_RANDOM;
    open_load(210, 40000);
    assert_latency("3 x M/D/1: latency", 0.010 + rho * 0.010 / (2 * (1 - rho)), 0.1);
    encoder_costs();
    encoders(3);
    open_load(2100, 40000);
    fixture.files.load.texts[LOAD_PROMPT] = "exp:1000";
    assert_latency("3 x M/M/1: latency", 1 / (1000.0 - 700), 0.1);
}

/* least-idle: request by request what Kiefer and Wolfowitz's recursion of a central queue gives;
 * start = max(arrival, the least instant at which a server is free). */
static int64_t servers_free_ps[5];
static size_t servers_seen;

static void follow_the_central_queue(void *arg, const struct serve_end *end)
{
    int64_t *least_ps = &servers_free_ps[0];

    (void)arg;
    assert_int_equal(end->index, servers_seen++);
    for (int i = 1; i < 5; i++)
        if (servers_free_ps[i] < *least_ps)
            least_ps = &servers_free_ps[i];
    assert_int_equal(end->start_ps, *least_ps > end->arrival_ps ? *least_ps : end->arrival_ps);
    *least_ps = end->finish_ps;
}

static void least_idle_is_the_central_queue(void **state)
{
    const struct serve_observer observer = { .on_end = follow_the_central_queue };

    (void)state;
    fixture_stages("executable,stage,batch,latency_s\nx,0,1,0.001\nx,0,2,0.020\nx,0,3,0.004\n");
    replicas(5);
    memset(servers_free_ps, 0, sizeof(servers_free_ps));
    servers_seen = 0;
    open_load(500, 20000);
    fixture.files.load.texts[LOAD_ITEMS] = "uniform:1:3";
    fixture.options.fast_path = SERVE_FAST_ON; /* which tells of ends in order of arrival */
    assert_true(load_finish(&fixture.files.load, &fixture.err) && fixture_load());
    assert_true(serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, &observer,
                          &fixture.result, &fixture.err));
    assert_int_equal(servers_seen, 20000);
}

/* ---- losses ---- */

/* With an objective of one service time only what need not wait is let in: M/G/c/c, in which the
 * share that is lost depends on the mean service time alone (Erlang B). */
static void erlang_loss(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010\n");
    fixture.options.admission = ADMIT_SLO;
    fixture.options.slo_ps = 10 * MS;
    for (int c = 1; c <= 4; c += 3) {
        replicas(c);
        open_load(90.0 * c, 20000);
        oracle.over_ps = 10 * MS;
        assert_latency("M/D/c/c: latency", 0, 0);
        assert_theory("M/D/c/c: share lost", oracle.figures[4], erlang_b(c, 0.9 * c), 0.1);
        for (int i = 0; i < RUNS; i++) {
            assert_true(oracle.figures[3][i] <= 0); /* nobody is late */
            assert_true(oracle.figures[2][i] >= 1); /* nobody waits */
        }
    }
}

/* Whatever the load, what one stage lets in is in time; and the more patience, the fewer lost. */
static void an_objective_bounds_the_latency_at_any_load(void **state)
{
    double lost_before;

    (void)state;
    fixture_stages(STAGES "x,0,0.010\n");
    replicas(2);
    for (int kind = ADMIT_SLO; kind <= ADMIT_LATE; kind++) {
        fixture.options.admission = (enum admit_kind)kind;
        lost_before = 1;
        for (int slo_ms = 15; slo_ms <= 240; slo_ms *= 4) {
            fixture.options.slo_ps = slo_ms * MS;
            open_load(300, 20000);
            oracle.over_ps = slo_ms * MS;
            oracle_run(1);
            assert_int_equal(oracle.over, 0);
            assert_true((double)oracle.dropped / (double)oracle.taken > 1 - 200.0 / 300 - 0.02);
            assert_true((double)oracle.dropped / (double)oracle.taken <= lost_before);
            lost_before = (double)oracle.dropped / (double)oracle.taken;
        }
        assert_true(lost_before < 1 - 200.0 / 300 + 0.02); /* work enough never to be idle */
    }
}

/* ---- batches ---- */

/* A server that takes up to b of those that wait, in one service time whatever their number, and
 * the first that comes when nobody does (Bailey 1954, with a minimum of one). Numbers just behind a
 * service are a chain: n' = max(n, 1) taken up to b, and Poisson(rate D) that came. */
static double bulk_latency(int b, double rate, double service)
{
    enum { MOST = 200 };
    static double now[MOST], next[MOST], arrivals[MOST];
    double area = 0, cycle = 0, a = rate * service;

    arrivals[0] = exp(-a);
    for (int i = 1; i < MOST; i++)
        arrivals[i] = arrivals[i - 1] * a / i;
    memset(now, 0, sizeof(now));
    now[0] = 1;
    for (int round = 0; round < 3000; round++) {
        memset(next, 0, sizeof(next));
        for (int n = 0; n < MOST; n++) {
            int left = (n > 0 ? n : 1) > b ? n - b : 0;

            for (int k = 0; left + k < MOST && now[n] > 0; k++)
                next[left + k] += now[n] * arrivals[k];
        }
        memcpy(now, next, sizeof(now));
    }
    for (int n = 0; n < MOST; n++) {
        area += now[n] * ((n > 0 ? n : 1) * service + a * service / 2);
        cycle += now[n] * (service + (n > 0 ? 0 : 1 / rate));
    }
    return area / cycle / rate;
}

static void batches_are_a_bulk_queue(void **state)
{
    (void)state;
    fixture_stages("executable,stage,batch,latency_s\nx,0,1,0.010\nx,0,2,0.010\nx,0,3,0.010\n"
                   "x,0,4,0.010\n");
    replicas(1);
    for (int load = 5; load <= 9; load += 4) {
        fixture.options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 4 };
        open_load(40.0 * load, 20000);
        assert_latency("M/D^[4]/1: latency", bulk_latency(4, 40.0 * load, 0.010), 0.1);
    }
    fixture.options.batch.max_size = 1;
    open_load(70, 20000);
    assert_latency("M/D^[1]/1: latency", 0.010 + 0.7 * 0.010 / 0.6, 0.1);
    assert_true(fabs(bulk_latency(1, 70, 0.010) - (0.010 + 0.7 * 0.010 / 0.6)) < 1e-9);
}

/* ---- tandems ---- */

/* Constant servers in series (Friedman 1965): waits, all together, are those of the slowest alone,
 * and so the order of servers is no matter. Random service times would have to be drawn anew at
 * each server: those of an encoder's stages all come from one prompt, and M/M/1 tandems need
 * independence. */
static int64_t slowest_free_ps;

static void follow_the_slowest(void *arg, const struct serve_end *end)
{
    int64_t start_ps = end->arrival_ps > slowest_free_ps ? end->arrival_ps : slowest_free_ps;

    (void)arg;
    slowest_free_ps = start_ps + 12 * MS;
    assert_int_equal(end->finish_ps, start_ps + (7 + 12 + 3 + 11) * MS);
}

static void tandems_wait_as_their_slowest_server_alone(void **state)
{
    static const int orders[][4] = { { 7, 12, 3, 11 }, { 12, 11, 7, 3 }, { 3, 7, 11, 12 } };
    const struct serve_observer observer = { .on_end = follow_the_slowest };

    (void)state;
    fixture.options.keeps_requests = false;
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\ns,0,2,c,x\ns,0,3,d,x\n");
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
        for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
            const char *rows = STAGES;

            for (int k = 0; k < 4; k++)
                rows = arena_printf(fixture.arena, "%sx,%d,0.%03d\n", rows, k, orders[i][k]);
            fixture_stages(rows);
            slowest_free_ps = 0;
            open_load(75, 20000);
            fixture.options.fast_path = (enum serve_fast)fast;
            assert_true(load_finish(&fixture.files.load, &fixture.err) && fixture_load());
            assert_true(serve_run(fixture.arena, &fixture.scenario.input, &fixture.options,
                                  &observer, &fixture.result, &fixture.err));
        }
    open_load(75, 20000);
    assert_latency("tandem: latency", 0.033 + 0.9 * 0.012 / (2 * 0.1), 0.2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(mm1),
        TEST(md1),
        TEST(mg1),
        TEST(a_gap_makes_the_service_longer_for_those_behind),
        TEST(mmc),
        TEST(mdc),
        TEST(random_dispatch_makes_queues_of_their_own),
        TEST(least_idle_is_the_central_queue),
        TEST(erlang_loss),
        TEST(an_objective_bounds_the_latency_at_any_load),
        TEST(batches_are_a_bulk_queue),
        TEST(tandems_wait_as_their_slowest_server_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
