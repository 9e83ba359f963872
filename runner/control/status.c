/* status.c - `orrery-run status`: asks a coordinator what its run is doing, and prints the answer.
 */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/wire/channel.h"
#include "runner/control/ask.h"
#include "runner/control/control.h"
#include <math.h>
#include <stdio.h>

struct options {
    struct ask_options ask;
    bool is_json;
};

/* ---- asking ---- */

static const char *question(struct arena *arena, const struct options *options, struct err *err)
{
    int64_t deadline_ns = clock_now_ns() + ASK_PATIENCE_NS;
    enum frame_type type = FRAME_TYPE_END;
    const char *answer = NULL;
    struct ask ask;
    bool ok = ask_open(arena, options->ask.connect, options->ask.keys, &ask, err) &&
              ask_send(&ask, FRAME_STATUS, "", err);

    while (ok && type != FRAME_STATUS) {
        answer = ask_receive(&ask, deadline_ns, &type, err);
        ok = answer != NULL;
    }
    if (!ok && err->kind == ERR_NONE)
        err_set(err, ERR_SYSTEM, "no answer within 5 s: its load has not begun, or is over");
    ask_close(&ask);
    return ok ? answer : NULL;
}

/* ---- printing ---- */

static double number(const struct json *object, const char *group, const char *key)
{
    const struct json *from = group ? json_get(object, group) : object;
    double value = 0;

    return from && json_double(json_get(from, key), &value) ? value : 0;
}

static void put_text(struct arena *arena, const struct json *all, struct out *out)
{
    static const char *const spans[] = { "instant", "window", "global" };
    const struct json *devices = json_get(all, "devices");
    char running[UNITS_TEXT_BYTES], delay[UNITS_TEXT_BYTES];

    units_format_human((int64_t)(1e12 * number(all, NULL, "running_s")), running);
    units_format_human(llround(1e12 * number(all, "ewma", "delay_s")), delay);
    out_printf(out, "running   %s: %.0f of %.0f requests have arrived\n", running,
               number(all, "requests", "arrived"), number(all, "requests", "total"));
    out_printf(out, "requests  %.0f ok, %.0f failed, %.0f refused, %.0f running, %.0f waiting\n",
               number(all, "requests", "ok"), number(all, "requests", "failed"),
               number(all, "requests", "refused"), number(all, "requests", "running"),
               number(all, "requests", "waiting"));
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
        out_printf(out, "%-9s in %.2f/s, out %.2f/s over %.1f s\n", spans[i],
                   number(all, spans[i], "input_per_s"), number(all, spans[i], "output_per_s"),
                   number(all, spans[i], "span_s"));
    out_printf(out, "average   %.1f in the system, %s each, in %.2f/s, out %.2f/s\n",
               number(all, "ewma", "in_system"), delay, number(all, "ewma", "input_per_s"),
               number(all, "ewma", "output_per_s"));
    out_printf(out, "\n%-20s  %-11s  %6s  %8s  %23s\n", "device", "state", "queued", "steps",
               "busy 1 s / 10 s / all");
    for (int i = 0; i < json_count(devices); i++) {
        const struct json *device = json_at(devices, i);
        const char *name = json_text(json_get(device, "device"));
        const char *state = json_text(json_get(device, "state"));

        out_column(out, name ? name : "?", 20);
        out_printf(out, "  %-11s  %6.0f  %8.0f  %s\n", state ? state : "?",
                   number(device, NULL, "queued_to_send"), number(device, NULL, "steps"),
                   arena_printf(arena, "%5.1f %% / %5.1f %% / %5.1f %%",
                                100 * number(device, "instant", "busy_ratio"),
                                100 * number(device, "window", "busy_ratio"),
                                100 * number(device, "global", "busy_ratio")));
    }
}

static bool show(struct arena *arena, const struct options *options, const char *answer,
                 struct err *err)
{
    const struct json *all = json_parse(arena, answer, "the coordinator's answer", err);
    struct out *out = all ? out_open(arena, "-", err) : NULL;

    if (!out)
        return false;
    if (options->is_json)
        out_text(out, answer);
    else
        put_text(arena, all, out);
    return out_commit(out, err);
}

/* ---- the command ---- */

#define KEY_JSON ASK_KEY_OWN

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case KEY_JSON:
        options->is_json = true;
        return 0;
    default:
        return ask_parse_option(key, text, state);
    }
}

int control_status(int argc, char **argv)
{
    static const struct argp_option list[] = {
        ASK_OPTIONS,
        { "json", KEY_JSON, NULL, 0, "Print one JSON object, times in seconds", 0 },
        { 0 },
    };
    static const struct argp argp = {
        list,
        parse_option,
        NULL,
        "Asks a coordinator what its run is doing: workers, requests, and rates over the last "
        "second, the last ten, and all of it; averages that move with each second."
        "\vExample: orrery-run status --connect 192.168.1.10:5555",
        NULL,
        NULL,
        NULL
    };
    struct options options = { 0 };
    const char *answer;
    struct err err = ERR_INIT;
    struct arena *arena;
    int exit_code;
    bool ok;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    arena = arena_create();
    answer = question(arena, &options, &err);
    ok = answer && show(arena, &options, answer, &err);
    arena_destroy(arena);
    return ok ? CLI_DONE : cli_fail(argv[0], &err);
}
