/* test_counters_events.c - every event name of the table is one that libpfm knows.
 *
 * libpfm has the PMUs of the architecture that it was built for: run on x86 this looks up the x86
 * names, under qemu or on a board the ARM names. */
#include "profiler/counters/counters_events.h"
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int (*find_event)(const char *name); /* NULL: no libpfm here */

static int load_libpfm(void **state)
{
    int (*initialize)(void) = NULL;
    void *pfm = dlopen("libpfm.so.4", RTLD_NOW);

    (void)state;
    setenv("LIBPFM_ENCODE_INACTIVE", "1", 1); /* also processors that are not this one */
    if (pfm) {
        *(void **)&initialize = dlsym(pfm, "pfm_initialize");
        *(void **)&find_event = dlsym(pfm, "pfm_find_event");
    }
    if (!initialize || initialize() != 0)
        find_event = NULL;
    return 0;
}

static void need_libpfm(void)
{
    if (find_event)
        return;
    print_message("    skipped: libpfm.so.4 cannot be loaded\n");
    skip();
}

static int find(const char *pmu, const char *event)
{
    char name[256];

    assert_true(snprintf(name, sizeof(name), "%s::%s", pmu, event) < (int)sizeof(name));
    return find_event(name);
}

#if defined(__aarch64__)
#define IS_ARM 1
#else
#define IS_ARM 0
#endif

static int is_arm(const struct counters_pmu *pmu)
{
    return strncmp(pmu->name, "arm_", 4) == 0;
}

static void every_native_name_is_known_to_libpfm(void **state)
{
    int looked_up = 0, unknown = 0;

    (void)state;
    need_libpfm();
    for (int i = 0; counters_pmu_at(i); i++) {
        const struct counters_pmu *pmu = counters_pmu_at(i);

        if (is_arm(pmu) != IS_ARM)
            continue;
        for (int c = 0; c < COST_COUNTER_COUNT; c++)
            for (int e = 0; e < COUNTERS_MAX_EVENTS && pmu->events[c][e]; e++, looked_up++) {
                int code = find(pmu->name, pmu->events[c][e]);

                if (code < 0) {
                    print_message("    %s::%s: libpfm answers %d\n", pmu->name, pmu->events[c][e],
                                  code);
                    unknown++;
                }
            }
    }
    print_message("    %d names looked up\n", looked_up);
    assert_true(looked_up > 0);
    assert_int_equal(unknown, 0);
}

static void the_look_up_itself_finds_out_wrong_names(void **state)
{
    const char *pmu = IS_ARM ? "arm_n1" : "icx";

    (void)state;
    need_libpfm();
    assert_true(find(pmu, "NO_SUCH_EVENT") < 0);
    assert_true(find(pmu, IS_ARM ? "L1D:REPLACEMENT" : "L1D:NO_SUCH_MASK") < 0);
    assert_true(find("no_such_pmu", "CPU_CYCLES") < 0);
}

/* What libpfm has no event for is empty for a reason, not forgotten. */
static void the_table_says_what_the_cores_lack(void **state)
{
    (void)state;
    assert_null(counters_pmu_find("arm_ac57")->events[COST_LLC_MISS][0]);
    assert_null(counters_pmu_find("arm_ac57")->events[COST_STALL_BE][0]);
    assert_string_equal(counters_pmu_find("arm_n1")->events[COST_LLC_MISS][1], "LL_CACHE_MISS_RD");
    assert_null(counters_pmu_find("z80"));
    assert_null(counters_pmu_at(-1));
    for (int i = 0; counters_pmu_at(i); i++) {
        const struct counters_pmu *pmu = counters_pmu_at(i);

        assert_ptr_equal(counters_pmu_find(pmu->name), pmu);
        assert_non_null(pmu->events[COST_CYC][0]);
        assert_non_null(pmu->events[COST_INS][0]);
    }
}

static void every_core_has_a_table(void **state)
{
    static const struct {
        int64_t part;
        const char *pmu;
    } expected[] = { { 0xd03, "arm_ac53" }, { 0xd07, "arm_ac57" }, { 0xd08, "arm_ac57" },
                     { 0xd0b, "arm_n1" },   { 0xd0c, "arm_n1" },   { 0xd40, "arm_v1" },
                     { 0xd41, "arm_n1" },   { 0xd42, "arm_n1" },   { 0xd49, "arm_n2" } };

    (void)state;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        const struct counters_core *core = counters_core_find(expected[i].part);

        assert_non_null(core);
        assert_string_equal(core->pmu, expected[i].pmu);
        assert_non_null(counters_pmu_find(core->pmu));
    }
    assert_null(counters_core_find(0));
    assert_null(counters_core_find(0xfff));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_native_name_is_known_to_libpfm),
        cmocka_unit_test(the_look_up_itself_finds_out_wrong_names),
        cmocka_unit_test(the_table_says_what_the_cores_lack),
        cmocka_unit_test(every_core_has_a_table),
    };

    return cmocka_run_group_tests(tests, load_libpfm, NULL);
}
