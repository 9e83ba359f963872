/* cli.c - see cli.h. argp does the parsing; what it lets pass is refused before it sees it. Option
 * values are in cli_value.c, the progress bar in cli_progress.c. */
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
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

struct options { /* of a command and of its children */
    const struct argp_option *at[NAMES_MAX];
    int count;
};

static void options_collect(const struct argp *argp, struct options *options)
{
    for (const struct argp_option *o = argp->options; o && (o->name || o->key || o->doc); o++) {
        if ((o->name || o->key) && options->count < NAMES_MAX)
            options->at[options->count++] = o;
    }
    for (const struct argp_child *child = argp->children; child && child->argp; child++)
        options_collect(child->argp, options);
}

/* By its name, of which there may be more text behind `length`, or by its letter. */
static const struct argp_option *option_find(const struct options *options, const char *name,
                                             size_t length, int letter)
{
    for (int i = 0; i < options->count; i++) {
        const struct argp_option *o = options->at[i];

        if (!name && o->key == letter)
            return o;
        if (name && o->name && strncmp(o->name, name, length) == 0 && o->name[length] == '\0')
            return o;
    }
    return NULL;
}

/* argp takes any unambiguous prefix of a long option for the option. Returns the first argument
 * that is not spelt in full, or NULL. An option's value that itself begins with "--" must be
 * written --option=--value. */
static const char *find_unknown(const struct options *options, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--", 2) == 0 &&
            !option_find(options, argv[i] + 2, strcspn(argv[i] + 2, "="), 0))
            return argv[i];
    }
    return NULL;
}

/* About text, up to end if that is given. */
static bool complain(const char *program, const char *before, const char *text, const char *end,
                     const char *after)
{
    size_t length = end ? (size_t)(end - text) : strlen(text);

    fprintf(stderr, "%s: %s'%.*s'%s\n", program, before, (int)(length < 60 ? length : 60), text,
            after);
    return false;
}

/* The option of "-abc" or "--abc" that takes a value, and where that is if it is in there. False
 * when it is wrong, in getopt's words: argp would follow them up with advice in lines of its own.
 */
static bool find_value(const char *program, const struct options *options, const char *argument,
                       const struct argp_option **taker, const char **value)
{
    const struct argp_option *o = NULL;

    *taker = NULL;
    *value = NULL;
    if (argument[1] == '-') {
        o = option_find(options, argument + 2, strcspn(argument + 2, "="), 0);
        *value = strchr(argument, '=');
        *taker = o && o->arg ? o : NULL;
        return !o || o->arg || !*value ||
               complain(program, "option ", argument, *value, " doesn't allow an argument");
    }
    for (const char *letter = argument + 1; *letter && !*taker; letter++) {
        o = option_find(options, NULL, 0, *letter);
        if (!o)
            return complain(program, "invalid option -- ", letter, letter + 1, "");
        if (o->arg) {
            *taker = o;
            *value = letter[1] ? letter + 1 : NULL;
        }
    }
    return true;
}

static bool check_values(const char *program, const struct options *options, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const struct argp_option *taker;
        const char *value;

        if (argv[i][0] != '-' || argv[i][1] == '\0')
            continue;
        if (!find_value(program, options, argv[i], &taker, &value))
            return false;
        if (taker && !value && ++i == argc)
            return complain(program, "option ", argv[i - 1], NULL, " requires an argument");
    }
    return true;
}

static bool has_argument(int argc, char **argv, const char *text, const char *same)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], text) == 0 || strcmp(argv[i], same) == 0)
            return true;
    }
    return false;
}

static int unknown_option(const char *program, const char *option, const struct options *options)
{
    char word[64];
    const char *names[NAMES_MAX], *closest;
    int count = 0;

    snprintf(word, sizeof word, "%.*s", (int)strcspn(option + 2, "="), option + 2);
    for (int i = 0; i < options->count; i++)
        if (options->at[i]->name)
            names[count++] = options->at[i]->name;
    closest = err_closest(word, names, count);
    /* An abbreviation is too far from its option for an edit distance. */
    for (int i = 0; i < count && !closest && word[0] != '\0'; i++) {
        if (strncmp(names[i], word, strlen(word)) == 0)
            closest = names[i];
    }
    fprintf(stderr, "%s: unknown option '--%s'%s%s%s\n", program, word,
            closest ? "; did you mean '--" : "", closest ? closest : "", closest ? "'?" : "");
    return CLI_FAIL;
}

void cli_error(const struct argp_state *state, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s: ", state->name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(CLI_FAIL);
}

bool cli_parse(const struct argp *argp, int argc, char **argv, void *input, int *exit_code)
{
    const struct argp_child children[] = { { argp, 0, NULL, 0 }, { NULL, 0, NULL, 0 } };
    const struct argp whole = { own_options, NULL, NULL, NULL, children, NULL, NULL };
    struct options options = { .count = 0 };
    const char *unknown;
    error_t error;

    argp_err_exit_status = CLI_FAIL;
    argp_program_version_hook = on_version;
    *exit_code = CLI_DONE;
    options_collect(&whole, &options);
    unknown = find_unknown(&options, argc, argv);
    if (unknown) {
        *exit_code = unknown_option(argv[0], unknown, &options);
        return false;
    }
    if (!check_values(argv[0], &options, argc, argv)) {
        *exit_code = CLI_FAIL;
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
    fprintf(stderr, "%s: '%.60s' is not %s%s%s%s\n", program, word,
            is_option ? "an option" : "a command", closest ? "; did you mean '" : "",
            closest ? closest : "", closest ? "'?" : "");
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

void cli_take_write_errors(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

int cli_main(const char *program, const char *description, const struct cli_command *commands,
             int command_count, const char *examples, int argc, char **argv)
{
    int exit_code = CLI_DONE, index = 0;
    const char *word = argc > 1 ? argv[1] : "";

    cli_take_write_errors();
    while (index < command_count && strcmp(word, commands[index].name) != 0)
        index++;
    if (argc < 2) {
        fprintf(stderr, "%s: a command is missing; '%s --help' lists them\n", program, program);
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
