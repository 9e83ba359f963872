/* sessions.c - turns of conversations.
 *
 * --prompt is what a turn adds: prompt_tokens of turn k = prefix_tokens + that, and prefix_tokens =
 * prompt + output of turn k - 1. Each conversation draws from streams of its own. */
#include "sim/generate/sessions.h"

#include "lib/base/arena.h"
#include "lib/base/dist.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/generate/clients.h"
#include "sim/generate/generate.h"
#include "sim/generate/lengths.h"
#include "sim/generate/stream.h"
#include <stdio.h>
#include <string.h>

struct talk { /* one conversation */
    struct lengths lengths;
    struct rng think;
    int64_t turns_left;
    int64_t context_tokens; /* prompt and output of the turn before */
    int32_t session, service;
};

/* The number-th conversation of a service or a client. */
static struct talk talk_begin(const struct generate_options *options, uint64_t entity,
                              int64_t number, int32_t session, int32_t service)
{
    struct talk talk = { .session = session, .service = service };
    uint64_t own = entity + (uint64_t)number * UINT64_C(0x9e3779b97f4a7c15);
    struct rng turns = rng_stream(options->seed, RNG_TURNS, own);

    talk.lengths = lengths_begin(options->seed, own);
    talk.think = rng_stream(options->seed, RNG_THINK, own);
    talk.turns_left = dist_draw(options->turns, &turns);
    return talk;
}

/* The next turn; false when there is none, since the conversation is over or grew too long. */
static bool talk_next(struct talk *talk, const struct generate_options *options,
                      struct workload_request *request)
{
    int64_t most = options->max_context_tokens > 0 ? options->max_context_tokens : DIST_MAX_TOKENS;
    int64_t prompt;

    if (talk->turns_left == 0)
        return false;
    *request = (struct workload_request){ .arrival_ps = WORKLOAD_CLOSED,
                                          .slo_ps = options->slo_ps,
                                          .service = talk->service,
                                          .client = -1,
                                          .session = talk->session,
                                          .batch = 1 };
    lengths_draw(&talk->lengths, options, request);
    if (options->think)
        request->think_ps = dist_draw(options->think, &talk->think);
    prompt = talk->context_tokens + request->prompt_tokens;
    if (talk->context_tokens > 0 && prompt + request->output_tokens > most) {
        talk->turns_left = 0;
        return false;
    }
    request->prefix_tokens = (int32_t)talk->context_tokens;
    request->prompt_tokens = (int32_t)prompt;
    talk->context_tokens = options->prompt ? prompt + request->output_tokens : 0;
    talk->turns_left--;
    return true;
}

static int32_t add_session(struct workload_builder *builder, int64_t number)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "s%lld", (long long)number);
    return workload_builder_session(builder, name);
}

static bool too_many(struct err *err)
{
    return err_set(err, ERR_USAGE,
                   "the conversations have more than %lld turns in all: lower --rate, --duration, "
                   "--sessions or --turns, or give --requests",
                   (long long)GENERATE_MAX_REQUESTS);
}

/* What is far too much is refused before it fills the memory. */
static bool check_expected(const struct generate_options *options, double sessions, struct err *err)
{
    double turns = sessions * dist_mean(options->turns);

    return options->max_requests > 0 || options->max_context_tokens > 0 ||
           turns <= 2.0 * (double)GENERATE_MAX_REQUESTS || too_many(err);
}

/* Whether one more row may follow. A limit that the user gave ends the workload, that of memory is
 * an error (then err->kind is set). */
static bool has_room(const struct generate_options *options, size_t count, struct err *err)
{
    if (options->max_requests > 0)
        return (int64_t)count < options->max_requests;
    return (int64_t)count < GENERATE_MAX_REQUESTS || too_many(err);
}

/* How conversations begin: requests without any length. */
static struct generate_options starts_of(const struct generate_options *options)
{
    struct generate_options starts = *options;

    starts.turns = NULL;
    starts.prompt = starts.output = starts.items = NULL;
    starts.max_requests = options->max_sessions > 0 ? options->max_sessions : options->max_requests;
    return starts;
}

struct workload *sessions_open(struct arena *arena, const struct generate_options *options,
                               struct err *err)
{
    struct generate_options starts = starts_of(options);
    struct workload_builder *builder = generate_builder(arena, options);
    struct workload_request start, request;
    int64_t *begun, sessions = 0;
    struct stream *stream;

    if (options->process == GENERATE_REPLAY) {
        err_set(err, ERR_USAGE, "--turns has no meaning for --process replay");
        return NULL;
    }
    stream = generate_check(options, err) ? stream_open(arena, &starts, err) : NULL;
    if (!stream || !check_expected(options,
                                   options->max_sessions > 0
                                       ? (double)options->max_sessions
                                       : stream_rate_per_s(stream) * ((double)options->duration_ps /
                                                                      (double)UNITS_PS_PER_S),
                                   err))
        return NULL;
    begun = arena_array(arena, (size_t)options->service_count, sizeof(*begun));
    while (has_room(options, workload_builder_count(builder), err) && stream_next(stream, &start)) {
        const char *name = options->services[start.service].name;
        struct talk talk =
            talk_begin(options, hash_bytes(HASH_START, name, strlen(name)), begun[start.service]++,
                       add_session(builder, sessions++), start.service);
        bool is_first = true;

        while (has_room(options, workload_builder_count(builder), err) &&
               talk_next(&talk, options, &request)) {
            request.request_id = (int64_t)workload_builder_count(builder);
            if (is_first) {
                request.arrival_ps = start.arrival_ps;
                request.think_ps = 0;
            }
            is_first = false;
            workload_builder_add(builder, &request);
        }
    }
    return err->kind == ERR_NONE ? workload_builder_finish(builder) : NULL;
}

/* The turn that a client takes next, of a new conversation where the last one is over. False when
 * no conversation may begin any more. */
static bool client_next(struct workload_builder *builder, const struct generate_options *options,
                        const struct clients *clients, int64_t number, struct talk *talk,
                        int64_t *sessions, struct workload_request *request)
{
    struct client *client = &clients->list[number];

    while (!talk_next(talk, options, request)) {
        if (options->max_sessions > 0 && *sessions == options->max_sessions)
            return false;
        *talk = talk_begin(options, (uint64_t)number, client->sessions++,
                           add_session(builder, (*sessions)++), clients_choose(clients, client));
    }
    request->client = (int32_t)number;
    return true;
}

struct workload *sessions_closed(struct arena *arena, const struct generate_options *options,
                                 struct err *err)
{
    struct workload_builder *builder = generate_builder(arena, options);
    int64_t most = options->max_sessions > 0 ? options->max_sessions : options->max_requests;
    int64_t sessions = 0, over = 0;
    struct clients *clients;
    struct talk *talks;

    if (most <= 0 || !options->think)
        err_set(err, ERR_USAGE,
                "--clients with --turns needs --think DIST, and --requests TOTAL or --sessions N");
    if (err->kind != ERR_NONE || !generate_check(options, err) ||
        !check_expected(options, (double)options->max_sessions, err))
        return NULL;
    clients = clients_begin(arena, options, most, builder);
    talks = arena_array(arena, (size_t)clients->count, sizeof(*talks));
    for (int64_t i = 0;
         over < clients->count && has_room(options, workload_builder_count(builder), err);
         i = i + 1 < clients->count ? i + 1 : 0) {
        struct workload_request request;

        if (!client_next(builder, options, clients, i, &talks[i], &sessions, &request)) {
            over++; /* in a row: all of them are through */
            continue;
        }
        over = 0;
        request.request_id = (int64_t)workload_builder_count(builder);
        workload_builder_add(builder, &request);
    }
    return err->kind == ERR_NONE ? workload_builder_finish(builder) : NULL;
}
