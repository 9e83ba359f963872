/* test_import_triosim.c - TrioSim's two tables, and the JSON that its tracer makes them from. */
#include "sim/import/triosim.h"

#include "lib/format/ops.h"
#include "tests/unit/sim/import_run.h"

#define TRACE_HEAD                                                                                 \
    "OperatorID,OperatorName,Operator_input,Operator_output,Operator_cudatime,"                    \
    "Operator_cudatimenooverlap,InputSize,OutputSize,gpuid,stage,tpflag\n"
#define TENSOR_HEAD                                                                                \
    "Index,TensorID,TensorShape,TensorNumElement,TensorEachByte,TensorType,TensorStorgeid,gpuid\n"
#define TENSORS                                                                                    \
    TENSOR_HEAD "0,4,\"[2, 3]\",6,4,input,5,0\n"                                                   \
                "1,6,[3],3,2,weight,7,0\n"                                                         \
                "2,14,[],1,8,output,8,0\n"
#define ROW "1,aten::linear,[4; 6],[14],3,2.5,[6; 3],[1],0,forward,1\n"

static const char *pair[2];

static bool import_two(struct scratch *scratch, const char *first, const char *second,
                       const struct triosim_settings *settings)
{
    run = (struct import_job){
        .arena = scratch->arena, .importer = "triosim", .files = pair, .file_count = 2
    };
    pair[0] = scratch_write(scratch, "one", first);
    pair[1] = scratch_write(scratch, "two", second);
    return triosim_import(&run, settings, scratch_err(scratch));
}

static const struct triosim_settings plain = { .step = -1 };

static void reads(struct scratch *scratch, const char *first, const char *second)
{
    if (!import_two(scratch, first, second, &plain))
        fail_msg("%s", scratch->err.text);
    /* Our own reader takes it, with nothing left to infer. */
    if (!ops_load(scratch->arena, scratch_write(scratch, "imported.csv", scratch_text(run.outs[0])),
                  scratch_err(scratch)))
        fail_msg("%s", scratch->err.text);
}

static void fails(struct scratch *scratch, const char *first, const char *second,
                  const char *message)
{
    assert_false(import_two(scratch, first, second, &plain));
    if (!strstr(scratch_message(scratch), message))
        fail_msg("'%s' is not in: %s", message, scratch->err.text);
}

/* ---- tables ---- */

static void two_tables_become_one(void **state)
{
    reads(*state, TRACE_HEAD ROW "3,opt,[6],[],,0.125,[3],[],0,optimizer,0\n", TENSORS);
    assert_string_equal(strstr(import_rows(NULL), "\n") + 1,
                        "1,aten::linear,forward,1,2.5,3,24,6,8,4 6,14,\"[2,3] [3]\",\"[]\",6,"
                        "24 6,8\n"
                        "3,opt,optimizer,0,0.125,,0,6,0,6,,\"[3]\",,6,6,\n");
    assert_int_equal(run.report.read, 2);
    assert_int_equal(run.report.kept, 2);
    assert_null(run.report.notes);
}

static void their_order_does_not_matter(void **state)
{
    reads(*state, TENSORS, TRACE_HEAD ROW);
    assert_non_null(strstr(import_rows(NULL), "\n1,aten::linear,forward,1,2.5,3,"));
}

static void a_folder_has_both(void **state)
{
    struct scratch *scratch = *state;

    (void)scratch_write(scratch, "t/trace.csv", TRACE_HEAD ROW);
    (void)scratch_write(scratch, "t/tensor.csv", TENSORS);
    if (!import_run(scratch, &import_triosim, arena_printf(scratch->arena, "%s/t", scratch->folder),
                    &plain))
        fail_msg("%s", scratch->err.text);
    assert_int_equal(run.report.kept, 1);
}

static void the_last_size_of_a_tensor_holds_and_is_told(void **state)
{
    reads(*state, TRACE_HEAD ROW, TENSORS "3,4,\"[4, 3]\",12,4,input,5,0\n");
    assert_non_null(strstr(import_rows(NULL), ",48,6,8,4 6,14,\"[4,3] [3]\""));
    assert_string_equal(run.report.notes,
                        "1 rows of tensor.csv change the size of a tensor, the last holds");
}

static void a_batch_is_written_down(void **state)
{
    struct scratch *scratch = *state;
    const struct triosim_settings settings = { .step = -1, .batch = 32 };

    assert_true(import_two(scratch, TRACE_HEAD ROW, TENSORS, &settings));
    assert_non_null(strstr(scratch_text(run.outs[0]), "\n# batch: 32\n"));
}

static void each_mistake_in_a_table_is_named_with_its_place(void **state)
{
    static const char *const wrong[][3] = {
        { TRACE_HEAD "1,a,[4; 7],[],1,1,[],[],0,forward,1\n", TENSORS,
          "one:2:3: Operator_input is '[4; 7]': tensor 7 is not in tensor.csv" },
        { TRACE_HEAD "1,a,[4 6],[],1,1,[],[],0,forward,1\n", TENSORS,
          "one:2:3: Operator_input is '[4 6]': '4': expected the id of a tensor" },
        { TRACE_HEAD "1,a,4,[],1,1,[],[],0,forward,1\n", TENSORS,
          "one:2:3: Operator_input is '4': expected a list of tensors such as [4; 6; 8]" },
        { TRACE_HEAD "1,a,[],[4;],1,1,[],[],0,forward,1\n", TENSORS,
          "one:2:4: Operator_output is" },
        { TRACE_HEAD "1,a,[],[],1,-1,[],[],0,forward,1\n", TENSORS,
          "one:2:6: Operator_cudatimenooverlap is '-1': expected microseconds from 0 to 9e12" },
        { TRACE_HEAD "1,a,[],[],1,1,[],[],0,sideways,1\n", TENSORS,
          "one:2:10: stage is 'sideways'" },
        { TRACE_HEAD "1,a,[],[],1,1,[],[],0,forward,2\n", TENSORS, "one:2:11: tpflag is '2'" },
        { TRACE_HEAD ROW "1,a,[],[],1,1,[],[],0,forward,1\n", TENSORS,
          "one:3: OperatorID 1 is in line 2 already" },
        { TRACE_HEAD ROW "2,a,[],[],1,1,[],[],1,forward,1\n", TENSORS,
          "one:3:9: gpuid is '1': a second device: expected 0" },
        { TRACE_HEAD, TENSORS, "one: no operator is left" },
        { TRACE_HEAD ROW, TENSOR_HEAD "0,x,[1],1,4,input,5,0\n", "two:2:2: TensorID is 'x'" },
        { TRACE_HEAD ROW, TENSOR_HEAD "0,4,[1],1,400,input,5,0\n", "two:2:5: TensorEachByte is" },
        { TRACE_HEAD ROW, TENSOR_HEAD "0,4,[1],99999999999999999,4,input,5,0\n",
          "two:2:4: TensorNumElement is" },
        { TRACE_HEAD ROW, "TensorID,TensorType\n4,input\n", "two:1: missing column" },
        { "", TENSORS, "one: nothing in it: expected a table or JSON of TrioSim" },
        { "a,b\n", TENSORS, "one:1: expected trace.csv (with a column OperatorID), tensor.csv" },
        { TRACE_HEAD, TRACE_HEAD, "do not belong together" },
        { TRACE_HEAD, "{}", "do not belong together" },
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        fails(*state, wrong[i][0], wrong[i][1], wrong[i][2]);
}

static void files_come_in_pairs(void **state)
{
    struct scratch *scratch = *state;
    const char *one[] = { "-", "x" };

    import_fails(scratch, &import_triosim, NULL, &plain,
                 "0 files: expected a folder with trace.csv and tensor.csv, these two, or the JSON "
                 "of profiler and execution graph");
    run = (struct import_job){ .arena = scratch->arena, .files = one, .file_count = 2 };
    assert_false(triosim_import(&run, &plain, scratch_err(scratch)));
    assert_string_equal(scratch->err.text, "'-': files are read twice: expected names of files");
    run = (struct import_job){ .arena = scratch->arena, .files = one + 1, .file_count = 1 };
    assert_false(triosim_import(&run, &plain, scratch_err(scratch)));
}

/* ---- JSON ---- */

#define OP(name, thread, start, dur, id)                                                           \
    "{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"" name "\",\"pid\":1,\"tid\":" #thread            \
    ",\"ts\":" #start ",\"dur\":" #dur ",\"args\":{\"External id\":" #id "}},"
#define LAUNCH(thread, start, id)                                                                  \
    "{\"ph\":\"X\",\"cat\":\"cuda_runtime\",\"name\":\"cudaLaunchKernel\",\"pid\":1,"              \
    "\"tid\":" #thread ",\"ts\":" #start ",\"dur\":1,\"args\":{\"correlation\":" #id "}},"
#define KERNEL(start, dur, id)                                                                     \
    "{\"ph\":\"X\",\"cat\":\"kernel\",\"name\":\"k\",\"pid\":0,\"tid\":7,\"ts\":" #start           \
    ",\"dur\":" #dur ",\"args\":{\"correlation\":" #id "}},"
#define STEP(number, start, dur)                                                                   \
    "{\"ph\":\"X\",\"cat\":\"user_annotation\",\"name\":\"ProfilerStep#" #number                   \
    "\",\"pid\":1,\"tid\":1,\"ts\":" #start ",\"dur\":" #dur "},"
#define PROFILE(events) "{\"traceEvents\":[" events "{\"ph\":\"M\"}]}"
#define NODE(name, id, in, out)                                                                    \
    "{\"name\":\"" name "\",\"id\":" #id ",\"parent\":1,\"inputs\":[" in "],\"outputs\":[" out "]" \
    "}"

static void kernels_count_for_the_outermost_operator_of_their_launch(void **state)
{
    reads(*state,
          PROFILE(OP("aten::linear", 1, 10, 20, 3) OP("aten::addmm", 1, 12, 8, 4) LAUNCH(1, 14, 77)
                      LAUNCH(1, 25, 78) LAUNCH(2, 14, 79) KERNEL(100.5, 10.25, 77)
                          KERNEL(120, 2, 78) KERNEL(50, 9, 79)),
          "{\"nodes\":[" NODE("aten::linear", 3, "[4,5,0,6,4,\"cuda:0\"]",
                              "[8,9,0,2,4,\"cuda:0\"]") "]}");
    assert_string_equal(strstr(import_rows(NULL), "\n") + 1,
                        "1,aten::linear,forward,1,12.25,21.5,24,0,8,4,8,,,,24,8\n");
}

static void the_last_step_counts_or_the_one_asked_for(void **state)
{
    struct scratch *scratch = *state;
    const char *profile = PROFILE(STEP(1, 0, 50) STEP(2, 100, 50) OP("aten::a", 1, 10, 5, 3)
                                      LAUNCH(1, 11, 70) OP("aten::a", 1, 110, 5, 4)
                                          LAUNCH(1, 111, 71) KERNEL(20, 3, 70) KERNEL(120, 4, 71));
    const char *graph =
        "{\"nodes\":[" NODE("aten::a", 3, "", "") "," NODE("aten::a", 4, "", "") "]}";
    struct triosim_settings settings = { .step = 1 };

    reads(scratch, profile, graph);
    assert_non_null(strstr(import_rows(NULL), "\n1,aten::a,forward,0,4,4,"));
    assert_true(import_two(scratch, graph, profile, &settings));
    assert_non_null(strstr(import_rows(NULL), "\n1,aten::a,forward,0,3,3,"));
    settings.step = 3;
    assert_false(import_two(scratch, profile, graph, &settings));
    assert_string_equal(scratch_message(scratch), "one: no annotation ProfilerStep#3");
    assert_false(import_two(scratch, TRACE_HEAD ROW, TENSORS, &settings));
    assert_string_equal(scratch->err.text, "--step needs a profile: trace.csv is one iteration");
}

/* The later layout, where an operator is known by the number of its record function. */
static void both_layouts_of_the_graph_are_read(void **state)
{
    reads(*state,
          "[{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"aten::conv2d\",\"pid\":1,\"tid\":\"main\","
          "\"ts\":1,\"dur\":9,\"args\":{\"External id\":900,\"Record function id\":55}},"
          "{\"ph\":\"X\",\"cat\":\"cuda_runtime\",\"name\":\"l\",\"pid\":1,\"tid\":\"main\","
          "\"ts\":2,\"dur\":1,\"args\":{\"correlation\":5}}," KERNEL(3, 2, 5) "{\"ph\":\"i\"}]",
          "{\"schema\":\"1.1.0\",\"nodes\":[{\"name\":\"aten::conv2d\",\"id\":900000,"
          "\"ctrl_deps\":2,\"inputs\":{\"values\":[[4,5,0,6,4,\"cuda:0\"],[6,7,0,3,2,\"cuda:0\"]],"
          "\"shapes\":[[2,3],[3]],\"types\":[]},\"outputs\":{\"values\":[[8,9,0,2,4,\"cuda:0\"]],"
          "\"shapes\":[[2,1]]},\"attrs\":[{\"name\":\"rf_id\",\"type\":\"uint64\",\"value\":55},"
          "{\"name\":\"op_schema\",\"type\":\"string\",\"value\":\"aten::conv2d(Tensor input, "
          "Tensor weight, int[2] stride=[1, 1]) -> Tensor\"}]}]}");
    assert_string_equal(strstr(import_rows(NULL), "\n") + 1,
                        "1,aten::conv2d,forward,1,2,2,24,6,8,4 6,8,\"[2,3] [3]\",\"[2,1]\",6,24 6,"
                        "8\n");
}

/* What autograd evaluates reads what its parts read and did not make. */
static void nodes_without_tensors_have_those_within(void **state)
{
    reads(
        *state,
        PROFILE(OP("autograd::engine::evaluate_function: MmBackward0", 1, 1, 9, 3) LAUNCH(1, 2, 5)
                    KERNEL(3, 2, 5)),
        "{\"nodes\":["
        "{\"name\":\"autograd::engine::evaluate_function: MmBackward0\",\"id\":3,\"parent\":1,"
        "\"inputs\":[],\"outputs\":[]},"
        "{\"name\":\"aten::t\",\"id\":4,\"parent\":3,\"inputs\":[[10,1,0,2,4]],\"outputs\":[[11,1,"
        "0,2,4]]},"
        "{\"name\":\"aten::mm\",\"id\":5,\"parent\":3,\"inputs\":[[11,1,0,2,4],[12,1,0,1,4]],"
        "\"outputs\":[[13,1,0,3,4]]}]}");
    assert_string_equal(strstr(import_rows(NULL), "\n") + 1,
                        "1,autograd::engine::evaluate_function: MmBackward0,backward,1,2,2,12,0,20,"
                        "10 12,11 13,,,,8 4,8 12\n");
}

static void the_optimizer_is_known_by_annotation_or_name(void **state)
{
    reads(*state,
          PROFILE("{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"Optimizer.step#SGD.step\",\"pid\":1,"
                  "\"tid\":1,\"ts\":10,\"dur\":30}," OP("aten::add_", 1, 12, 5, 3) LAUNCH(1, 13, 5)
                      OP("aten::_foreach_add_", 1, 50, 5, 4) LAUNCH(1, 51, 6)
                          OP("aten::add_", 1, 60, 5, 6) LAUNCH(1, 61, 7) KERNEL(1, 1, 5)
                              KERNEL(2, 1, 6) KERNEL(3, 1, 7)),
          "{\"nodes\":[" NODE("aten::add_", 3, "", "") "," NODE(
              "aten::_foreach_add_", 4, "", "") "," NODE("aten::add_", 6, "", "") "]}");
    assert_string_equal(strstr(import_rows(NULL), "\n") + 1,
                        "3,aten::add_,forward,0,1,1,0,0,0,,,,,,,\n"
                        "1,aten::add_,optimizer,0,1,1,0,0,0,,,,,,,\n"
                        "2,aten::_foreach_add_,optimizer,0,1,1,0,0,0,,,,,,,\n");
}

static void each_mistake_in_json_is_named_with_its_path(void **state)
{
#define ANY PROFILE(OP("aten::a", 1, 1, 9, 3) LAUNCH(1, 2, 5) KERNEL(3, 2, 5))
    static const char *const wrong[][3] = {
        { "{}", "{\"nodes\":[]}", "one: no array traceEvents: expected the Chrome trace" },
        { "{", "{\"nodes\":[]}", "one:1:2: " },
        { ANY, "{}", "two: no array nodes: expected PyTorch's execution trace" },
        { ANY, "{\"nodes\":[]}", "one: no operator is left" },
        { ANY, "{\"nodes\":[{\"id\":3}]}",
          "two: nodes[0].name is missing: expected the name of an operator" },
        { ANY, "{\"nodes\":[{\"name\":\"aten::a\",\"id\":-3}]}", "two: nodes[0].id is '-3'" },
        { ANY, "{\"nodes\":[" NODE("aten::a", 3, "[4,5,0,6,400]", "") "]}",
          "two: nodes[0] is '[...]': expected a tensor of at most 2^50 bytes" },
        { PROFILE("{\"ph\":\"X\",\"cat\":\"kernel\",\"name\":\"k\",\"dur\":1},"), "{\"nodes\":[]}",
          "one: traceEvents[0].ts is missing: expected microseconds" },
        { PROFILE("{\"ph\":\"X\",\"cat\":\"kernel\",\"name\":\"k\",\"ts\":1,\"dur\":-1},"),
          "{\"nodes\":[]}", "one: traceEvents[0].dur is '-1': expected microseconds from 0" },
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        fails(*state, wrong[i][0], wrong[i][1], wrong[i][2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(two_tables_become_one),
        scratch_test(their_order_does_not_matter),
        scratch_test(a_folder_has_both),
        scratch_test(the_last_size_of_a_tensor_holds_and_is_told),
        scratch_test(a_batch_is_written_down),
        scratch_test(each_mistake_in_a_table_is_named_with_its_place),
        scratch_test(files_come_in_pairs),
        scratch_test(kernels_count_for_the_outermost_operator_of_their_launch),
        scratch_test(the_last_step_counts_or_the_one_asked_for),
        scratch_test(both_layouts_of_the_graph_are_read),
        scratch_test(nodes_without_tensors_have_those_within),
        scratch_test(the_optimizer_is_known_by_annotation_or_name),
        scratch_test(each_mistake_in_json_is_named_with_its_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
