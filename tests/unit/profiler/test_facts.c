/* test_facts.c - readers of /proc and /sys on trees of a Raspberry Pi 4, a Pi 5, an x86 guest, and
 * nothing at all. The trees hold the files that the boards have, cut to what is read. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "profiler/device/facts.h"
#include "profiler/device/facts_cpu.h"
#include "profiler/device/preflight.h"
#include "profiler/device/sysfile.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct tree {
    struct arena *arena;
    char root[64];
};

static struct tree *make_tree(void)
{
    struct arena *arena = arena_create();
    struct tree *tree = arena_alloc(arena, sizeof(*tree));

    tree->arena = arena;
    snprintf(tree->root, sizeof(tree->root), "/tmp/orrery-facts-XXXXXX");
    assert_non_null(mkdtemp(tree->root));
    return tree;
}

static void remove_tree(struct tree *tree)
{
    assert_int_equal(system(arena_printf(tree->arena, "rm -r '%s'", tree->root)), 0);
    arena_destroy(tree->arena);
}

static void put(struct tree *tree, const char *path, const char *bytes, size_t count)
{
    char *full = arena_printf(tree->arena, "%s%s", tree->root, path);
    struct err err = ERR_INIT;

    assert_true(out_make_folder(
        arena_strndup(tree->arena, full, (size_t)(strrchr(full, '/') - full)), &err));
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    fclose(file);
}

static void put_text(struct tree *tree, const char *path, const char *text)
{
    put(tree, path, text, strlen(text));
}

static const struct fact *fact_of(const struct facts *facts, const char *key)
{
    for (int i = 0; i < facts->count; i++)
        if (strcmp(facts->list[i].key, key) == 0)
            return &facts->list[i];
    fail_msg("no fact '%s'", key);
    return NULL;
}

#define CPU0 "/sys/devices/system/cpu/cpu0"

static void put_rpi4(struct tree *tree)
{
    static const char model[] = "Raspberry Pi 4 Model B Rev 1.4"; /* the file ends in a NUL */

    put(tree, "/proc/device-tree/model", model, sizeof(model));
    put_text(tree, "/proc/cpuinfo",
             "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
             "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n"
             "CPU part\t: 0xd08\nCPU revision\t: 3\n");
    put_text(tree, "/sys/devices/system/cpu/online", "0-3\n");
    put_text(tree, CPU0 "/cpufreq/scaling_governor", "ondemand\n");
    put_text(tree, CPU0 "/cpufreq/scaling_cur_freq", "600000\n");
    put_text(tree, CPU0 "/cpufreq/cpuinfo_max_freq", "1800000\n");
    put_text(tree, "/sys/class/thermal/thermal_zone0/temp", "48199\n");
    put_text(tree, "/sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n");
    put_text(tree, "/proc/meminfo",
             "MemTotal:        3885396 kB\nMemFree: 1 kB\nMemAvailable:    3401220 kB\n"
             "SwapTotal:        102396 kB\nSwapFree:           1024 kB\n");
    put_text(tree, "/proc/loadavg", "2.53 1.10 0.40 3/180 1234\n");
    put_text(tree, "/etc/os-release",
             "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n");
}

static void a_raspberry_pi_4_is_recognised(void **state)
{
    struct tree *tree = make_tree();

    (void)state;
    put_rpi4(tree);
    const struct facts *facts = facts_collect(tree->arena, tree->root);
    assert_string_equal(facts_get(facts, "board"), "Raspberry Pi 4 Model B Rev 1.4");
    assert_string_equal(facts_get(facts, "cpu"), "Cortex-A72");
    assert_string_equal(facts_get(facts, "cpu_part"), "0xd08");
    assert_string_equal(facts_get(facts, "cores_online"), "4");
    assert_string_equal(facts_get(facts, "governor"), "ondemand");
    assert_string_equal(facts_get(facts, "freq_khz"), "600000");
    assert_string_equal(facts_get(facts, "freq_max_khz"), "1800000");
    assert_string_equal(facts_get(facts, "temp_mc"), "48199");
    assert_string_equal(facts_get(facts, "throttle_bits"), "327685"); /* 0x50005 */
    assert_string_equal(facts_get(facts, "memory_available_bytes"), "3482849280");
    assert_string_equal(facts_get(facts, "os"), "Debian GNU/Linux 12 (bookworm)");
    /* the device tree of the board does not state cache sizes */
    assert_string_equal(fact_of(facts, "llc_bytes")->value, "");
    assert_string_equal(fact_of(facts, "llc_bytes")->reason, "no_cache_sizes");
    remove_tree(tree);
}

static bool has_item(const struct preflight_item *items, int count, const char *id,
                     enum preflight_level level)
{
    for (int i = 0; i < count; i++)
        if (strcmp(items[i].id, id) == 0 && items[i].level == level)
            return items[i].text[0] && items[i].advice[0];
    return false;
}

static void governor_load_swap_and_throttling_are_warned_of(void **state)
{
    struct tree *tree = make_tree();
    struct preflight_item items[PREFLIGHT_MAX] = { { NULL, PREFLIGHT_NOTE, NULL, NULL } };

    (void)state;
    put_rpi4(tree);
    const struct facts *facts = facts_collect(tree->arena, tree->root);
    int count = preflight_check(facts, items);
    assert_true(has_item(items, count, "governor", PREFLIGHT_WARNING));
    assert_true(has_item(items, count, "load", PREFLIGHT_WARNING));
    assert_true(has_item(items, count, "swap", PREFLIGHT_WARNING));
    assert_true(has_item(items, count, "throttled_now", PREFLIGHT_WARNING));
    assert_true(has_item(items, count, "throttled_since_boot", PREFLIGHT_NOTE));
    assert_int_equal(preflight_warnings(items, count), 4);
    for (int i = 0; i < count; i++) /* warnings come first */
        assert_true((items[i].level == PREFLIGHT_WARNING) == (i < 4));
    assert_string_equal(facts_get(facts, "throttled_now"), "under-voltage, throttled");
    assert_string_equal(facts_get(facts, "throttled_since_boot"), "under-voltage, throttled");
    remove_tree(tree);
}

static void nothing_known_is_nothing_to_warn_of(void **state)
{
    struct arena *arena = arena_create();
    struct facts facts = { .arena = arena, .sysroot = "" };
    struct preflight_item items[PREFLIGHT_MAX] = { { NULL, PREFLIGHT_NOTE, NULL, NULL } };

    (void)state;
    assert_int_equal(preflight_check(&facts, items), 0);
    facts_put(&facts, "env_OPENBLAS_CORETYPE", "Haswell", "", "environment", "");
    facts_put(&facts, "env_OMP_STACKSIZE", "1M", "", "environment", "");
    facts_put(&facts, "cores_online", "1", "", "", "");
    facts_put(&facts, "power_supply", "battery: Discharging", "", "", "");
    int count = preflight_check(&facts, items);
    assert_int_equal(count, 3);
    assert_true(has_item(items, count, "environment", PREFLIGHT_NOTE));
    assert_true(has_item(items, count, "few_cores", PREFLIGHT_NOTE));
    assert_true(has_item(items, count, "battery", PREFLIGHT_WARNING));
    arena_destroy(arena);
}

static void a_raspberry_pi_5_states_its_part_in_midr_and_its_caches(void **state)
{
    struct tree *tree = make_tree();

    (void)state;
    put_text(tree, CPU0 "/regs/identification/midr_el1", "0x00000000414fd0b1\n");
    put_text(tree, CPU0 "/cache/index0/level", "1\n");
    put_text(tree, CPU0 "/cache/index0/type", "Data\n");
    put_text(tree, CPU0 "/cache/index0/size", "64K\n");
    put_text(tree, CPU0 "/cache/index2/level", "2\n");
    put_text(tree, CPU0 "/cache/index2/type", "Unified\n");
    put_text(tree, CPU0 "/cache/index2/size", "512K\n");
    put_text(tree, CPU0 "/cache/index3/level", "3\n");
    put_text(tree, CPU0 "/cache/index3/type", "Unified\n");
    put_text(tree, CPU0 "/cache/index3/size", "2048K\n");
    assert_int_equal(facts_arm_part(tree->arena, tree->root), 0xd0b);
    assert_int_equal(sysfile_llc_bytes(tree->arena, tree->root), 2 * 1024 * 1024);
    const struct facts *facts = facts_collect(tree->arena, tree->root);
    assert_string_equal(facts_get(facts, "cpu"), "Cortex-A76");
    assert_string_equal(facts_get(facts, "cache_l1d_bytes"), "65536");
    assert_string_equal(facts_get(facts, "cache_l2_bytes"), "524288");
    assert_string_equal(facts_get(facts, "llc_bytes"), "2097152");
    remove_tree(tree);
}

static void an_x86_guest_says_so(void **state)
{
    struct tree *tree = make_tree();

    (void)state;
    put_text(tree, "/proc/cpuinfo",
             "vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse hypervisor\n");
    put_text(tree, "/sys/devices/system/cpu/online", "0,2-3\n");
    put_text(tree, "/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    put_text(tree, "/proc/pressure/cpu",
             "some avg10=2.32 avg60=0.76 avg300=0.23 total=9053408\nfull avg10=0.00\n");
    const struct facts *facts = facts_collect(tree->arena, tree->root);
    assert_string_equal(facts_get(facts, "cpu"), "AMD EPYC");
    assert_string_equal(facts_get(facts, "hypervisor"), "yes");
    assert_string_equal(facts_get(facts, "cores_online"), "3");
    assert_string_equal(facts_get(facts, "thp"), "madvise");
    assert_string_equal(facts_get(facts, "cpu_pressure_10s"), "2.32");
    assert_int_equal(facts_pressure_us(tree->arena, tree->root), 9053408);
    remove_tree(tree);
}

static void an_emulated_board_is_named(void **state)
{
    struct tree *tree = make_tree();
    struct preflight_item items[PREFLIGHT_MAX] = { { NULL, PREFLIGHT_NOTE, NULL, NULL } };

    (void)state;
    put(tree, "/proc/device-tree/compatible", "linux,dummy-virt", 17);
    const struct facts *facts = facts_collect(tree->arena, tree->root);
    assert_string_equal(facts_get(facts, "emulated"), "qemu-system");
    assert_true(facts_is_emulated(facts));
    assert_true(has_item(items, preflight_check(facts, items), "emulated", PREFLIGHT_WARNING));
    remove_tree(tree);
}

static void an_absent_fact_is_empty_with_a_reason(void **state)
{
    struct tree *tree = make_tree();
    const struct facts *facts = facts_collect(tree->arena, tree->root);

    (void)state;
    for (int i = 0; i < facts->count; i++) {
        const struct fact *fact = &facts->list[i];

        assert_true((fact->value[0] == '\0') == (fact->reason[0] != '\0'));
        assert_true(fact->source[0] != '\0');
    }
    assert_string_equal(fact_of(facts, "governor")->reason, "no_cpufreq");
    assert_string_equal(fact_of(facts, "memory_total_bytes")->value, "");
    remove_tree(tree);
}

static void strange_files_are_unknown_values(void **state)
{
    struct tree *tree = make_tree();
    int64_t value;

    (void)state;
    put_text(tree, "/empty", "");
    put_text(tree, "/text", "many\n");
    put_text(tree, "/huge", "99999999999999999999999\n");
    put_text(tree, "/hex", "0x10\n");
    put_text(tree, "/hexless", "0x\n");
    put_text(tree, "/meminfo", "MemTotal: lots kB\nSwapTotal: 12 MB\nSwapFree: -5 kB\n");
    assert_null(sysfile_line(tree->arena, tree->root, "/empty"));
    assert_null(sysfile_text(tree->arena, tree->root, "/nowhere", NULL));
    assert_null(sysfile_text(tree->arena, tree->root, "", NULL)); /* a folder */
    assert_false(sysfile_int(tree->arena, tree->root, "/text", &value));
    assert_false(sysfile_int(tree->arena, tree->root, "/huge", &value));
    assert_false(sysfile_int(tree->arena, tree->root, "/hexless", &value));
    assert_true(sysfile_int(tree->arena, tree->root, "/hex", &value) && value == 16);
    assert_false(sysfile_field_kb(tree->arena, tree->root, "/meminfo", "MemTotal", &value));
    assert_false(sysfile_field_kb(tree->arena, tree->root, "/meminfo", "SwapTotal", &value));
    assert_false(sysfile_field_kb(tree->arena, tree->root, "/meminfo", "SwapFree", &value));
    assert_int_equal(facts_freq_khz(tree->arena, tree->root), -1);
    assert_int_equal(facts_temp_mc(tree->arena, tree->root), -1);
    assert_int_equal(facts_throttle_bits(tree->arena, tree->root), -1);
    assert_int_equal(facts_pressure_us(tree->arena, tree->root), -1);
    remove_tree(tree);
}

static void blas_variables_are_recorded(void **state)
{
    struct tree *tree = make_tree();

    (void)state;
    setenv("OPENBLAS_CORETYPE", "Haswell", 1);
    setenv("OMP_PLACES", "", 1);
    unsetenv("OMP_NUM_THREADS");
    const struct facts *facts = facts_collect(tree->arena, tree->root);
    assert_string_equal(facts_get(facts, "env_OPENBLAS_CORETYPE"), "Haswell");
    assert_string_equal(fact_of(facts, "env_OMP_PLACES")->reason, "set_but_empty");
    assert_string_equal(fact_of(facts, "env_OMP_NUM_THREADS")->reason, "not_set");
    unsetenv("OPENBLAS_CORETYPE");
    unsetenv("OMP_PLACES");
    remove_tree(tree);
}

static void device_csv_quotes_what_holds_a_comma(void **state)
{
    struct arena *arena = arena_create();
    struct facts facts = { .arena = arena, .sysroot = "" };
    struct out *out = out_open_memory(arena);
    size_t length;

    (void)state;
    facts_put(&facts, "a", "1, 2", "s", "here", "");
    facts_put(&facts, "b", NULL, "s", "there", "why");
    facts_write_csv(out, &facts);
    assert_string_equal(out_memory(out, &length),
                        "# orrery: device 1\nkey,value,unit,source,reason\n"
                        "a,\"1, 2\",s,here,\nb,,,there,why\n");
    out_abort(out);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_raspberry_pi_4_is_recognised),
        cmocka_unit_test(governor_load_swap_and_throttling_are_warned_of),
        cmocka_unit_test(nothing_known_is_nothing_to_warn_of),
        cmocka_unit_test(a_raspberry_pi_5_states_its_part_in_midr_and_its_caches),
        cmocka_unit_test(an_x86_guest_says_so),
        cmocka_unit_test(an_emulated_board_is_named),
        cmocka_unit_test(an_absent_fact_is_empty_with_a_reason),
        cmocka_unit_test(strange_files_are_unknown_values),
        cmocka_unit_test(blas_variables_are_recorded),
        cmocka_unit_test(device_csv_quotes_what_holds_a_comma),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
