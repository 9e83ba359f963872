/* workload.c - orrery-sim workload: looks at workload files, merges, splits, cuts and scales them.
 *
 * Each action has its table of options; one parser knows the options of all. */
#include "lib/format/workload.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "sim/cmd/cmd.h"
#include "sim/cmd/describe.h"
#include "sim/cmd/load.h"
#include "sim/workload/edit.h"
#include <string.h>
#include <unistd.h>

enum {
    KEY_JSON = 0x300,
    KEY_SAME_NAMES,
    KEY_INTO,
    KEY_EVERY,
    KEY_SHIFT,
    KEY_FROM,
    KEY_TO,
    KEY_FIRST,
    KEY_KEEP_TIMES,
    KEY_TIME_SCALE,
    KEY_RATE_SCALE,
    KEY_RATE,
    KEY_REPLICATE,
    KEY_CV
};

#define MAX_FILES 1000
#define MAX_META 24
#define MAX_COPIES 1000000
#define MAX_CV 1e4

struct settings {
    struct arena *arena;
    const char *files[MAX_FILES];
    int file_count, most_files;
    const char *output;
    bool is_json, is_shifted;
    enum edit_same same;
    int64_t into, every_ps;
    struct edit_slice slice;
    struct edit_scale scale;
    const char *meta[MAX_META + 1]; /* of the files that are written */
    int meta_count;
};

#define OUTPUT                                                                                     \
    {                                                                                              \
        NULL, 'o', "FILE", 0, "Where the workload goes; - is stdout (required)", 0                 \
    }

static const struct argp_option describe_options[] = {
    { "json", KEY_JSON, NULL, 0, "Print one JSON object instead of text", 0 },
    { NULL, 'o', "FILE", 0, "Where the description goes (default stdout)", 0 },
    { 0 }
};

static const struct argp_option merge_options[] = {
    { "same-names", KEY_SAME_NAMES, "NAME", 0,
      "Clients and sessions of one name in two files: refuse (default), join (they are one) or "
      "rename",
      0 },
    OUTPUT,
    { 0 }
};

static const struct argp_option split_options[] = {
    { "into", KEY_INTO, "N", 0, "N parts, round robin; what waits for one another stays together",
      0 },
    { "every", KEY_EVERY, "TIME", 0, "A part for each interval of this length", 0 },
    { "shift", KEY_SHIFT, NULL, 0, "With --every: times count from the start of the part", 0 },
    { NULL, 'o', "PREFIX", 0, "Parts go to PREFIX0.csv, PREFIX1.csv, ... (required)", 0 },
    { 0 }
};

static const struct argp_option slice_options[] = {
    { "from", KEY_FROM, "TIME", 0, "Leave out what arrives before", 0 },
    { "to", KEY_TO, "TIME", 0, "Leave out what arrives then or later", 0 },
    { "first", KEY_FIRST, "N", 0, "Take the first N requests of these", 0 },
    { "keep-times", KEY_KEEP_TIMES, NULL, 0, "Times stay; else --from becomes 0", 0 },
    OUTPUT,
    { 0 }
};

static const struct argp_option scale_options[] = {
    { "time-scale", KEY_TIME_SCALE, "X", 0, "Multiply all times by X: arrivals and think times",
      0 },
    { "rate-scale", KEY_RATE_SCALE, "X", 0, "Multiply the rate of arrivals by X; think times stay",
      0 },
    { "rate", KEY_RATE, "R", 0, "As --rate-scale, to a mean rate: 20/s", 0 },
    { "replicate", KEY_REPLICATE, "N", 0,
      "Each request N times at the same instant; copies of clients and sessions get names of "
      "their own",
      0 },
    { "cv", KEY_CV, "X", 0,
      "Coefficient of variation of the gaps, by taking them to a power: order, span and rate stay",
      0 },
    OUTPUT,
    { 0 }
};

static void meta_add(struct settings *settings, const char *key, const char *value)
{
    if (settings->meta_count + 2 > MAX_META)
        return; /* an option that was given again and again */
    settings->meta[settings->meta_count++] = key;
    settings->meta[settings->meta_count++] = value;
}

static void add_file(struct argp_state *state, struct settings *settings, const char *text)
{
    if (settings->file_count == settings->most_files)
        cli_error(state, "'%s' is one file too many: expected %s%d", text,
                  settings->most_files > 1 ? "at most " : "", settings->most_files);
    settings->files[settings->file_count++] = text;
}

static int64_t scale_of(struct argp_state *state, const char *option, const char *text)
{
    int64_t scale = 1;

    if (!load_parse_scale(text, &scale))
        cli_error(state, "%s is '%s': " LOAD_SCALE_EXPECTED, option, text);
    return scale;
}

static error_t on_slice_or_split(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case KEY_INTO:
        settings->into = cli_int(state, "--into", text, 1, EDIT_MAX_PARTS);
        meta_add(settings, "into", text);
        return 0;
    case KEY_EVERY:
        settings->every_ps = cli_duration_positive_ps(state, "--every", text);
        meta_add(settings, "every", text);
        return 0;
    case KEY_SHIFT:
        settings->is_shifted = true;
        return 0;
    case KEY_FROM:
        settings->slice.from_ps = cli_duration_ps(state, "--from", text);
        meta_add(settings, "from-time", text);
        return 0;
    case KEY_TO:
        settings->slice.to_ps = cli_duration_positive_ps(state, "--to", text);
        meta_add(settings, "to-time", text);
        return 0;
    case KEY_FIRST:
        settings->slice.first = cli_int(state, "--first", text, 1, INT64_MAX);
        meta_add(settings, "first", text);
        return 0;
    case KEY_KEEP_TIMES:
        settings->slice.is_kept = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t on_scale(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;
    struct edit_scale *scale = &settings->scale;

    switch (key) {
    case KEY_TIME_SCALE:
        scale->time_scale = scale_of(state, "--time-scale", text);
        meta_add(settings, "time-scale", text);
        return 0;
    case KEY_RATE_SCALE:
        scale->rate_scale = scale_of(state, "--rate-scale", text);
        meta_add(settings, "rate-scale", text);
        return 0;
    case KEY_RATE:
        scale->rate_per_s = cli_rate_per_s(state, "--rate", text);
        meta_add(settings, "rate", text);
        return 0;
    case KEY_REPLICATE:
        scale->copies = (int)cli_int(state, "--replicate", text, 1, MAX_COPIES);
        meta_add(settings, "replicate", text);
        return 0;
    case KEY_CV:
        if (!units_parse_double(text, &scale->cv) || scale->cv < 0 || scale->cv > MAX_CV)
            cli_error(state, "--cv is '%s': expected a number from 0 to %g", text, MAX_CV);
        scale->has_cv = true;
        meta_add(settings, "cv", text);
        return 0;
    default:
        return on_slice_or_split(key, text, state);
    }
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case 'o':
        settings->output = text;
        return 0;
    case KEY_JSON:
        settings->is_json = true;
        return 0;
    case KEY_SAME_NAMES:
        settings->same = (enum edit_same)cli_choice(state, "--same-names", text, edit_same_names,
                                                    EDIT_SAME_COUNT);
        meta_add(settings, "same-names", text);
        return 0;
    case ARGP_KEY_ARG:
        add_file(state, settings, text);
        return 0;
    case ARGP_KEY_END:
        if (settings->file_count == 0)
            cli_error(state, "no workload FILE is given");
        if (!settings->output)
            cli_error(state, "-o is missing: where the workload goes");
        return 0;
    default:
        return on_scale(key, text, state);
    }
}

/* ---- actions ---- */

typedef bool action_fn(struct settings *settings, struct err *err);

static bool write_workload(struct settings *settings, const struct workload *workload,
                           struct err *err)
{
    struct out *out = workload ? out_open(settings->arena, settings->output, err) : NULL;

    if (!out)
        return false;
    workload_write(out, workload, settings->meta);
    return out_commit(out, err);
}

static struct workload *load_only(const struct settings *settings, struct err *err)
{
    return workload_load(settings->arena, settings->files[0], err);
}

static bool do_describe(struct settings *settings, struct err *err)
{
    const struct workload *workload = load_only(settings, err);
    struct out *out = workload ? out_open(settings->arena, settings->output, err) : NULL;

    if (!out)
        return false;
    describe_print(settings->arena, workload, settings->is_json, out);
    return out_commit(out, err);
}

static bool do_merge(struct settings *settings, struct err *err)
{
    struct workload *parts[MAX_FILES];

    for (int i = 0; i < settings->file_count; i++) {
        parts[i] = workload_load(settings->arena, settings->files[i], err);
        if (!parts[i])
            return false;
    }
    return write_workload(
        settings, edit_merge(settings->arena, parts, settings->file_count, settings->same, err),
        err);
}

/* All parts appear, or none; what each holds is told. */
static bool write_parts(struct settings *settings, const struct edit_parts *parts, struct err *err)
{
    struct out *outs[EDIT_MAX_PARTS + 1] = { NULL };
    struct out *told = outs[parts->count] = out_open(settings->arena, "-", err);

    for (int k = 0; k < parts->count; k++) {
        const char *path = arena_printf(settings->arena, "%s%d.csv", settings->output, k);

        if (!parts->parts[k]) {
            out_printf(told, "%s: no request, not written\n", path);
            continue;
        }
        outs[k] = out_open(settings->arena, path, err);
        if (!outs[k]) {
            for (int i = 0; i < k; i++)
                out_abort(outs[i]);
            return false;
        }
        workload_write(outs[k], parts->parts[k], settings->meta);
        out_printf(told, "%s: %zu request%s\n", path, parts->parts[k]->count,
                   units_s((int64_t)parts->parts[k]->count));
    }
    return out_commit_all(outs, parts->count + 1, err);
}

static bool do_split(struct settings *settings, struct err *err)
{
    struct edit_parts *parts = arena_alloc(settings->arena, sizeof(*parts));
    const struct workload *workload;

    if ((settings->into > 0) == (settings->every_ps > 0))
        return err_set(err, ERR_USAGE, "give either --into N or --every TIME");
    if (settings->is_shifted && settings->into > 0)
        return err_set(err, ERR_USAGE, "--shift has no meaning with --into");
    if (strcmp(settings->output, "-") == 0)
        return err_set(err, ERR_USAGE, "-o is '-': parts go to files of a common PREFIX");
    workload = load_only(settings, err);
    if (!workload ||
        !(settings->into > 0
              ? edit_split_into(settings->arena, workload, (int)settings->into, parts, err)
              : edit_split_every(settings->arena, workload, settings->every_ps,
                                 settings->is_shifted, parts, err)))
        return false;
    return write_parts(settings, parts, err);
}

static bool do_slice(struct settings *settings, struct err *err)
{
    const struct edit_slice *slice = &settings->slice;
    const struct workload *workload;

    if (slice->to_ps > 0 && slice->from_ps >= slice->to_ps)
        return err_set(err, ERR_USAGE, "--to is not after --from");
    if (slice->from_ps == 0 && slice->to_ps == 0 && slice->first == 0)
        return err_set(err, ERR_USAGE, "expected --from, --to or --first: else all is kept");
    workload = load_only(settings, err);
    return workload &&
           write_workload(settings, edit_slice(settings->arena, workload, slice, err), err);
}

static bool do_scale(struct settings *settings, struct err *err)
{
    const struct edit_scale *scale = &settings->scale;
    int ways = (scale->time_scale > 0) + (scale->rate_scale > 0) + (scale->rate_per_s > 0);
    const struct workload *workload;

    if (ways > 1)
        return err_set(err, ERR_USAGE, "give one of --time-scale, --rate-scale and --rate");
    if (ways == 0 && scale->copies == 0 && !scale->has_cv)
        return err_set(err, ERR_USAGE,
                       "expected --time-scale, --rate-scale, --rate, --replicate or --cv: else "
                       "nothing changes");
    workload = load_only(settings, err);
    return workload &&
           write_workload(settings, edit_scale(settings->arena, workload, scale, err), err);
}

/* ---- the command ---- */

static int act(const struct argp *argp, int most_files, const char *output, action_fn *action,
               int argc, char **argv)
{
    struct settings settings = { .arena = arena_create(),
                                 .most_files = most_files,
                                 .output = output };
    struct err err = ERR_INIT;
    int exit_code = CLI_DONE;

    meta_add(&settings, "generator",
             arena_printf(settings.arena, "orrery-sim " CLI_VERSION "%s",
                          argv[0] + strcspn(argv[0], " ")));
    if (cli_parse(argp, argc, argv, &settings, &exit_code)) {
        const char *from = settings.files[0];

        for (int i = 1; i < settings.file_count; i++)
            from = arena_printf(settings.arena, "%s %s", from, settings.files[i]);
        meta_add(&settings, "from", from);
        if (!action(&settings, &err))
            exit_code = cli_fail(argv[0], &err);
    }
    arena_destroy(settings.arena);
    return exit_code;
}

static int act_describe(int argc, char **argv)
{
    static const struct argp argp = {
        .options = describe_options,
        .parser = on_option,
        .args_doc = "FILE",
        .doc = "Prints how many requests a workload has, how fast and how irregularly they "
               "arrive, how long they are, and plots when they arrive.\v"
               "burstiness = (cv - 1) / (cv + 1) of the gaps: -1 even, 0 Poisson, towards 1 "
               "bursts. dispersion of counts = variance over mean of the arrivals in equal "
               "windows: 1 for a Poisson process.\n\n"
               "Example:\n"
               "  orrery-sim workload describe w.csv"
    };

    return act(&argp, 1, "-", do_describe, argc, argv);
}

static int act_merge(int argc, char **argv)
{
    static const struct argp argp = {
        .options = merge_options,
        .parser = on_option,
        .args_doc = "FILE...",
        .doc = "Puts the requests of several workloads into one, by arrival; ids become 0, 1, ... "
               "Rows that wait for others keep their place behind the row above.\v"
               "Example:\n"
               "  orrery-sim workload merge chat.csv code.csv -o both.csv"
    };

    return act(&argp, MAX_FILES, NULL, do_merge, argc, argv);
}

static int act_split(int argc, char **argv)
{
    static const struct argp argp = {
        .options = split_options,
        .parser = on_option,
        .args_doc = "FILE",
        .doc = "Splits a workload into several files. Ids stay.\v"
               "Examples:\n"
               "  orrery-sim workload split w.csv --into 4 -o part-\n"
               "  orrery-sim workload split w.csv --every 10min --shift -o interval-"
    };

    return act(&argp, 1, NULL, do_split, argc, argv);
}

static int act_slice(int argc, char **argv)
{
    static const struct argp argp = {
        .options = slice_options,
        .parser = on_option,
        .args_doc = "FILE",
        .doc = "Takes the requests of a window of time. Ids stay.\v"
               "Example:\n"
               "  orrery-sim workload slice w.csv --from 60s --to 120s -o minute.csv"
    };

    return act(&argp, 1, NULL, do_slice, argc, argv);
}

static int act_scale(int argc, char **argv)
{
    static const struct argp argp = {
        .options = scale_options,
        .parser = on_option,
        .args_doc = "FILE",
        .doc = "The same requests faster, slower, more often, more or less evenly. Of several "
               "options, copies come first, then the cv, then the times.\v"
               "Examples:\n"
               "  orrery-sim workload scale w.csv --rate-scale 2 -o twice.csv\n"
               "  orrery-sim workload scale w.csv --cv 4 --rate 10/s -o bursts.csv"
    };

    return act(&argp, 1, NULL, do_scale, argc, argv);
}

static bool is_action(const char *word, const struct cli_command *actions, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(word, actions[i].name) == 0)
            return true;
    return strcmp(word, "--help") == 0 || strcmp(word, "-?") == 0 ||
           strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0;
}

int cmd_workload(int argc, char **argv)
{
    static const struct cli_command actions[] = {
        { "describe", "rate, variation, lengths, and a plot of the arrivals", act_describe },
        { "merge", "several workloads into one, by arrival", act_merge },
        { "split", "one workload into several, round robin or by time", act_split },
        { "slice", "the requests of a window of time", act_slice },
        { "scale", "the same requests faster, more often, more or less evenly", act_scale },
    };
    const int count = (int)(sizeof(actions) / sizeof(actions[0]));

    /* A file in place of an action is described. */
    if (argc > 1 && !is_action(argv[1], actions, count) &&
        (argv[1][0] == '-' || access(argv[1], F_OK) == 0)) {
        argv[0] = (char[]){ "orrery-sim workload describe" };
        return act_describe(argc, argv);
    }
    return cli_main("orrery-sim workload", "Looks at workload files and makes others from them.",
                    actions, count,
                    "Examples:\n"
                    "  orrery-sim workload w.csv\n"
                    "  orrery-sim workload merge chat.csv code.csv -o both.csv\n",
                    argc, argv);
}
