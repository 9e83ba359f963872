/* generate.c - draws requests; see process.c for the gaps between them.
 *
 * The order of draws inside a stream is part of what a seed means: a request draws its prompt, then
 * its output length, each from the stream of its service (open) or client (closed). */
#include "sim/generate/generate.h"

#include "lib/base/arena.h"
#include "lib/base/dist.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/generate/process.h"
#include <stdio.h>
#include <string.h>

const char *const generate_process_names[GENERATE_PROCESS_COUNT] = { "poisson", "gamma", "constant",
                                                                     "mmpp", "pareto" };

bool generate_parse_service(struct arena *arena, const char *text, struct generate_options *options,
                            struct err *err)
{
    const char *colon = strrchr(text, ':');
    struct generate_service *service = &options->services[options->service_count];

    if (options->service_count == GENERATE_MAX_SERVICES)
        return err_set(err, ERR_USAGE, "--service: more than %d services", GENERATE_MAX_SERVICES);
    service->share = 1;
    if (colon && (!units_parse_double(colon + 1, &service->share) || service->share <= 0 ||
                  service->share > 1e9))
        return err_set(err, ERR_USAGE,
                       "--service is '%s': expected NAME or NAME:SHARE, SHARE a number above 0 and "
                       "at most 1e9",
                       text);
    service->name = arena_strndup(arena, text, colon ? (size_t)(colon - text) : strlen(text));
    if (service->name[0] == '\0')
        return err_set(err, ERR_USAGE, "--service is '%s': the name is empty", text);
    for (int i = 0; i < options->service_count; i++)
        if (strcmp(options->services[i].name, service->name) == 0)
            return err_set(err, ERR_USAGE, "--service '%s' is given twice", service->name);
    options->service_count++;
    return true;
}

/* The streams of one service or one client. */
struct streams {
    struct rng prompt, output, think, choice;
};

static struct streams streams_of(uint64_t seed, uint64_t entity)
{
    struct streams streams;

    streams.prompt = rng_stream(seed, RNG_PROMPT_TOKENS, entity);
    streams.output = rng_stream(seed, RNG_OUTPUT_TOKENS, entity);
    streams.think = rng_stream(seed, RNG_THINK, entity);
    streams.choice = rng_stream(seed, RNG_SERVICE_CHOICE, entity);
    return streams;
}

static struct workload_builder *workload_begin(struct arena *arena,
                                               const struct generate_options *options)
{
    struct workload_builder *builder = workload_build(arena, "the generated workload");

    for (int i = 0; i < options->service_count; i++)
        workload_builder_service(builder, options->services[i].name);
    return builder;
}

static void request_fill(struct workload_request *request, int64_t id,
                         const struct generate_options *options, struct streams *streams)
{
    *request = (struct workload_request){
        .request_id = id, .slo_ps = options->slo_ps, .client = -1, .session = -1, .batch = 1
    };
    if (options->prompt)
        request->prompt_tokens = (int32_t)dist_draw(options->prompt, &streams->prompt);
    if (options->output)
        request->output_tokens = (int32_t)dist_draw(options->output, &streams->output);
}

static bool common_check(const struct generate_options *options, struct err *err)
{
    if (options->service_count == 0)
        return err_set(err, ERR_USAGE, "--service is missing: name the service to call");
    if (options->output && !options->prompt)
        return err_set(err, ERR_USAGE, "--output needs --prompt: a decoder has both");
    if (options->max_requests > GENERATE_MAX_REQUESTS)
        return err_set(err, ERR_USAGE, "more than %lld requests", (long long)GENERATE_MAX_REQUESTS);
    return true;
}

/* Which of the services comes next; ties to the first given. -1 when all are past the end. */
static int earliest(const struct process *processes, int count, int64_t end_ps)
{
    int first = -1;

    for (int i = 0; i < count; i++)
        if (processes[i].next_ps < end_ps &&
            (first < 0 || processes[i].next_ps < processes[first].next_ps))
            first = i;
    return first;
}

static bool open_check(const struct generate_options *options, struct err *err)
{
    double expected;

    if (options->rate_per_s <= 0)
        return err_set(err, ERR_USAGE, "--rate is missing: for example 20/s");
    if (options->duration_ps <= 0 && options->max_requests <= 0)
        return err_set(err, ERR_USAGE, "--duration is missing: for example 60s (or --requests N)");
    expected = options->rate_per_s * ((double)options->duration_ps / (double)UNITS_PS_PER_S);
    if (options->max_requests <= 0 && expected > (double)GENERATE_MAX_REQUESTS)
        return err_set(err, ERR_USAGE,
                       "--rate times --duration is %.3g requests: at most %lld, or add --requests",
                       expected, (long long)GENERATE_MAX_REQUESTS);
    return common_check(options, err);
}

struct workload *generate_open(struct arena *arena, const struct generate_options *options,
                               struct err *err)
{
    int64_t end_ps = options->duration_ps > 0 ? options->duration_ps : UNITS_MAX_PS;
    int64_t most = options->max_requests > 0 ? options->max_requests : GENERATE_MAX_REQUESTS;
    struct process *processes;
    struct streams *streams;
    struct workload_builder *builder;
    double total = 0;

    if (!open_check(options, err))
        return NULL;
    processes = arena_array(arena, (size_t)options->service_count, sizeof(*processes));
    streams = arena_array(arena, (size_t)options->service_count, sizeof(*streams));
    for (int i = 0; i < options->service_count; i++)
        total += options->services[i].share;
    for (int i = 0; i < options->service_count; i++) {
        const char *name = options->services[i].name;
        uint64_t entity = hash_bytes(HASH_START, name, strlen(name));

        streams[i] = streams_of(options->seed, entity);
        if (!process_begin(&processes[i], options,
                           options->rate_per_s * (options->services[i].share / total), entity, err))
            return NULL;
    }
    builder = workload_begin(arena, options);
    for (int64_t id = 0; id < most; id++) {
        int i = earliest(processes, options->service_count, end_ps);
        struct workload_request request;

        if (i < 0)
            break;
        request_fill(&request, id, options, &streams[i]);
        request.service = i;
        request.arrival_ps = processes[i].next_ps;
        workload_builder_add(builder, &request);
        process_next(&processes[i]);
    }
    if (workload_builder_count(builder) == 0) {
        err_set(err, ERR_INPUT,
                "no request arrives within the duration: raise --rate or "
                "--duration");
        return NULL;
    }
    return workload_builder_finish(builder);
}

/* Service of a client's next request, in proportion to the shares. */
static int choose_service(const struct generate_options *options, struct rng *rng)
{
    double total = 0, at;

    if (options->service_count == 1)
        return 0;
    for (int i = 0; i < options->service_count; i++)
        total += options->services[i].share;
    at = rng_uniform(rng) * total;
    for (int i = 0; i < options->service_count - 1; i++) {
        at -= options->services[i].share;
        if (at < 0)
            return i;
    }
    return options->service_count - 1;
}

struct workload *generate_closed(struct arena *arena, const struct generate_options *options,
                                 struct err *err)
{
    int64_t clients = options->clients, count = options->max_requests;
    struct workload_builder *builder;
    struct streams *streams;

    if (!common_check(options, err))
        return NULL;
    if (count <= 0 || !options->think) {
        err_set(err, ERR_USAGE, "--clients needs --requests TOTAL and --think DIST");
        return NULL;
    }
    clients = clients < count ? clients : count;
    builder = workload_begin(arena, options);
    workload_builder_reserve(builder, (size_t)count);
    streams = arena_array(arena, (size_t)clients, sizeof(*streams));
    for (int64_t c = 0; c < clients; c++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "c%lld", (long long)c);
        workload_builder_client(builder, name);
        streams[c] = streams_of(options->seed, (uint64_t)c);
    }
    for (int64_t i = 0; i < count; i++) {
        struct workload_request request;
        struct streams *own = &streams[i % clients];

        request_fill(&request, i, options, own);
        request.arrival_ps = WORKLOAD_CLOSED;
        request.client = (int32_t)(i % clients);
        request.service = choose_service(options, &own->choice);
        request.think_ps = dist_draw(options->think, &own->think);
        workload_builder_add(builder, &request);
    }
    return workload_builder_finish(builder);
}
