/* cmd_counters.c - orrery-profile counters: which hardware counters can be read here, or why not.
 *
 * Each counter is really counted over a busy loop; that an event can be added proves nothing. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "profiler/commands.h"
#include "profiler/counters.h"
#include "profiler/facts_cpu.h"
#include "profiler/sysfile.h"

#define LOOP_STEPS 2000000

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
        argp_error(state, "unexpected argument '%s'", arg);
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

static void count_all(struct arena *arena, struct counters *counters,
                      int64_t values[COST_COUNTER_COUNT], const char *reasons[COST_COUNTER_COUNT])
{
    for (int c = 0; c < COST_COUNTER_COUNT; c++) {
        values[c] = COST_UNKNOWN;
        reasons[c] = NULL;
    }
    for (struct counters_pass pass = counters_first_pass(counters); pass.bits != 0;
         counters_next_pass(counters, &pass)) {
        struct counters_read read;

        counters_begin(counters, &read);
        busy_loop();
        counters_end(counters, &pass, &read, reasons, arena);
        for (int c = 0; c < COST_COUNTER_COUNT; c++)
            if (pass.bits >> c & 1u)
                values[c] = read.values[c];
    }
    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        if (values[c] == COST_UNKNOWN && !reasons[c])
            reasons[c] = counters_reason(counters, (enum cost_counter)c);
    /* a forced event that the core does not have reads 0 */
    for (int c = COST_CYC; c <= COST_INS; c++)
        if (values[c] == 0) {
            values[c] = COST_UNKNOWN;
            reasons[c] = "always_zero";
        }
}

static void print_text(struct out *out, struct counters *counters, int64_t part,
                       const int64_t values[COST_COUNTER_COUNT],
                       const char *const reasons[COST_COUNTER_COUNT], const char *paranoid)
{
    out_printf(out, "counters through %s: %s\n", counters->name, counters->describe(counters));
    if (part)
        out_printf(out, "ARM part 0x%03llx\n", (unsigned long long)part);
    out_printf(out, "kernel.perf_event_paranoid = %s\n\n", paranoid ? paranoid : "not known");
    out_printf(out, "%-12s %14s  %s\n", "counter", "busy loop", "why it is empty");
    for (int c = 0; c < COST_COUNTER_COUNT; c++) {
        if (values[c] == COST_UNKNOWN)
            out_printf(out, "%-12s %14s  %s\n", cost_counter_names[c], "", reasons[c]);
        else
            out_printf(out, "%-12s %14lld\n", cost_counter_names[c], (long long)values[c]);
    }
}

static void print_json(struct arena *arena, struct out *out, struct counters *counters,
                       const int64_t values[COST_COUNTER_COUNT],
                       const char *const reasons[COST_COUNTER_COUNT], const char *paranoid)
{
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "provider", counters->name);
    json_put_text(json, "state", counters->describe(counters));
    json_put_text(json, "perf_event_paranoid", paranoid);
    json_begin_array(json, "counters");
    for (int c = 0; c < COST_COUNTER_COUNT; c++) {
        json_begin_object(json, NULL);
        json_put_text(json, "counter", cost_counter_names[c]);
        if (values[c] == COST_UNKNOWN)
            json_put_null(json, "busy_loop_count");
        else
            json_put_int(json, "busy_loop_count", values[c]);
        json_put_text(json, "reason", reasons[c] ? reasons[c] : "");
        json_end_object(json);
    }
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
    const struct argp argp = {
        table,
        on_option,
        NULL,
        "Counts a busy loop with each hardware counter that cost tables know, and says why the "
        "others are empty.\v"
        "Example: orrery-profile counters --json",
        NULL,
        NULL,
        NULL
    };
    struct options options = { "auto", "", false };
    struct err err = ERR_INIT;
    int64_t values[COST_COUNTER_COUNT];
    const char *reasons[COST_COUNTER_COUNT];
    int exit_code;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    struct arena *arena = arena_create();
    struct counters *counters = counters_create(arena, options.counters, options.sysroot, &err);
    struct out *out = counters ? out_open(arena, "-", &err) : NULL;
    if (out) {
        const char *paranoid =
            sysfile_line(arena, options.sysroot, "/proc/sys/kernel/perf_event_paranoid");

        count_all(arena, counters, values, reasons);
        if (options.is_json)
            print_json(arena, out, counters, values, reasons, paranoid);
        else
            print_text(out, counters, facts_arm_part(arena, options.sysroot), values, reasons,
                       paranoid);
        out_commit(out, &err);
    }
    exit_code = err.kind == ERR_NONE ? CLI_DONE : cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
