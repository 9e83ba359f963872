/* update.c - `orrery-run update`: gives a coordinator another placement for its run. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/wire/channel.h"
#include "runner/control/ask.h"
#include "runner/control/control.h"
#include "runner/setup/machine.h"
#include "runner/setup/setup.h"
#include <stdio.h>
#include <string.h>

#define ALIVE_NS INT64_C(1000000000) /* between two questions whether it is still there */

struct options {
    struct ask_options ask;
    const char *placement;
};

/* Workers may load for long: it waits as long as the coordinator answers something. */
static bool await(const struct ask *ask, struct setup_answer *answer, struct err *err)
{
    int64_t heard_ns = clock_now_ns();

    while (clock_now_ns() - heard_ns < ASK_PATIENCE_NS) {
        enum frame_type type;
        const char *text = ask_receive(ask, clock_now_ns() + ALIVE_NS, &type, err);

        if (err->kind != ERR_NONE)
            return false;
        if (text && type == FRAME_UPDATE)
            return setup_decode_answer(ask->arena, (const unsigned char *)text, strlen(text),
                                       answer, err);
        if (text)
            heard_ns = clock_now_ns();
        else if (!ask_send(ask, FRAME_STATUS, "", err))
            return false;
    }
    return err_set(err, ERR_SYSTEM, "no answer for 5 s: the load has not begun, or is over");
}

static bool update(struct arena *arena, const struct options *options, struct err *err)
{
    const char *text =
        machine_read_text(arena, options->placement, SETUP_MAX_UPDATE_BYTES / 2, err);
    const char *name = strcmp(options->placement, "-") == 0 ? "stdin" : options->placement;
    struct setup_answer answer = { 0 };
    struct ask ask;
    bool ok;

    if (!text)
        return false;
    ok = ask_open(arena, options->ask.connect, options->ask.keys, &ask, err) &&
         ask_send(&ask, FRAME_UPDATE, setup_encode_update(arena, name, text), err) &&
         await(&ask, &answer, err);
    ask_close(&ask);
    if (ok && !answer.is_taken)
        return err_set(err, ERR_INPUT, "%s", answer.line);
    if (ok)
        printf("%s\n", answer.line);
    return ok;
}

/* ---- the command ---- */

#define KEY_PLACEMENT 'p'

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case KEY_PLACEMENT:
        options->placement = text;
        return 0;
    case ARGP_KEY_END:
        if (options->ask.connect && !options->placement)
            cli_error(state, "--placement is missing");
        return ask_parse_option(key, text, state);
    default:
        return ask_parse_option(key, text, state);
    }
}

int control_update(int argc, char **argv)
{
    static const struct argp_option list[] = {
        ASK_OPTIONS,
        { "placement", KEY_PLACEMENT, "P.csv", 0, "The next placement; -: stdin (required)", 0 },
        { 0 },
    };
    static const struct argp argp = {
        list,
        parse_option,
        NULL,
        "Gives a run another placement without stopping it: its next epoch. It is checked first, "
        "and "
        "one that cannot be is refused with its line while the run goes on as before. Workers load "
        "what they lack beside their work; when all have, requests that arrive go by the new "
        "placement, and those under way end where they are. Its devices must be in the cluster of "
        "the run, and its services be services of the run; workers of devices that the run had no "
        "use for so far are started (--local) or awaited, as long as the run's --wait says."
        "\vExample: orrery-run update --connect 192.168.1.10:5555 --placement P2.csv",
        NULL,
        NULL,
        NULL
    };
    struct options options = { 0 };
    struct err err = ERR_INIT;
    struct arena *arena;
    int exit_code;
    bool ok;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    arena = arena_create();
    ok = update(arena, &options, &err);
    arena_destroy(arena);
    return ok ? CLI_DONE : cli_fail(argv[0], &err);
}
