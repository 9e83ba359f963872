/* stream.c - a process a service and a tree that merges them; or one process for all services, or
 * the rows of a file.
 *
 * The order of draws inside a stream of numbers is part of what a seed means: a request draws its
 * prompt, its output length and its items, each from the stream of its service for that purpose. */
#include "sim/generate/stream.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/generate/choice.h"
#include "sim/generate/lengths.h"
#include "sim/generate/merge.h"
#include "sim/generate/process.h"
#include <string.h>

#define MAX_S 9e6 /* UNITS_MAX_PS */

struct stream {
    const struct generate_options *options;
    int64_t end_ps, most, sent;
    int first;                /* the process that comes next */
    bool is_replay, is_drawn; /* some length is drawn for each request */
    double rate_per_s;
    int process_count;
    struct process *processes; /* one a service, or one; none for a replay */
    struct lengths *lengths;   /* one a service, at least one */
    struct merge *merge;       /* of several processes */
    struct choice *choice;     /* who is called, where the process does not tell */
    struct rng choice_rng;
    int64_t scale, scale_of; /* replay: times are multiplied by scale / scale_of */
};

static bool check(const struct generate_options *options, struct err *err)
{
    if (!process_check(options, err))
        return false;
    if (options->clients > 0 || options->turns)
        return err_set(err, ERR_USAGE,
                       "%s: requests that wait for others cannot be streamed: generate a workload "
                       "first",
                       options->turns ? "--turns" : "--clients");
    if (options->process == GENERATE_REPLAY) {
        if (!options->replay)
            return err_set(err, ERR_USAGE, "--process replay needs --replay FILE");
    } else {
        if (options->duration_ps <= 0 && options->max_requests <= 0)
            return err_set(err, ERR_USAGE,
                           "--duration is missing: for example 60s (or --requests N)");
        if (options->service_count == 0)
            return err_set(err, ERR_USAGE, "--service is missing: name the service to call");
    }
    return lengths_check(options, err);
}

static uint64_t entity_of(const char *name)
{
    return hash_bytes(HASH_START, name, strlen(name));
}

static void begin_lengths(struct arena *arena, struct stream *stream)
{
    const struct generate_options *options = stream->options;
    int count = options->service_count > 0 ? options->service_count : 1;

    stream->lengths = arena_array(arena, (size_t)count, sizeof(*stream->lengths));
    for (int i = 0; i < count; i++)
        stream->lengths[i] = lengths_begin(
            options->seed, entity_of(options->service_count > 0 ? options->services[i].name : ""));
}

static void begin_choice(struct arena *arena, struct stream *stream)
{
    const struct generate_options *options = stream->options;
    double *shares = arena_array(arena, (size_t)options->service_count, sizeof(*shares));

    for (int i = 0; i < options->service_count; i++)
        shares[i] = options->services[i].share;
    stream->choice = choice_create(arena, shares, options->service_count);
    stream->choice_rng = rng_stream(options->seed, RNG_SERVICE_CHOICE, 0);
}

static bool begin_processes(struct arena *arena, struct stream *stream, struct err *err)
{
    const struct generate_options *options = stream->options;
    struct process_load load;
    int64_t *heads_ps;
    double total = 0;

    if (!process_load_begin(arena, &load, options, err))
        return false;
    stream->rate_per_s = load.rate_per_s;
    stream->process_count = options->is_merged ? 1 : options->service_count;
    stream->processes =
        arena_array(arena, (size_t)stream->process_count, sizeof(*stream->processes));
    heads_ps = arena_array(arena, (size_t)stream->process_count, sizeof(*heads_ps));
    for (int i = 0; i < options->service_count; i++)
        total += options->services[i].share;
    for (int i = 0; i < stream->process_count; i++) {
        double fraction = options->is_merged ? 1 : options->services[i].share / total;
        const char *name = options->is_merged ? "" : options->services[i].name;

        if (!process_begin(arena, &stream->processes[i], &load, fraction, entity_of(name), err))
            return false;
        heads_ps[i] = process_next_ps(&stream->processes[i]);
    }
    if (options->is_merged)
        begin_choice(arena, stream);
    if (stream->process_count > 1) {
        stream->merge = merge_create(arena, heads_ps, stream->process_count);
        stream->first = merge_first(stream->merge);
    }
    return true;
}

/* --time-scale as it is; --rate as the ratio of the two spans. */
static bool begin_scale(struct stream *stream, struct err *err)
{
    const struct generate_options *options = stream->options;
    const struct workload *replay = options->replay;
    int64_t last_ps = replay->arrivals_ps[replay->count - 1];
    int64_t span_ps = last_ps - replay->arrivals_ps[0];
    double gaps = (double)(replay->count - 1), span_s;

    stream->scale = options->time_scale > 0 ? options->time_scale : GENERATE_SCALE_UNIT;
    stream->scale_of = GENERATE_SCALE_UNIT;
    if (options->rate_per_s > 0 && options->time_scale > 0)
        return err_set(err, ERR_USAGE, "give either --rate or --time-scale");
    if (options->rate_per_s > 0) {
        span_s = gaps / options->rate_per_s;
        if (span_ps == 0)
            return err_at(err, replay->path, 0, 0,
                          "all rows arrive at once: --rate has nothing to scale");
        if (!(span_s >= 1e-12 && span_s <= MAX_S))
            return err_set(err, ERR_USAGE,
                           "--rate: %g requests at %g/s take %g s: expected 1 ps to %lld s", gaps,
                           options->rate_per_s, span_s, (long long)MAX_S);
        stream->scale = dmath_round(span_s * (double)UNITS_PS_PER_S);
        stream->scale_of = span_ps;
    }
    last_ps = units_mul_div(last_ps, stream->scale, stream->scale_of);
    if (last_ps > UNITS_MAX_PS)
        return err_set(err, ERR_USAGE,
                       "the last row of the replay would arrive after %lld s, where "
                       "time ends",
                       (long long)MAX_S);
    span_ps = units_mul_div(span_ps, stream->scale, stream->scale_of);
    stream->rate_per_s = span_ps > 0 ? gaps / ((double)span_ps / (double)UNITS_PS_PER_S) : 0;
    return true;
}

static bool begin_replay(struct arena *arena, struct stream *stream, struct err *err)
{
    const struct generate_options *options = stream->options;
    const struct workload *replay = options->replay;

    if (options->is_merged)
        return err_set(err, ERR_USAGE, "--merged has no meaning for --process replay");
    for (size_t i = 0; i < replay->count; i++)
        if (replay->arrivals_ps[i] == WORKLOAD_CLOSED)
            return err_at(err, replay->path, workload_line(replay, i), 0,
                          "a row without an arrival_s cannot be replayed; 'orrery-sim workload "
                          "scale' keeps rows that wait for others");
    if (options->service_count > 0)
        begin_choice(arena, stream);
    if ((int64_t)replay->count < stream->most)
        stream->most = (int64_t)replay->count;
    return begin_scale(stream, err);
}

static int64_t replay_next_ps(const struct stream *stream)
{
    return units_mul_div(stream->options->replay->arrivals_ps[stream->sent], stream->scale,
                         stream->scale_of);
}

struct stream *stream_open(struct arena *arena, const struct generate_options *options,
                           struct err *err)
{
    struct stream *stream = arena_alloc(arena, sizeof(*stream));
    int64_t first_ps;

    stream->options = options;
    stream->end_ps = options->duration_ps > 0 ? options->duration_ps : UNITS_MAX_PS;
    stream->most = options->max_requests > 0 ? options->max_requests : INT64_MAX;
    if (!check(options, err))
        return NULL;
    begin_lengths(arena, stream);
    stream->is_replay = options->process == GENERATE_REPLAY;
    stream->is_drawn = options->prompt || options->output || options->items;
    if (stream->is_replay) {
        /* A row at the horizon itself is still a row. */
        stream->end_ps = options->duration_ps > 0 ? options->duration_ps : UNITS_MAX_PS + 1;
        if (!begin_replay(arena, stream, err))
            return NULL;
        first_ps = replay_next_ps(stream);
    } else {
        if (!begin_processes(arena, stream, err))
            return NULL;
        first_ps = process_next_ps(&stream->processes[stream->first]);
    }
    if (first_ps < stream->end_ps)
        return stream;
    err_set(err, ERR_INPUT,
            "no request arrives within the duration: raise --rate or "
            "--duration");
    return NULL;
}

/* A row of the file, with what the options say in place of what it says. */
static bool replay_next(struct stream *stream, struct workload_request *request)
{
    const struct generate_options *options = stream->options;
    int64_t at_ps = replay_next_ps(stream);

    if (at_ps >= stream->end_ps)
        return false;
    *request = workload_at(options->replay, (size_t)stream->sent);
    request->arrival_ps = at_ps;
    request->request_id = stream->sent++;
    if (stream->choice)
        request->service = choice_draw(stream->choice, &stream->choice_rng);
    if (options->prompt)
        request->prefix_tokens = 0; /* of another prompt */
    if (options->slo_ps > 0)
        request->slo_ps = options->slo_ps;
    lengths_draw(&stream->lengths[stream->choice ? request->service : 0], options, request);
    return true;
}

bool stream_next(struct stream *stream, struct workload_request *request)
{
    const struct generate_options *options = stream->options;
    struct process *process;
    int64_t at_ps;
    int32_t service;

    if (stream->sent >= stream->most)
        return false;
    if (stream->is_replay)
        return replay_next(stream, request);
    process = &stream->processes[stream->first];
    at_ps = process_next_ps(process);
    if (at_ps >= stream->end_ps)
        return false;
    service = stream->choice ? choice_draw(stream->choice, &stream->choice_rng) : stream->first;
    *request = (struct workload_request){ .request_id = stream->sent++,
                                          .arrival_ps = at_ps,
                                          .slo_ps = options->slo_ps,
                                          .service = service,
                                          .client = -1,
                                          .session = -1,
                                          .batch = 1 };
    if (stream->is_drawn)
        lengths_draw(&stream->lengths[service], options, request);
    process_next(process);
    if (stream->merge)
        stream->first = merge_replace(stream->merge, process_next_ps(process));
    return true;
}

bool stream_is_plain(const struct stream *stream)
{
    return !stream->is_replay && !stream->is_drawn;
}

size_t stream_fill(struct stream *stream, int64_t *arrivals_ps, int32_t *services, size_t room)
{
    int64_t left = stream->most - stream->sent;
    size_t count = 0;

    if (left < (int64_t)room)
        room = left > 0 ? (size_t)left : 0;
    for (; count < room; count++) {
        struct process *process = &stream->processes[stream->first];
        int64_t at_ps = process_next_ps(process);

        if (at_ps >= stream->end_ps)
            break;
        arrivals_ps[count] = at_ps;
        services[count] = stream->choice ? choice_draw(stream->choice, &stream->choice_rng)
                                         : (int32_t)stream->first;
        process_next(process);
        if (stream->merge)
            stream->first = merge_replace(stream->merge, process_next_ps(process));
    }
    stream->sent += (int64_t)count;
    return count;
}

int stream_service_count(const struct stream *stream)
{
    const struct generate_options *options = stream->options;

    return options->service_count > 0 ? options->service_count : options->replay->service_count;
}

const char *stream_service(const struct stream *stream, int service)
{
    const struct generate_options *options = stream->options;

    return options->service_count > 0 ? options->services[service].name
                                      : options->replay->services[service];
}

double stream_rate_per_s(const struct stream *stream)
{
    return stream->rate_per_s;
}
