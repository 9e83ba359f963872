/* test_cli.c - wrong use exits with 2 and says what was expected; a full stdout is noticed.
 *
 * argp ends the process on wrong use, so each case runs in a child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

#include "lib/base/cli.h"
#include "lib/base/err.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a small program ---- */

struct options {
    int64_t threads, seed, gap_ps, limit_ps;
    double rate_per_s;
    int policy;
    bool is_json;
};

static const char *const policies[] = { "round-robin", "least-idle", "random" };
enum { KEY_GAP = 256, KEY_SEED, KEY_LIMIT, KEY_RATE, KEY_POLICY, KEY_JSON };

static const struct argp_option child_options[] = {
    { "json", KEY_JSON, NULL, 0, "one JSON object", 0 }, { 0 }
};
static error_t on_child(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    (void)arg;
    if (key != KEY_JSON)
        return ARGP_ERR_UNKNOWN;
    options->is_json = true;
    return 0;
}
static const struct argp child = { child_options, on_child, NULL, NULL, NULL, NULL, NULL };
static const struct argp_child children[] = { { &child, 0, NULL, 0 }, { 0 } };

static const struct argp_option options_of_run[] = {
    { "threads", 't', "N", 0, "threads (default 1)", 0 },
    { "gap", KEY_GAP, "TIME", 0, "gap", 0 },
    { "limit", KEY_LIMIT, "TIME", 0, "limit", 0 },
    { "rate", KEY_RATE, "R", 0, "rate", 0 },
    { "seed", KEY_SEED, "N", 0, "seed", 0 },
    { "policy", KEY_POLICY, "NAME", 0, "policy", 0 },
    { NULL, 'n', "NAME", 0, "policy, by a letter alone", 0 },
    { NULL, 0, NULL, 0, "A remark", 1 },
    { 0 }
};

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options;
        return 0;
    case 't':
        options->threads = cli_int(state, "--threads", arg, 1, 64);
        return 0;
    case KEY_SEED:
        options->seed = cli_int(state, "seed", arg, 0, INT64_MAX);
        return 0;
    case KEY_GAP:
        options->gap_ps = cli_duration_ps(state, "--gap", arg);
        return 0;
    case KEY_LIMIT:
        options->limit_ps = cli_duration_positive_ps(state, "limit", arg);
        return 0;
    case KEY_RATE:
        options->rate_per_s = cli_rate_per_s(state, "--rate", arg);
        return 0;
    case 'n':
    case KEY_POLICY:
        options->policy = cli_choice(state, "--policy", arg, policies, 3);
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "'%s' is not an option", arg);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}
static const struct argp argp = { options_of_run, on_option, NULL, "Runs a thing.",
                                  children,       NULL,      NULL };

static int run(int argc, char **argv)
{
    struct options options = { 1, 1, 0, 1, 1, 0, false };
    int exit_code;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    printf("%s: threads %d, seed %d, gap %lld, limit %lld, rate %g, %s%s\n", argv[0],
           (int)options.threads, (int)options.seed, (long long)options.gap_ps,
           (long long)options.limit_ps, options.rate_per_s, policies[options.policy],
           options.is_json ? ", json" : "");
    return CLI_NO;
}

static int run_and_fail(int argc, char **argv)
{
    struct err err = ERR_INIT;

    (void)argc;
    printf("something\n");
    err_at(&err, "t.csv", 3, 1, "op is 'x': expected y");
    return cli_fail(argv[0], &err);
}

static const struct cli_command commands[] = { { "run", "runs a thing", run },
                                               { "check", "always fails", run_and_fail } };

/* ---- a child process ---- */

struct result {
    int exit_code;
    char out[4096], err[4096];
};

static void take(FILE *file, char *text, size_t size)
{
    rewind(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

/* line: arguments separated by single spaces. */
static struct result orrery(const char *line, const char *stdout_path)
{
    struct result result = { 0, "", "" };
    FILE *out = tmpfile(), *err = tmpfile();
    char words[256], *argv[16] = { NULL }, *rest = words;
    char program[] = "/usr/bin/orrery-sim";
    int argc = 0, status;
    pid_t child_pid;

    snprintf(words, sizeof words, "%s", line);
    argv[argc++] = program;
    for (char *word = strsep(&rest, " "); word && *word && argc < 15; word = strsep(&rest, " "))
        argv[argc++] = word;
    fflush(stdout);
    child_pid = fork();
    if (child_pid == 0) {
        dup2(stdout_path ? open(stdout_path, O_WRONLY) : fileno(out), 1);
        dup2(fileno(err), 2);
        exit(cli_main("orrery-sim", "Predicts things.", commands, 2, "Examples:\n  orrery-sim run",
                      argc, argv));
    }
    assert_int_equal(waitpid(child_pid, &status, 0), child_pid);
    assert_true(WIFEXITED(status));
    result.exit_code = WEXITSTATUS(status);
    take(out, result.out, sizeof result.out);
    take(err, result.err, sizeof result.err);
    return result;
}

static void assert_starts_with(const char *text, const char *start)
{
    if (strncmp(text, start, strlen(start)) != 0)
        fail_msg("'%s' does not start with '%s'", text, start);
}

/* ---- rules ---- */

static void a_command_gets_its_options_and_its_exit_code_counts(void **state)
{
    struct result r = orrery(
        "run --threads 4 --seed 9 --gap=250us --limit 2s --rate 12/min --policy random --json",
        NULL);

    (void)state;
    assert_string_equal(r.out,
                        "orrery-sim run: threads 4, seed 9, gap 250000000, limit 2000000000000, "
                        "rate 0.2, random, json\n");
    assert_string_equal(r.err, "");
    assert_int_equal(r.exit_code, 1);
    assert_int_equal(orrery("run -t 2 --gap 0", NULL).exit_code, 1);
    assert_non_null(strstr(orrery("run -nrandom -t3", NULL).out, "threads 3,"));
    assert_non_null(strstr(orrery("run -t 3 -n random", NULL).out, "random\n"));
}

static void help_and_version_go_to_stdout_with_0(void **state)
{
    static const char *const lines[] = { "--help", "run --help", "run --usage",
                                         "run -?", "--version",  "run --version" };

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct result r = orrery(lines[i], NULL);

        assert_int_equal(r.exit_code, 0);
        assert_string_equal(r.err, "");
        assert_starts_with(r.out, i >= 4 ? "orrery-sim 0.1.0\n" : "Usage: orrery-sim ");
    }
    assert_non_null(strstr(orrery("--help", NULL).out, "  run    runs a thing\n"));
    assert_non_null(strstr(orrery("--help", NULL).out, "Examples:\n  orrery-sim run\n"));
    assert_non_null(strstr(orrery("run --help", NULL).out, "threads (default 1)"));
    assert_non_null(strstr(orrery("run --help", NULL).out, "--version"));
    assert_non_null(strstr(orrery("run --help", NULL).out, "one JSON object"));
}

static void a_full_stdout_exits_with_2_and_one_line(void **state)
{
    static const struct {
        const char *line, *text;
    } cases[] = {
        { "run", "orrery-sim: stdout: No space left on device\n" },
        { "--help", "orrery-sim: stdout: No space left on device\n" },
        { "run --help", "orrery-sim run: stdout: No space left on device\n" },
        { "run --version", "orrery-sim run: stdout: No space left on device\n" },
        { "check", "orrery-sim check: t.csv:3:1: op is 'x': expected y\n" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct result r = orrery(cases[i].line, "/dev/full");

        assert_int_equal(r.exit_code, 2);
        assert_string_equal(r.err, cases[i].text);
    }
}

static void wrong_use_exits_with_2_and_names_what_was_meant(void **state)
{
    static const struct {
        const char *line, *text;
    } cases[] = {
        { "", "orrery-sim: a command is missing; 'orrery-sim --help' lists them\n" },
        { "rum", "orrery-sim: 'rum' is not a command; did you mean 'run'?\n" },
        { "prognosticate", "orrery-sim: 'prognosticate' is not a command\n" },
        { "--hlep", "orrery-sim: '--hlep' is not an option; did you mean '--help'?\n" },
        { "run --thread 4",
          "orrery-sim run: unknown option '--thread'; did you mean '--threads'?\n" },
        { "run --th=4", "orrery-sim run: unknown option '--th'; did you mean '--threads'?\n" },
        { "run --js", "orrery-sim run: unknown option '--js'; did you mean '--json'?\n" },
        { "run --frobnicate", "orrery-sim run: unknown option '--frobnicate'\n" },
        { "run --threads", "orrery-sim run: option '--threads' requires an argument\n" },
        { "run --threads=4 -t", "orrery-sim run: option '-t' requires an argument\n" },
        { "run --json=yes", "orrery-sim run: option '--json' doesn't allow an argument\n" },
        { "run -x", "orrery-sim run: invalid option -- 'x'\n" },
        { "run -t4 -x", "orrery-sim run: invalid option -- 'x'\n" },
        { "run extra", "orrery-sim run: 'extra' is not an option\n" },
        { "run --threads 0",
          "orrery-sim run: --threads is '0': expected a whole number from 1 to 64\n" },
        { "run --seed -1",
          "orrery-sim run: --seed is '-1': expected a whole number of at least 0\n" },
        { "run -t 4x",
          "orrery-sim run: --threads is '4x': expected a whole number from 1 to 64\n" },
        { "run --gap 250",
          "orrery-sim run: --gap is '250': expected a duration with its unit, such as 250us or "
          "60s, of at most 9000000s\n" },
        { "run --gap -1s",
          "orrery-sim run: --gap is '-1s': expected a duration with its unit, such as 250us or "
          "60s, of at most 9000000s\n" },
        { "run --limit 0", "orrery-sim run: --limit is '0': expected a duration above 0\n" },
        { "run --rate nan",
          "orrery-sim run: --rate is 'nan': expected a rate above 0, such as 200/s or 12/min\n" },
        { "run --policy randon",
          "orrery-sim run: --policy is 'randon': expected round-robin, least-idle or random; did "
          "you mean 'random'?\n" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct result r = orrery(cases[i].line, NULL);

        assert_string_equal(r.err, cases[i].text); /* one line */
        assert_int_equal(r.exit_code, 2);
        assert_string_equal(r.out, "");
    }
}

static void progress_is_silent_where_nobody_watches(void **state)
{
    struct cli_progress progress;
    FILE *file = tmpfile();
    int saved = dup(2);

    (void)state;
    dup2(fileno(file), 2);
    cli_progress_begin(&progress, "profiling");
    cli_progress_update(&progress, 0.5, "note");
    cli_progress_end(&progress);
    dup2(saved, 2);
    close(saved);
    assert_int_equal(lseek(fileno(file), 0, SEEK_END), 0);
    fclose(file);
}

static void progress_shows_a_bar_at_most_five_times_a_second(void **state)
{
    struct cli_progress progress;
    char text[1024];
    FILE *file = tmpfile();
    int saved = dup(2);

    (void)state;
    cli_progress_begin(&progress, "profiling");
    progress.is_shown = true; /* as if stderr were a terminal */
    progress.started_ns -= INT64_C(10000000000);
    dup2(fileno(file), 2);
    cli_progress_update(&progress, 0.5, "qkv");
    cli_progress_update(&progress, 0.6, "too soon");
    cli_progress_end(&progress);
    dup2(saved, 2);
    close(saved);
    take(file, text, sizeof text);
    assert_string_equal(
        text, "\r\033[Kprofiling  [############............]  50 %  00:10 left  qkv\r\033[K");
    assert_false(progress.is_shown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_gets_its_options_and_its_exit_code_counts),
        cmocka_unit_test(help_and_version_go_to_stdout_with_0),
        cmocka_unit_test(a_full_stdout_exits_with_2_and_one_line),
        cmocka_unit_test(wrong_use_exits_with_2_and_names_what_was_meant),
        cmocka_unit_test(progress_is_silent_where_nobody_watches),
        cmocka_unit_test(progress_shows_a_bar_at_most_five_times_a_second),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
