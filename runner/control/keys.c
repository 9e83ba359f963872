/* keys.c - `orrery-run keys`. */
#include "lib/wire/keys.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "runner/control/control.h"
#include <stdio.h>

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    const char **folder = state->input;

    switch (key) {
    case 'o':
        *folder = text;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "'%s': expected options only", text);
        return 0;
    case ARGP_KEY_END:
        if (!*folder)
            cli_error(state, "-o is missing: a folder for the keys");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int control_keys(int argc, char **argv)
{
    static const struct argp_option list[] = {
        { "output", 'o', "DIR", 0, "Folder for " KEYS_FILE " (required)", 0 },
        { 0 },
    };
    static const struct argp argp = {
        list,
        parse_option,
        NULL,
        "Draws the secret that the boards of a cluster share (CurveZMQ): with --keys DIR on every "
        "side, all that a run sends is encrypted, and whoever has not the same file is turned "
        "away. "
        "The file is readable by its owner alone; copy it to every board by a safe way."
        "\vExample:\n"
        "  orrery-run keys -o keys && scp -rp keys pi0:\n"
        "  orrery-run --keys keys --listen 0.0.0.0:5555 ...\n"
        "  orrery-run worker --keys keys --device pi0 --connect ...",
        NULL,
        NULL,
        NULL
    };
    const char *folder = NULL;
    struct err err = ERR_INIT;
    struct arena *arena;
    int exit_code;
    bool ok;

    if (!cli_parse(&argp, argc, argv, &folder, &exit_code))
        return exit_code;
    arena = arena_create();
    ok = keys_create(arena, folder, &err);
    if (ok)
        printf("%s/%s\n", folder, KEYS_FILE);
    arena_destroy(arena);
    return ok ? CLI_DONE : cli_fail(argv[0], &err);
}
