/* test_run.c - whole runs of the command on a tiny model and a board with small caches: the files,
 * what is refused, and what an interrupted or failed run leaves. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "lib/kernels/kernels.h"
#include "profiler/commands.h"
#include "tests/unit/scratch.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_ARGS 24

struct fixture {
    struct arena *arena;
    char root[256]; /* also the sysroot */
    const char *models, *counters;
};

static bool put(struct fixture *fixture, const char *path, const char *text)
{
    char *full = arena_printf(fixture->arena, "%s%s", fixture->root, path);
    struct err err = ERR_INIT;

    if (!out_make_folder(arena_strndup(fixture->arena, full, (size_t)(strrchr(full, '/') - full)),
                         &err))
        return false;
    FILE *file = fopen(full, "w");
    return file && fputs(text, file) >= 0 && fclose(file) == 0;
}

static int make_fixture(void **state)
{
    struct arena *arena = arena_create();
    struct fixture *fixture = arena_alloc(arena, sizeof(*fixture));

    fixture->arena = arena;
    (void)snprintf(fixture->root, sizeof(fixture->root), "%s/orrery-run-XXXXXX", scratch_base());
    *state = fixture;
    if (!mkdtemp(fixture->root))
        return -1;
    fixture->models = arena_printf(arena, "%s/models.csv", fixture->root);
    fixture->counters = arena_printf(arena, "fake:%s/counters.csv", fixture->root);
    bool is_put =
        put(fixture, "/models.csv",
            "model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,ffn,norm,positions,"
            "tied_lm_head,weight_bits,kv_bits,max_context\n"
            "tiny,decoder,2,64,4,2,16,128,500,swiglu,rms,rope,no,32,16,64\n") &&
        put(fixture, "/counters.csv",
            "counter,add,start,stop,value\ncyc,0,0,0,700\nins,0,0,0,900\nllc_miss,-7,0,0,1\n") &&
        put(fixture, "/sys/devices/system/cpu/cpu0/cache/index2/size", "256K\n") &&
        put(fixture, "/proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 500000 kB\n");
    return is_put ? 0 : -1;
}

static int drop_fixture(void **state)
{
    struct fixture *fixture = *state;
    int result = system(arena_printf(fixture->arena, "rm -r '%s'", fixture->root));

    arena_destroy(fixture->arena);
    return result;
}

/* The command in a process of its own; stdout and stderr become files. NULL ends the arguments. */
static pid_t start(struct fixture *fixture, const char *const *extra)
{
    const char *fixed[] = { "orrery-profile run", "--models",    fixture->models,
                            "--sysroot",          fixture->root, "--quick" };
    char *argv[MAX_ARGS] = { NULL };
    int argc = 0;

    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        argv[argc++] = arena_strdup(fixture->arena, fixed[i]);
    for (; *extra; extra++)
        argv[argc++] = arena_strdup(fixture->arena, *extra);
    assert_true(argc < MAX_ARGS);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int flags = O_WRONLY | O_CREAT | O_TRUNC;

        dup2(open(arena_printf(fixture->arena, "%s/stdout", fixture->root), flags, 0600),
             STDOUT_FILENO);
        dup2(open(arena_printf(fixture->arena, "%s/stderr", fixture->root), flags, 0600),
             STDERR_FILENO);
        _exit(profiler_run(argc, argv));
    }
    assert_true(child > 0);
    return child;
}

static int finish(pid_t child)
{
    int status;

    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static const char *folder(struct fixture *fixture, const char *name)
{
    return arena_printf(fixture->arena, "%s/%s", fixture->root, name);
}

static const struct cost_table *load(struct fixture *fixture, const char *path)
{
    struct err err = ERR_INIT;
    const struct cost_table *table = cost_load(fixture->arena, path, &err);

    if (!table)
        fail_msg("%s", err.text);
    return table;
}

static bool has_line(struct fixture *fixture, const char *path, const char *part)
{
    FILE *file = fopen(path, "r");
    char line[4096];
    bool is_found = false;

    (void)fixture;
    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        is_found = is_found || strstr(line, part);
    fclose(file);
    return is_found;
}

static void a_run_leaves_a_table_that_prices_a_forward(void **state)
{
    struct fixture *fixture = *state;
    const char *out = folder(fixture, "board");
    const char *args[] = { "--model",  "tiny", "-o",   out,    "--budget",   "2s",
                           "--tokens", "1:16", "--kv", "1:32", "--counters", fixture->counters,
                           NULL };
    struct err err = ERR_INIT;
    struct model_catalogue *catalogue = model_catalogue_load(fixture->arena, fixture->models, &err);
    const struct model *model = model_find(catalogue, "tiny", &err);
    enum interp_origin origin;
    int64_t time_ps;

    assert_int_equal(finish(start(fixture, args)), CLI_DONE);
    assert_true(has_line(fixture, folder(fixture, "stderr"), "measuring tiny for about 2 s"));
    assert_true(has_line(fixture, folder(fixture, "stdout"), "warning: the weights of tiny ("));
    const struct cost_table *table = load(fixture, out);
    for (int block = 0; block < BLOCK_COUNT; block++) {
        struct model_op ops[MODEL_MAX_OPS];
        int count = model_block_ops(model, (enum model_block)block, 1, 10, ops);

        for (int i = 0; i < count; i++) {
            if (!cost_lookup(table, &ops[i], 1, 32, &time_ps, &origin, &err))
                fail_msg("%s", err.text);
            assert_int_not_equal(origin, INTERP_EXTRAPOLATED);
            assert_true(time_ps > 0 && time_ps < INT64_C(1000000000000));
        }
    }
    assert_int_equal(cost_anchor_count(table), 2);
    const struct cost_anchor *anchor = cost_anchor_at(table, 0);
    assert_true(anchor->kappa > 0.3 && anchor->kappa < 3.0);
    assert_int_equal(anchor->layers, 2);
    assert_true(has_line(fixture, folder(fixture, "board/kernels.csv"), ",700,900,,,,,"));
    assert_true(has_line(fixture, folder(fixture, "board/kernels.csv"), "llc_miss:fake:-7:add"));
    assert_true(has_line(fixture, folder(fixture, "board/device.csv"), "llc_bytes,262144,bytes"));
    assert_true(has_line(fixture, folder(fixture, "board/device.csv"), "processes,3"));
    assert_true(has_line(fixture, folder(fixture, "board/rounds.csv"), "1,1,f32,2,0,"));
}

static void thread_counts_are_rows_of_their_own(void **state)
{
    struct fixture *fixture = *state;
    const char *out = folder(fixture, "threads");
    const char *args[] = { "--model", "tiny", "-o",   out,         "--budget", "200ms",  "--tokens",
                           "2:4",     "--kv", "8:16", "--threads", "1,2",      "--json", NULL };

    assert_int_equal(finish(start(fixture, args)), CLI_DONE);
    const struct cost_table *table = load(fixture, out);
    assert_int_equal(cost_only_threads(table), 0); /* several */
    assert_int_equal(cost_anchor_count(table), 4);
    assert_true(has_line(fixture, folder(fixture, "threads/kernels.csv"), "several_threads"));
}

/* More than any OpenBLAS is built for; a BLAS that can do it, or does not say, is left alone. */
static bool lacks_threads(void)
{
    pid_t child = fork();

    if (child == 0) {
        kernel_set_threads(256);
        _exit(kernel_blas_threads() == 256);
    }
    return finish(child) == 0;
}

/* A minute at most: on a busy machine the first sample takes its time. */
static void await_sample(struct fixture *fixture, const char *journal)
{
    const struct timespec wait = { 0, 20000000 };

    for (int i = 0; i < 3000; i++) {
        if (access(journal, F_OK) == 0 && has_line(fixture, journal, "sample,"))
            return;
        nanosleep(&wait, NULL);
    }
    fail_msg("%s: no sample", journal);
}

static void an_interrupted_run_says_how_to_go_on(void **state)
{
    struct fixture *fixture = *state;
    const char *out = folder(fixture, "cut/deep");
    const char *args[] = { "--model", "tiny", "-o", out, "--budget", "60s", NULL };
    const char *resume[] = { "--model", "tiny",     "-o",    out, "--budget",
                             "2s",      "--resume", "--raw", NULL };
    const char *journal = folder(fixture, "cut/deep/profile.journal");
    pid_t child = start(fixture, args);

    await_sample(fixture, journal);
    kill(child, SIGINT);
    kill(child, SIGINT);
    assert_int_equal(finish(child), CLI_FAIL);
    assert_true(has_line(fixture, folder(fixture, "stderr"), "interrupted; "));
    assert_true(
        has_line(fixture, folder(fixture, "stderr"), "the same command with --resume goes on"));
    assert_int_equal(access(journal, F_OK), 0);
    assert_int_not_equal(access(folder(fixture, "cut/deep/kernels.csv"), F_OK), 0);
    assert_int_equal(finish(start(fixture, args)), CLI_FAIL);
    assert_true(has_line(fixture, folder(fixture, "stderr"), "an unfinished run is here"));
    assert_int_equal(finish(start(fixture, resume)), CLI_DONE);
    assert_int_not_equal(access(journal, F_OK), 0);
    assert_true(has_line(fixture, folder(fixture, "cut/deep/device.csv"), "resumed,1,times"));
    assert_true(has_line(fixture, folder(fixture, "cut/deep/samples.csv"), "sample,0,0,"));
    assert_true(has_line(fixture, folder(fixture, "cut/deep/samples.csv"), "anchor,0,3,"));
    (void)load(fixture, out);
}

static void folders_that_were_there_stay(void **state)
{
    struct fixture *fixture = *state;
    const char *out = folder(fixture, "there/new//deep/");
    const char *args[] = { "--model", "tiny", "-o", out, "--threads", "256", NULL };
    struct err err = ERR_INIT;

    if (!lacks_threads())
        skip();
    assert_true(out_make_folder(folder(fixture, "there"), &err));
    assert_int_equal(finish(start(fixture, args)), CLI_FAIL);
    assert_int_not_equal(access(folder(fixture, "there/new"), F_OK), 0);
    assert_int_equal(access(folder(fixture, "there"), F_OK), 0);
}

static void an_ignored_hangup_does_not_end_a_run(void **state)
{
    struct fixture *fixture = *state;
    const char *args[] = { "--model",  "tiny", "-o",   folder(fixture, "nohup"),
                           "--budget", "50us", "--kv", "8:16",
                           "--tokens", "1:64", NULL };
    const struct timespec wait = { 0, 20000000 };
    void (*old)(int) = signal(SIGHUP, SIG_IGN);
    pid_t child = start(fixture, args);

    nanosleep(&wait, NULL);
    kill(child, SIGHUP);
    assert_int_equal(finish(child), CLI_DONE);
    signal(SIGHUP, old);
    /* and the budget of 50 us is far too short for a round */
    assert_true(has_line(fixture, folder(fixture, "stderr"), "one round will take about"));
}

static void threads_that_the_blas_does_not_give_are_refused(void **state)
{
    struct fixture *fixture = *state;
    const char *args[] = { "--model",   "tiny",  "-o", folder(fixture, "many"),
                           "--threads", "1,256", NULL };

    if (!lacks_threads())
        skip();
    assert_int_equal(finish(start(fixture, args)), CLI_FAIL);
    assert_true(
        has_line(fixture, folder(fixture, "stderr"), "256 threads are asked for: this BLAS"));
    assert_int_not_equal(access(folder(fixture, "many"), F_OK), 0);
}

static void an_old_table_survives_a_failed_run(void **state)
{
    struct fixture *fixture = *state;
    const char *out = folder(fixture, "old");
    const char *args[] = { "--model", "tiny", "-o", out, "--tokens", "1:65", NULL };
    FILE *file;

    assert_true(put(fixture, "/old/kernels.csv", "precious\n"));
    assert_int_equal(finish(start(fixture, args)), CLI_FAIL);
    file = fopen(folder(fixture, "old/kernels.csv"), "r");
    assert_non_null(file);
    fclose(file);
    assert_true(has_line(fixture, folder(fixture, "old/kernels.csv"), "precious"));
}

static void bad_wishes_end_with_status_2_and_make_no_folder(void **state)
{
    static const char *const wishes[][2] = {
        { "--threads", "0" },  { "--threads", "1," },   { "--threads", "1,1" },
        { "--tokens", "4:1" }, { "--tokens", "NaN" },   { "--kv", "1:65" },
        { "--budget", "5" },   { "--budget", "-1s" },   { "--counters", "some" },
        { "--seed", "-1" },    { "--model", "tinny" },  { "--models", "/nowhere.csv" },
        { "--quik", "" },      { "--model", "/a.json" }
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
        const char *out = folder(fixture, "none");
        const char *args[] = { "--model", "tiny", "-o", out, wishes[i][0], wishes[i][1], NULL };

        if (finish(start(fixture, args)) != CLI_FAIL || access(out, F_OK) == 0)
            fail_msg("%s %s: expected status 2 and no folder", wishes[i][0], wishes[i][1]);
    }
    const char *no_model[] = { "-o", folder(fixture, "none"), NULL };
    assert_int_equal(finish(start(fixture, no_model)), CLI_FAIL);
    const char *no_folder[] = { "--model", "tiny", NULL };
    assert_int_equal(finish(start(fixture, no_folder)), CLI_FAIL);
    const char *file_folder[] = { "--model", "tiny", "-o", fixture->models, NULL };
    assert_int_equal(finish(start(fixture, file_folder)), CLI_FAIL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_leaves_a_table_that_prices_a_forward),
        cmocka_unit_test(thread_counts_are_rows_of_their_own),
        cmocka_unit_test(an_interrupted_run_says_how_to_go_on),
        cmocka_unit_test(folders_that_were_there_stay),
        cmocka_unit_test(an_ignored_hangup_does_not_end_a_run),
        cmocka_unit_test(threads_that_the_blas_does_not_give_are_refused),
        cmocka_unit_test(an_old_table_survives_a_failed_run),
        cmocka_unit_test(bad_wishes_end_with_status_2_and_make_no_folder),
    };

    return cmocka_run_group_tests(tests, make_fixture, drop_fixture);
}
