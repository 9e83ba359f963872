/* generate.c - requests into a workload, from a stream of arrivals or round the clients. */
#include "sim/generate/generate.h"

#include "lib/base/arena.h"
#include "lib/base/dist.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/generate/clients.h"
#include "sim/generate/lengths.h"
#include "sim/generate/sessions.h"
#include "sim/generate/split.h"
#include "sim/generate/stream.h"
#include <string.h>

const char *const generate_process_names[GENERATE_PROCESS_COUNT] = { "poisson",  "gamma",
                                                                     "constant", "mmpp",
                                                                     "pareto",   "replay" };

bool generate_parse_service(struct arena *arena, const char *text, struct generate_options *options,
                            struct err *err)
{
    const char *colon = strrchr(text, ':');
    struct generate_service *service;

    if (options->service_count == GENERATE_MAX_SERVICES)
        return err_set(err, ERR_USAGE, "--service: more than %d services", GENERATE_MAX_SERVICES);
    service = split_add(arena, options);
    if (colon && !split_parse_share(colon + 1, &service->share))
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

bool generate_check(const struct generate_options *options, struct err *err)
{
    if (options->service_count == 0 && !options->replay)
        return err_set(err, ERR_USAGE, "--service is missing: name the service to call");
    if (options->max_requests > GENERATE_MAX_REQUESTS ||
        options->max_sessions > GENERATE_MAX_REQUESTS)
        return err_set(err, ERR_USAGE, "more than %lld requests", (long long)GENERATE_MAX_REQUESTS);
    return lengths_check(options, err);
}

struct workload_builder *generate_builder(struct arena *arena,
                                          const struct generate_options *options)
{
    struct workload_builder *builder = workload_build(arena, "the generated workload");

    for (int i = 0; i < options->service_count; i++)
        workload_builder_service(builder, options->services[i].name);
    return builder;
}

/* Names of a replayed file, in its order, so that its numbers stay valid. */
static void add_replayed(struct workload_builder *builder, const struct generate_options *options)
{
    const struct workload *replay = options->replay;

    for (int i = 0; i < replay->service_count && options->service_count == 0; i++)
        workload_builder_service(builder, replay->services[i]);
    for (int i = 0; i < replay->client_count; i++)
        workload_builder_client(builder, replay->clients[i]);
    for (int i = 0; i < replay->session_count; i++)
        workload_builder_session(builder, replay->sessions[i]);
}

struct workload *generate_open(struct arena *arena, const struct generate_options *options,
                               struct err *err)
{
    struct stream *stream = generate_check(options, err) ? stream_open(arena, options, err) : NULL;
    struct workload_builder *builder;
    struct workload_request request;
    double expected;
    int64_t count = 0;

    if (!stream)
        return NULL;
    expected = stream_rate_per_s(stream) * ((double)options->duration_ps / (double)UNITS_PS_PER_S);
    if (options->max_requests <= 0 && expected > (double)GENERATE_MAX_REQUESTS) {
        err_set(err, ERR_USAGE,
                "--rate times --duration is %.3g requests: at most %lld, or add --requests",
                expected, (long long)GENERATE_MAX_REQUESTS);
        return NULL;
    }
    builder = generate_builder(arena, options);
    if (options->replay)
        add_replayed(builder, options);
    else if (options->max_requests > 0 && options->duration_ps == 0) /* all of them will come */
        workload_builder_reserve(builder, (size_t)options->max_requests);
    for (; count < GENERATE_MAX_REQUESTS && stream_next(stream, &request); count++)
        workload_builder_add(builder, &request);
    if (count == GENERATE_MAX_REQUESTS && stream_next(stream, &request))
        err_set(err, ERR_USAGE, "more than %lld requests", (long long)GENERATE_MAX_REQUESTS);
    else if (count < options->max_requests && options->duration_ps == 0 && !options->replay)
        err_set(err, ERR_INPUT,
                "%lld of %lld requests arrive before time ends, at %lld s: raise --rate",
                (long long)count, (long long)options->max_requests,
                (long long)(UNITS_MAX_PS / UNITS_PS_PER_S));
    return err->kind == ERR_NONE ? workload_builder_finish(builder) : NULL;
}

struct workload *generate_closed(struct arena *arena, const struct generate_options *options,
                                 struct err *err)
{
    int64_t count = options->max_requests;
    struct workload_builder *builder;
    struct clients *clients;

    if (!generate_check(options, err))
        return NULL;
    if (count <= 0 || !options->think) {
        err_set(err, ERR_USAGE, "--clients needs --requests TOTAL and --think DIST");
        return NULL;
    }
    builder = generate_builder(arena, options);
    workload_builder_reserve(builder, (size_t)count);
    clients = clients_begin(arena, options, count, builder);
    for (int64_t i = 0; i < count; i++) {
        struct client *client = &clients->list[i % clients->count];
        struct workload_request request = { .request_id = i,
                                            .arrival_ps = WORKLOAD_CLOSED,
                                            .slo_ps = options->slo_ps,
                                            .client = (int32_t)(i % clients->count),
                                            .session = -1,
                                            .batch = 1 };

        lengths_draw(&client->lengths, options, &request);
        request.service = clients_choose(clients, client);
        request.think_ps = dist_draw(options->think, &client->think);
        workload_builder_add(builder, &request);
    }
    return workload_builder_finish(builder);
}

struct workload *generate_workload(struct arena *arena, const struct generate_options *options,
                                   struct err *err)
{
    if (options->turns)
        return options->clients > 0 ? sessions_closed(arena, options, err)
                                    : sessions_open(arena, options, err);
    if (options->max_sessions > 0 || options->max_context_tokens > 0) {
        err_set(err, ERR_USAGE, "%s is about conversations: expected --turns DIST with it",
                options->max_sessions > 0 ? "--sessions" : "--max-context");
        return NULL;
    }
    return options->clients > 0 ? generate_closed(arena, options, err)
                                : generate_open(arena, options, err);
}
