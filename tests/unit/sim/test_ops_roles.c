/* test_ops_roles.c - what is told about the operators and tensors of a trace that has holes. */
#include "tests/unit/sim/spread_run.h"

#include "sim/ops/roles.h"

static const struct ops *trace;

static const struct roles *find(struct scratch *scratch, const char *text)
{
    trace = ops_load(scratch->arena, scratch_write(scratch, "o.csv", text), scratch_err(scratch));
    if (!trace)
        fail_msg("%s", scratch->err.text);
    return roles_find(scratch->arena, trace, 0);
}

static int32_t at(int64_t id)
{
    for (int32_t t = 0; t < trace->tensor_count; t++)
        if (trace->tensors[t].id == id)
            return t;
    fail_msg("no tensor %d", (int)id);
    return -1;
}

static int64_t source(const struct roles *roles, int64_t id)
{
    return trace->tensors[roles->same_as[at(id)]].id;
}

static int32_t ready_row(const struct roles *roles, int64_t weight)
{
    for (int32_t i = 0; i < roles->gradient_count; i++)
        if (roles->gradients[i].weight == at(weight))
            return roles->gradients[i].ready_row;
    return -1;
}

static void the_small_trace_is_understood(void **state)
{
    const struct roles *roles = find(*state, OPS_SMALL);

    assert_int_equal(roles->batch, 4);
    assert_int_equal(roles->forward_count, 3);
    assert_int_equal(roles->backward_count, 3);
    assert_int_equal(roles->optimizer_count, 1);
    assert_int_equal(roles->weight_bytes, 40);
    assert_int_equal(roles->gradient_bytes, 40);
    assert_int_equal(roles->state_bytes, 40);
    assert_int_equal(roles->gradient_count, 2);
    assert_int_equal(roles->gradients[0].weight, at(5)); /* in order of being ready */
    assert_int_equal(ready_row(roles, 5), 3);
    assert_int_equal(ready_row(roles, 2), 5);
    assert_int_equal(roles->owner[at(2)], 0);
    assert_int_equal(roles->owner[at(5)], 2);
    assert_int_equal(roles->role[at(9)], ROLE_GRADIENT);
    assert_int_equal(roles->role[at(8)], ROLE_ACTIVATION);
    assert_int_equal(roles->role[at(13)], ROLE_OPTIMIZER);
    assert_int_equal(roles->partner[0], 2);
    assert_int_equal(roles->partner[1], 1);
    assert_int_equal(roles->partner[2], 0);
    assert_int_equal(source(roles, 7), 6); /* the gradient of the loss: as large as the output */
    assert_int_equal(roles->view_count, 1);
}

/* 3 is 2 flattened; 4 comes from outside; 12 and 13 are saved outputs, the latest first. */
static void views_are_told_from_their_bytes(void **state)
{
    const struct roles *roles =
        find(*state, OPS_HEAD "1,a,forward,0,1,8,0,8,1,2,\"[2,1]\",\"[2,1]\"\n"
                              "2,b,forward,0,1,24,0,8,3 4,5,\"[1,2] [4]\",\"[2,1]\"\n"
                              "3,c,backward,0,1,16,0,8,12 2,6,\"[2] [2,1]\",\"[2,1]\"\n"
                              "4,d,backward,0,1,8,0,8,13,7,\"[2]\",\"[2,1]\"\n"
                              "5,e,backward,0,1,8,0,8,14,8,\"[2]\",\"[2,1]\"\n");

    assert_int_equal(source(roles, 3), 2);
    assert_int_equal(source(roles, 1), 1);
    assert_int_equal(source(roles, 4), 4);
    assert_int_equal(source(roles, 12), 5);
    assert_int_equal(source(roles, 13), 2);
    assert_int_equal(source(roles, 14), 14); /* no output is left */
    assert_int_equal(roles->view_count, 3);
}

/* A weight that is transposed in the backward pass is no saved output of its size. */
static void a_turned_weight_is_the_weight(void **state)
{
    const struct roles *roles =
        find(*state, OPS_HEAD "1,f,forward,1,1,24,24,24,1 2,3,\"[2,3] [2,3]\",\"[3,2]\"\n"
                              "2,b,backward,1,1,24,0,24,9,4,\"[3,2]\",\"[3,2]\"\n");

    assert_int_equal(source(roles, 9), 2);
    assert_int_equal(roles->role[at(4)], ROLE_GRADIENT); /* [3,2] of [2,3] */
    assert_int_equal(ready_row(roles, 2), 1);
}

/* Two layers with weights and biases of the same shapes; the biases' gradients are not named, or
 * named without their weight. */
static void gradients_go_to_the_latest_layer_that_has_none(void **state)
{
    const struct roles *roles =
        find(*state, OPS_HEAD "1,f,forward,1,1,8,24,8,1 2 3,4,\"[1,2] [2,2] [2]\",\"[1,2]\"\n"
                              "2,f,forward,1,1,8,24,8,4 5 6,7,\"[1,2] [2,2] [2]\",\"[1,2]\"\n"
                              "3,b,backward,1,1,8,0,24,7,8 9,\"[1,2]\",\"[2,2] [2]\"\n"
                              "4,b,backward,1,1,8,16,16,4 2,10,\"[1,2] [2,2]\",\"[2,2]\"\n"
                              "5,b,backward,0,1,0,0,0,,,,\n"
                              "6,o,optimizer,0,1,0,40,0,2 5 6,,\"[2,2] [2,2] [2]\",\n");

    assert_int_equal(ready_row(roles, 5), 2);
    assert_int_equal(ready_row(roles, 6), 2);
    assert_int_equal(ready_row(roles, 2), 3);
    assert_int_equal(ready_row(roles, 3), -1); /* not trained: the optimizer does not read it */
    assert_int_equal(roles->gradient_bytes, 40);
    assert_int_equal(roles->partner[0], 1);
    assert_int_equal(roles->partner[1], 0);
    assert_int_equal(roles->partner[2], 0);
}

/* A bias without a gradient is ready with its layer; a layer without any at the end. */
static void weights_without_gradients_are_ready_with_their_layer(void **state)
{
    const struct roles *roles =
        find(*state, OPS_HEAD "1,e,forward,0,1,4,12,8,1 2,3,\"[1] [3]\",\"[2,1]\"\n"
                              "2,f,forward,1,1,8,24,8,3 5 6,7,\"[2,1] [2,2] [2]\",\"[2,1]\"\n"
                              "3,b,backward,1,1,8,16,16,7 5,8,\"[2,1] [2,2]\",\"[2,2]\"\n"
                              "4,b,backward,0,1,0,0,0,,,,\n");

    assert_int_equal(ready_row(roles, 5), 2);
    assert_int_equal(ready_row(roles, 6), 2);
    assert_int_equal(ready_row(roles, 2), 3);
    assert_int_equal(roles->gradient_count, 3); /* no optimizer: all are trained */
}

/* A weight that two layers share is ready when the second of its gradients is. */
static void a_shared_weight_is_ready_at_last(void **state)
{
    const struct roles *roles =
        find(*state, OPS_HEAD "1,f,forward,1,1,8,16,8,1 2,3,\"[1,2] [2,2]\",\"[1,2]\"\n"
                              "2,f,forward,1,1,8,16,8,3 2,4,\"[1,2] [2,2]\",\"[1,2]\"\n"
                              "3,b,backward,1,1,8,16,16,3 2,5,\"[1,2] [2,2]\",\"[2,2]\"\n"
                              "4,b,backward,1,1,8,16,16,1 2,6,\"[1,2] [2,2]\",\"[2,2]\"\n");

    assert_int_equal(roles->gradient_count, 1);
    assert_int_equal(ready_row(roles, 2), 3);
    assert_int_equal(roles->weight_bytes, 16);
    assert_int_equal(roles->partner[0], 1);
    assert_int_equal(roles->partner[1], 0);
}

static void tensors_grow_with_a_dimension_that_is_the_batch(void **state)
{
    const struct roles *roles =
        find(*state, "# batch: 4\n" OPS_HEAD
                     "1,f,forward,0,1,128,32,0,1 2 3 5 4,,\"[8,1] [5,4] [3] [] [4,2]\",\n");

    assert_true(roles->is_scaled[at(1)]); /* sequences of two */
    assert_true(roles->is_scaled[at(2)]);
    assert_false(roles->is_scaled[at(3)]);
    assert_false(roles->is_scaled[at(5)]);
    assert_false(roles->is_scaled[at(4)]); /* a weight */
}

static void a_trace_of_one_stage_is_no_harm(void **state)
{
    const struct roles *roles =
        find(*state, OPS_HEAD "1,b,backward,0,1,4,0,4,1,2,\"[1]\",\"[1]\"\n");

    assert_int_equal(roles->partner[0], -1);
    assert_int_equal(roles->batch, 0);
    roles = find(*state, OPS_HEAD "1,o,optimizer,0,1,4,4,0,1 2,,\"[1] [1]\",\n");
    assert_int_equal(roles->gradient_count, 0);
    assert_int_equal(roles->state_bytes, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(the_small_trace_is_understood),
        scratch_test(views_are_told_from_their_bytes),
        scratch_test(a_turned_weight_is_the_weight),
        scratch_test(gradients_go_to_the_latest_layer_that_has_none),
        scratch_test(weights_without_gradients_are_ready_with_their_layer),
        scratch_test(a_shared_weight_is_ready_at_last),
        scratch_test(tensors_grow_with_a_dimension_that_is_the_batch),
        scratch_test(a_trace_of_one_stage_is_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
