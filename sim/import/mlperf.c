/* mlperf.c - the load of MLPerf Inference's four scenarios, as its LoadGen would offer it.
 *
 * Rules: MLPerf Inference, "Scenarios" and "Early stopping"
 * (github.com/mlcommons/inference_policies) and LoadGen's mlperf.conf. Every scenario runs for at
 * least 600 s. SingleStream is judged by its 90th percentile, MultiStream (8 samples a query) and
 * Server by their 99th, which early stopping accepts with one query over from 64 and 662 queries
 * on; Offline has at least 24 576 samples. */
#include "sim/import/mlperf.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/dist.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/generate/generate.h"
#include "sim/generate/stream.h"
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#define MIN_DURATION_PS (600 * UNITS_PS_PER_S)
#define MIN_OFFLINE_SAMPLES 24576
#define MULTI_STREAM_SAMPLES 8
#define CONFIDENCE 0.99
#define MAX_BATCH 1000000 /* of a workload row */

static const char *const scenario_names[MLPERF_SCENARIO_COUNT] = {
    [MLPERF_SINGLE_STREAM] = "SingleStream",
    [MLPERF_MULTI_STREAM] = "MultiStream",
    [MLPERF_SERVER] = "Server",
    [MLPERF_OFFLINE] = "Offline",
};

/* Latency bounds of Server on whole queries. Language models of later rounds are bound by their
 * first token and the time per token instead, which a workload does not hold. */
static const struct {
    const char *name;
    int64_t bound_ms;
} benchmarks[] = { { "resnet50", 15 },
                   { "retinanet", 100 },
                   { "bert", 130 },
                   { "dlrm-v2", 60 },
                   { "rnnt", 1000 },
                   { "gptj", 20000 },
                   { "stable-diffusion-xl", 20000 } };
#define BENCHMARK_COUNT ((int)(sizeof benchmarks / sizeof benchmarks[0]))

enum {
    KEY_SCENARIO = 0x300,
    KEY_BENCHMARK,
    KEY_SERVICE,
    KEY_RATE,
    KEY_TARGET_LATENCY,
    KEY_SLO,
    KEY_MIN_DURATION,
    KEY_MIN_QUERIES,
    KEY_QUERIES,
    KEY_SAMPLES,
    KEY_ONE_QUERY,
    KEY_PROMPT,
    KEY_OUTPUT,
    KEY_SEED
};

static const struct argp_option mlperf_options[] = {
    { NULL, 0, NULL, 0, "Scenario:", 3 },
    { "scenario", KEY_SCENARIO, "NAME", 0,
      "SingleStream, MultiStream, Server or Offline; the same as naming it without an option", 3 },
    { "benchmark", KEY_BENCHMARK, "NAME", 0,
      "Server: latency bound of resnet50 (15ms), retinanet (100ms), bert (130ms), dlrm-v2 (60ms), "
      "rnnt (1s), gptj (20s) or stable-diffusion-xl (20s)",
      3 },
    { "service", KEY_SERVICE, "NAME", 0, "Service that is called (default: the benchmark)", 3 },
    { "rate", KEY_RATE, "R", 0,
      "Server: target queries per second (required); Offline: expected samples per second, for "
      "as many as fill the duration",
      3 },
    { "target-latency", KEY_TARGET_LATENCY, "TIME", 0,
      "SingleStream, MultiStream: expected latency of a query, for as many as fill the duration",
      3 },
    { "slo", KEY_SLO, "TIME", 0, "Server: latency bound, in place of the benchmark's", 3 },
    { NULL, 0, NULL, 0, "Instead of the rules:", 4 },
    { "min-duration", KEY_MIN_DURATION, "TIME", 0, "Least length of the run (default 600s)", 4 },
    { "min-queries", KEY_MIN_QUERIES, "N", 0,
      "Fewest queries (default 64 for SingleStream, 662 for MultiStream and Server); Offline: "
      "fewest samples (default 24576)",
      4 },
    { "queries", KEY_QUERIES, "N", 0, "Exactly so many queries; Offline: samples", 4 },
    { "samples", KEY_SAMPLES, "N", 0, "MultiStream: samples a query (default 8)", 4 },
    { "one-query", KEY_ONE_QUERY, NULL, 0,
      "Offline: one request whose batch is all samples (default: a request a sample, all at 0)",
      4 },
    { NULL, 0, NULL, 0, "Requests:", 5 },
    { "prompt", KEY_PROMPT, "DIST", 0, "Prompt tokens of a request (default: none)", 5 },
    { "output", KEY_OUTPUT, "DIST", 0, "Output tokens of a request (default: none)", 5 },
    { "seed", KEY_SEED, "N", 0, "Seed of every random draw (default 1)", 5 },
    { 0 }
};

static int find_benchmark(struct argp_state *state, const char *text)
{
    const char *names[BENCHMARK_COUNT];

    for (int i = 0; i < BENCHMARK_COUNT; i++)
        names[i] = benchmarks[i].name;
    return cli_choice(state, "--benchmark", text, names, BENCHMARK_COUNT);
}

static error_t on_count(int key, const char *text, struct argp_state *state)
{
    struct mlperf_settings *settings = state->input;

    switch (key) {
    case KEY_MIN_QUERIES:
        settings->min_queries = cli_int(state, "--min-queries", text, 1, IMPORT_MAX_REQUESTS);
        return 0;
    case KEY_QUERIES:
        settings->queries = cli_int(state, "--queries", text, 1, IMPORT_MAX_REQUESTS);
        return 0;
    case KEY_SAMPLES:
        settings->samples = cli_int(state, "--samples", text, 1, MAX_BATCH);
        return 0;
    case KEY_SEED:
        settings->seed = (uint64_t)cli_int(state, "--seed", text, 0, INT64_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct mlperf_settings *settings = state->input;

    switch (key) {
    case KEY_SCENARIO:
        settings->scenario =
            cli_choice(state, "--scenario", text, scenario_names, MLPERF_SCENARIO_COUNT);
        return 0;
    case KEY_BENCHMARK:
        settings->benchmark = find_benchmark(state, text);
        return 0;
    case KEY_SERVICE:
        if (text[0] == '\0')
            cli_error(state, "--service is '': expected a name");
        settings->service = text;
        return 0;
    case KEY_RATE:
        settings->rate_per_s = cli_rate_per_s(state, "--rate", text);
        settings->rate = text;
        return 0;
    case KEY_TARGET_LATENCY:
        settings->target_latency_ps = cli_duration_positive_ps(state, "--target-latency", text);
        settings->target_latency = text;
        return 0;
    case KEY_SLO:
        settings->slo_ps = cli_duration_positive_ps(state, "--slo", text);
        return 0;
    case KEY_MIN_DURATION:
        settings->min_duration_ps = cli_duration_ps(state, "--min-duration", text);
        settings->min_duration = text;
        return 0;
    case KEY_ONE_QUERY:
        settings->is_one_query = true;
        return 0;
    case KEY_PROMPT:
        settings->prompt = text;
        return 0;
    case KEY_OUTPUT:
        settings->output = text;
        return 0;
    case ARGP_KEY_INIT:
        mlperf_defaults(settings);
        return 0;
    case ARGP_KEY_END:
        if (settings->output && !settings->prompt)
            cli_error(state, "--output needs --prompt: a decoder has both");
        return 0;
    default:
        return on_count(key, text, state);
    }
}

void mlperf_defaults(struct mlperf_settings *settings)
{
    *settings = (struct mlperf_settings){
        .scenario = -1, .benchmark = -1, .min_duration_ps = MIN_DURATION_PS, .seed = 1
    };
}

int64_t mlperf_least_queries(double percentile, double confidence)
{
    /* P[0 over] = p^n, P[1 over] = n (1 - p) p^(n - 1). */
    double none = 1, one = 0;
    int64_t n = 0;

    while (none + one > 1 - confidence) {
        one = one * percentile + none * (1 - percentile);
        none *= percentile;
        n++;
    }
    return n;
}

/* ---- the plan of a run ---- */

struct plan {
    int64_t queries;         /* requests to write; Server: at least */
    int64_t min_duration_ps; /* Server: go on until then; 0 = not */
    int32_t batch;
    int64_t slo_ps;
    const char *service;
    const struct dist *prompt, *output; /* NULL = no tokens */
};

/* Like cli_choice, but "server" will do. */
static bool find_scenario(const struct import_job *job, int *scenario, struct err *err)
{
    char choices[ERR_CHOICES_BYTES];
    const char *word;

    if (job->file_count == 0 && *scenario >= 0)
        return true;
    if (job->file_count == 0)
        return err_set(err, ERR_USAGE,
                       "a scenario is missing: expected SingleStream, MultiStream, "
                       "Server or Offline");
    if (job->file_count > 1 || *scenario >= 0)
        return err_set(err, ERR_USAGE, "'%.200s': expected one scenario",
                       job->files[job->file_count - 1]);
    word = job->files[0];
    for (int i = 0; i < MLPERF_SCENARIO_COUNT; i++) {
        const char *name = scenario_names[i], *c = word;

        while (*c != '\0' && tolower((unsigned char)*c) == tolower((unsigned char)*name)) {
            c++;
            name++;
        }
        if (*c == '\0' && *name == '\0') {
            *scenario = i;
            return true;
        }
    }
    return err_set(err, ERR_USAGE, "scenario is '%.60s': %s", word,
                   err_choices(word, scenario_names, MLPERF_SCENARIO_COUNT, choices));
}

static bool refuse(const char *option, bool is_given, enum mlperf_scenario scenario,
                   struct err *err)
{
    return !is_given ||
           err_set(err, ERR_USAGE, "%s has no meaning for %s", option, scenario_names[scenario]);
}

static bool check_options(const struct mlperf_settings *settings, enum mlperf_scenario scenario,
                          struct err *err)
{
    bool is_closed = scenario == MLPERF_SINGLE_STREAM || scenario == MLPERF_MULTI_STREAM;

    return refuse("--rate", settings->rate && is_closed, scenario, err) &&
           refuse("--target-latency", settings->target_latency && !is_closed, scenario, err) &&
           refuse("--slo", settings->slo_ps > 0 && scenario != MLPERF_SERVER, scenario, err) &&
           refuse("--samples", settings->samples > 0 && scenario != MLPERF_MULTI_STREAM, scenario,
                  err) &&
           refuse("--one-query", settings->is_one_query && scenario != MLPERF_OFFLINE, scenario,
                  err);
}

/* The larger of least and as many as fill the duration at `per_s` a second. */
static bool fill(int64_t least, double per_s, int64_t duration_ps, int64_t *count, struct err *err)
{
    double needed = per_s * ((double)duration_ps / (double)UNITS_PS_PER_S);

    if (needed > (double)IMPORT_MAX_REQUESTS)
        return err_set(err, ERR_USAGE,
                       "%.3g requests fill the duration: expected at most %" PRId64
                       ", so shorten --min-duration",
                       needed, IMPORT_MAX_REQUESTS);
    *count = (int64_t)needed;
    *count += (double)*count < needed ? 1 : 0;
    *count = *count > least ? *count : least;
    return true;
}

static bool plan_closed(struct import_job *job, const struct mlperf_settings *settings,
                        enum mlperf_scenario scenario, struct plan *plan, struct err *err)
{
    bool is_single = scenario == MLPERF_SINGLE_STREAM;
    int64_t least = settings->min_queries;
    char text[UNITS_TEXT_BYTES];

    if (least == 0)
        least = mlperf_least_queries(is_single ? 0.9 : 0.99, CONFIDENCE);
    plan->batch = is_single ? 1 : MULTI_STREAM_SAMPLES;
    if (settings->samples > 0)
        plan->batch = (int32_t)settings->samples;
    plan->queries = settings->queries > 0 ? settings->queries : least;
    if (settings->queries > 0)
        return true;
    if (settings->target_latency_ps > 0)
        return fill(least, (double)UNITS_PS_PER_S / (double)settings->target_latency_ps,
                    settings->min_duration_ps, &plan->queries, err);
    if (settings->min_duration_ps > 0)
        import_note(job, "--target-latency is not given, so they may take less than %s s",
                    units_format_seconds(settings->min_duration_ps, text));
    return true;
}

static bool plan_server(const struct mlperf_settings *settings, struct plan *plan, struct err *err)
{
    plan->slo_ps = settings->slo_ps;
    if (plan->slo_ps == 0 && settings->benchmark >= 0)
        plan->slo_ps = benchmarks[settings->benchmark].bound_ms * UNITS_PS_PER_MS;
    if (settings->rate_per_s <= 0)
        return err_set(err, ERR_USAGE, "--rate is missing: the target queries per second");
    if (plan->slo_ps == 0)
        return err_set(err, ERR_USAGE,
                       "--slo is missing: the latency bound (or --benchmark, which has one)");
    plan->queries = settings->queries;
    if (plan->queries > 0)
        return true;
    plan->min_duration_ps = settings->min_duration_ps;
    plan->queries =
        settings->min_queries > 0 ? settings->min_queries : mlperf_least_queries(0.99, CONFIDENCE);
    return fill(plan->queries, settings->rate_per_s, settings->min_duration_ps, &(int64_t){ 0 },
                err);
}

static bool plan_offline(const struct mlperf_settings *settings, struct plan *plan, struct err *err)
{
    int64_t samples = settings->queries;

    if (samples == 0) {
        samples = settings->min_queries > 0 ? settings->min_queries : MIN_OFFLINE_SAMPLES;
        if (settings->rate &&
            !fill(samples, settings->rate_per_s, settings->min_duration_ps, &samples, err))
            return false;
    }
    plan->queries = samples;
    if (!settings->is_one_query)
        return true;
    if (samples > MAX_BATCH)
        return err_set(err, ERR_USAGE, "--one-query: a batch of %" PRId64 ": expected at most %d",
                       samples, MAX_BATCH);
    plan->batch = (int32_t)samples;
    plan->queries = 1;
    return true;
}

static bool make_plan(struct import_job *job, const struct mlperf_settings *settings,
                      enum mlperf_scenario scenario, struct plan *plan, struct err *err)
{
    *plan = (struct plan){ .batch = 1, .service = settings->service };
    if (!plan->service && settings->benchmark >= 0)
        plan->service = benchmarks[settings->benchmark].name;
    if (!plan->service)
        return err_set(err, ERR_USAGE, "--service is missing: name the service to call");
    if (!check_options(settings, scenario, err))
        return false;
    if (settings->prompt)
        plan->prompt = dist_parse(job->arena, settings->prompt, DIST_TOKENS, "--prompt", err);
    if (settings->output)
        plan->output = dist_parse(job->arena, settings->output, DIST_TOKENS, "--output", err);
    if (err->kind != ERR_NONE)
        return false;
    switch (scenario) {
    case MLPERF_SINGLE_STREAM:
    case MLPERF_MULTI_STREAM:
        return plan_closed(job, settings, scenario, plan, err);
    case MLPERF_SERVER:
        return plan_server(settings, plan, err);
    case MLPERF_OFFLINE:
        return plan_offline(settings, plan, err);
    case MLPERF_SCENARIO_COUNT:
        break;
    }
    return false;
}

/* ---- the requests ---- */

/* The arrivals of `generate --process poisson`, until the duration is over and all are there. */
static bool add_poisson(struct import_job *job, struct workload_builder *builder,
                        const struct mlperf_settings *settings, const struct plan *plan,
                        int64_t *count, struct err *err)
{
    struct generate_service service = { plan->service, 1 };
    const struct generate_options options = { .service_count = 1,
                                              .services = &service,
                                              .process = GENERATE_POISSON,
                                              .rate_per_s = settings->rate_per_s,
                                              .max_requests = IMPORT_MAX_REQUESTS,
                                              .prompt = plan->prompt,
                                              .output = plan->output,
                                              .slo_ps = plan->slo_ps,
                                              .seed = settings->seed };
    struct stream *stream = stream_open(job->arena, &options, err);
    struct workload_request request;

    if (!stream)
        return false;
    (void)workload_builder_service(builder, plan->service);
    for (*count = 0; stream_next(stream, &request); (*count)++) {
        if (*count >= plan->queries && request.arrival_ps >= plan->min_duration_ps)
            return true;
        workload_builder_add(builder, &request);
    }
    return *count >= plan->queries ||
           err_set(err, ERR_USAGE, "--rate: query %" PRId64 " arrives after %" PRId64 " s", *count,
                   UNITS_MAX_PS / UNITS_PS_PER_S);
}

/* All others: as many as planned, which a client sends one after the other, or which come at 0. */
static void add_all(struct workload_builder *builder, const struct mlperf_settings *settings,
                    bool is_closed, const struct plan *plan)
{
    uint64_t entity = hash_bytes(HASH_START, plan->service, strlen(plan->service));
    struct rng prompts = rng_stream(settings->seed, RNG_PROMPT_TOKENS, entity);
    struct rng outputs = rng_stream(settings->seed, RNG_OUTPUT_TOKENS, entity);
    struct workload_request request = { .client = -1, .session = -1, .batch = plan->batch };

    request.service = workload_builder_service(builder, plan->service);
    if (is_closed) {
        request.client = workload_builder_client(builder, "c0");
        request.arrival_ps = WORKLOAD_CLOSED;
    }
    for (; request.request_id < plan->queries; request.request_id++) {
        if (plan->prompt)
            request.prompt_tokens = (int32_t)dist_draw(plan->prompt, &prompts);
        if (plan->output)
            request.output_tokens = (int32_t)dist_draw(plan->output, &outputs);
        workload_builder_add(builder, &request);
    }
}

static bool write_requests(struct import_job *job, const struct mlperf_settings *settings,
                           enum mlperf_scenario scenario, const struct plan *plan, struct err *err)
{
    struct workload_builder *builder = workload_build(job->arena, "the MLPerf workload");
    int64_t count = plan->queries;

    if (scenario != MLPERF_SERVER)
        add_all(builder, settings, scenario != MLPERF_OFFLINE, plan);
    else if (!add_poisson(job, builder, settings, plan, &count, err))
        return false;
    import_note(job, "%" PRId64 " request%s of %d sample%s", count, count == 1 ? "" : "s",
                plan->batch, plan->batch == 1 ? "" : "s");
    import_note(job, "seed %" PRIu64, settings->seed);
    return import_write_workload(job, job->output, workload_builder_finish(builder), err);
}

bool mlperf_import(struct import_job *job, const void *from, struct err *err)
{
    const struct mlperf_settings *settings = from;
    int scenario = settings->scenario;
    struct plan plan;

    if (!find_scenario(job, &scenario, err))
        return false;
    job->file_count = 0; /* what stood there was no file */
    job->report.read = -1;
    job->report.layout = scenario_names[scenario];
    if (!make_plan(job, settings, (enum mlperf_scenario)scenario, &plan, err))
        return false;
    import_meta(job, "scenario", scenario_names[scenario]);
    if (settings->benchmark >= 0)
        import_meta(job, "benchmark", benchmarks[settings->benchmark].name);
    import_meta(job, "rate", settings->rate);
    import_meta(job, "target_latency", settings->target_latency);
    if (settings->queries > 0)
        import_meta(job, "queries", arena_printf(job->arena, "%" PRId64, settings->queries));
    else
        import_meta(job, "min_duration", settings->min_duration ? settings->min_duration : "600s");
    import_meta(job, "prompt", settings->prompt);
    import_meta(job, "output", settings->output);
    import_meta(job, "seed", arena_printf(job->arena, "%" PRIu64, settings->seed));
    return write_requests(job, settings, (enum mlperf_scenario)scenario, &plan, err);
}

static const struct argp mlperf_argp = { .options = mlperf_options, .parser = on_option };

const struct importer import_mlperf = {
    .name = "mlperf",
    .reads = "presets of MLPerf Inference: SingleStream, MultiStream, Server, Offline",
    .arguments = "SCENARIO",
    .text =
        "Writes the load of a scenario of MLPerf Inference. SingleStream: a client that sends one "
        "sample at a time; MultiStream: the same with 8 samples a query (column batch); Server: "
        "Poisson arrivals at --rate with the latency bound as slo_s; Offline: all samples at "
        "0.\v"
        "As the rules ask, a run lasts at least 600 s and has at least 64 queries (SingleStream), "
        "662 (MultiStream, Server: the fewest that early stopping accepts with one over the "
        "bound at the 90th and 99th percentile and 99 % confidence), or 24576 samples "
        "(Offline).\n\n"
        "Examples:\n"
        "  orrery-sim import mlperf Server --benchmark bert --rate 20/s -o w.csv\n"
        "  orrery-sim import mlperf SingleStream --service vit --target-latency 80ms \\\n"
        "      -o w.csv",
    .argp = &mlperf_argp,
    .settings_bytes = sizeof(struct mlperf_settings),
    .run = mlperf_import,
};
