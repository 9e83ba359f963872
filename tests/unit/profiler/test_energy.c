/* test_energy.c - sensors in trees of files, some of which change while the meter runs. */
#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "profiler/device/energy.h"
#include "profiler/device/sensors.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MS INT64_C(1000000)

struct tree {
    struct arena *arena;
    char root[64];
    int64_t counter_uj;
    int calls;
};

static void make_tree(struct tree *tree)
{
    *tree = (struct tree){ .arena = arena_create(), .root = "/tmp/orrery-energy-XXXXXX" };
    assert_non_null(mkdtemp(tree->root));
}

static void remove_tree(struct tree *tree)
{
    assert_int_equal(system(arena_printf(tree->arena, "rm -r '%s'", tree->root)), 0);
    arena_destroy(tree->arena);
}

/* As one write, through a rename: a reader never sees half of a number. */
static void put(struct tree *tree, const char *path, const char *text)
{
    char *full = arena_printf(tree->arena, "%s%s", tree->root, path);
    char *folder = arena_strndup(tree->arena, full, (size_t)(strrchr(full, '/') - full));
    char *part = arena_printf(tree->arena, "%s.new", full);

    assert_int_equal(system(arena_printf(tree->arena, "mkdir -p '%s'", folder)), 0);
    FILE *file = fopen(part, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(rename(part, full), 0);
}

#define HWMON "/sys/class/hwmon/hwmon3"
#define RAPL "/sys/class/powercap/intel-rapl:0"

static void put_orin(struct tree *tree)
{
    put(tree, HWMON "/name", "ina3221\n");
    put(tree, HWMON "/in1_label", "VDD_CPU_GPU_CV\n");
    put(tree, HWMON "/in1_input", "4968\n");
    put(tree, HWMON "/curr1_input", "200\n");
    put(tree, HWMON "/in2_label", "NC\n");
    put(tree, HWMON "/in2_input", "0\n");
    put(tree, HWMON "/curr2_input", "0\n");
    put(tree, HWMON "/in7_label", "sum of shunt voltages\n");
}

static void put_rapl(struct tree *tree)
{
    put(tree, RAPL "/name", "package-0\n");
    put(tree, RAPL "/max_energy_range_uj", "1000000\n");
    put(tree, RAPL "/energy_uj", "950000\n");
    put(tree, RAPL ":0/name", "core\n");
    put(tree, RAPL ":0/energy_uj", "5\n");
}

static void the_whole_module_is_preferred_to_its_rails(void **state)
{
    struct tree tree;
    int64_t power;

    (void)state;
    make_tree(&tree);
    put_orin(&tree);
    const struct sensor *sensor = sensor_find(tree.arena, tree.root, NULL);
    assert_int_equal(sensor->kind, SENSOR_INA3221);
    assert_string_equal(sensor->name, "VDD_CPU_GPU_CV");
    assert_true(sensor_power_uw(sensor, &power) && power == 4968 * 200);
    put(&tree, HWMON "/in3_label", "VDD_IN\n");
    put(&tree, HWMON "/in3_input", "5000\n");
    put(&tree, HWMON "/curr3_input", "1200\n");
    sensor = sensor_find(tree.arena, tree.root, NULL);
    assert_string_equal(sensor->name, "VDD_IN");
    assert_true(sensor_power_uw(sensor, &power) && power == 6000000);
    static const char *const bad[] = { "", "\n", "many\n", "-3\n", "99999999999999999999\n" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put(&tree, HWMON "/curr3_input", bad[i]);
        assert_false(sensor_power_uw(sensor, &power));
    }
    remove_tree(&tree);
}

static void older_jetsons_have_power_under_iio(void **state)
{
    struct tree tree;
    int64_t power;

    (void)state;
    make_tree(&tree);
    put(&tree, "/sys/bus/iio/devices/iio:device0/rail_name_0", "POM_5V_IN\n");
    put(&tree, "/sys/bus/iio/devices/iio:device0/in_power0_input", "2250\n");
    const struct sensor *sensor = sensor_find(tree.arena, tree.root, NULL);
    assert_int_equal(sensor->kind, SENSOR_IIO);
    assert_true(sensor_power_uw(sensor, &power) && power == 2250000);
    remove_tree(&tree);
}

static void rails_of_the_pmic_are_paired_by_name(void **state)
{
    int64_t power;

    (void)state;
    assert_true(sensor_parse_pmic(" 3V3_SYS_A current(1)=0.5A\n  VDD_CORE_A current(7)=2.00000A\n"
                                  " 3V3_SYS_V volt(9)=3.3V\n  VDD_CORE_V volt(15)=0.75V\n"
                                  "    EXT5V_V volt(24)=5.15V\n",
                                  &power));
    assert_int_equal(power, 3150000);
    static const char *const bad[] = { "",
                                       "error=1 error_msg=\"x\"\n",
                                       "A_A current(1)=A\n",
                                       "X_A current(0)=1.0A\nY_V volt(1)=5V\n",
                                       "X_A current(0)=nanA\nX_V volt(1)=5V\n",
                                       "X_A current(0)=-1A\nX_V volt(1)=5V\n",
                                       "X_A current(0)=1e300A\nX_V volt(1)=5V\n" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(sensor_parse_pmic(bad[i], &power));
}

static void a_raspberry_pi_5_is_asked_through_its_program(void **state)
{
    struct tree tree;
    int64_t power;

    (void)state;
    make_tree(&tree);
    const char *program = arena_printf(tree.arena, "%s/vcgencmd", tree.root);
    put(&tree, "/vcgencmd",
        "#!/bin/sh\n[ \"$1\" = pmic_read_adc ] && printf 'V_A current(0)=2A\\n"
        "V_V volt(1)=1.5V\\n'\n");
    assert_int_equal(chmod(program, 0755), 0);
    const struct sensor *sensor = sensor_find(tree.arena, tree.root, program);
    assert_int_equal(sensor->kind, SENSOR_PMIC);
    assert_true(sensor_power_uw(sensor, &power) && power == 3000000);
    put(&tree, "/vcgencmd", "#!/bin/sh\necho 'VCHI initialization failed' >&2; exit 255\n");
    assert_int_equal(chmod(program, 0755), 0);
    assert_false(sensor_power_uw(sensor, &power));
    assert_string_equal(sensor_find(tree.arena, tree.root, program)->reason, "permission");
    put(&tree, "/vcgencmd", "#!/bin/sh\nexec sleep 60\n"); /* hangs: killed after a second */
    assert_int_equal(chmod(program, 0755), 0);
    int64_t began_ns = clock_now_ns();
    assert_string_equal(sensor_find(tree.arena, tree.root, program)->reason, "no_sensor");
    assert_true(clock_now_ns() - began_ns < 20000 * MS);
    remove_tree(&tree);
}

static void no_sensor_and_no_permission_are_reasons(void **state)
{
    struct tree tree;

    (void)state;
    make_tree(&tree);
    const struct sensor *sensor = sensor_find(tree.arena, tree.root, "/nowhere/vcgencmd");
    struct energy_reading idle = energy_idle(tree.arena, sensor, 300 * MS);
    assert_string_equal(idle.reason, "no_sensor");
    struct energy_per_call call = energy_measure(tree.arena, sensor, &idle, NULL, NULL, MS);
    assert_string_equal(call.reason, "no_sensor");
    assert_int_equal(call.calls, 0);
    if (getuid() != 0) { /* root reads everything */
        put_rapl(&tree);
        assert_int_equal(chmod(arena_printf(tree.arena, "%s" RAPL "/energy_uj", tree.root), 0), 0);
        assert_string_equal(sensor_find(tree.arena, tree.root, NULL)->reason, "permission");
    }
    remove_tree(&tree);
}

/* A kernel of 20 ms that moves the counter by 30 mJ. */
static void burn(void *arg)
{
    struct tree *tree = arg;

    clock_sleep_until_ns(clock_now_ns() + 20 * MS);
    tree->counter_uj = (tree->counter_uj + 30000) % 1000000;
    put(tree, RAPL "/energy_uj", arena_printf(tree->arena, "%lld\n", (long long)tree->counter_uj));
    tree->calls++;
}

#define ATTEMPTS 5

static void a_counter_that_starts_again_is_followed(void **state)
{
    struct tree tree;
    struct energy_reading idle = { .reason = "", .power_uw = 0, .readings = 20 };

    (void)state;
    make_tree(&tree);
    put_rapl(&tree);
    tree.counter_uj = 950000;
    const struct sensor *sensor = sensor_find(tree.arena, tree.root, NULL);
    assert_int_equal(sensor->kind, SENSOR_RAPL);
    assert_int_equal(sensor->rail_count, 1);
    assert_string_equal(energy_idle(tree.arena, sensor, 250 * MS).reason, "below_resolution");
    bool is_close = false;

    /* the last call may fall beside a reading, and on a busy machine many do: one try has to fit */
    for (int attempt = 0; attempt < ATTEMPTS && !is_close; attempt++) {
        tree.calls = 0;
        struct energy_per_call call =
            energy_measure(tree.arena, sensor, &idle, burn, &tree, 1000 * MS);
        assert_int_equal(call.calls, tree.calls);
        is_close = !call.reason[0] && fabs(call.call_uj / 30000 - 1) < 0.2;
    }
    assert_true(is_close);
    remove_tree(&tree);
}

static void doubling(void *arg)
{
    struct tree *tree = arg;

    if (tree->calls++ == 0)
        put(tree, HWMON "/curr1_input", "400\n");
    clock_sleep_until_ns(clock_now_ns() + 10 * MS);
}

static void idle_power_is_subtracted(void **state)
{
    struct tree tree;

    (void)state;
    make_tree(&tree);
    put_orin(&tree);
    put(&tree, HWMON "/in1_input", "5000\n");
    const struct sensor *sensor = sensor_find(tree.arena, tree.root, NULL);
    struct energy_reading idle = energy_idle(tree.arena, sensor, 300 * MS);
    assert_string_equal(idle.reason, "");
    assert_true(fabs(idle.power_uw - 1e6) < 1 && idle.power_sd_uw < 1);
    struct energy_per_call call;
    bool is_close = false;

    for (int attempt = 0; attempt < ATTEMPTS && !is_close; attempt++) {
        call = energy_measure(tree.arena, sensor, &idle, doubling, &tree, 1000 * MS);
        double calls_per_s = (double)call.calls;
        is_close = !call.reason[0] && call.call_uj * calls_per_s > 0.85e6 &&
                   call.call_uj * calls_per_s < 1.3e6 && call.call_total_uj * calls_per_s > 1.8e6;
    }
    assert_true(is_close);
    call = energy_measure(tree.arena, sensor, &idle, doubling, &tree, 10 * MS);
    assert_string_equal(call.reason, "too_short");
    assert_true(call.call_uj == 0);
    idle.power_uw = 2.1e6; /* no more than idle */
    call = energy_measure(tree.arena, sensor, &idle, doubling, &tree, 400 * MS);
    assert_string_equal(call.reason, "below_resolution");
    remove_tree(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_module_is_preferred_to_its_rails),
        cmocka_unit_test(older_jetsons_have_power_under_iio),
        cmocka_unit_test(rails_of_the_pmic_are_paired_by_name),
        cmocka_unit_test(a_raspberry_pi_5_is_asked_through_its_program),
        cmocka_unit_test(no_sensor_and_no_permission_are_reasons),
        cmocka_unit_test(a_counter_that_starts_again_is_followed),
        cmocka_unit_test(idle_power_is_subtracted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
