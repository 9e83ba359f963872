/* load.c - parses --clients, --service, --prompt and their like. */
#include "sim/cmd/load.h"

#include "lib/base/cli.h"
#include "lib/base/dist.h"
#include "lib/base/err.h"

enum {
    KEY_CLIENTS = 0x200,
    KEY_THINK,
    KEY_REQUESTS,
    KEY_SERVICE,
    KEY_PROMPT,
    KEY_OUTPUT,
    KEY_SEED
};

static const struct argp_option load_options[] = {
    { NULL, 0, NULL, 0, "Requests:", 2 },
    { "service", KEY_SERVICE, "NAME[:SHARE]", 0,
      "Service that is called; may be repeated, SHARE (default 1) splits the load", 2 },
    { "prompt", KEY_PROMPT, "DIST", 0, "Prompt tokens of a request", 2 },
    { "output", KEY_OUTPUT, "DIST", 0, "Output tokens of a request", 2 },
    { "clients", KEY_CLIENTS, "N", 0,
      "Closed loop: N clients, each sends when its previous request has ended", 2 },
    { "think", KEY_THINK, "DIST", 0, "Closed loop: pause of a client before each request", 2 },
    { "requests", KEY_REQUESTS, "N", 0, "Closed loop: requests in all; else at most N", 2 },
    { "seed", KEY_SEED, "N", 0, "Seed of every random draw (default 1)", 2 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct load *load = state->input;
    struct err err = ERR_INIT;

    switch (key) {
    case KEY_CLIENTS:
        load->options.clients = cli_int(state, "--clients", text, 1, GENERATE_MAX_CLIENTS);
        return 0;
    case KEY_REQUESTS:
        load->options.max_requests = cli_int(state, "--requests", text, 1, GENERATE_MAX_REQUESTS);
        return 0;
    case KEY_SERVICE:
        if (!generate_parse_service(load->arena, text, &load->options, &err))
            argp_error(state, "%s", err.text);
        return 0;
    case KEY_THINK:
        load->think = text;
        return 0;
    case KEY_PROMPT:
        load->prompt = text;
        return 0;
    case KEY_OUTPUT:
        load->output = text;
        return 0;
    case KEY_SEED:
        load->options.seed = (uint64_t)cli_int(state, "--seed", text, 0, INT64_MAX);
        return 0;
    case ARGP_KEY_INIT:
        load->options.seed = 1;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp load_argp = { .options = load_options, .parser = on_option };

static bool parse(struct load *load, const char *text, enum dist_unit unit, const char *option,
                  const struct dist **dist, struct err *err)
{
    if (text)
        *dist = dist_parse(load->arena, text, unit, option, err);
    return !text || *dist;
}

bool load_finish(struct load *load, struct err *err)
{
    return parse(load, load->think, DIST_TIME, "--think", &load->options.think, err) &&
           parse(load, load->prompt, DIST_TOKENS, "--prompt", &load->options.prompt, err) &&
           parse(load, load->output, DIST_TOKENS, "--output", &load->options.output, err);
}
