/* trace.c - orrery-sim trace: stage traces, simulated or real, as a Chrome trace. */
#include "lib/format/trace.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/same_file.h"
#include "sim/cmd/cmd.h"
#include "sim/report/timeline.h"
#include <string.h>

enum { KEY_STAGES = 0x300, KEY_REQUESTS, KEY_AGAINST, KEY_AGAINST_REQUESTS, KEY_NAMES };

struct settings {
    const char *stages[2], *requests[2];
    const char *names;
    const char *output;
};

static const struct argp_option trace_options[] = {
    { "stages", KEY_STAGES, "FILE", 0, "stages.csv of a simulation or of a run (required)", 0 },
    { "requests", KEY_REQUESTS, "FILE", 0, "Its requests.csv: adds tracks of requests", 0 },
    { "against", KEY_AGAINST, "FILE", 0, "A second stages.csv, shown beside the first", 0 },
    { "against-requests", KEY_AGAINST_REQUESTS, "FILE", 0, "The second requests.csv", 0 },
    { "names", KEY_NAMES, "A,B", 0, "What to call the two (default predicted,measured)", 0 },
    { NULL, 'o', "FILE", 0, "Where the Chrome trace goes; - is stdout (required)", 0 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case KEY_STAGES:
        settings->stages[0] = text;
        return 0;
    case KEY_REQUESTS:
        settings->requests[0] = text;
        return 0;
    case KEY_AGAINST:
        settings->stages[1] = text;
        return 0;
    case KEY_AGAINST_REQUESTS:
        settings->requests[1] = text;
        return 0;
    case KEY_NAMES:
        settings->names = text;
        return 0;
    case 'o':
        settings->output = text;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "'%s' is not an option", text);
        return 0;
    case ARGP_KEY_END:
        if (!settings->stages[0] || !settings->output)
            cli_error(state, "--stages and -o are both required");
        if (settings->requests[1] && !settings->stages[1])
            cli_error(state, "--against-requests needs --against");
        if (!strchr(settings->names, ','))
            cli_error(state, "--names is '%s': expected two names, A,B", settings->names);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool timeline_load(struct arena *arena, const char *stages_path, const char *requests_path,
                          struct timeline *timeline, struct err *err)
{
    struct trace_stages *stages = arena_alloc(arena, sizeof(*stages));
    struct trace_requests *requests = arena_alloc(arena, sizeof(*requests));

    if (!trace_stages_load(arena, stages_path, stages, err) ||
        (requests_path && !trace_requests_load(arena, requests_path, requests, err)))
        return false;
    timeline->stages = stages;
    timeline->requests = requests_path ? requests : NULL;
    return true;
}

static bool trace(struct arena *arena, const struct settings *settings, struct err *err)
{
    struct timeline timelines[2];
    const char *comma = strchr(settings->names, ',');
    int count = settings->stages[1] ? 2 : 1;
    struct out *out;

    timelines[0].name = arena_strndup(arena, settings->names, (size_t)(comma - settings->names));
    timelines[1].name = comma + 1;
    for (int i = 0; i < count; i++)
        if (!timeline_load(arena, settings->stages[i], settings->requests[i], &timelines[i], err))
            return false;
    for (int i = 0; i < 4; i++) {
        const char *read = i < 2 ? settings->stages[i] : settings->requests[i - 2];

        if (read && same_file(settings->output, read))
            return err_set(err, ERR_USAGE, "%s is read by this run: an output would replace it",
                           settings->output);
    }
    out = out_open(arena, settings->output, err);
    if (!out)
        return false;
    timeline_write(arena, timelines, count, out);
    return out_commit(out, err);
}

int cmd_trace(int argc, char **argv)
{
    static const struct argp argp = {
        .options = trace_options,
        .parser = on_option,
        .doc = "Writes a Chrome trace: a track a device, as many for requests as overlap; two "
               "traces stand side by side. Open it at https://ui.perfetto.dev (Perfetto), or in "
               "Chromium: DevTools > Performance > Load profile.\v"
               "Example:\n"
               "  orrery-sim trace --stages predicted-stages.csv \\\n"
               "      --against measured-stages.csv -o trace.json"
    };
    struct settings settings = { .names = "predicted,measured" };
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    int exit_code = CLI_DONE;

    if (cli_parse(&argp, argc, argv, &settings, &exit_code) && !trace(arena, &settings, &err))
        exit_code = cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
