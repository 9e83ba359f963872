/* import.c - orrery-sim import: other programs' files and public traces, as our tables. */
#include "sim/import/import.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "sim/cmd/cmd.h"
#include <stdio.h>
#include <string.h>

/* ---- one importer ---- */

struct settings {
    struct import_job job;
    void *own; /* the importer's */
    const char **files;
};

static const struct argp_option job_options[] = {
    { NULL, 0, NULL, 0, "Output:", 1 },
    { NULL, 'o', "PATH", 0, "Where the result goes; - is stdout (required)", 1 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case 'o':
        settings->job.output = text;
        return 0;
    case ARGP_KEY_ARG:
        settings->files[settings->job.file_count++] = text;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = settings->own;
        return 0;
    case ARGP_KEY_END:
        if (!settings->job.output)
            cli_error(state, "-o is missing: where the result goes");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The line about what was read goes to stdout, or to stderr when a table is there. */
static bool finish(struct import_job *job, struct err *err)
{
    const char *text = import_report_text(job);
    bool is_stdout_taken = false;
    struct out *outs[IMPORT_MAX_OUTPUTS + 1];

    for (int i = 0; i < job->out_count; i++) {
        outs[i] = job->outs[i];
        is_stdout_taken = is_stdout_taken || strcmp(job->paths[i], "-") == 0;
    }
    if (is_stdout_taken) {
        if (!out_commit_all(outs, job->out_count, err))
            return false;
        fprintf(stderr, "%s\n", text);
        return true;
    }
    outs[job->out_count] = out_open(job->arena, "-", err);
    if (!outs[job->out_count])
        return false;
    out_printf(outs[job->out_count], "%s\n", text);
    return out_commit_all(outs, job->out_count + 1, err);
}

static int run_importer(struct arena *arena, const struct importer *importer, int argc, char **argv)
{
    const struct argp_child children[] = { { importer->argp, 0, NULL, 0 }, { 0 } };
    const struct argp argp = {
        job_options, on_option, importer->arguments, importer->text, children, NULL, NULL
    };
    struct settings settings = { .own = arena_alloc(arena, importer->settings_bytes) };
    struct import_job *job = &settings.job;
    struct err err = ERR_INIT;
    int exit_code = CLI_DONE;

    settings.files = arena_array(arena, (size_t)argc, sizeof *settings.files);
    job->arena = arena;
    job->importer = importer->name;
    job->files = settings.files;
    if (!cli_parse(&argp, argc, argv, &settings, &exit_code))
        return exit_code;
    if (importer->run(job, settings.own, &err) && finish(job, &err))
        return CLI_DONE;
    for (int i = 0; i < job->out_count; i++)
        out_abort(job->outs[i]);
    return cli_fail(argv[0], &err);
}

/* ---- which importer ---- */

enum { KEY_LIST = 0x300 };

static const struct argp_option list_options[] = {
    { "list", KEY_LIST, NULL, 0, "Print the importers and what they read", 0 }, { 0 }
};

static error_t on_list_option(int key, char *text, struct argp_state *state)
{
    bool *is_list = state->input;

    (void)text;
    switch (key) {
    case KEY_LIST:
        *is_list = true;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "'%s' comes after an option: expected the name of an importer first",
                  text);
        return 0;
    case ARGP_KEY_END:
        if (!*is_list)
            cli_error(state, "an importer is missing: try --list");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_list(void)
{
    int width = 0;

    for (int i = 0; i < import_count(); i++) {
        int length = (int)strlen(import_at(i)->name);

        width = length > width ? length : width;
    }
    for (int i = 0; i < import_count(); i++)
        printf("%-*s  %s\n", width, import_at(i)->name, import_at(i)->reads);
}

static int run_list(int argc, char **argv)
{
    static const struct argp argp = {
        .options = list_options,
        .parser = on_list_option,
        .args_doc = "IMPORTER ...",
        .doc = "Turns files of other programs and public traces into tables of ours. "
               "`orrery-sim import IMPORTER --help` explains one.\v"
               "Examples:\n"
               "  orrery-sim import --list\n"
               "  orrery-sim import azure AzureLLMInferenceTrace_conv.csv -o w.csv"
    };
    bool is_list = false;
    int exit_code = CLI_DONE;

    if (cli_parse(&argp, argc, argv, &is_list, &exit_code) && is_list)
        print_list();
    return exit_code;
}

int cmd_import(int argc, char **argv)
{
    struct arena *arena;
    const struct importer *importer;
    struct err err = ERR_INIT;
    int exit_code;

    if (argc < 2 || argv[1][0] == '-')
        return run_list(argc, argv);
    importer = import_find(argv[1], &err);
    if (!importer)
        return cli_fail(argv[0], &err);
    arena = arena_create();
    argv[1] = arena_printf(arena, "%s %s", argv[0], importer->name);
    exit_code = run_importer(arena, importer, argc - 1, argv + 1);
    arena_destroy(arena);
    return exit_code;
}
