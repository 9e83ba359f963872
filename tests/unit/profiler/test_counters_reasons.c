/* test_counters_reasons.c - each way in which counting fails has its own word and advice: by PAPI's
 * codes and texts as they were seen, by scripted codes, and genuinely where this machine can. */
#include "lib/base/err.h"
#include "profiler/counters/counters.h"
#include "profiler/counters/counters_reasons.h"
#include "tests/unit/scratch.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SKIPPED 77

static void each_situation_has_its_word(void **state)
{
    static const struct {
        struct counters_surroundings around;
        int code;
        const char *reason;
    } cases[] = {
        { { "Error libpfm4 no default PMU found", true, false }, -25, "papi:-25:no_default_pmu" },
        { { "Error libpfm4 no default PMU found", false, false }, -25, "papi:-25:no_default_pmu" },
        { { "/proc/sys/kernel/perf_event_paranoid is set to 3: paranoid=3", true, true },
          -25,
          "papi:-25:perf_event_paranoid" },
        { { "Error libpfm4 no PMUs found", true, true }, -25, "papi:-25:forced_pmu_unknown" },
        { { "Error libpfm4 no PMUs found", true, true }, -18, "papi:-18:forced_pmu_unknown" },
        { { "something else", true, true }, -25, "papi:-25:component_disabled" },
        { { "", false, false }, -3, "papi:-3:perf_event_open_missing" },
        { { "", true, false }, -7, "papi:-7:kernel_has_no_pmu" },
        { { "", true, true }, -7, "papi:-7:no_such_event" },
        { { "", true, true }, -1, "papi:-1:capacity" },
        { { "", true, true }, -15, "papi:-15:not_permitted" },
        { { "", true, true }, -3, "papi:-3:system_call_failed" },
        { { "", true, true }, -99, "papi:-99:failed" },
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(counters_explain(scratch->arena, &cases[i].around, cases[i].code),
                            cases[i].reason);
}

static void every_reason_has_advice(void **state)
{
    static const char *const known[] = { "papi:-25:no_default_pmu",
                                         "papi:-25:perf_event_paranoid",
                                         "papi:-25:forced_pmu_unknown",
                                         "papi:-25:component_disabled",
                                         "papi:-3:perf_event_open_missing",
                                         "papi:-7:kernel_has_no_pmu",
                                         "papi:-7:no_such_event",
                                         "papi:-1:capacity",
                                         "papi:-15:not_permitted",
                                         "papi:-17:start",
                                         "papi:-9:stop",
                                         "papi:value_untouched",
                                         "papi:not_built_in",
                                         "not_in_PMCEID",
                                         "always_zero",
                                         "several_threads",
                                         "off" };
    const char *unknown = counters_advice("papi:-99:failed");

    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(counters_advice(known[i]), unknown) == 0)
            fail_msg("%s has no advice", known[i]);
    assert_string_equal(counters_advice(""), unknown);
    assert_non_null(strstr(counters_advice("papi:-25:perf_event_paranoid"),
                           "sysctl kernel.perf_event_paranoid=1"));
}

/* The whole way through the interface: no code of a script leaves a number behind. */
static void no_scripted_code_gives_a_number(void **state)
{
    static const int codes[] = { -3, -4, -7, -15, -17, -18, -25 };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < 3 * sizeof(codes) / sizeof(codes[0]); i++) {
        int code = codes[i / 3], place = (int)(i % 3);
        const char *script =
            arena_printf(scratch->arena, "counter,add,start,stop,value\ncyc,%d,%d,%d,5\n",
                         place == 0 ? code : 0, place == 1 ? code : 0, place == 2 ? code : 0);
        const char *path = scratch_write(scratch, "script.csv", script);
        struct counters *counters = counters_create_fake(scratch->arena, path, &scratch->err);
        const char *reasons[COST_COUNTER_COUNT] = { NULL };
        struct counters_read read;

        assert_non_null(counters);
        struct counters_pass pass = counters_first_pass(counters);
        counters_begin(counters, &read);
        counters_end(counters, &pass, &read, reasons, scratch->arena);
        const char *reason =
            reasons[COST_CYC] ? reasons[COST_CYC] : counters_reason(counters, COST_CYC);
        assert_true(read.values[COST_CYC] == COST_UNKNOWN);
        assert_non_null(strstr(reason, arena_printf(scratch->arena, ":%d:", code)));
    }
}

static void make_list(struct scratch *scratch, const char *device, const char *event)
{
    const char *path = arena_printf(scratch->arena,
                                    "mkdir -p '%s/sys/bus/event_source/devices/%s/events' && : > "
                                    "'%s/sys/bus/event_source/devices/%s/events/%s'",
                                    scratch->folder, device, scratch->folder, device, event);

    assert_int_equal(system(path), 0);
}

static void the_list_of_the_kernel_is_asked_on_arm_alone(void **state)
{
    struct scratch *scratch = *state;

    assert_false(counters_kernel_lacks(scratch->arena, scratch->folder, "INST_RETIRED"));
    assert_false(counters_has_kernel_pmu(scratch->arena, scratch->folder));
    make_list(scratch, "cpu", "cycles");
    assert_true(counters_has_kernel_pmu(scratch->arena, scratch->folder));
    assert_false(counters_kernel_lacks(scratch->arena, scratch->folder, "INST_RETIRED"));
    make_list(scratch, "armv8_cortex_a72", "cpu_cycles");
    assert_true(counters_kernel_lacks(scratch->arena, scratch->folder, "INST_RETIRED"));
    assert_true(counters_kernel_lacks(scratch->arena, scratch->folder, "arm_n1::INST_RETIRED:u"));
    assert_false(counters_kernel_lacks(scratch->arena, scratch->folder, "arm_ac57::CPU_CYCLES"));
}

/* ---- PAPI itself, each time in a process of its own, as it starts only once ---- */

static int empty_set_starts(struct arena *arena, const char *sysroot)
{
    struct counters *counters = counters_create_papi(arena, sysroot);
    const struct counters_pass pass = { 1u << COST_CYC, 1u << COST_CYC };
    const char *reasons[COST_COUNTER_COUNT] = { NULL };
    struct counters_read read;

    if (strcmp(counters->name, "papi") != 0)
        return SKIPPED;
    if (counters->open(counters, 0) != 0)
        return 1;
    counters_begin(counters, &read);
    if (read.started >= 0 || read.values[COST_CYC] != COUNTERS_SENTINEL)
        return 2;
    counters_end(counters, &pass, &read, reasons, arena);
    return read.values[COST_CYC] == COST_UNKNOWN && strstr(reasons[COST_CYC], ":start") ? 0 : 3;
}

static int unknown_event(struct arena *arena, const char *sysroot)
{
    static const char *const events[COST_COUNTER_COUNT] = { "no_such_event" };
    struct counters *counters = counters_create_papi_events(arena, sysroot, events);

    if (strcmp(counters->name, "papi") != 0)
        return SKIPPED;
    if (counters_first_pass(counters).bits != 0)
        return 1;
    /* no name at all for the second */
    return counters_reason(counters, COST_CYC)[0] && counters_reason(counters, COST_INS)[0] &&
                   !counters->event(counters, COST_CYC)
               ? 0
               : 2;
}

/* A board whose core libpfm does not know gets the table of another, and no other machine does. */
static int forced_by_core(struct arena *arena, const char *sysroot)
{
    struct counters *counters = counters_create_papi(arena, sysroot);
    bool was_needed, was_forced;
    int pipes[2];
    char answer = '?';

    if (strcmp(counters->name, "papi") != 0)
        return SKIPPED;
    unsetenv("LIBPFM_FORCE_PMU");
    if (pipe(pipes) != 0)
        return 1;
    pid_t child = fork();
    if (child == 0) { /* the same without a core to go by */
        struct counters *plain = counters_create_papi(arena, "/nowhere");

        answer = strstr(plain->describe(plain), "no default PMU") ? 'y' : 'n';
        _exit(write(pipes[1], &answer, 1) == 1 ? 0 : 1);
    }
    if (child < 0 || waitpid(child, NULL, 0) != child || read(pipes[0], &answer, 1) != 1)
        return 2;
    was_needed = answer == 'y';
    was_forced = strstr(counters->describe(counters), "forced arm_ac57") != NULL;
    fprintf(stderr, "    %s\n", counters->describe(counters));
    return was_needed == was_forced ? 0 : 3;
}

static void check_child(int (*run)(struct arena *arena, const char *sysroot), struct scratch *s)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0)
        _exit(run(s->arena, s->folder));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPPED) {
        print_message("    skipped: PAPI is not built in\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void an_empty_set_does_not_start(void **state)
{
    check_child(empty_set_starts, *state);
}

static void an_unknown_event_has_a_reason(void **state)
{
    check_child(unknown_event, *state);
}

static void a_pmu_is_forced_only_where_it_is_needed(void **state)
{
    struct scratch *scratch = *state;

    scratch_write(scratch, "proc/cpuinfo", "CPU part\t: 0xd08\n");
    check_child(forced_by_core, scratch);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_set_does_not_start),
        TEST(an_unknown_event_has_a_reason),
        TEST(a_pmu_is_forced_only_where_it_is_needed),
        TEST(each_situation_has_its_word),
        TEST(every_reason_has_advice),
        TEST(no_scripted_code_gives_a_number),
        TEST(the_list_of_the_kernel_is_asked_on_arm_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
