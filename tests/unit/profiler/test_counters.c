/* test_counters.c - no counter is ever a false zero: scripted failures, PAPI as it is here, and
 * PAPI's genuine path through libsde where it can be loaded. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "profiler/counters/counters.h"
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define HEADER "counter,add,start,stop,value\n"

struct fake {
    struct arena *arena;
    char path[64];
    struct counters *counters;
    struct err err;
};

static struct fake make_fake(const char *script)
{
    struct fake fake = { arena_create(), "/tmp/orrery-counters-XXXXXX", NULL, ERR_INIT };
    int fd = mkstemp(fake.path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, script, strlen(script)), strlen(script));
    close(fd);
    fake.counters =
        counters_create(fake.arena, arena_printf(fake.arena, "fake:%s", fake.path), "", &fake.err);
    return fake;
}

static void drop_fake(struct fake *fake)
{
    unlink(fake->path);
    arena_destroy(fake->arena);
}

/* Counts once in each pass, as the profiler does. */
static int count(struct arena *arena, struct counters *counters, int64_t values[COST_COUNTER_COUNT],
                 const char *reasons[COST_COUNTER_COUNT])
{
    int passes = 0;

    for (int c = 0; c < COST_COUNTER_COUNT; c++) {
        values[c] = COST_UNKNOWN;
        reasons[c] = NULL;
    }
    for (struct counters_pass pass = counters_first_pass(counters); pass.bits != 0;
         counters_next_pass(counters, &pass), passes++) {
        struct counters_read read;

        counters_begin(counters, &read);
        counters_end(counters, &pass, &read, reasons, arena);
        for (int c = 0; c < COST_COUNTER_COUNT; c++)
            if (pass.bits >> c & 1u)
                values[c] = read.values[c];
        assert_true(passes < 10);
    }
    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        if (values[c] == COST_UNKNOWN && !reasons[c])
            reasons[c] = counters_reason(counters, (enum cost_counter)c);
    return passes;
}

static void scripted_counts_come_through_exactly(void **state)
{
    struct fake fake = make_fake(HEADER "cyc,0,0,0,123456789012\nins,0,0,0,0\nllc_miss,0,0,0,7\n");
    int64_t values[COST_COUNTER_COUNT];
    const char *reasons[COST_COUNTER_COUNT];

    (void)state;
    assert_non_null(fake.counters);
    assert_int_equal(count(fake.arena, fake.counters, values, reasons), 1);
    assert_true(values[COST_CYC] == INT64_C(123456789012));
    assert_int_equal(values[COST_INS], 0); /* truly counted */
    assert_int_equal(values[COST_LLC_MISS], 7);
    assert_true(values[COST_STALL_BE] == COST_UNKNOWN);
    assert_string_equal(reasons[COST_STALL_BE], "fake:not_in_script");
    assert_null(reasons[COST_INS]);
    drop_fake(&fake);
}

static void a_counter_without_room_gets_a_pass_of_its_own(void **state)
{
    struct fake fake = make_fake(HEADER "cyc,0,0,0,1\nins,-1,0,0,2\nl1d_refill,-1,0,0,3\n");
    int64_t values[COST_COUNTER_COUNT];
    const char *reasons[COST_COUNTER_COUNT];

    (void)state;
    assert_int_equal(count(fake.arena, fake.counters, values, reasons), 3);
    assert_int_equal(values[COST_CYC], 1);
    assert_int_equal(values[COST_INS], 2);
    assert_int_equal(values[COST_L1D_REFILL], 3);
    drop_fake(&fake);
}

static void an_event_that_cannot_be_added_is_empty_with_its_code(void **state)
{
    struct fake fake = make_fake(HEADER "cyc,-7,0,0,1\nins,-25,0,0,2\n");
    int64_t values[COST_COUNTER_COUNT];
    const char *reasons[COST_COUNTER_COUNT];

    (void)state;
    assert_int_equal(count(fake.arena, fake.counters, values, reasons), 0);
    assert_true(values[COST_CYC] == COST_UNKNOWN);
    assert_string_equal(reasons[COST_CYC], "fake:-7:add");
    assert_string_equal(reasons[COST_INS], "fake:-25:add");
    drop_fake(&fake);
}

static void a_set_that_does_not_start_or_stop_counts_nothing(void **state)
{
    struct fake start = make_fake(HEADER "cyc,0,-17,0,5\n");
    struct fake stop = make_fake(HEADER "cyc,0,0,-9,5\n");
    int64_t values[COST_COUNTER_COUNT];
    const char *reasons[COST_COUNTER_COUNT];

    (void)state;
    count(start.arena, start.counters, values, reasons);
    assert_true(values[COST_CYC] == COST_UNKNOWN);
    assert_string_equal(reasons[COST_CYC], "fake:-17:start");
    count(stop.arena, stop.counters, values, reasons);
    assert_true(values[COST_CYC] == COST_UNKNOWN);
    assert_string_equal(reasons[COST_CYC], "fake:-9:stop");
    drop_fake(&start);
    drop_fake(&stop);
}

static void a_value_that_was_left_untouched_is_not_a_count(void **state)
{
    struct fake fake = make_fake(HEADER "cyc,0,0,0,\nins,0,0,0,9\n");
    int64_t values[COST_COUNTER_COUNT];
    const char *reasons[COST_COUNTER_COUNT];

    (void)state;
    count(fake.arena, fake.counters, values, reasons);
    assert_true(values[COST_CYC] == COST_UNKNOWN);
    assert_string_equal(reasons[COST_CYC], "fake:value_untouched");
    assert_int_equal(values[COST_INS], 9);
    drop_fake(&fake);
}

static void reasons_are_joined_and_shortened_when_all_are_the_same(void **state)
{
    struct arena *arena = arena_create();
    int64_t values[COST_COUNTER_COUNT];
    const char *reasons[COST_COUNTER_COUNT];

    (void)state;
    for (int c = 0; c < COST_COUNTER_COUNT; c++) {
        values[c] = COST_UNKNOWN;
        reasons[c] = "off";
    }
    assert_string_equal(counters_join_reasons(arena, values, reasons), "off");
    values[COST_CYC] = 4;
    values[COST_INS] = 5;
    reasons[COST_STALL_BE] = NULL;
    assert_string_equal(counters_join_reasons(arena, values, reasons),
                        "l1d_refill:off;l2d_refill:off;llc_miss:off;stall_be:not_counted");
    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        values[c] = 1;
    assert_string_equal(counters_join_reasons(arena, values, reasons), "");
    arena_destroy(arena);
}

static void off_counts_nothing_and_says_off(void **state)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct counters *counters = counters_create(arena, "off", "", &err);
    int64_t values[COST_COUNTER_COUNT];
    const char *reasons[COST_COUNTER_COUNT];

    (void)state;
    assert_int_equal(count(arena, counters, values, reasons), 0);
    assert_string_equal(reasons[COST_CYC], "off");
    assert_string_equal(counters->describe(counters), "off");
    assert_true(counters->start(counters) < 0);
    assert_true(counters->stop(counters, values) < 0);
    arena_destroy(arena);
}

static void a_bad_choice_or_script_is_an_error_with_its_place(void **state)
{
    static const char *const bad[] = {
        HEADER "cycles,0,0,0,1\n",          HEADER "cyc,0,0,0,-1\n", HEADER "cyc,1,0,0,1\n",
        HEADER "cyc,0,0,0,NaN\n",           HEADER "cyc,0,0\n",      "counter,add\ncyc,0\n",
        HEADER "cyc,0,0,0,1\ncyc,0,0,0,1\n"
    };
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fake fake = make_fake(bad[i]);

        assert_null(fake.counters);
        assert_int_equal(fake.err.kind, ERR_INPUT);
        assert_non_null(strstr(fake.err.text, fake.path));
        drop_fake(&fake);
    }
    assert_null(counters_create(arena, "fake:", "", &err));
    assert_int_equal(err.kind, ERR_USAGE);
    err = (struct err)ERR_INIT;
    assert_null(counters_create(arena, "fake:/nowhere.csv", "", &err));
    assert_int_equal(err.kind, ERR_SYSTEM);
    err = (struct err)ERR_INIT;
    assert_null(counters_create(arena, "perf", "", &err));
    assert_non_null(strstr(err.text, "--counters is 'perf'"));
    arena_destroy(arena);
}

/* Whatever this machine has: a value that was counted, or a reason; never a zero of cycles. */
static void papi_here_counts_or_says_why_not(void **state)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct counters *counters = counters_create(arena, "auto", "", &err);
    int64_t values[COST_COUNTER_COUNT];
    const char *reasons[COST_COUNTER_COUNT];

    (void)state;
    assert_non_null(counters);
    count(arena, counters, values, reasons);
    print_message("    %s\n", counters->describe(counters));
    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        if (values[c] == COST_UNKNOWN)
            assert_true(reasons[c] && reasons[c][0] != '\0');
    assert_true(values[COST_CYC] == COST_UNKNOWN || values[COST_CYC] > 0);
    assert_true(counters->describe(counters)[0] != '\0');
    arena_destroy(arena);
}

/* libsde's calls, by hand: the library is looked up at run time, so that no build needs it. */
#define SDE_RO 0x0
#define SDE_INSTANT 0x10
#define SDE_LONG_LONG 0x0

static int count_with_sde(void)
{
    void *sde = dlopen("libsde.so.1", RTLD_NOW | RTLD_GLOBAL);
    void *(*init)(const char *) = NULL;
    int (*register_counter)(void *, const char *, int, int, void *) = NULL;
    static const char *const events[COST_COUNTER_COUNT] = { "sde:::prof::FAKE_CYC",
                                                            "no_such_component:::NOT_THERE" };
    long long fake_cycles = 123456;
    int64_t values[COST_COUNTER_COUNT];
    const char *reasons[COST_COUNTER_COUNT];

    if (!sde)
        return 77;
    *(void **)&init = dlsym(sde, "papi_sde_init");
    *(void **)&register_counter = dlsym(sde, "papi_sde_register_counter");
    if (!init || !register_counter)
        return 77;
    register_counter(init("prof"), "FAKE_CYC", SDE_RO | SDE_INSTANT, SDE_LONG_LONG, &fake_cycles);
    struct arena *arena = arena_create();
    struct counters *counters = counters_create_papi_events(arena, "", events);
    count(arena, counters, values, reasons);
    if (reasons[COST_CYC] && strstr(reasons[COST_CYC], "not_built_in"))
        return 77;
    if (values[COST_CYC] != 123456)
        return 1;
    if (values[COST_INS] != COST_UNKNOWN || strncmp(reasons[COST_INS], "papi:-", 6) != 0)
        return 2;
    return values[COST_L1D_REFILL] == COST_UNKNOWN ? 0 : 3;
}

/* In a process of its own: PAPI looks for libsde when it starts. */
static void papi_reads_exactly_what_libsde_counts(void **state)
{
    int status = 0;
    pid_t child = fork();

    (void)state;
    if (child == 0)
        _exit(count_with_sde());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("    skipped: libsde.so.1 cannot be loaded, or PAPI is not built in\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(papi_reads_exactly_what_libsde_counts),
        cmocka_unit_test(scripted_counts_come_through_exactly),
        cmocka_unit_test(a_counter_without_room_gets_a_pass_of_its_own),
        cmocka_unit_test(an_event_that_cannot_be_added_is_empty_with_its_code),
        cmocka_unit_test(a_set_that_does_not_start_or_stop_counts_nothing),
        cmocka_unit_test(a_value_that_was_left_untouched_is_not_a_count),
        cmocka_unit_test(reasons_are_joined_and_shortened_when_all_are_the_same),
        cmocka_unit_test(off_counts_nothing_and_says_off),
        cmocka_unit_test(a_bad_choice_or_script_is_an_error_with_its_place),
        cmocka_unit_test(papi_here_counts_or_says_why_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
