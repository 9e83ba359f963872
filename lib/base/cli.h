/* cli.h - git-style sub-commands over glibc's argp.
 *
 * argp gives --help, --usage and groups. This adds: full option names only (argp takes any
 * unambiguous prefix), "did you mean", exit status 2 for wrong use, --version, and a check of
 * stdout at the end so that a full disk is noticed. */
#ifndef ORRERY_BASE_CLI_H
#define ORRERY_BASE_CLI_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

struct err;

#define CLI_VERSION "0.1.0"

enum cli_exit {
    CLI_DONE = 0,          /* done */
    CLI_NO = 1,            /* done, and the answer is no */
    CLI_FAIL = 2,          /* could not be done */
    CLI_INTERRUPTED = 130, /* by Ctrl-C: the best so far, as shells tell of SIGINT */
};

struct cli_command {
    const char *name;                  /* "run" */
    const char *summary;               /* one line for the program's --help */
    int (*run)(int argc, char **argv); /* argv[0] is "orrery-sim run"; returns an enum cli_exit */
};

/* A reader that has left, and a file at the limit of its size, are write errors from here on: they
 * are reported, and files are dropped. cli_main does it first. */
void cli_take_write_errors(void);

/* main() of a program with sub-commands. description is the paragraph in --help, examples follows
 * the list of commands. Flushes stdout and turns a write error into exit status 2. */
int cli_main(const char *program, const char *description, const struct cli_command *commands,
             int command_count, const char *examples, int argc, char **argv);

/* argp_parse with the rules above; prints its own message on wrong use, and --help, --version.
 * Returns false when the command must return *exit_code at once. */
bool cli_parse(const struct argp *argp, int argc, char **argv, void *input, int *exit_code);

/* As argp_error, in one line: prints "program: text" and ends the program with CLI_FAIL. */
void cli_error(const struct argp_state *state, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));

/* Prints "program: text" to stderr (program from argv[0] of the last cli_parse) and returns
 * CLI_FAIL. */
int cli_fail(const char *program, const struct err *err);

/* Progress on stderr, only when it is a terminal and at most five times a second:
 * "label  [#####.....]  42 %  00:12 left". done_ratio 0..1; cli_progress_end erases the line. */
struct cli_progress {
    const char *label;
    int64_t started_ns, printed_ns;
    bool is_shown;
};
void cli_progress_begin(struct cli_progress *progress, const char *label);
void cli_progress_update(struct cli_progress *progress, double done_ratio, const char *note);
void cli_progress_end(struct cli_progress *progress);

/* Option parsers for argp callbacks: on bad text they call cli_error (exit 2) naming the option
 * and what was expected. */
int64_t cli_int(struct argp_state *state, const char *option, const char *text, int64_t min,
                int64_t max);
int64_t cli_duration_ps(struct argp_state *state, const char *option, const char *text);
int64_t cli_duration_positive_ps(struct argp_state *state, const char *option, const char *text);
double cli_rate_per_s(struct argp_state *state, const char *option, const char *text);
/* A ratio >= 0: "5%" or "0.05"; above 1 only as a percentage. */
double cli_ratio(struct argp_state *state, const char *option, const char *text);
/* Index of text among count names; otherwise cli_error with "did you mean". */
int cli_choice(struct argp_state *state, const char *option, const char *text,
               const char *const *names, int count);

#endif
