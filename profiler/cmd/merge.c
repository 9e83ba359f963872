/* merge.c - orrery-profile merge: tables of one device into one folder. */
#include "profiler/table/merge.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "profiler/cmd/wrap.h"
#include "profiler/commands.h"

#define MAX_FOLDERS 64

struct options {
    const char *folders[MAX_FOLDERS], *into;
    int count;
};

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 'o':
        options->into = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (options->count == MAX_FOLDERS)
            cli_error(state, "more than %d folders", MAX_FOLDERS);
        else
            options->folders[options->count++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (options->count < 2)
            cli_error(state, "expected at least two folders of cost tables");
        else if (!options->into)
            cli_error(state, "-o is missing: expected the folder of the merged table");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool print(struct arena *arena, const struct merge *merge, struct err *err)
{
    struct out *out = out_open(arena, "-", err);

    if (!out)
        return false;
    wrap_put(out, 0, 2,
             arena_printf(arena,
                          "%d tables became one: %d rows, %d curves with tiles, %d whole "
                          "forwards",
                          merge->folder_count, merge->rows, merge->interps, merge->anchors));
    if (merge->doubles > 0)
        wrap_put(out, 0, 2,
                 arena_printf(arena,
                              "%d rows were measured more than once; the narrower interval "
                              "was taken (furthest apart: %s, %.1f %%)",
                              merge->doubles, merge->worst_row[0] ? merge->worst_row : "none",
                              100 * merge->worst_ratio));
    if (merge->disagreeing > 0)
        wrap_put(out, 0, 2,
                 arena_printf(arena,
                              "warning: %d of them disagree by more than 3 %% and both half "
                              "widths: the device was not the same all the time",
                              merge->disagreeing));
    if (merge->left_out[0])
        wrap_put(out, 0, 2,
                 arena_printf(arena, "left out, as it is of one run: %s", merge->left_out));
    return out_commit(out, err);
}

int profiler_merge(int argc, char **argv)
{
    static const struct argp_option table[] = {
        { "output", 'o', "DIR", 0,
          "folder of the merged table, without a table in it; its name is the device type "
          "(required)",
          0 },
        { 0 }
    };
    const struct argp argp = {
        table,
        on_option,
        "FOLDER FOLDER...",
        "Puts cost tables of one device, of several models for example, into one folder: all "
        "files or none. A row that several have is taken from the one with the narrower "
        "interval. Tables of two machines or versions are refused.\v"
        "Example: orrery-profile merge my/gpt2 my/bert -o my/costs/board",
        NULL,
        NULL,
        NULL
    };
    struct options options = { .count = 0 };
    struct err err = ERR_INIT;
    int exit_code;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    struct arena *arena = arena_create();
    struct merge merge = { .folders = options.folders,
                           .folder_count = options.count,
                           .into = options.into };
    exit_code = merge_run(arena, &merge, &err) && print(arena, &merge, &err)
                    ? CLI_DONE
                    : cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
