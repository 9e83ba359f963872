/* facts.c - orrery-profile facts: what device.csv will say, without measuring anything. */
#include "profiler/device/facts.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "profiler/cmd/wrap.h"
#include "profiler/commands.h"
#include "profiler/device/facts_screen.h"
#include "profiler/device/preflight.h"
#include <sys/stat.h>

struct options {
    const char *sysroot;
    bool is_all, is_json;
};

enum { OPTION_ALL = 256, OPTION_JSON, OPTION_SYSROOT };

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case OPTION_ALL:
        options->is_all = true;
        return 0;
    case OPTION_JSON:
        options->is_json = true;
        return 0;
    case OPTION_SYSROOT:
        options->sysroot = arg;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "unexpected argument '%s'", arg);
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_json(struct arena *arena, struct out *out, const struct facts *facts,
                       const struct preflight_item *items, int count)
{
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    facts_write_json(json, "facts", facts);
    json_put_bool(json, "emulated", facts_is_emulated(facts));
    preflight_write_json(json, "preflight", items, count);
    json_end_object(json);
}

static bool print(struct arena *arena, const struct options *options, struct err *err)
{
    struct preflight_item items[PREFLIGHT_MAX];
    struct stat status;

    /* a missing tree would read as a device of which nothing is known */
    if (options->sysroot[0] && stat(options->sysroot, &status) != 0)
        return err_errno(err, options->sysroot);
    struct out *out = out_open(arena, "-", err);
    if (!out)
        return false;
    struct facts *facts = facts_collect(arena, options->sysroot);
    int count = preflight_check(facts, items);
    facts_collect_energy(facts);
    if (options->is_json)
        print_json(arena, out, facts, items, count);
    else if (options->is_all) {
        facts_print_all(out, facts);
        for (int i = 0; i < count; i++)
            wrap_put(out, 0, 2,
                     arena_printf(arena, "%s: %s; %s",
                                  items[i].level == PREFLIGHT_WARNING ? "warning" : "note",
                                  items[i].text, items[i].advice));
    } else
        facts_print_screen(out, facts, items, count);
    return out_commit(out, err);
}

int profiler_facts(int argc, char **argv)
{
    static const struct argp_option table[] = {
        { "all", OPTION_ALL, NULL, 0,
          "list every fact with its source, or the reason why it is not known", 0 },
        { "json", OPTION_JSON, NULL, 0, "print one JSON object", 0 },
        { "sysroot", OPTION_SYSROOT, "DIR", 0, "read /proc, /sys and /etc below DIR; default /",
          0 },
        { 0 }
    };
    const struct argp argp = { table,
                               on_option,
                               NULL,
                               "Prints on one screen what this device is, what would disturb a "
                               "measurement on it, and what to do about that.\v"
                               "Example: orrery-profile facts --all",
                               NULL,
                               NULL,
                               NULL };
    struct options options = { "", false, false };
    struct err err = ERR_INIT;
    int exit_code;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    struct arena *arena = arena_create();
    exit_code = print(arena, &options, &err) ? CLI_DONE : cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
