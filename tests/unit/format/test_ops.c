/* test_ops.c - operator traces: what is read, what is inferred, and what is refused where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/units.h"
#include "lib/format/ops.h"
#include "tests/unit/scratch.h"
#include <unistd.h>

#define HEAD                                                                                       \
    "op_id,op_name,stage,tp_split,busy_us,act_in_bytes,weight_bytes,out_bytes,in_ids,out_ids,"     \
    "in_shapes,out_shapes\n"

static const struct ops *load(struct scratch *scratch, const char *text)
{
    return ops_load(scratch->arena, scratch_write(scratch, "o.csv", text), scratch_err(scratch));
}

static const struct ops *loads(struct scratch *scratch, const char *text)
{
    const struct ops *ops = load(scratch, text);

    if (!ops)
        fail_msg("%s", scratch->err.text);
    return ops;
}

static const struct ops_tensor *tensor(const struct ops *ops, int64_t id)
{
    for (int32_t t = 0; t < ops->tensor_count; t++)
        if (ops->tensors[t].id == id)
            return &ops->tensors[t];
    fail_msg("no tensor %d", (int)id);
    return NULL;
}

static void rows_have_times_bytes_and_tensors(void **state)
{
    const struct ops *ops =
        loads(*state, "# orrery: ops 1\n# batch: 4\n" HEAD
                      "1,\"a, b\",forward,1,2.5,32,16,32,1 2,3,\"[4,2] [2,2]\",\"[4,2]\"\n"
                      "7,c,optimizer,0,0.000001,32,0,0,3,,\"[4,2]\",\n");

    assert_int_equal(ops->batch, 4);
    assert_int_equal(ops->row_count, 2);
    assert_int_equal(ops->tensor_count, 3);
    assert_string_equal(ops->rows[0].name, "a, b");
    assert_int_equal(ops->rows[0].busy_ps, 2500000);
    assert_int_equal(ops->rows[0].span_ps, -1);
    assert_true(ops->rows[0].is_tp_split);
    assert_int_equal(ops->rows[0].in_count, 2);
    assert_int_equal(ops->tensors[ops->rows[0].ins[1]].id, 2);
    assert_int_equal(ops->rows[1].op_id, 7);
    assert_int_equal(ops->rows[1].busy_ps, 1);
    assert_int_equal(ops->rows[1].out_count, 0);
    assert_int_equal(ops->rows[1].stage, OPS_OPTIMIZER);
}

static void rows_are_sorted_by_stage_and_keep_their_order(void **state)
{
    const struct ops *ops = loads(*state, HEAD "1,zero,optimizer,0,1,0,0,0,,,,\n"
                                               "2,f,forward,0,1,0,0,0,,,,\n"
                                               "3,b,backward,0,1,0,0,0,,,,\n"
                                               "4,g,forward,0,1,0,0,0,,,,\n"
                                               "5,adam,optimizer,0,1,0,0,0,,,,\n");
    static const int64_t ids[] = { 2, 4, 3, 1, 5 };

    for (int i = 0; i < 5; i++)
        assert_int_equal(ops->rows[i].op_id, ids[i]);
}

/* ---- what is inferred ---- */

static void the_rest_of_a_total_is_of_the_only_unknown_tensor(void **state)
{
    const struct ops *ops = loads(*state, HEAD "1,a,forward,0,1,0,0,100,,1,,\n"
                                               "2,b,forward,0,1,130,0,7,1 2,3,,\n"
                                               "3,c,forward,0,1,47,0,0,4 3 4 2,,,\n");

    assert_int_equal(tensor(ops, 1)->bytes, 100);
    assert_int_equal(tensor(ops, 2)->bytes, 30);
    assert_int_equal(tensor(ops, 3)->bytes, 7);
    assert_int_equal(tensor(ops, 4)->bytes, 5); /* named twice: (47 - 7 - 30) / 2 */
}

static void elements_of_a_side_have_one_size(void **state)
{
    const struct ops *ops =
        loads(*state, HEAD "1,half,forward,0,1,12,8,4,1 2,3,\"[2,3] [4]\",\"[1]\"\n"
                           "2,mask,forward,0,1,50,0,4,4 5,6,\"[10] [10]\",\"[1]\"\n"
                           "3,none,forward,0,1,40,0,4,7 8,9,\"[10] []\",\"[1]\"\n"
                           "4,scalar,forward,0,1,44,0,4,10 11,12,\"[10] []\",\"[1]\"\n");

    assert_int_equal(tensor(ops, 1)->bytes, 12);
    assert_int_equal(tensor(ops, 2)->bytes, 8);
    assert_int_equal(tensor(ops, 4)->bytes, 40); /* floats, and a mask of bytes */
    assert_int_equal(tensor(ops, 5)->bytes, 10);
    assert_int_equal(tensor(ops, 8)->bytes, 0);
    assert_int_equal(tensor(ops, 11)->bytes, 4);
}

static void weights_are_the_inputs_whose_bytes_fit(void **state)
{
    const struct ops *ops =
        loads(*state, HEAD "1,conv,forward,1,1,40,24,40,1 2 3,4,\"[10] [4] [2]\",\"[10]\"\n"
                           "2,back,backward,1,1,80,16,16,5 4 2,6,\"[10] [10] [4]\",\"[4]\"\n"
                           "3,adam,optimizer,0,1,24,24,0,3 2 7 8,,\"[2] [4] [4] [2]\",\n");

    assert_false(tensor(ops, 1)->is_weight);
    assert_true(tensor(ops, 2)->is_weight);
    assert_true(tensor(ops, 3)->is_weight);
    assert_false(tensor(ops, 7)->is_weight); /* though 7 and 8 stand last and would fit */
    assert_false(tensor(ops, 8)->is_weight);
}

static void what_is_given_is_not_inferred(void **state)
{
    const struct ops *ops = loads(
        *state, "op_id,op_name,stage,tp_split,busy_us,act_in_bytes,weight_bytes,out_bytes,in_ids,"
                "out_ids,weight_ids,in_sizes_bytes,out_sizes_bytes\n"
                "1,a,forward,0,1,5,5,9,1 2,3 4,1,5 5,4 5\n");

    assert_true(tensor(ops, 1)->is_weight);
    assert_false(tensor(ops, 2)->is_weight);
    assert_int_equal(tensor(ops, 3)->bytes, 4);
    assert_int_equal(tensor(ops, 4)->bytes, 5);
}

static void what_is_written_is_read_back(void **state)
{
    struct scratch *scratch = *state;
    const struct ops *ops = loads(
        scratch, "# batch: 9\n" HEAD "1,\"a \"\"q\"\"\",forward,1,2.75,12,8,4,1 2,3,\"[2,3] [4]\","
                 "\"[1]\"\n2,b,backward,0,3,0,0,0,,,,\n"
                 "3,c,optimizer,0,0.000001,4,0,0,3,,,\n");
    struct out *out = out_open_memory(scratch->arena), *again;
    const char *text;

    ops_write(out, ops, NULL);
    text = arena_strdup(scratch->arena, scratch_text(out));
    assert_non_null(strstr(text, "\n1,\"a \"\"q\"\"\",forward,1,2.75,,12,8,4,1 2,3,\"[2,3] [4]\","
                                 "\"[1]\",2,12 8,4\n"));
    assert_non_null(strstr(text, "\n3,c,optimizer,0,0.000001,,4,0,0,3,,"));
    again = out_open_memory(scratch->arena);
    ops_write(again, loads(scratch, text), NULL);
    assert_string_equal(scratch_text(again), text);
    out_abort(out);
    out_abort(again);
}

static void vgg13_is_accepted_as_it_is(void **state)
{
    const char *path = "../shared/data/triosim/ops/vgg13_h100_bs128_ops.csv";
    struct scratch *scratch = *state;
    const struct ops *ops;
    int64_t weights = 0, busy_ps = 0;

    if (access(path, R_OK) != 0) {
        print_message("skipped: no %s beside this checkout\n", path);
        skip();
    }
    ops = ops_load(scratch->arena, path, scratch_err(scratch));
    if (!ops)
        fail_msg("%s", scratch->err.text);
    for (int32_t i = 0; i < ops->row_count; i++)
        busy_ps += ops->rows[i].busy_ps;
    for (int32_t t = 0; t < ops->tensor_count; t++)
        weights += ops->tensors[t].is_weight ? ops->tensors[t].bytes : 0;
    assert_int_equal(ops->row_count, 77);
    assert_int_equal(busy_ps, INT64_C(94038000000));
    assert_int_equal(weights, 532191392);
    assert_int_equal(tensor(ops, 266)->bytes, 1024);   /* int64 labels */
    assert_int_equal(tensor(ops, 248)->bytes, 524288); /* a mask of bytes */
    assert_int_equal(tensor(ops, 42)->bytes, 822083584);
    assert_int_equal(tensor(ops, 276)->bytes, 0); /* a gradient that nobody needs */
}

/* ---- mistakes ---- */

#define ROW "1,a,forward,0,1,4,0,4,1,2,\"[1]\",\"[1]\"\n"

static void each_mistake_is_named_with_its_place(void **state)
{
    static const char *const wrong[][2] = {
        { HEAD, "o.csv: no rows: expected at least one operator" },
        { "# batch: 0\n" HEAD ROW, "o.csv: the line '# batch:' is '0': expected" },
        { HEAD "x,a,forward,0,1,0,0,0,,,,\n", "o.csv:2:1: op_id is 'x'" },
        { HEAD ROW "1,a,forward,0,1,0,0,0,,,,\n",
          "o.csv:3:1: op_id is '1': line 2 has it already" },
        { HEAD "1,,forward,0,1,0,0,0,,,,\n", "o.csv:2:2: op_name is ''" },
        { HEAD "1,a,forwar,0,1,0,0,0,,,,\n", "did you mean 'forward'?" },
        { HEAD "1,a,forward,2,1,0,0,0,,,,\n", "o.csv:2:4: tp_split is '2'" },
        { HEAD "1,a,forward,0,-1,0,0,0,,,,\n",
          "o.csv:2:5: busy_us is '-1': expected microseconds from 0 to 9e12" },
        { HEAD "1,a,forward,0,1e13,0,0,0,,,,\n", "o.csv:2:5: busy_us is '1e13'" },
        { HEAD "1,a,forward,0,1,-4,0,0,,,,\n", "o.csv:2:6: act_in_bytes is '-4'" },
        { HEAD "1,a,forward,0,1,0,0,9e18,,,,\n", "o.csv:2:8: out_bytes is '9e18'" },
        { HEAD "1,a,forward,0,1,4,0,0,1;2,,,\n", "o.csv:2:9: in_ids is '1;2': '1;2': expected" },
        { HEAD "1,a,forward,0,1,4,0,0,-1,,,\n", "o.csv:2:9: in_ids is '-1'" },
        { HEAD "1,a,forward,0,1,4,0,0,1,,\"[1] [2]\",\n",
          "o.csv:2:11: in_shapes is '[1] [2]': 2 shapes for 1 tensors" },
        { HEAD "1,a,forward,0,1,4,0,0,1,,\"[1;2]\",\n", "'[1;2]': expected a shape" },
        { HEAD "1,a,forward,0,1,4,0,0,1,,\"[1,]\",\n", "'[1,]': expected a shape" },
        { HEAD "1,a,forward,0,1,4,0,0,1,,\"[99999999,99999999,9]\",\n", "expected a shape" },
        { HEAD ROW "2,a,forward,0,1,4,0,0,1,,\"[2]\",\n",
          "o.csv:3:11: in_shapes is '[2]': tensor 1 is [2] here and [1] before" },
        { HEAD "1,a,forward,0,1,9,0,0,1 2,,,\n", "o.csv:2:9: operator 1: the bytes of tensor 1 "
                                                 "follow neither from totals nor from shapes: "
                                                 "give in_sizes_bytes" },
        { HEAD ROW "2,a,forward,0,1,5,0,0,1,,\"[1]\",\n",
          "o.csv:3:6: operator 2: act_in_bytes and weight_bytes are not those of its tensors, 4" },
        { HEAD ROW "2,a,forward,0,1,0,0,5,,1,,\n",
          "o.csv:3:8: operator 2: out_bytes are not those of its tensors, 4" },
        { HEAD "1,a,forward,0,1,10,3,0,1 2 3,,\"[4] [5] [4]\",\n",
          "o.csv:2:7: operator 1: no inputs together have these bytes: give weight_ids; "
          "weight_bytes is 3" },
        { HEAD "1,a,forward,0,1,0,4,0,1,,,\n2,b,forward,0,1,4,0,0,1,,,\n",
          "o.csv:3:7: operator 2: weight_bytes are not those of the weights among its tensors, 4" },
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_null(load(scratch, wrong[i][0]));
        if (!strstr(scratch_message(scratch), wrong[i][1]))
            fail_msg("'%s' is not in: %s", wrong[i][1], scratch->err.text);
    }
    assert_null(ops_load(scratch->arena, "nowhere.csv", scratch_err(scratch)));
    assert_int_equal(scratch->err.kind, ERR_SYSTEM);
}

#define SIZED                                                                                      \
    "op_id,op_name,stage,tp_split,busy_us,act_in_bytes,weight_bytes,out_bytes,in_ids,out_ids,"     \
    "weight_ids,in_sizes_bytes,out_sizes_bytes\n"

static void so_are_those_of_given_sizes_and_weights(void **state)
{
    static const char *const wrong[][2] = {
        { SIZED "1,a,forward,0,1,4,0,0,1,,,4 4,\n",
          "o.csv:2:12: in_sizes_bytes is '4 4': 2 sizes for 1 tensors" },
        { SIZED "1,a,forward,0,1,4,0,0,1,,,-4,\n", "'-4': expected bytes from 0 to 2^50" },
        { SIZED "1,a,forward,0,1,4,0,5,1,1,,4,5\n",
          "o.csv:2:13: out_sizes_bytes is '5': tensor 1 has 5 bytes here and 4 before" },
        { SIZED "1,a,forward,0,1,0,4,0,1,,7,4,\n",
          "o.csv:2:11: weight_ids is '7': '7' is none of in_ids" },
        { SIZED "1,a,forward,0,1,0,4,0,1,,,4,\n",
          "o.csv:2:7: operator 1: weight_bytes are not those of the weights among its tensors, 0" },
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_null(load(scratch, wrong[i][0]));
        if (!strstr(scratch_message(scratch), wrong[i][1]))
            fail_msg("'%s' is not in: %s", wrong[i][1], scratch->err.text);
    }
}

static void shapes_have_elements_and_dimensions(void **state)
{
    int64_t elements;

    (void)state;
    assert_true(ops_shape_elements("[2,3]", &elements));
    assert_int_equal(elements, 6);
    assert_true(ops_shape_elements("[]", &elements));
    assert_int_equal(elements, 1);
    assert_true(ops_shape_elements("[0,5]", &elements));
    assert_int_equal(elements, 0);
    assert_false(ops_shape_elements("", &elements));
    assert_false(ops_shape_elements("[2,3", &elements));
    assert_int_equal(ops_shape_dimension("[2,3]", 0), 2);
    assert_int_equal(ops_shape_dimension("[2,3]", 1), 3);
    assert_int_equal(ops_shape_dimension("[2,3]", 2), -1);
    assert_int_equal(ops_shape_dimension("[]", 0), -1);
    assert_int_equal(ops_shape_dimension("", 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(rows_have_times_bytes_and_tensors),
        scratch_test(rows_are_sorted_by_stage_and_keep_their_order),
        scratch_test(the_rest_of_a_total_is_of_the_only_unknown_tensor),
        scratch_test(elements_of_a_side_have_one_size),
        scratch_test(weights_are_the_inputs_whose_bytes_fit),
        scratch_test(what_is_given_is_not_inferred),
        scratch_test(what_is_written_is_read_back),
        scratch_test(vgg13_is_accepted_as_it_is),
        scratch_test(each_mistake_is_named_with_its_place),
        scratch_test(so_are_those_of_given_sizes_and_weights),
        cmocka_unit_test(shapes_have_elements_and_dimensions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
