/* test_oracle.c - queueing theory and closed forms that the whole simulator must agree with. */
#include "tests/unit/sim/fixture.h"

#include "lib/base/rng.h"
#include "lib/base/stats.h"
#include <math.h>

#define STAGES "executable,stage,latency_s\n"
#define PLACED "service,replica,stage,device,executable\n"

static int64_t latency_of(size_t index)
{
    const struct serve_request *request = &fixture.result.requests[index];

    assert_int_equal(request->status, TRACE_OK);
    return request->finish_ps - request->arrival_ps;
}

/* A generated workload in place of a file. */
static void open_load(enum generate_process process, double rate_per_s, int64_t requests)
{
    struct generate_options options = { .process = process,
                                        .rate_per_s = rate_per_s,
                                        .max_requests = requests,
                                        .seed = fixture.options.seed };
    struct out *out = out_open(fixture.arena, fixture_path("w.csv"), &fixture.err);
    struct workload *workload;

    assert_true(generate_parse_service(fixture.arena, "s", &options, &fixture.err));
    workload = generate_open(fixture.arena, &options, &fixture.err);
    assert_non_null(workload);
    assert_non_null(out);
    workload_write(out, workload, NULL);
    assert_true(out_commit(out, &fixture.err));
}

static void dd1_below_capacity_never_waits(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.008\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    open_load(GENERATE_CONSTANT, 100, 500);
    fixture_must_run();
    for (size_t i = 0; i < 500; i++)
        assert_int_equal(latency_of(i), 8 * MS);
}

static void dd1_above_capacity_grows_by_the_difference(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.012\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    open_load(GENERATE_CONSTANT, 100, 500);
    fixture_must_run();
    for (size_t i = 0; i < 500; i++)
        assert_int_equal(latency_of(i), (12 + 2 * (int64_t)i) * MS);
}

/* Pollaczek and Khinchine: mean wait = rho S / (2 (1 - rho)) for constant service. */
static void md1_has_the_mean_wait_of_pollaczek_and_khinchine(void **state)
{
    enum { BATCHES = 20, BATCH = 1500 };
    double means[BATCHES], mean, half_width, expected = 0.7 * 0.010 / (2 * 0.3);

    (void)state;
    fixture_stages(STAGES "x,0,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    open_load(GENERATE_POISSON, 70, BATCHES * BATCH);
    fixture_must_run();
    for (size_t b = 0; b < BATCHES; b++) {
        means[b] = 0;
        for (size_t i = 0; i < BATCH; i++)
            means[b] += (double)(latency_of(b * BATCH + i) - 10 * MS) / 1e12 / BATCH;
    }
    mean = stats_mean_double(means, BATCHES);
    half_width = stats_t95(BATCHES - 1) * stats_sd(means, BATCHES) / sqrt(BATCHES);
    assert_true(half_width < 0.1 * expected);
    assert_true(fabs(mean - expected) < half_width);
}

/* A constant server behind another one: Lindley's recursion, request by request. */
static void a_tandem_follows_lindley(void **state)
{
    const int64_t service_ps[2] = { 10 * MS, 13 * MS };
    int64_t free_ps[2] = { 0, 0 };

    (void)state;
    fixture_stages(STAGES "x,0,0.010\nx,1,0.013\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    open_load(GENERATE_POISSON, 65, 4000);
    fixture_must_run();
    for (size_t i = 0; i < 4000; i++) {
        int64_t ready_ps = fixture.result.requests[i].arrival_ps;

        for (int k = 0; k < 2; k++) {
            ready_ps = (ready_ps > free_ps[k] ? ready_ps : free_ps[k]) + service_ps[k];
            free_ps[k] = ready_ps;
        }
        assert_int_equal(fixture.result.requests[i].finish_ps, ready_ps);
    }
}

/* N clients, service S, think Z, N S > S + Z: after the first round every latency is N S - Z. */
static void a_saturated_closed_loop_has_an_exact_cycle(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture.files.workload = NULL;
    fixture.files.load.arena = fixture.arena;
    fixture.files.load.texts[LOAD_THINK] = "constant:5ms";
    fixture.files.load.options.clients = 3;
    fixture.files.load.options.max_requests = 300;
    assert_true(
        generate_parse_service(fixture.arena, "s", &fixture.files.load.options, &fixture.err));
    assert_true(load_finish(&fixture.files.load, &fixture.err));
    fixture_must_run();
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(latency_of(i), 10 * MS * (int64_t)(i + 1));
    for (size_t i = 3; i < 300; i++)
        assert_int_equal(latency_of(i), 25 * MS);
    assert_int_equal(fixture.result.end_ps, (5 + 10 * 300) * MS);
}

static void one_client_never_waits(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service,client,think_s\n"
                           "0,,s,me,0.5\n1,,s,me,0.5\n2,,s,me,0.5\n");
    fixture_must_run();
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(latency_of(i), 10 * MS);
        assert_int_equal(fixture.result.requests[i].arrival_ps, 500 * MS + 510 * MS * (int64_t)i);
    }
}

/* ---- random placements and workloads ---- */

struct random_case {
    struct rng rng;
    int devices, services;
    struct out *placement, *placement_permuted, *workload, *workload_permuted;
};

static uint64_t below(struct random_case *random, uint64_t bound)
{
    return rng_below(&random->rng, bound);
}

static void placement_row(struct random_case *random, int service, int replica, int stage,
                          int device)
{
    out_printf(random->placement, "s%d,%d,%d,d%d,x%d\n", service, replica, stage, device,
               service % 3);
    out_printf(random->placement_permuted, "%d,x%d,d%d,s%d,%d\n", stage, service % 3, device,
               service, replica);
}

/* Executable x<k> has k + 1 stages; a stage is on one or two devices. */
static void random_placement(struct random_case *random)
{
    out_text(random->placement, "service,replica,stage,device,executable\n");
    out_text(random->placement_permuted, "stage,executable,device,service,replica\n");
    for (int s = 0; s < random->services; s++) {
        int replicas = 1 + (int)below(random, 3);

        for (int r = 0; r < replicas; r++)
            for (int stage = 0; stage <= s % 3; stage++) {
                int device = (int)below(random, (uint64_t)random->devices);

                placement_row(random, s, r, stage, device);
                if (below(random, 3) == 0)
                    placement_row(random, s, r, stage, (device + 1) % random->devices);
            }
    }
}

static void random_workload(struct random_case *random, int count)
{
    int64_t at_ms = 0;

    out_text(random->workload, "request_id,arrival_s,service,client,session,think_s\n");
    out_text(random->workload_permuted, "session,service,think_s,request_id,client,arrival_s\n");
    for (int i = 0; i < count; i++) {
        char arrival[32] = "", client[16] = "", session[16] = "";
        int service = (int)below(random, (uint64_t)random->services);
        int think = (int)below(random, 20), kind = (int)below(random, 3);

        at_ms += (int64_t)below(random, 12);
        if (kind != 1)
            snprintf(arrival, sizeof(arrival), "%.3f", (double)at_ms / 1000);
        if (kind == 1)
            snprintf(client, sizeof(client), "c%d", (int)below(random, 4));
        if (kind == 2)
            snprintf(session, sizeof(session), "t%d", (int)below(random, 4));
        out_printf(random->workload, "%d,%s,s%d,%s,%s,0.%03d\n", i, arrival, service, client,
                   session, think);
        out_printf(random->workload_permuted, "%s,s%d,0.%03d,%d,%s,%s\n", session, service, think,
                   i, client, arrival);
    }
}

static struct out *open_file(const char *name)
{
    struct out *out;

    fixture_write(name, "");
    out = out_open(fixture.arena, fixture_path(name), &fixture.err);
    assert_non_null(out);
    return out;
}

static void random_files(uint64_t seed, int requests)
{
    struct random_case random = { .rng = rng_stream(seed, RNG_TEST, 0) };
    struct out *outs[4];

    outs[0] = random.placement = open_file("p.csv");
    outs[1] = random.placement_permuted = open_file("p2.csv");
    outs[2] = random.workload = open_file("w.csv");
    outs[3] = random.workload_permuted = open_file("w2.csv");
    random.devices = 2 + (int)below(&random, 5);
    random.services = 1 + (int)below(&random, 5);
    random_placement(&random);
    random_workload(&random, requests);
    assert_true(out_commit_all(outs, 4, &fixture.err));
    fixture_write("cluster/devices.csv", "device,type,node\nd0,t,n0\nd1,t,n0\nd2,t,n1\nd3,t,n2\n"
                                         "d4,t,n2\nd5,t,n3\nd6,t,n3\n");
    fixture_write("cluster/links.csv",
                  "medium,kind,node,bits_per_s,latency_s,per_message_s\n"
                  "air,wifi,*,1e6,0.001,0.0005\nlan,switch,n0,1e8,0,0\nlan,switch,n1,1e8,0,0\n");
    fixture_write("costs/t/stages.csv",
                  "executable,stage,latency_s,gap_s,output_bytes\nx0,0,0.005,0,10\n"
                  "x1,0,0.004,0.001,500\nx1,1,0.003,0,10\nx2,0,0.002,0,100\nx2,1,0,0.002,100\n"
                  "x2,2,0.006,0.001,10\n");
    fixture_write("costs2/t/stages.csv",
                  "gap_s,output_bytes,executable,latency_s,stage\n0.002,100,x2,0,1\n"
                  "0,10,x1,0.003,1\n0,10,x0,0.005,0\n0.001,10,x2,0.006,2\n0,100,x2,0.002,0\n"
                  "0.001,500,x1,0.004,0\n");
}

static void assert_accounted(int requests)
{
    size_t ended = 0;

    assert_int_equal(fixture.result.taken_count, requests);
    for (int i = 0; i < requests; i++) {
        const struct serve_request *request = &fixture.result.requests[i];

        ended += request->is_taken && request->status == TRACE_OK;
        assert_true(request->arrival_ps <= request->start_ps);
        assert_true(request->start_ps <= request->finish_ps);
        assert_true(request->finish_ps <= fixture.result.end_ps);
    }
    assert_int_equal(ended, requests);
}

static void every_request_of_a_random_case_ends_and_column_order_is_no_matter(void **state)
{
    enum { CASES = 30, REQUESTS = 120 };

    (void)state;
    for (uint64_t seed = 1; seed <= CASES; seed++) {
        const char *requests, *stages, *transfers;

        random_files(seed, REQUESTS);
        fixture.options.dispatch = (enum dispatch_kind)(seed % DISPATCH_COUNT);
        fixture.files.placement = fixture_path("p.csv");
        fixture.files.workload = fixture_path("w.csv");
        fixture.files.costs[0] = fixture_path("costs");
        fixture.files.cluster = seed % 2 ? fixture_path("cluster") : NULL;
        fixture_must_run();
        assert_accounted(REQUESTS);
        requests = fixture_requests();
        stages = fixture_stages_text();
        transfers = fixture_transfers();
        fixture.files.placement = fixture_path("p2.csv");
        fixture.files.workload = fixture_path("w2.csv");
        fixture.files.costs[0] = fixture_path("costs2");
        fixture_must_run();
        assert_string_equal(fixture_requests(), requests);
        assert_string_equal(fixture_stages_text(), stages);
        assert_string_equal(fixture_transfers(), transfers);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(dd1_below_capacity_never_waits),
        TEST(dd1_above_capacity_grows_by_the_difference),
        TEST(md1_has_the_mean_wait_of_pollaczek_and_khinchine),
        TEST(a_tandem_follows_lindley),
        TEST(a_saturated_closed_loop_has_an_exact_cycle),
        TEST(one_client_never_waits),
        TEST(every_request_of_a_random_case_ends_and_column_order_is_no_matter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
