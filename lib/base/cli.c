/* cli.c - see cli.h. argp does the parsing; what it lets pass is refused before it sees it. Option
 * values are in cli_value.c, the progress bar in cli_progress.c. */
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define NAMES_MAX 128 /* options of a command, commands of a program */

/* argp_parse adds these to every parser; argp_help does not know that. */
static const struct argp_option own_options[] = {
    { "help", '?', NULL, 0, "Give this help list", -1 },
    { "usage", 1, NULL, 0, "Give a short usage message", 0 },
    { "version", 'V', NULL, 0, "Print program version", -1 },
    { 0 },
};

static void print_version(FILE *stream, const char *program)
{
    fprintf(stream, "%.*s %s\n", (int)strcspn(program, " "), program, CLI_VERSION);
}

static void on_version(FILE *stream, struct argp_state *state)
{
    print_version(stream, state->name);
}

/* Standard output may be a full disk, and stdio tells only when it is asked. */
static int close_output(const char *program, int exit_code)
{
    bool had_error = ferror(stdout) != 0;

    errno = 0;
    if (fflush(stdout) == 0 && !had_error)
        return exit_code;
    if (exit_code != CLI_FAIL) /* else one line has been printed already */
        fprintf(stderr, "%s: stdout: %s\n", program, errno ? strerror(errno) : "write error");
    return CLI_FAIL;
}

/* ---- one command ---- */

static int collect_names(const struct argp *argp, const char **names, int count)
{
    for (const struct argp_option *o = argp->options; o && (o->name || o->key || o->doc); o++) {
        if (o->name && count < NAMES_MAX)
            names[count++] = o->name;
    }
    for (const struct argp_child *child = argp->children; child && child->argp; child++)
        count = collect_names(child->argp, names, count);
    return count;
}

static bool is_name(const char *text, size_t length, const char *const *names, int count)
{
    for (int i = 0; i < count; i++) {
        if (strncmp(names[i], text, length) == 0 && names[i][length] == '\0')
            return true;
    }
    return false;
}

/* argp takes any unambiguous prefix of a long option for the option. Returns the first argument
 * that is not spelt in full, or NULL. An option's value that itself begins with "--" must be
 * written --option=--value. */
static const char *find_unknown(const char *const *names, int count, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--", 2) == 0 &&
            !is_name(argv[i] + 2, strcspn(argv[i] + 2, "="), names, count))
            return argv[i];
    }
    return NULL;
}

static bool has_argument(int argc, char **argv, const char *text, const char *same)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], text) == 0 || strcmp(argv[i], same) == 0)
            return true;
    }
    return false;
}

static int unknown_option(const char *program, const char *option, const char *const *names,
                          int count)
{
    char word[64];
    const char *closest;

    snprintf(word, sizeof word, "%.*s", (int)strcspn(option + 2, "="), option + 2);
    closest = err_closest(word, names, count);
    /* An abbreviation is too far from its option for an edit distance. */
    for (int i = 0; i < count && !closest && word[0] != '\0'; i++) {
        if (strncmp(names[i], word, strlen(word)) == 0)
            closest = names[i];
    }
    fprintf(stderr, "%s: unknown option '--%s'", program, word);
    if (closest)
        fprintf(stderr, "; did you mean '--%s'?", closest);
    fprintf(stderr, "\nTry '%s --help' for more information.\n", program);
    return CLI_FAIL;
}

bool cli_parse(const struct argp *argp, int argc, char **argv, void *input, int *exit_code)
{
    const struct argp_child children[] = { { argp, 0, NULL, 0 }, { NULL, 0, NULL, 0 } };
    const struct argp whole = { own_options, NULL, NULL, NULL, children, NULL, NULL };
    const char *names[NAMES_MAX];
    int count = collect_names(&whole, names, 0);
    const char *unknown;
    error_t error;

    argp_err_exit_status = CLI_FAIL;
    argp_program_version_hook = on_version;
    *exit_code = CLI_DONE;
    unknown = find_unknown(names, count, argc, argv);
    if (unknown) {
        *exit_code = unknown_option(argv[0], unknown, names, count);
        return false;
    }
    /* Printed here and not by argp, which would exit without a look at stdout. */
    if (has_argument(argc, argv, "--help", "-?")) {
        argp_help(&whole, stdout, ARGP_HELP_STD_HELP & ~(unsigned)ARGP_HELP_EXIT_OK, argv[0]);
    } else if (has_argument(argc, argv, "--usage", "--usage")) {
        argp_help(&whole, stdout, ARGP_HELP_USAGE, argv[0]);
    } else if (has_argument(argc, argv, "--version", "-V")) {
        print_version(stdout, argv[0]);
    } else {
        error = argp_parse(argp, argc, argv, 0, NULL, input);
        if (error != 0) {
            fprintf(stderr, "%s: %s\n", argv[0], strerror(error));
            *exit_code = CLI_FAIL;
        }
        return error == 0;
    }
    *exit_code = close_output(argv[0], CLI_DONE);
    return false;
}

int cli_fail(const char *program, const struct err *err)
{
    fprintf(stderr, "%s: %s\n", program, err->text);
    return CLI_FAIL;
}

/* ---- the program ---- */

static void print_help(const char *program, const char *description,
                       const struct cli_command *commands, int count, const char *examples)
{
    int width = 0;

    for (int i = 0; i < count; i++) {
        int length = (int)strlen(commands[i].name);

        width = length > width ? length : width;
    }
    printf("Usage: %s COMMAND [OPTION...]\n%s\n\nCommands:\n", program, description);
    for (int i = 0; i < count; i++)
        printf("  %-*s  %s\n", width, commands[i].name, commands[i].summary);
    printf("\n'%s COMMAND --help' explains a command,\n'%s --version' prints the version.\n",
           program, program);
    if (examples)
        printf("\n%s%s", examples, examples[strlen(examples) - 1] == '\n' ? "" : "\n");
}

static int unknown_command(const char *program, const char *word,
                           const struct cli_command *commands, int command_count)
{
    bool is_option = word[0] == '-';
    const char *names[NAMES_MAX] = { "--help", "--version" };
    int count = is_option ? 2 : 0;
    const char *closest;

    for (int i = 0; i < command_count && !is_option && count < NAMES_MAX; i++)
        names[count++] = commands[i].name;
    closest = err_closest(word, names, count);
    fprintf(stderr, "%s: '%.60s' is not %s", program, word, is_option ? "an option" : "a command");
    if (closest)
        fprintf(stderr, "; did you mean '%s'?", closest);
    fprintf(stderr, "\nTry '%s --help' for more information.\n", program);
    return CLI_FAIL;
}

static int run_command(const char *program, const struct cli_command *command, int argc,
                       char **argv)
{
    char name[128], *word = argv[0];
    int exit_code;

    snprintf(name, sizeof name, "%s %s", program, command->name);
    argv[0] = name; /* what argp and our messages call the program */
    exit_code = command->run(argc, argv);
    argv[0] = word;
    return exit_code;
}

int cli_main(const char *program, const char *description, const struct cli_command *commands,
             int command_count, const char *examples, int argc, char **argv)
{
    int exit_code = CLI_DONE, index = 0;
    const char *word = argc > 1 ? argv[1] : "";

    /* A reader that left is a write error: it is reported, and files are dropped. */
    signal(SIGPIPE, SIG_IGN);
    while (index < command_count && strcmp(word, commands[index].name) != 0)
        index++;
    if (argc < 2) {
        fprintf(stderr, "%s: a command is missing\nTry '%s --help' for more information.\n",
                program, program);
        return CLI_FAIL;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-?") == 0)
        print_help(program, description, commands, command_count, examples);
    else if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
        print_version(stdout, program);
    else if (index == command_count)
        exit_code = unknown_command(program, word, commands, command_count);
    else
        exit_code = run_command(program, &commands[index], argc - 1, argv + 1);
    return close_output(program, exit_code);
}
