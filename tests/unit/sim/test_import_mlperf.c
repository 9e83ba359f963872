/* test_import_mlperf.c - the four scenarios of MLPerf Inference, and the numbers in their rules. */
#include "sim/import/mlperf.h"

#include "sim/generate/generate.h"
#include "tests/unit/sim/import_run.h"
#include <math.h>

static struct mlperf_settings settings;

static int begin(void **state)
{
    mlperf_defaults(&settings);
    settings.service = "vit";
    return scratch_begin(state);
}

static const struct workload *reads(struct scratch *scratch, enum mlperf_scenario scenario)
{
    settings.scenario = (int)scenario;
    if (!import_run(scratch, &import_mlperf, NULL, &settings))
        fail_msg("%s", scratch->err.text);
    return import_workload(scratch, NULL);
}

static void fails(struct scratch *scratch, enum mlperf_scenario scenario, const char *message)
{
    settings.scenario = (int)scenario;
    import_fails(scratch, &import_mlperf, NULL, &settings, message);
}

/* 64 and 662 stand in the rules; n - 1 must not do. */
static void early_stopping_gives_the_fewest_queries(void **state)
{
    (void)state;
    assert_int_equal(mlperf_least_queries(0.9, 0.99), 64);
    assert_int_equal(mlperf_least_queries(0.99, 0.99), 662);
    for (int64_t n = 661; n <= 662; n++) {
        double at_most_one = pow(0.99, (double)n) + (double)n * 0.01 * pow(0.99, (double)(n - 1));

        assert_int_equal(at_most_one <= 0.01, n == 662);
    }
}

static void a_stream_is_one_client_without_think_time(void **state)
{
    const struct workload *single = reads(*state, MLPERF_SINGLE_STREAM), *multi;

    assert_int_equal(single->count, 64);
    assert_non_null(strstr(run.report.notes, "may take less than 600 s"));
    for (size_t i = 0; i < single->count; i++) {
        struct workload_request request = workload_at(single, i);

        assert_true(request.arrival_ps == WORKLOAD_CLOSED && request.think_ps == 0 &&
                    request.client == 0 && request.batch == 1 && request.slo_ps == 0);
    }
    multi = reads(*state, MLPERF_MULTI_STREAM);
    assert_int_equal(multi->count, 662);
    assert_int_equal(workload_at(multi, 0).batch, 8);
    assert_int_equal(workload_at(multi, 661).client, 0);
}

static void a_target_latency_fills_the_duration(void **state)
{
    settings.target_latency_ps = 80 * UNITS_PS_PER_MS;
    settings.target_latency = "80ms";
    assert_int_equal(reads(*state, MLPERF_SINGLE_STREAM)->count, 7500);
    assert_null(strstr(run.report.notes, "may take less"));
    settings.target_latency_ps = 70 * UNITS_PS_PER_MS;
    assert_int_equal(reads(*state, MLPERF_SINGLE_STREAM)->count, 8572);
    settings.target_latency_ps = 100 * UNITS_PS_PER_S;
    assert_int_equal(reads(*state, MLPERF_SINGLE_STREAM)->count, 64);
    settings.min_duration_ps = 0;
    assert_int_equal(reads(*state, MLPERF_MULTI_STREAM)->count, 662);
    settings.samples = 3;
    settings.queries = 5;
    assert_int_equal(reads(*state, MLPERF_MULTI_STREAM)->count, 5);
    assert_int_equal(workload_at(import_workload(*state, NULL), 4).batch, 3);
    settings.samples = 0;
    settings.queries = 0;
    settings.min_duration_ps = 600 * UNITS_PS_PER_S;
    settings.target_latency_ps = 1;
    fails(*state, MLPERF_SINGLE_STREAM,
          "6e+14 requests fill the duration: expected at most 100000000, so shorten "
          "--min-duration");
}

static void a_server_has_the_arrivals_of_generate_and_the_bound_as_slo(void **state)
{
    struct scratch *scratch = *state;
    struct generate_options options = {
        .process = GENERATE_POISSON, .rate_per_s = 5, .duration_ps = 600 * UNITS_PS_PER_S, .seed = 7
    };
    const struct workload *generated, *server;

    settings.service = NULL;
    settings.benchmark = 2; /* bert */
    settings.rate_per_s = 5;
    settings.rate = "5";
    settings.seed = 7;
    assert_true(generate_parse_service(scratch->arena, "bert", &options, scratch_err(scratch)));
    generated = generate_open(scratch->arena, &options, scratch_err(scratch));
    assert_non_null(generated);
    server = reads(scratch, MLPERF_SERVER);
    assert_int_equal(server->count, generated->count);
    assert_true(server->count > 2700 && server->count < 3300);
    for (size_t i = 0; i < server->count; i++) {
        assert_true(server->arrivals_ps[i] == generated->arrivals_ps[i]);
        assert_true(workload_at(server, i).slo_ps == 130 * UNITS_PS_PER_MS);
    }
    assert_string_equal(server->services[0], "bert");
}

static void a_slow_server_goes_on_until_the_fewest_queries(void **state)
{
    const struct workload *server;

    settings.rate_per_s = 0.5;
    settings.rate = "0.5";
    settings.slo_ps = UNITS_PS_PER_S;
    server = reads(*state, MLPERF_SERVER);
    assert_int_equal(server->count, 662);
    assert_true(server->arrivals_ps[661] > 1000 * UNITS_PS_PER_S);
    settings.queries = 10;
    assert_int_equal(reads(*state, MLPERF_SERVER)->count, 10);
    settings.queries = 0;
    settings.min_queries = 300;
    settings.min_duration_ps = 0;
    assert_int_equal(reads(*state, MLPERF_SERVER)->count, 300);
    settings.rate_per_s = 1e-5;
    fails(*state, MLPERF_SERVER, "--rate: query 83 arrives after 9000000 s");
}

static void offline_offers_all_samples_at_zero(void **state)
{
    const struct workload *offline = reads(*state, MLPERF_OFFLINE);

    assert_int_equal(offline->count, 24576);
    assert_true(offline->arrivals_ps[0] == 0 && offline->arrivals_ps[24575] == 0);
    settings.is_one_query = true;
    offline = reads(*state, MLPERF_OFFLINE);
    assert_int_equal(offline->count, 1);
    assert_int_equal(workload_at(offline, 0).batch, 24576);
    settings.rate_per_s = 100;
    settings.rate = "100";
    assert_int_equal(workload_at(reads(*state, MLPERF_OFFLINE), 0).batch, 60000);
    settings.rate_per_s = 10000;
    fails(*state, MLPERF_OFFLINE, "--one-query: a batch of 6000000: expected at most 1000000");
    settings.is_one_query = false;
    settings.queries = 3;
    assert_int_equal(reads(*state, MLPERF_OFFLINE)->count, 3);
}

static void requests_may_have_tokens(void **state)
{
    const struct workload *offline;

    settings.queries = 50;
    settings.prompt = "uniform:8:64";
    settings.output = "constant:4";
    offline = reads(*state, MLPERF_OFFLINE);
    assert_true(offline->has_tokens);
    assert_int_equal(workload_at(offline, 49).output_tokens, 4);
    settings.prompt = "uniform:64:8";
    fails(*state, MLPERF_OFFLINE, "--prompt is 'uniform:64:8': expected A to be at most B");
}

static void scenarios_are_named_in_either_way(void **state)
{
    struct scratch *scratch = *state;

    settings.queries = 1;
    assert_true(import_run(scratch, &import_mlperf, "singlestream", &settings));
    assert_string_equal(run.report.layout, "SingleStream");
    assert_true(import_run(scratch, &import_mlperf, "Offline", &settings));
    import_fails(scratch, &import_mlperf, "Sever", &settings,
                 "scenario is 'Sever': expected SingleStream, MultiStream, Server or Offline; did "
                 "you mean 'Server'?");
    import_fails(scratch, &import_mlperf, NULL, &settings,
                 "a scenario is missing: expected SingleStream, MultiStream, Server or Offline");
    settings.scenario = MLPERF_OFFLINE;
    import_fails(scratch, &import_mlperf, "Server", &settings, "'Server': expected one scenario");
}

static void options_of_another_scenario_are_refused(void **state)
{
    fails(*state, MLPERF_SERVER, "--rate is missing: the target queries per second");
    settings.rate = "1";
    settings.rate_per_s = 1;
    fails(*state, MLPERF_SERVER,
          "--slo is missing: the latency bound (or --benchmark, which has one)");
    fails(*state, MLPERF_SINGLE_STREAM, "--rate has no meaning for SingleStream");
    settings.rate = NULL;
    settings.slo_ps = 1;
    fails(*state, MLPERF_OFFLINE, "--slo has no meaning for Offline");
    settings.slo_ps = 0;
    settings.samples = 2;
    fails(*state, MLPERF_OFFLINE, "--samples has no meaning for Offline");
    settings.samples = 0;
    settings.is_one_query = true;
    fails(*state, MLPERF_MULTI_STREAM, "--one-query has no meaning for MultiStream");
    settings.is_one_query = false;
    settings.target_latency = "1s";
    fails(*state, MLPERF_SERVER, "--target-latency has no meaning for Server");
    settings.target_latency = NULL;
    settings.service = NULL;
    fails(*state, MLPERF_OFFLINE, "--service is missing: name the service to call");
}

#define RULE(function) cmocka_unit_test_setup_teardown(function, begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(early_stopping_gives_the_fewest_queries),
        RULE(a_stream_is_one_client_without_think_time),
        RULE(a_target_latency_fills_the_duration),
        RULE(a_server_has_the_arrivals_of_generate_and_the_bound_as_slo),
        RULE(a_slow_server_goes_on_until_the_fewest_queries),
        RULE(offline_offers_all_samples_at_zero),
        RULE(requests_may_have_tokens),
        RULE(scenarios_are_named_in_either_way),
        RULE(options_of_another_scenario_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
