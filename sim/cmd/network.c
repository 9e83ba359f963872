/* network.c - orrery-sim network: when each flow of a case ends. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "sim/cmd/cmd.h"
#include "sim/network/scn.h"

enum { KEY_CAPACITY = 0x300, KEY_JSON };

struct settings {
    const char *path, *capacity, *output;
    bool is_json;
};

static const struct argp_option network_options[] = {
    { "capacity", KEY_CAPACITY, "FILE", 0,
      "Capacities that change: a table time_s,resource,capacity_bytes_per_s in order of time", 0 },
    { NULL, 'o', "FILE", 0, "Where the result goes (default -, stdout)", 0 },
    { "json", KEY_JSON, NULL, 0, "One JSON object: flows, and how busy each resource was", 0 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case KEY_CAPACITY:
        settings->capacity = text;
        return 0;
    case KEY_JSON:
        settings->is_json = true;
        return 0;
    case 'o':
        settings->output = text;
        return 0;
    case ARGP_KEY_ARG:
        if (settings->path)
            cli_error(state, "'%s' is a second case: expected one", text);
        settings->path = text;
        return 0;
    case ARGP_KEY_END:
        if (!settings->path)
            cli_error(state, "expected a case: a file, or - for stdin");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void write_csv(const struct scn *scn, const struct scn_result *result, struct out *out)
{
    out_text(out, "flow,finish_s\n");
    for (int32_t i = 0; i < scn->flow_count; i++) {
        out_int(out, i);
        out_char(out, ',');
        out_seconds(out, result->finish_ps[i]);
        out_char(out, '\n');
    }
}

static void write_json(struct arena *arena, const struct scn *scn, const struct scn_result *result,
                       struct out *out)
{
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "version", CLI_VERSION);
    json_put_seconds(json, "simulated_s", result->end_ps);
    json_put_int(json, "events", result->event_count);
    json_begin_array(json, "flows");
    for (int32_t i = 0; i < scn->flow_count; i++) {
        json_begin_object(json, NULL);
        json_put_int(json, "flow", i);
        json_put_seconds(json, "start_s", scn->flows[i].start_ps);
        json_put_double(json, "bytes", scn->flows[i].bytes);
        json_put_seconds(json, "finish_s", result->finish_ps[i]);
        json_end_object(json);
    }
    json_end_array(json);
    json_begin_array(json, "resources");
    for (int32_t i = 0; i < scn->resource_count; i++) {
        bool has_busy = !scn->resources[i].is_fat_pipe && result->end_ps > 0;

        json_begin_object(json, NULL);
        json_put_text(json, "resource", scn->resources[i].name);
        if (has_busy)
            json_put_double(json, "busy_ratio",
                            (double)result->busy_ps[i] / (double)result->end_ps);
        else
            json_put_null(json, "busy_ratio");
        json_put_double(json, "bytes", result->bytes[i]);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
}

static bool network(struct arena *arena, const struct settings *settings, struct err *err)
{
    const struct scn *scn = scn_load(arena, settings->path, err);
    struct scn_changes changes = { 0 };
    struct scn_result result;
    struct out *out;

    if (!scn ||
        (settings->capacity && !scn_load_changes(arena, settings->capacity, scn, &changes, err)) ||
        !scn_run(arena, scn, &changes, &result, err))
        return false;
    out = out_open(arena, settings->output, err);
    if (!out)
        return false;
    if (settings->is_json)
        write_json(arena, scn, &result, out);
    else
        write_csv(scn, &result, out);
    return out_commit(out, err);
}

int cmd_network(int argc, char **argv)
{
    static const struct argp argp = {
        .options = network_options,
        .parser = on_option,
        .args_doc = "CASE.scn",
        .doc =
            "Prints when each flow of a case ends, as flow,finish_s in order of the file. Flows "
            "share resources by weighted max-min fairness.\v"
            "A line of a case is one of\n"
            "  R name capacity policy\n"
            "  F start bytes latency bound penalty n, then n times: resource weight\n"
            "  # a comment\n"
            "capacity and bound in bytes a second (bound 0 = none), start and latency in seconds; "
            "policy 0 = shared, 1 = a fat pipe, which gives each flow its whole capacity. "
            "Resources are numbered from 0 in order of the file. Rates maximise the smallest "
            "penalty x rate, then the next, with the sum of weight x rate within each shared "
            "capacity. Times are exact to 1 ps.\n\n"
            "Exit status: 0 done; 2 when it could not be done, or a flow never ends.\n\n"
            "Example:\n"
            "  printf 'R link 10 0\\nF 0 10 0 0 1 1 0 1\\n' | orrery-sim network -"
    };
    struct settings settings = { .output = "-" };
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    int exit_code = CLI_DONE;

    if (cli_parse(&argp, argc, argv, &settings, &exit_code) && !network(arena, &settings, &err))
        exit_code = cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
