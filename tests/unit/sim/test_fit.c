/* test_fit.c - what fit counts is what a run holds, and its answers about devices and services. */
#include "tests/unit/sim/tiny_model.h"

#include "lib/format/cluster.h"
#include "lib/format/placement.h"
#include "lib/policy/footprint.h"
#include "sim/report/fit.h"

/* The files of the fixture, which must have a cluster. */
static struct fit fit_of(const struct footprint_load *loads)
{
    struct model_catalogue *catalogue =
        model_catalogue_load(fixture.arena, fixture.files.models, &fixture.err);
    const struct cluster *cluster =
        cluster_load(fixture.arena, fixture.files.cluster, &fixture.err);
    const struct placement *placement =
        placement_load(fixture.arena, fixture.files.placement, &fixture.err);
    const struct plan *plan =
        plan_outline(fixture.arena, placement, cluster, NULL, catalogue, &fixture.err);
    struct fit fit = { .loads = loads };

    assert_non_null(plan);
    fit.footprint = footprint_collect(fixture.arena, plan, NULL);
    fit_fill(fixture.arena, &fit);
    return fit;
}

static int64_t widest_bytes(const struct footprint_part *part, const struct model *model,
                            const struct model_step *step)
{
    int64_t most = 0;

    for (int i = 0; i < part->slice_count; i++)
        for (int block = 0; block < BLOCK_COUNT; block++)
            if (part->slices[i].blocks & 1u << block) {
                int64_t bytes = model_part_work_bytes(model, (enum model_block)block,
                                                      part->slices[i].part, step);

                most = bytes > most ? bytes : most;
            }
    return most;
}

/* Three requests at once: fit's largest step is as long as the context, theirs is a prompt. */
static void a_run_holds_what_fit_counts(void **state)
{
    const struct footprint_load load = { 12, 3, 0, 1 };
    const struct model_step prompt = { 8, 1, 8 };
    struct fit fit;

    (void)state;
    place_on_two_devices();
    fixture_cluster("device,type,memory_bytes,reserved_bytes\na,t,1000000,77\nb,t,1000000,\n",
                    NULL);
    fixture_write("w.csv", W "0,0,chat,8,4\n1,0,chat,8,4\n2,0,chat,8,4\n");
    fixture_must_run();
    fit = fit_of(&load);
    assert_int_equal(fit.footprint->part_count, 2);
    for (int d = 0; d < 2; d++) {
        const struct footprint_device *now = &fit.devices[d].now;
        int64_t run_bytes =
            widest_bytes(&fit.footprint->parts[d], fit.footprint->plan->services[0].model, &prompt);

        assert_true(run_bytes < now->of.activation_bytes);
        assert_int_equal(fixture.result.devices[d].peak_bytes,
                         now->need_bytes - now->of.activation_bytes + run_bytes);
    }
}

/* Memory for exactly what fit says it needs, and for a byte less. */
static void the_answer_turns_at_the_last_byte(void **state)
{
    const struct footprint_load load = { 20, 2, 0, 16 };
    int64_t need_bytes;
    struct fit fit;

    (void)state;
    place_on_one_device();
    fixture_cluster("device,type,memory_bytes\na,t,1000000\n", NULL);
    fit = fit_of(&load);
    need_bytes = fit.devices[0].now.need_bytes;
    assert_true(fit.fits && fit.devices[0].now.free_bytes == 1000000 - need_bytes);
    fixture_cluster(
        arena_printf(fixture.arena, "device,type,memory_bytes\na,t,%lld\n", (long long)need_bytes),
        NULL);
    fit = fit_of(&load);
    assert_true(fit.fits && fit.devices[0].now.free_bytes == 0);
    assert_int_equal(fit.sequences.most, 2);
    fixture_cluster(arena_printf(fixture.arena, "device,type,memory_bytes\na,t,%lld\n",
                                 (long long)need_bytes - 1),
                    NULL);
    fit = fit_of(&load);
    assert_false(fit.fits);
    assert_int_equal(fit.devices[0].now.missing_bytes, 1);
    assert_int_equal(fit.sequences.most, 1);
    assert_int_equal(fit.sequences.device, 0);
    assert_true(fit.context.most >= 16 && fit.context.most < 20); /* with one block less */
}

/* Each service may grow while the others stay; all at once they get less far. */
static void services_grow_alone_or_together(void **state)
{
    const struct footprint_load loads[3] = { { 16, 1, 0, 16 }, { 16, 1, 0, 16 }, { 64, 1, 0, 16 } };
    struct fit fit;

    (void)state;
    fixture_write("p.csv", "service,replica,stage,device,model\nx,0,0,a,tiny\ny,0,0,a,tiny\n"
                           "y,1,0,b,tiny\nr,0,0,b,reader\n");
    fixture_cluster("device,type,memory_bytes\na,t,40000\nb,t,\n", NULL);
    fit = fit_of(loads);
    assert_int_equal(fit.warning_count, 1);
    assert_non_null(strstr(fit.warnings[0], "device 'b' has no memory_bytes"));
    assert_true(fit.fits);
    assert_true(fit.sequences.most > 1 && fit.services[0].sequences.most > fit.sequences.most);
    assert_int_equal(fit.services[0].sequences.most, fit.services[1].sequences.most);
    assert_int_equal(fit.services[2].sequences.most, FOOTPRINT_MAX_SEQUENCES);
    assert_int_equal(fit.services[2].sequences.device, -1);
    assert_int_equal(fit.services[2].context.most, FIT_NOT_ASKED);
    assert_int_equal(fit.context.limit, 64);
    assert_int_equal(fit.devices[1].context.most, 64);
}

/* A device that is too small whatever the context is leaves nothing to reach. */
static void what_never_fits_reaches_nothing(void **state)
{
    const struct footprint_load loads[2] = { { 16, 1, 0, 16 }, { 64, 1, 0, 16 } };
    struct fit fit;

    (void)state;
    fixture_write("p.csv", "service,replica,stage,device,model\nx,0,0,a,tiny\nr,0,0,b,reader\n");
    fixture_cluster("device,type,memory_bytes\na,t,1000000\nb,t,100\n", NULL);
    fit = fit_of(loads);
    assert_false(fit.fits);
    assert_int_equal(fit.context.most, 0);
    assert_int_equal(fit.context.device, 1);
    assert_int_equal(fit.devices[0].context.most, 64);
    assert_int_equal(fit.sequences.most, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, tiny_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_run_holds_what_fit_counts),
        TEST(the_answer_turns_at_the_last_byte),
        TEST(services_grow_alone_or_together),
        TEST(what_never_fits_reaches_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
