/* cmd_facts.c - orrery-profile facts: what device.csv will say, without measuring anything. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "profiler/commands.h"
#include "profiler/facts.h"
#include "profiler/wrap.h"
#include <string.h>

#define MAX_WARNINGS 8
#define KEY_COLUMNS 25

struct options {
    const char *sysroot;
    bool is_json;
};

enum { OPTION_JSON = 256, OPTION_SYSROOT };

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case OPTION_JSON:
        options->is_json = true;
        return 0;
    case OPTION_SYSROOT:
        options->sysroot = arg;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", arg);
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Only words longer than a line are cut: --json has them whole. */
static void print_text(struct arena *arena, struct out *out, const struct facts *facts,
                       const char *const *warnings, int warning_count)
{
    for (int i = 0; i < facts->count; i++) {
        const struct fact *fact = &facts->list[i];
        const char *key = wrap_cut(arena, fact->key, WRAP_COLUMNS);
        const char *text = fact->value[0] ? arena_printf(arena, "%s %s", fact->value, fact->unit)
                                          : arena_printf(arena, "(not known: %s)", fact->reason);
        int length = (int)strlen(key);

        out_printf(out, "%-*s", KEY_COLUMNS, key);
        if (length >= KEY_COLUMNS)
            out_printf(out, "\n%*s", KEY_COLUMNS, "");
        wrap_put(out, KEY_COLUMNS, KEY_COLUMNS, wrap_cut(arena, text, WRAP_COLUMNS - KEY_COLUMNS));
    }
    for (int i = 0; i < warning_count; i++)
        wrap_put(out, 0, 2, arena_printf(arena, "warning: %s", warnings[i]));
}

static void print_json(struct arena *arena, struct out *out, const struct facts *facts,
                       const char *const *warnings, int warning_count)
{
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    facts_write_json(json, "facts", facts);
    json_begin_array(json, "warnings");
    for (int i = 0; i < warning_count; i++)
        json_put_text(json, NULL, warnings[i]);
    json_end_array(json);
    json_end_object(json);
}

int profiler_facts(int argc, char **argv)
{
    static const struct argp_option table[] = {
        { "json", OPTION_JSON, NULL, 0, "print one JSON object", 0 },
        { "sysroot", OPTION_SYSROOT, "DIR", 0, "read /proc, /sys and /etc below DIR; default /",
          0 },
        { 0 }
    };
    const struct argp argp = { table,
                               on_option,
                               NULL,
                               "Prints what is known of this device: processor, caches, clock, "
                               "memory, BLAS, build; and why the rest is not known.\v"
                               "Example: orrery-profile facts --json",
                               NULL,
                               NULL,
                               NULL };
    struct options options = { "", false };
    struct err err = ERR_INIT;
    const char *warnings[MAX_WARNINGS];
    int exit_code;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    struct arena *arena = arena_create();
    struct out *out = out_open(arena, "-", &err);
    if (out) {
        const struct facts *facts = facts_collect(arena, options.sysroot);
        int count = facts_warnings(facts, warnings, MAX_WARNINGS);

        if (options.is_json)
            print_json(arena, out, facts, warnings, count);
        else
            print_text(arena, out, facts, warnings, count);
        out_commit(out, &err);
    }
    exit_code = err.kind == ERR_NONE ? CLI_DONE : cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
