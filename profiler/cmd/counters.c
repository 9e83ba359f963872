/* counters.c - orrery-profile counters: which hardware counters can be read here, or why not.
 *
 * Each counter is really counted over a busy loop; that an event can be added proves nothing. */
#include "profiler/counters/counters.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "profiler/cmd/wrap.h"
#include "profiler/commands.h"
#include "profiler/counters/counters_events.h"
#include "profiler/counters/counters_reasons.h"
#include "profiler/device/facts_cpu.h"
#include "profiler/device/sysfile.h"
#include <stdlib.h>
#include <string.h>

#define LOOP_STEPS 2000000
#define EVENT_COLUMN 32 /* where the last column of the screen begins */

struct options {
    const char *counters, *sysroot;
    bool is_json;
};

enum { OPTION_JSON = 256, OPTION_COUNTERS, OPTION_SYSROOT };

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case OPTION_JSON:
        options->is_json = true;
        return 0;
    case OPTION_COUNTERS:
        options->counters = arg;
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

/* About six instructions a step, on memory that stays in the first cache. */
static uint64_t busy_loop(void)
{
    volatile uint64_t words[64] = { 1 };

    for (uint64_t i = 0; i < LOOP_STEPS; i++)
        words[i % 64] += i;
    return words[7];
}

struct screen { /* what was found */
    int64_t values[COST_COUNTER_COUNT];
    const char *reasons[COST_COUNTER_COUNT];
    int pass[COST_COUNTER_COUNT]; /* 1..; 0: in none */
    int passes;
    const char *paranoid;
    int64_t part;
};

static void count_all(struct arena *arena, struct counters *counters, struct screen *screen)
{
    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        screen->values[c] = COST_UNKNOWN;
    for (struct counters_pass pass = counters_first_pass(counters); pass.bits != 0;
         counters_next_pass(counters, &pass)) {
        struct counters_read read;

        screen->passes++;
        counters_begin(counters, &read);
        busy_loop();
        counters_end(counters, &pass, &read, screen->reasons, arena);
        for (int c = 0; c < COST_COUNTER_COUNT; c++)
            if (pass.bits >> c & 1u) {
                screen->values[c] = read.values[c];
                screen->pass[c] = screen->passes;
            }
    }
    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        if (screen->values[c] == COST_UNKNOWN && !screen->reasons[c])
            screen->reasons[c] = counters_reason(counters, (enum cost_counter)c);
    /* a forced event that the core does not have reads 0 */
    for (int c = COST_CYC; c <= COST_INS; c++)
        if (screen->values[c] == 0) {
            screen->values[c] = COST_UNKNOWN;
            screen->reasons[c] = "always_zero";
        }
}

/* Each reason once, with what can be done. */
static void print_advice(struct out *out, const struct screen *screen)
{
    bool is_first = true;

    for (int c = 0; c < COST_COUNTER_COUNT; c++) {
        bool is_said = false;

        if (!screen->reasons[c])
            continue;
        for (int before = 0; before < c; before++)
            is_said = is_said || (screen->reasons[before] &&
                                  strcmp(screen->reasons[before], screen->reasons[c]) == 0);
        if (is_said)
            continue;
        out_printf(out, "%s", is_first ? "\nwhat to do\n" : "");
        is_first = false;
        out_printf(out, "  %s: ", screen->reasons[c]);
        wrap_put(out, 4 + (int)strlen(screen->reasons[c]), 4, counters_advice(screen->reasons[c]));
    }
}

static void print_text(struct arena *arena, struct out *out, struct counters *counters,
                       const struct screen *screen)
{
    const struct counters_core *core = counters_core_find(screen->part);

    wrap_put(out, 0, 4,
             arena_printf(arena, "counters through %s: %s", counters->name,
                          counters->describe(counters)));
    if (screen->part)
        out_printf(out, "ARM part 0x%03llx%s%s%s%s\n", (unsigned long long)screen->part,
                   core ? ", " : "", core ? core->name : "", core ? ", PMU " : "",
                   core ? core->pmu : "");
    out_printf(out, "kernel.perf_event_paranoid = %s\n\n",
               screen->paranoid ? screen->paranoid : "not known");
    out_printf(out, "%-10s %4s %14s  %s\n", "counter", "pass", "busy loop",
               "event, or why it is empty");
    for (int c = 0; c < COST_COUNTER_COUNT; c++) {
        const char *event = counters->event(counters, (enum cost_counter)c);

        out_printf(out, "%-10s ", cost_counter_names[c]);
        if (screen->pass[c])
            out_printf(out, "%4d ", screen->pass[c]);
        else
            out_printf(out, "%4s ", "");
        if (screen->values[c] == COST_UNKNOWN)
            out_printf(out, "%14s  %s\n", "", screen->reasons[c]);
        else
            out_printf(out, "%14lld  %s\n", (long long)screen->values[c],
                       wrap_cut(arena, event ? event : "", WRAP_COLUMNS - EVENT_COLUMN));
    }
    out_printf(out, "%d %s over the busy loop\n", screen->passes,
               screen->passes == 1 ? "pass" : "passes");
    print_advice(out, screen);
}

static void put_counter(struct json_writer *json, struct counters *counters,
                        const struct screen *screen, int c)
{
    const char *event = counters->event(counters, (enum cost_counter)c);

    json_begin_object(json, NULL);
    json_put_text(json, "counter", cost_counter_names[c]);
    json_put_text(json, "event", event);
    if (screen->pass[c])
        json_put_int(json, "pass", screen->pass[c]);
    else
        json_put_null(json, "pass");
    if (screen->values[c] == COST_UNKNOWN)
        json_put_null(json, "busy_loop_count");
    else
        json_put_int(json, "busy_loop_count", screen->values[c]);
    json_put_text(json, "reason", screen->reasons[c] ? screen->reasons[c] : "");
    json_put_text(json, "advice", screen->reasons[c] ? counters_advice(screen->reasons[c]) : "");
    json_end_object(json);
}

static void print_json(struct arena *arena, struct out *out, struct counters *counters,
                       const struct screen *screen)
{
    const struct counters_core *core = counters_core_find(screen->part);
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "provider", counters->name);
    json_put_text(json, "state", counters->describe(counters));
    json_put_text(json, "perf_event_paranoid", screen->paranoid);
    json_put_text(json, "core", core ? core->name : NULL);
    json_put_text(json, "core_pmu", core ? core->pmu : NULL);
    json_put_text(json, "forced_pmu", getenv("LIBPFM_FORCE_PMU"));
    json_put_int(json, "passes", screen->passes);
    json_begin_array(json, "counters");
    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        put_counter(json, counters, screen, c);
    json_end_array(json);
    json_end_object(json);
}

int profiler_counters(int argc, char **argv)
{
    static const struct argp_option table[] = {
        { "counters", OPTION_COUNTERS, "WHICH", 0,
          "auto, off, papi, or fake:FILE (a script, for tests); default auto", 0 },
        { "json", OPTION_JSON, NULL, 0, "print one JSON object", 0 },
        { "sysroot", OPTION_SYSROOT, "DIR", 0, "read /proc and /sys below DIR; default /", 0 },
        { 0 }
    };
    const struct argp argp = { table,
                               on_option,
                               NULL,
                               "Counts a busy loop with each hardware counter that cost tables "
                               "know: through which event and "
                               "in which pass, or why not and what to do about it.\v"
                               "Example: orrery-profile counters --json",
                               NULL,
                               NULL,
                               NULL };
    struct options options = { "auto", "", false };
    struct err err = ERR_INIT;
    struct screen screen = { .passes = 0 };
    int exit_code;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    struct arena *arena = arena_create();
    struct counters *counters = counters_create(arena, options.counters, options.sysroot, &err);
    struct out *out = counters ? out_open(arena, "-", &err) : NULL;
    if (out) {
        screen.paranoid =
            sysfile_line(arena, options.sysroot, "/proc/sys/kernel/perf_event_paranoid");
        screen.part = facts_arm_part(arena, options.sysroot);
        count_all(arena, counters, &screen);
        if (options.is_json)
            print_json(arena, out, counters, &screen);
        else
            print_text(arena, out, counters, &screen);
        out_commit(out, &err);
    }
    exit_code = err.kind == ERR_NONE ? CLI_DONE : cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
