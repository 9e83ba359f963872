/* test_plan.c - what a placement means, and that every mistake in one is found with its place. */
#include "tests/unit/policy/placed.h"

#include "lib/base/units.h"
#include <dirent.h>

static void expect_box_error(struct scratch *scratch, const char *text, const char *message)
{
    expect_message(scratch, build_on(scratch, text, NULL, box_costs(scratch)), message);
}

/* ---- services, replicas, stages ---- */

static void replicas_keep_file_order_and_may_share_devices(void **state)
{
    const struct plan *plan = build(*state, MODEL "b,7,0,x,gpt2-4l,,\n"
                                                  "a,0,0,y,gpt2,,\n"
                                                  "b,2,0,y,gpt2-4l,,\n");

    assert_int_equal(plan->service_count, 2);
    assert_string_equal(plan->services[0].name, "b");
    assert_int_equal(plan->services[0].replica_count, 2);
    assert_int_equal(plan->replicas[plan->services[0].replicas[0]].number, 7);
    assert_int_equal(plan->replicas[plan->services[0].replicas[1]].number, 2);
    assert_int_equal(plan->services[1].replica_count, 1);
    assert_int_equal(plan->replicas[plan->services[1].replicas[0]].service, 1);
    assert_int_equal(plan->stage_count, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plan->stages[i]->id, i);
        assert_ptr_equal(plan->replicas[plan->stages[i]->replica].stages, plan->stages[i]);
    }
    assert_ptr_equal(plan->services[0].model, plan->services[plan->replicas[2].service].model);
}

static void stages_count_from_0_without_gaps(void **state)
{
    expect_error(*state, MODEL "c,3,0,a,gpt2-4l,,embed\nc,3,2,a,gpt2-4l,0-3,\n",
                 "p.csv:3:3: stage is '2': replica 3 of 'c' has no stage 1: stages count from 0 "
                 "without gaps");
    expect_box_error(*state, BOX "c,0,9,a,one,\n",
                     "p.csv:2:3: stage is '9': replica 0 of 'c' has no stage 0: stages count from "
                     "0 without gaps");
}

static void every_stage_has_a_copy_0(void **state)
{
    expect_error(*state,
                 HEAD "model,layers,block,copy\nc,0,0,a,gpt2-4l,,embed,0\n"
                      "c,0,0,a,gpt2-4l,0-1,layer,0\nc,0,1,b,gpt2-4l,2-3,layer,1\n"
                      "c,0,1,b,gpt2-4l,,lm_head,1\n",
                 "p.csv:4:8: copy is '1': stage 1 has no copy 0, of which others are alternatives");
    expect_error(*state, HEAD "model,copy\nc,0,0,a,gpt2-4l,7\n",
                 "p.csv:2:6: copy is '7': stage 0 has no copy 0, of which others are alternatives");
}

static void a_service_has_one_model_or_executables(void **state)
{
    struct scratch *scratch = *state;

    expect_error(scratch, MODEL "c,0,0,a,gpt2,,\nc,1,0,b,gpt2-4l,,\n",
                 "p.csv:3:5: model is 'gpt2-4l': line 2 says 'gpt2': one model a service");
    expect_box_error(scratch, HEAD "model,executable\nc,0,0,a,,one\nc,1,0,a,gpt2,\n",
                     "p.csv:3:5: model is 'gpt2': line 2 places service 'c' by executable: a "
                     "service has a model or executables, not both");
    expect_box_error(scratch, HEAD "model,executable\nc,0,0,a,gpt2,\nc,0,0,a,,one\n",
                     "p.csv:3:6: executable is 'one': line 2 places service 'c' by model: a "
                     "service has a model or executables, not both");
    assert_null(build_on(scratch, MODEL "c,0,0,a,gtp2,,\n", NULL, NULL));
    assert_int_equal(scratch->err.kind, ERR_INPUT);
    assert_ptr_equal(strstr(scratch_message(scratch), "p.csv:2:5: model is 'gtp2': "),
                     scratch_message(scratch));
    assert_non_null(strstr(scratch_message(scratch), "gpt2"));
}

static void defaults_may_be_said(void **state)
{
    struct scratch *scratch = *state;

    (void)build(scratch, HEAD "model,parts,phase,epoch,copy,max_batch,wire_bits\n"
                              "c,0,0,a,gpt2,0-7/8,both,0,0,1,32\n");
}

static void epochs_are_full_snapshots_in_order_of_time(void **state)
{
    struct scratch *scratch = *state;
    const struct plan *plan = build(scratch, HEAD "model,epoch,from_s\nc,0,0,a,gpt2,7,9\n"
                                                  "c,0,0,b,gpt2,0,\ns2,4,0,b,gpt2,0,\n"
                                                  "c,1,0,b,gpt2,7,9\n");

    assert_int_equal(plan->epoch_count, 2);
    assert_int_equal(plan->epochs[0].number, 0);
    assert_int_equal(plan->epochs[0].from_ps, 0);
    assert_int_equal(plan->epochs[1].number, 7);
    assert_true(plan->epochs[1].from_ps == 9 * UNITS_PS_PER_S);
    assert_int_equal(plan->replica_count, 4);
    assert_int_equal(plan->services[0].replica_count, 3); /* of c: one, then two */
    assert_int_equal(plan->services[0].epoch_first[1], 1);
    assert_int_equal(plan->services[0].epoch_first[2], 3);
    assert_int_equal(plan->replicas[plan->services[0].replicas[0]].epoch, 0);
    assert_int_equal(plan->replicas[plan->services[0].replicas[2]].number, 1);
    assert_int_equal(plan->services[1].epoch_first[1], 1); /* d is gone in epoch 7 */
    assert_int_equal(plan->services[1].epoch_first[2], 1);
    for (int e = 0; e < 2; e++) {
        assert_int_equal(plan->epochs[e].replica_count, 2);
        for (int i = 0; i < 2; i++) {
            int32_t r = plan->epochs[e].replicas[i];

            assert_int_equal(plan->replicas[r].epoch, e);
            assert_true(i == 0 || r > plan->epochs[e].replicas[i - 1]);
        }
    }
    for (int32_t i = 0; i < plan->service_count; i++)
        assert_int_equal(plan_find_service(plan, plan->services[i].name), i);
    assert_int_equal(plan_find_service(plan, "nobody"), -1);
    expect_error(scratch, HEAD "model,epoch,from_s\nc,0,0,a,gpt2,1,5\n",
                 "p.csv:2:7: from_s is '5': the first epoch starts at 0");
    expect_error(scratch,
                 HEAD "model,epoch,from_s\nc,0,0,a,gpt2,0,\nc,0,0,a,gpt2,1,5\n"
                      "c,1,0,b,gpt2,1,6\n",
                 "p.csv:4:7: from_s is '6': line 3 of the same epoch says otherwise");
    expect_error(scratch,
                 HEAD "model,epoch,from_s\nc,0,0,a,gpt2,0,\nc,0,0,a,gpt2,1,5\n"
                      "c,0,0,b,gpt2,2,5\n",
                 "p.csv:4:7: from_s is '5': must be after the start of epoch 1");
}

static void a_largest_batch_belongs_to_the_stage(void **state)
{
    expect_box_error(*state, HEAD "executable,max_batch\nc,0,0,a,one,3\nc,0,0,b,one,4\n",
                     "p.csv:3:6: max_batch is '4': a row above of the same stage says 3");
}

static void a_queue_depth_belongs_to_the_stage(void **state)
{
    const struct plan *plan = build(*state, HEAD "model,layers,queue_depth\nc,0,0,a,gpt2,,9\n");

    assert_int_equal(plan->stages[0]->queue_depth, 9);
    expect_error(*state,
                 HEAD "model,layers,block,queue_depth\nc,0,0,a,gpt2-4l,,embed,3\n"
                      "c,0,0,a,gpt2-4l,0-3,,\nc,0,0,a,gpt2-4l,,lm_head,4\n",
                 "p.csv:4:8: queue_depth is '4': a row above of the same stage says 3");
}

/* ---- devices and costs ---- */

static const struct cluster *two_devices(struct scratch *scratch)
{
    const struct cluster *cluster;

    (void)scratch_write(scratch, "k/devices.csv", "device,type\npi0,box\npi1,jetson\n");
    cluster = cluster_load(scratch->arena, arena_printf(scratch->arena, "%s/k", scratch->folder),
                           scratch_err(scratch));
    assert_non_null(cluster);
    return cluster;
}

static void devices_are_those_of_the_cluster(void **state)
{
    struct scratch *scratch = *state;
    const struct cluster *cluster = two_devices(scratch);
    const struct plan *plan = build_on(scratch, MODEL "c,0,0,pi1,gpt2,,\n", cluster, NULL);

    assert_non_null(plan);
    assert_ptr_equal(plan->cluster, cluster);
    assert_int_equal(plan->stages[0]->devices[0], 1);
    assert_null(build_on(scratch, MODEL "c,0,0,pi2,gpt2,,\n", cluster, NULL));
    assert_string_equal(scratch_message(scratch),
                        arena_printf(scratch->arena,
                                     "p.csv:2:4: device is 'pi2': no such device in "
                                     "%s/k/devices.csv; did you mean 'pi0'?",
                                     scratch->folder));
}

static void every_placed_device_needs_a_cost_table_of_its_type(void **state)
{
    struct scratch *scratch = *state;
    const struct cluster *cluster = two_devices(scratch);
    const struct cost_set *costs = box_costs(scratch);

    expect_message(scratch, build_on(scratch, BOX "c,0,0,pi1,one,\n", cluster, costs),
                   "k/devices.csv:3: device 'pi1' is of type 'jetson': no cost table of this type "
                   "is given");
    assert_non_null(build_on(scratch, BOX "c,0,0,pi0,one,\n", cluster, costs));
    expect_message(scratch, build_on(scratch, MODEL "c,0,0,pi0,gpt2,,\n", cluster, costs),
                   arena_printf(scratch->arena,
                                "p.csv:2:5: model is 'gpt2': %s/box has no kernels.csv to cost a "
                                "model with",
                                scratch->folder));
}

static void without_a_cluster_the_costs_must_be_of_one_type(void **state)
{
    struct scratch *scratch = *state;
    struct cost_set set;
    const char *folders[2];

    (void)scratch_write(scratch, "box/stages.csv", STAGES);
    (void)scratch_write(scratch, "chest/stages.csv", STAGES);
    folders[0] = arena_printf(scratch->arena, "%s/box", scratch->folder);
    folders[1] = arena_printf(scratch->arena, "%s/chest", scratch->folder);
    assert_true(cost_set_load(scratch->arena, folders, 2, &set, scratch_err(scratch)));
    assert_null(build_on(scratch, BOX "c,0,0,a,one,\n", NULL, &set));
    assert_int_equal(scratch->err.kind, ERR_USAGE);
    assert_string_equal(
        scratch->err.text,
        "costs of 2 device types are given ('box', 'chest'): give the folder of one "
        "of them, or a cluster that says which device is of which type");
}

/* ---- black boxes ---- */

static void stage_k_of_a_replica_is_stage_k_of_the_executable(void **state)
{
    const struct plan *plan = build_box(*state, BOX "c,0,1,y,two,\nc,0,0,x,two,\nc,1,0,x,one,\n");

    assert_null(plan->services[0].model);
    assert_int_equal(plan->services[0].replica_count, 2);
    assert_int_equal(plan->replicas[0].stage_count, 2);
    assert_string_equal(plan->stages[0]->executable, "two");
    assert_int_equal(plan->stages[0]->exec_first, 0);
    assert_int_equal(plan->stages[1]->exec_first, 1);
    assert_int_equal(plan->stages[1]->exec_last, 1);
    assert_string_equal(plan->cluster->devices[plan->stages[0]->devices[0]].name, "x");
    assert_string_equal(plan->cluster->devices[0].type, "box");
    assert_int_equal(plan->stages[0]->slice_count, 0);
    assert_false(plan->stages[0]->has_embed);
    assert_string_equal(plan->stages[2]->executable, "one");
}

static void layers_name_profiled_stages_that_run_in_turn(void **state)
{
    const struct plan *plan = build_box(*state, BOX "c,0,0,x,four,0\nc,0,1,y,four,1-3\n");

    assert_int_equal(plan->stages[0]->exec_last, 0);
    assert_int_equal(plan->stages[1]->exec_first, 1);
    assert_int_equal(plan->stages[1]->exec_last, 3);
}

static void a_stage_of_an_executable_may_take_several_devices(void **state)
{
    const struct plan *plan = build_box(*state, BOX "c,0,0,y,one,\nc,0,0,x,one,\n");

    assert_int_equal(plan->stage_count, 1);
    assert_int_equal(plan->stages[0]->device_count, 2);
    assert_string_equal(plan->cluster->devices[plan->stages[0]->devices[0]].name, "y");
    assert_string_equal(plan->cluster->devices[plan->stages[0]->devices[1]].name, "x");
    expect_box_error(*state, BOX "c,0,0,y,one,\nc,0,0,y,one,\n",
                     "p.csv:3:4: device is 'y': stage 0 of replica 0 of 'c' has this device "
                     "already");
}

static void profiled_stages_are_covered_once_and_in_order(void **state)
{
    struct scratch *scratch = *state;

    expect_box_error(scratch, BOX "c,0,0,x,nothing,\n",
                     arena_printf(scratch->arena,
                                  "p.csv:2:5: executable is 'nothing': no such executable in "
                                  "%s/box/stages.csv",
                                  scratch->folder));
    expect_box_error(scratch, BOX "c,0,0,x,four,\nc,0,1,x,four,\n",
                     "p.csv:2:2: replica is '0': profiled stage 2 of executable 'four' is placed "
                     "nowhere in this replica of 'c'");
    expect_box_error(scratch, BOX "c,0,0,x,two,\nc,0,1,x,two,\nc,0,2,x,two,\n",
                     arena_printf(scratch->arena,
                                  "p.csv:4:3: stage is '2': %s/box/stages.csv has no profiled "
                                  "stage 2 of 'two'",
                                  scratch->folder));
    expect_box_error(
        scratch, BOX "c,0,0,x,four,0-1\nc,0,1,x,four,1-3\n",
        "p.csv:3:6: layers is '1-3': expected profiled stage 2 of 'four' to come next");
    expect_box_error(
        scratch, BOX "c,0,0,x,four,1-3\nc,0,1,x,four,0\n",
        "p.csv:2:6: layers is '1-3': expected profiled stage 0 of 'four' to come next");
    expect_box_error(
        scratch, BOX "c,0,0,x,two,\nc,0,1,x,four,\n",
        "p.csv:3:5: executable is 'four': line 2 says 'two': one executable a replica");
    expect_box_error(scratch, BOX "c,0,0,x,two,\nc,0,0,y,one,\n",
                     "p.csv:3:5: executable is 'one': line 2 of the same stage says 'two'");
    expect_box_error(scratch,
                     HEAD "executable,wire_bits\nc,0,0,x,two,\nc,0,0,y,two,8\nc,0,0,z,two,16\n",
                     "p.csv:4:6: wire_bits is '16': a row above of the same stage says 8");
    expect_box_error(scratch, BOX "c,0,0,x,two,0-1\nc,0,0,y,two,\n",
                     "p.csv:3:6: layers is '': line 2 of the same stage says otherwise");
    expect_error(scratch, BOX "c,0,0,x,one,\n",
                 "p.csv:2:5: executable is 'one': a black box can be simulated, not run");
}

/* ---- real files ---- */

#define REAL "../shared/data/dlsim"

static void every_real_placement_builds(void **state)
{
    static const char *const costs_path = REAL "/cost";
    struct scratch *scratch = *state;
    struct model_catalogue *catalogue =
        model_catalogue_load(scratch->arena, NULL, scratch_err(scratch));
    DIR *folder = opendir(REAL "/placement");
    struct cost_set costs;
    int built = 0;

    if (!folder) {
        print_message("skipped: no " REAL " beside this checkout\n");
        skip();
    }
    assert_true(cost_set_load(scratch->arena, &costs_path, 1, &costs, &scratch->err));
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        const struct placement *placement;
        const struct plan *plan;

        if (!strstr(entry->d_name, ".csv"))
            continue;
        placement = placement_load(
            scratch->arena, arena_printf(scratch->arena, REAL "/placement/%s", entry->d_name),
            &scratch->err);
        plan = placement
                   ? plan_build(scratch->arena, placement, NULL, &costs, catalogue, &scratch->err)
                   : NULL;
        if (!plan)
            fail_msg("%s", scratch->err.text);
        assert_int_equal(plan->stages[plan->stage_count - 1]->id, plan->stage_count - 1);
        built++;
    }
    (void)closedir(folder);
    assert_int_equal(built, 14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(replicas_keep_file_order_and_may_share_devices),
        scratch_test(stages_count_from_0_without_gaps),
        scratch_test(every_stage_has_a_copy_0),
        scratch_test(a_service_has_one_model_or_executables),
        scratch_test(defaults_may_be_said),
        scratch_test(epochs_are_full_snapshots_in_order_of_time),
        scratch_test(a_largest_batch_belongs_to_the_stage),
        scratch_test(a_queue_depth_belongs_to_the_stage),
        scratch_test(devices_are_those_of_the_cluster),
        scratch_test(every_placed_device_needs_a_cost_table_of_its_type),
        scratch_test(without_a_cluster_the_costs_must_be_of_one_type),
        scratch_test(stage_k_of_a_replica_is_stage_k_of_the_executable),
        scratch_test(layers_name_profiled_stages_that_run_in_turn),
        scratch_test(a_stage_of_an_executable_may_take_several_devices),
        scratch_test(profiled_stages_are_covered_once_and_in_order),
        scratch_test(every_real_placement_builds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
