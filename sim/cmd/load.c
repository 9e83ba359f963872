/* load.c - parses --clients, --service, --process, --prompt and their like. */
#include "sim/cmd/load.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/dist.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/mmpp.h"
#include "lib/format/profile.h"
#include "lib/format/workload.h"
#include "sim/generate/split.h"
#include "sim/report/inputs.h"
#include <inttypes.h>
#include <string.h>

#define FIRST_KEY 0x200 /* + enum load_text: one key an option */
enum { KEY_SEED = FIRST_KEY + LOAD_TEXT_COUNT };

static const char *const text_names[LOAD_TEXT_COUNT] = {
    [LOAD_CLIENTS] = "clients",
    [LOAD_PROCESS] = "process",
    [LOAD_RATE] = "rate",
    [LOAD_DURATION] = "duration",
    [LOAD_CV] = "cv",
    [LOAD_SHAPE] = "shape",
    [LOAD_DWELL] = "dwell",
    [LOAD_STATES] = "states",
    [LOAD_MMPP] = "mmpp",
    [LOAD_PROFILE] = "profile",
    [LOAD_PERIOD] = "period",
    [LOAD_REPLAY] = "replay",
    [LOAD_TIME_SCALE] = "time-scale",
    [LOAD_THINK] = "think",
    [LOAD_TURNS] = "turns",
    [LOAD_SESSIONS] = "sessions",
    [LOAD_MAX_CONTEXT] = "max-context",
    [LOAD_REQUESTS] = "requests",
    [LOAD_SERVICE] = "service",
    [LOAD_SERVICES] = "services",
    [LOAD_SPLIT] = "split",
    [LOAD_MERGED] = "merged",
    [LOAD_PROMPT] = "prompt",
    [LOAD_OUTPUT] = "output",
    [LOAD_ITEMS] = "items",
};

#define KEY(name) (FIRST_KEY + LOAD_##name)

static const struct argp_option load_options[] = {
    { NULL, 0, NULL, 0, "Requests:", 2 },
    { "service", KEY(SERVICE), "NAME[:SHARE]", 0,
      "Service that is called; may be repeated, SHARE (default 1) splits the load", 2 },
    { "services", KEY(SERVICES), "N[:PREFIX]", 0,
      "N services PREFIX0, PREFIX1, ... (default prefix s) in place of --service", 2 },
    { "split", KEY(SPLIT), "RULE", 0,
      "Shares of the services: uniform, power-law[:ALPHA] (i^-ALPHA, default 0.5), triangle (N, "
      "N-1, ... 1), list:A,B,... or list (as given with --service)",
      2 },
    { "prompt", KEY(PROMPT), "DIST", 0,
      "Prompt tokens of a request; with --turns, what a turn adds to the conversation", 2 },
    { "output", KEY(OUTPUT), "DIST", 0, "Output tokens of a request", 2 },
    { "items", KEY(ITEMS), "DIST", 0, "Items of a request (column batch)", 2 },
    { "requests", KEY(REQUESTS), "N", 0, "Closed loop: requests in all; else at most N", 2 },
    { "seed", KEY_SEED, "N", 0, "Seed of every random draw (default 1)", 2 },
    { "clients", KEY(CLIENTS), "N", 0,
      "Closed loop: N clients, each sends when its previous request has ended", 2 },
    { "think", KEY(THINK), "DIST", 0,
      "Closed loop: pause of a client before each request; also before each later turn of a "
      "conversation",
      2 },
    { "turns", KEY(TURNS), "DIST", 0,
      "Requests are turns of conversations, of so many turns each; open arrivals begin them, or "
      "clients hold one after the other",
      2 },
    { "sessions", KEY(SESSIONS), "N", 0, "At most N conversations", 2 },
    { "max-context", KEY(MAX_CONTEXT), "TOKENS", 0,
      "A conversation ends before its prompt and output are longer", 2 },
    { 0 }
};

static const struct argp_option load_open_options[] = {
    { NULL, 0, NULL, 0, "Open arrivals:", 1 },
    { "process", KEY(PROCESS), "NAME", 0, "poisson, gamma, constant, mmpp, pareto or replay", 1 },
    { "rate", KEY(RATE), "R", 0,
      "Mean rate of all services: 20/s, 12/min, or a number per second; scales a given mmpp, "
      "profile or replay to it",
      1 },
    { "duration", KEY(DURATION), "TIME", 0, "Arrivals come before this instant: 60s", 1 },
    { "merged", KEY(MERGED), NULL, 0,
      "One process for all services, each request draws its service; default: a process for each",
      1 },
    { "cv", KEY(CV), "X", 0,
      "Coefficient of variation of the gaps, for gamma, mmpp (1 or more) and pareto", 1 },
    { "shape", KEY(SHAPE), "A", 0, "Tail exponent of the pareto, above 1, in place of --cv", 1 },
    { "dwell", KEY(DWELL), "TIME", 0, "Mean length of the two states of --cv (default 10s)", 1 },
    { "states", KEY(STATES), "LIST", 0,
      "States of the mmpp, mean length and rate of each: 5s:20/s,30s:2/s", 1 },
    { "mmpp", KEY(MMPP), "FILE", 0, "States of the mmpp, with lengths or a generator matrix", 1 },
    { "profile", KEY(PROFILE), "FILE", 0, "Rate over time, in place of or scaled to --rate", 1 },
    { "period", KEY(PERIOD), "TIME", 0, "The profile comes again after TIME: 24h", 1 },
    { "replay", KEY(REPLAY), "FILE", 0, "Rows of a workload; other options replace columns", 1 },
    { "time-scale", KEY(TIME_SCALE), "X", 0, "Times of the replay are multiplied by X", 1 },
    { 0 }
};

bool load_parse_scale(const char *text, int64_t *scale)
{
    const char *point = strchr(text, '.');

    /* Without an exponent, so that decimals can be counted: none is rounded off. */
    return strspn(text, "0123456789.") == strlen(text) && (!point || strlen(point) <= 10) &&
           units_parse_decimal(text, 9, scale) && *scale > 0 &&
           *scale <= 1000000 * GENERATE_SCALE_UNIT;
}

static double positive(struct argp_state *state, const char *option, const char *text)
{
    double value = 1;

    if (!units_parse_double(text, &value) || value <= 0)
        cli_error(state, "%s is '%s': expected a number above 0", option, text);
    return value;
}

static error_t on_open(int key, char *text, struct argp_state *state)
{
    struct load *load = state->input;
    struct generate_options *options = &load->options;

    switch (key) {
    case KEY(PROCESS):
        options->process = (enum generate_process)cli_choice(
            state, "--process", text, generate_process_names, GENERATE_PROCESS_COUNT);
        break;
    case KEY(RATE):
        options->rate_per_s = cli_rate_per_s(state, "--rate", text);
        break;
    case KEY(DURATION):
        options->duration_ps = cli_duration_positive_ps(state, "--duration", text);
        break;
    case KEY(MERGED):
        options->is_merged = true;
        load->texts[LOAD_MERGED] = "yes";
        return 0;
    case KEY(CV):
        options->cv = positive(state, "--cv", text);
        break;
    case KEY(SHAPE):
        options->shape = positive(state, "--shape", text);
        break;
    case KEY(DWELL):
        options->dwell_ps = cli_duration_positive_ps(state, "--dwell", text);
        break;
    case KEY(PERIOD):
        options->period_ps = cli_duration_positive_ps(state, "--period", text);
        break;
    case KEY(TIME_SCALE):
        if (!load_parse_scale(text, &options->time_scale))
            cli_error(state, "--time-scale is '%s': " LOAD_SCALE_EXPECTED, text);
        break;
    case KEY(STATES):
    case KEY(MMPP):
    case KEY(PROFILE):
    case KEY(REPLAY):
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    load->texts[key - FIRST_KEY] = text;
    return 0;
}

const struct argp load_open_argp = { .options = load_open_options, .parser = on_open };

/* "NAME=OF:SHARE" is NAME:SHARE, and what NAME is. */
static const char *take_of(struct argp_state *state, struct load *load, const char *text)
{
    const char *equals = strchr(text, '='), *share;
    int number = load->options.service_count;
    double value;

    if (number == LOAD_MAX_OFS)
        cli_error(state, "--service: more than %d given", LOAD_MAX_OFS);
    if (!equals)
        return text;
    share = strrchr(equals, ':');
    if (share && !units_parse_double(share + 1, &value))
        share = NULL;
    load->ofs[number] =
        share ? arena_strndup(load->arena, equals + 1, (size_t)(share - equals - 1)) : equals + 1;
    return arena_printf(load->arena, "%.*s%s", (int)(equals - text), text, share ? share : "");
}

static void add_service(struct argp_state *state, struct load *load, const char *text)
{
    struct err err = ERR_INIT;

    if (load->takes_ofs)
        text = take_of(state, load, text);
    if (!generate_parse_service(load->arena, text, &load->options, &err))
        cli_error(state, "%s", err.text);
    load->has_shares = load->has_shares || strchr(text, ':');
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct load *load = state->input;
    struct generate_options *options = &load->options;

    switch (key) {
    case ARGP_KEY_INIT:
        options->seed = 1;
        return 0;
    case KEY_SEED:
        options->seed = (uint64_t)cli_int(state, "--seed", text, 0, INT64_MAX);
        return 0;
    case KEY(CLIENTS):
        options->clients = cli_int(state, "--clients", text, 1, GENERATE_MAX_CLIENTS);
        break;
    case KEY(REQUESTS):
        options->max_requests = cli_int(state, "--requests", text, 1, GENERATE_MAX_STREAM);
        break;
    case KEY(SESSIONS):
        options->max_sessions = cli_int(state, "--sessions", text, 1, GENERATE_MAX_REQUESTS);
        break;
    case KEY(MAX_CONTEXT):
        options->max_context_tokens = cli_int(state, "--max-context", text, 1, DIST_MAX_TOKENS);
        break;
    case KEY(SERVICE):
        add_service(state, load, text);
        break;
    case KEY(SERVICES):
    case KEY(SPLIT):
    case KEY(THINK):
    case KEY(TURNS):
    case KEY(PROMPT):
    case KEY(OUTPUT):
    case KEY(ITEMS):
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    load->texts[key - FIRST_KEY] = text;
    return 0;
}

const struct argp load_argp = { .options = load_options, .parser = on_option };

bool load_is_given(const struct load *load)
{
    for (int i = 0; i < LOAD_TEXT_COUNT; i++)
        if (load->texts[i])
            return true;
    return false;
}

const char *load_open_option(const struct load *load)
{
    for (int i = LOAD_PROCESS; i <= LOAD_TIME_SCALE; i++)
        if (load->texts[i])
            return text_names[i];
    return load->texts[LOAD_MERGED] ? text_names[LOAD_MERGED] : NULL;
}

bool load_has_process(const struct load *load)
{
    return load->texts[LOAD_PROCESS] || load->texts[LOAD_STATES] || load->texts[LOAD_MMPP] ||
           load->texts[LOAD_REPLAY];
}

static bool parse(struct load *load, enum load_text which, enum dist_unit unit,
                  const struct dist **dist, struct err *err)
{
    const char *text = load->texts[which];

    if (text)
        *dist = dist_parse(load->arena, text, unit,
                           arena_printf(load->arena, "--%s", text_names[which]), err);
    return !text || *dist;
}

static bool finish_services(struct load *load, struct err *err)
{
    const char *services = load->texts[LOAD_SERVICES], *split = load->texts[LOAD_SPLIT];

    if (services && !split_services(load->arena, services, &load->options, err))
        return false;
    return !split || split_shares(load->arena, split, load->has_shares, &load->options, err);
}

/* What is named in place of --process says which one it is. */
static bool finish_process(struct load *load, struct err *err)
{
    struct generate_options *options = &load->options;
    const char *const *texts = load->texts;
    struct arena *arena = load->arena;

    if (texts[LOAD_STATES] && texts[LOAD_MMPP])
        return err_set(err, ERR_USAGE, "give either --states or --mmpp");
    if (!texts[LOAD_PROCESS] && (texts[LOAD_STATES] || texts[LOAD_MMPP]))
        options->process = GENERATE_MMPP;
    else if (!texts[LOAD_PROCESS] && texts[LOAD_REPLAY])
        options->process = GENERATE_REPLAY;
    if (texts[LOAD_STATES])
        options->mmpp = mmpp_parse(arena, texts[LOAD_STATES], "--states", err);
    if (texts[LOAD_MMPP])
        options->mmpp = mmpp_load(arena, texts[LOAD_MMPP], err);
    if (texts[LOAD_PROFILE])
        options->profile = profile_load(arena, texts[LOAD_PROFILE], err);
    if (texts[LOAD_REPLAY])
        options->replay = workload_load(arena, texts[LOAD_REPLAY], err);
    return err->kind == ERR_NONE;
}

bool load_finish(struct load *load, struct err *err)
{
    struct generate_options *options = &load->options;

    return finish_services(load, err) && finish_process(load, err) &&
           parse(load, LOAD_THINK, DIST_TIME, &options->think, err) &&
           parse(load, LOAD_TURNS, DIST_TOKENS, &options->turns, err) &&
           parse(load, LOAD_PROMPT, DIST_TOKENS, &options->prompt, err) &&
           parse(load, LOAD_OUTPUT, DIST_TOKENS, &options->output, err) &&
           parse(load, LOAD_ITEMS, DIST_TOKENS, &options->items, err);
}

bool load_inputs(const struct load *load, struct inputs *inputs, struct err *err)
{
    static const enum load_text files[] = { LOAD_MMPP, LOAD_PROFILE, LOAD_REPLAY };

    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (load->texts[files[i]] &&
            !inputs_add(inputs, text_names[files[i]], load->texts[files[i]], err))
            return false;
    return true;
}

/* Every --service in one line. */
static const char *services_text(const struct load *load)
{
    const char *text = "";

    for (int i = 0; i < load->options.service_count; i++) {
        char share[UNITS_TEXT_BYTES];

        text = arena_printf(load->arena, "%s%s%s:%s", text, i ? " " : "",
                            load->options.services[i].name,
                            units_format_double(load->options.services[i].share, share));
    }
    return text;
}

void load_meta(const struct load *load, const char **meta, int *count)
{
    for (int i = 0; i < LOAD_TEXT_COUNT; i++) {
        if (!load->texts[i])
            continue;
        meta[(*count)++] = text_names[i];
        meta[(*count)++] = i == LOAD_SERVICE ? services_text(load) : load->texts[i];
    }
}
