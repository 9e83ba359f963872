/* test_import_dlsim.c - DLSIM's placements, workloads and traces, written by hand in their layout.
 */
#include "sim/import/dlsim.h"

#include "tests/unit/sim/import_run.h"

#define PLACEMENT                                                                                  \
    "[{\"service_name\": \"Bert_0\", \"model_name\": \"Bert\", \"executable_name\": \"inter\",\n"  \
    "  \"mesh_group\": [{\"node_ids\": [0], \"devices\": [[1]]},\n"                                \
    "                   {\"node_ids\": [0], \"devices\": [[0]]}]},\n"                              \
    " {\"service_name\": \"Bert_1\", \"model_name\": \"Bert\", \"executable_name\": \"intra\",\n"  \
    "  \"mesh_group\": [{\"node_ids\": [0, 1], \"devices\": [[0, 1], [2]]}]},\n"                   \
    " {\"service_name\": \"Bert_0\", \"model_name\": \"Bert\", \"executable_name\": \"inter\",\n"  \
    "  \"mesh_group\": [{\"node_ids\": [3], \"devices\": [[0]]},\n"                                \
    "                   {\"node_ids\": [3], \"devices\": [[1]]}]}]"
#define HEAD "2,2.5,\"[0.8, 0.2]\",4,\"[0.25, 0.5]\",by hand\n"
#define WORKLOAD HEAD "0,0.0\n1,0.12345678901234568\n0,0.15\n0,2.0000000000015\n"

static struct dlsim_settings settings;

static int begin(void **state)
{
    dlsim_defaults(&settings);
    return scratch_begin(state);
}

static void reads(struct scratch *scratch)
{
    if (!import_run(scratch, &import_dlsim, NULL, &settings))
        fail_msg("%s", scratch->err.text);
}

static void fails(struct scratch *scratch, const char *message)
{
    import_fails(scratch, &import_dlsim, NULL, &settings, message);
}

/* ---- placement ---- */

static void entries_of_a_service_are_its_replicas(void **state)
{
    struct scratch *scratch = *state;

    settings.placement = scratch_write(scratch, "p.json", PLACEMENT);
    reads(scratch);
    assert_string_equal(import_rows("placement.csv"), "service,replica,stage,device,executable\n"
                                                      "Bert_0,0,0,0:1,inter\n"
                                                      "Bert_0,0,1,0:0,inter\n"
                                                      "Bert_1,0,0,0:0,intra\n"
                                                      "Bert_1,0,0,0:1,intra\n"
                                                      "Bert_1,0,0,1:2,intra\n"
                                                      "Bert_0,1,0,3:0,inter\n"
                                                      "Bert_0,1,1,3:1,inter\n");
    assert_string_equal(run.report.notes, "placement of 3 replicas");
}

#define ENTRY(mesh)                                                                                \
    "[{\"service_name\": \"a\", \"model_name\": \"m\", \"executable_name\": \"x\", "               \
    "\"mesh_group\": [" mesh "]}]"

static void lists_of_one_may_be_nested_or_plain(void **state)
{
    static const char *const same[] = {
        ENTRY("{\"node_ids\": [0], \"devices\": [[2, 3]]}"),
        ENTRY("{\"node_ids\": [0], \"devices\": [2, 3]}"),
        ENTRY("{\"node_ids\": 0, \"devices\": [2, 3]}"),
        ENTRY("{\"node_ids\": [[0]], \"devices\": [[[2, 3]]]}"),
        ENTRY("{\"node_ids\": [0.0], \"devices\": [[2, 3.0]]}"),
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        settings.placement = scratch_write(scratch, "p.json", same[i]);
        reads(scratch);
        assert_string_equal(import_rows("placement.csv"),
                            "service,replica,stage,device,executable\na,0,0,0:2,x\na,0,0,0:3,x\n");
    }
}

static void bad_placements_are_located(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "[]", "p.json: not a placement of DLSIM: expected a list of {service_name, model_name, "
                "executable_name, mesh_group}" },
        { "[3]", "p.json: [0] is '3': expected an object with service_name, model_name, "
                 "executable_name and mesh_group" },
        { "[{\"model_name\": \"m\"}]", "p.json: [0].service_name is missing: expected a name" },
        { "[{\"service_name\": \"a\\tb\"}]", "p.json: [0].service_name is 'a?b': expected a name" },
        { "[{\"service_name\": 7}]", "p.json: [0].service_name is '7': expected a name" },
        { ENTRY(""), "p.json: [0].mesh_group is '[...]': expected a list of meshes, one a stage" },
        { ENTRY("{\"devices\": [[0]]}"),
          "p.json: [0].mesh_group[0] is missing: expected a list of node ids" },
        { ENTRY("{\"node_ids\": [0]}"),
          "p.json: [0].mesh_group[0] is missing: expected a list of devices for each node" },
        { ENTRY("{\"node_ids\": [0, 1], \"devices\": [[0]]}"),
          "p.json: [0].mesh_group[0] has 2 node ids, but devices of 1 nodes" },
        { ENTRY("{\"node_ids\": [-1], \"devices\": [[0]]}"),
          "p.json: [0].mesh_group[0] is '-1': expected the number of a node" },
        { ENTRY("{\"node_ids\": [0], \"devices\": [[0, 1.5]]}"),
          "p.json: [0].mesh_group[0] is '1.5': expected the number of a device" },
        { ENTRY("{\"node_ids\": [0, 1], \"devices\": [[0], []]}"),
          "p.json: [0].mesh_group[0] is '[...]': expected the list of a node's devices" },
        { ENTRY("{\"node_ids\": [0], \"devices\": [[4, 4]]}"),
          "p.json: [0].mesh_group[0] names device 0:4 twice" },
        { "[{\"service_name\": NaN}]", "p.json:1:19: not JSON from here on" },
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        settings.placement = scratch_write(scratch, "p.json", cases[i].text);
        fails(scratch, cases[i].message);
    }
}

/* ---- workload ---- */

static void a_workload_is_converted_to_the_picosecond(void **state)
{
    struct scratch *scratch = *state;
    const struct workload *workload;

    settings.workload = scratch_write(scratch, "w", WORKLOAD);
    settings.model = "Bert";
    reads(scratch);
    assert_string_equal(import_rows("workload.csv"), "request_id,arrival_s,service,slo_s\n"
                                                     "0,0,Bert_0,0.25\n"
                                                     "1,0.123456789012,Bert_1,0.5\n"
                                                     "2,0.15,Bert_0,0.25\n"
                                                     "3,2.000000000002,Bert_0,0.25\n");
    workload = import_workload(scratch, "workload.csv");
    assert_int_equal(workload->count, 4);
    assert_non_null(strstr(import_table("workload.csv"), "# name: by hand\n"
                                                         "# nominal_rate_per_s: 2.5\n"
                                                         "# nominal_shares: [0.8, 0.2]\n"
                                                         "# nominal_duration_s: 4\n"));
}

static void python_endings_and_none_are_read(void **state)
{
    struct scratch *scratch = *state;

    settings.workload = scratch_write(
        scratch, "w",
        "2,1.0,\"[1,0.0]\",1e1,\"[None, 0]\",\"a \"\"b\"\", c\"\r\n0,3.1e-05\r\n1,1\r\n");
    settings.services[0] = "x";
    settings.services[1] = "y";
    settings.service_count = 2;
    reads(scratch);
    assert_string_equal(import_rows("workload.csv"),
                        "request_id,arrival_s,service\n0,0.000031,x\n1,1,y\n");
    assert_non_null(strstr(import_table("workload.csv"), "# name: a \"b\", c\n"));
}

static void services_come_from_the_placement_or_the_trace(void **state)
{
    struct scratch *scratch = *state;

    settings.workload = scratch_write(scratch, "w", WORKLOAD);
    fails(scratch, "w: the service of model 0 is not known: expected --model, --service, or a "
                   "placement or a trace in which one service ends in _0");
    settings.placement = scratch_write(scratch, "p.json", PLACEMENT);
    reads(scratch);
    assert_non_null(strstr(import_rows("workload.csv"), "1,0.123456789012,Bert_1,"));
    settings.placement =
        scratch_write(scratch, "p.json", ENTRY("{\"node_ids\": [0], \"devices\": [[2]]}"));
    fails(scratch, "w: the service of model 0 is not known: expected --model, --service, or a "
                   "placement or a trace in which one service ends in _0");
    settings.service_count = 1;
    settings.services[0] = "a";
    fails(scratch, "--service is given 1 times, but the workload has 2 models");
}

static void bad_workloads_are_located(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "", "w: empty: expected a workload of DLSIM" },
        { HEAD, "w: no requests: expected at least one model,arrival" },
        { "0,0.5\n", "w:1: not a workload of DLSIM: expected "
                     "models,rate,\"[shares]\",duration,\"[SLOs]\",name" },
        { "x,1,\"[1]\",1,\"[1]\",n\n0,1\n",
          "w:1:1: models is 'x': expected a whole number from 1 to 256" },
        { "1,-1,\"[1]\",1,\"[1]\",n\n0,1\n",
          "w:1:2: rate is '-1': expected a number of at least 0" },
        { "1,1,\"__import__('os')\",1,\"[1]\",n\n0,1\n",
          "w:1:3: shares is '__import__('os')': expected a list such as [0.8, 0.2]" },
        { "1,1,\"[nan]\",1,\"[1]\",n\n0,1\n",
          "w:1:3: shares is 'nan': expected a number of at least 0" },
        { "2,1,\"[1]\",1,\"[1]\",n\n0,1\n",
          "w:1:3: shares is '[1]': 1 items, but there are 2 models" },
        { "1,1,\"[1]\",soon,\"[1]\",n\n0,1\n",
          "w:1:4: duration is 'soon': expected a number of at least 0" },
        { "1,1,\"[1]\",1,\"[-1]\",n\n0,1\n",
          "w:1:5: SLOs is '[-1]': expected a list of seconds of at least 0, or None" },
        { "1,1,\"[1]\",1,\"[1]\",\xff\n0,1\n", "w:1:6: name is not UTF-8" },
        { "1,1,\"[1]\",1,\"[1]x\",n\n0,1\n",
          "w:1:5: SLOs is '[1]x': expected a list such as [0.8, 0.2]" },
        { HEAD "2,0.5\n", "w:2:1: model is '2': expected a whole number from 0 to 1" },
        { HEAD "0,-0.5\n", "w:2:2: arrival is '-0.5': expected seconds of at least 0" },
        { HEAD "0,nan\n", "w:2:2: arrival is 'nan': expected seconds of at least 0" },
        { HEAD "0,1\n\n1,0.999\n",
          "w:4:2: arrival is '0.999': earlier than the row above; rows must be sorted by arrival" },
        { HEAD "0,1,2\n", "w:2: expected model,arrival" },
        { HEAD "0\n", "w:2: expected model,arrival" },
        { HEAD "0,\"1\n", "w:2: expected model,arrival" },
        { HEAD "0,1e9\n", "w:2:2: arrival is '1e9': expected seconds of at least 0" },
    };
    struct scratch *scratch = *state;

    settings.model = "m";
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        settings.workload = scratch_write(scratch, "w", cases[i].text);
        fails(scratch, cases[i].message);
    }
}

static void only_lists_of_plain_items_are_lists(void **state)
{
    static const char *const good[] = { "[]", "[1]", "[0.8, 0.2]", "[ 1 ,2 ]", "[1,]", "[1e-5]" };
    static const int counts[] = { 0, 1, 2, 2, 1, 1 };
    static const char *const bad[] = { "",      "1",    "[",      "[1",     "[1 2]", "[,]",
                                       "[[1]]", "(1,)", "[1] + ", "[f(1)]", "['a']", "[1]]" };
    struct scratch *scratch = *state;
    const char **items;
    int count;

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(dlsim_list(scratch->arena, good[i], &items, &count));
        assert_int_equal(count, counts[i]);
    }
    assert_string_equal(items[0], "1e-5");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(dlsim_list(scratch->arena, bad[i], &items, &count));
}

/* ---- trace ---- */

#define RECORD(start, end, device) "[" start ", " end ", [0], [[" device "]]]"
#define BERT_0                                                                                     \
    "\"Bert_0\": {\"rq_id\": [0, 1, 2], \"e2e_latency\": [0.16, 0.161, 0.2],\n"                    \
    "\"arrive\": [0.0, 0.15, 2.0000000000015],\n"                                                  \
    "\"stage_exec_info\": [[" RECORD("0.0", "0.07", "1") ", " RECORD(                              \
        "0.1495", "0.2195", "1") ", "                                                              \
                                 "[2.1, 2.17, [3], [[0]]]],\n"                                     \
                                 "[" RECORD("0.0699", "0.14", "0") ", " RECORD(                    \
                                     "0.2194", "0.29", "0") ", "                                   \
                                                            "[2.1699, 2.24, [3], [[1]]]]]}"
#define BERT_1                                                                                     \
    "\"Bert_1\": {\"rq_id\": [0], \"e2e_latency\": [1], \"arrive\": [0.12345678901234568],\n"      \
    "\"stage_exec_info\": [[[-0.5, 0.1426, [0, 1], [[0, 1], [2]]]]]}"

#define REQUESTS_HEAD                                                                              \
    "request_id,service,replica,arrival_s,start_s,first_token_s,finish_s,prompt_tokens,"           \
    "output_tokens,client,status,e2e_s\n"

static void a_trace_gets_the_rows_and_replicas_it_ran_as(void **state)
{
    struct scratch *scratch = *state;

    settings.placement = scratch_write(scratch, "p.json", PLACEMENT);
    settings.workload = scratch_write(scratch, "w", WORKLOAD);
    settings.trace = scratch_write(scratch, "t.json", "{" BERT_0 ",\n" BERT_1 "}");
    reads(scratch);
    assert_string_equal(import_rows("requests.csv"),
                        REQUESTS_HEAD "0,Bert_0,0,0,0,,0.14,,,,ok,0.16\n"
                                      "1,Bert_1,0,0.123456789012,-0.5,,0.1426,,,,ok,1\n"
                                      "2,Bert_0,0,0.15,0.1495,,0.29,,,,ok,0.161\n"
                                      "3,Bert_0,1,2.000000000002,2.1,,2.24,,,,ok,0.2\n");
    assert_string_equal(import_rows("stages.csv"),
                        "request_id,service,replica,stage,device,start_s,finish_s,step,batch_id,"
                        "phase\n"
                        "0,Bert_0,0,0,0:1,0,0.07,0,,\n"
                        "0,Bert_0,0,1,0:0,0.0699,0.14,0,,\n"
                        "1,Bert_1,0,0,0:0,-0.5,0.1426,0,,\n"
                        "1,Bert_1,0,0,0:1,-0.5,0.1426,0,,\n"
                        "1,Bert_1,0,0,1:2,-0.5,0.1426,0,,\n"
                        "2,Bert_0,0,0,0:1,0.1495,0.2195,0,,\n"
                        "2,Bert_0,0,1,0:0,0.2194,0.29,0,,\n"
                        "3,Bert_0,1,0,3:0,2.1,2.17,0,,\n"
                        "3,Bert_0,1,1,3:1,2.1699,2.24,0,,\n");
    assert_string_equal(import_rows("exclude.csv"), "request_id,what\n");
    assert_non_null(strstr(run.report.notes, "ids are the rows of the workload, other than rq_id "
                                             "for 3"));
}

static void alone_a_trace_numbers_its_replicas_and_keeps_unique_ids(void **state)
{
    struct scratch *scratch = *state;

    settings.trace = scratch_write(scratch, "t.json", "{" BERT_0 "}");
    reads(scratch);
    assert_string_equal(import_rows("requests.csv"),
                        REQUESTS_HEAD "0,Bert_0,0,0,0,,0.14,,,,ok,0.16\n"
                                      "1,Bert_0,0,0.15,0.1495,,0.29,,,,ok,0.161\n"
                                      "2,Bert_0,1,2.000000000002,2.1,,2.24,,,,ok,0.2\n");
    assert_null(strstr(run.report.notes, "rq_id"));
}

static void colliding_ids_are_numbered_by_arrival(void **state)
{
    struct scratch *scratch = *state;

    settings.trace = scratch_write(scratch, "t.json", "{" BERT_1 ", " BERT_0 "}");
    reads(scratch);
    assert_non_null(strstr(import_rows("requests.csv"), "\n1,Bert_1,0,0.123456789012,"));
    assert_non_null(strstr(run.report.notes, "models share rq_ids, so requests are numbered in "
                                             "order of arrival"));
}

static void keys_may_be_numbers_of_models(void **state)
{
    struct scratch *scratch = *state;
    static const char text[] =
        "{\"1\": {\"rq_id\": [5], \"e2e_latency\": [1], \"arrive\": [0.12345678901234568],"
        "\"stage_exec_info\": [[[1, 2, 0, 0]]]}}";

    settings.workload = scratch_write(scratch, "w", WORKLOAD);
    settings.model = "Bert";
    settings.trace = scratch_write(scratch, "t.json", text);
    reads(scratch);
    assert_string_equal(import_rows("requests.csv"),
                        REQUESTS_HEAD "1,Bert_1,0,0.123456789012,1,,2,,,,ok,1\n");
    assert_non_null(strstr(run.report.notes, "3 requests of the workload are not in the trace"));
    settings.model = NULL;
    settings.services[0] = "x";
    settings.services[1] = "y";
    settings.service_count = 2;
    fails(scratch, "t.json: key '1' is no service of the placement or the options, and does not "
                   "end in the number of one");
}

static void other_devices_than_placed_are_told(void **state)
{
    struct scratch *scratch = *state;

    settings.placement = scratch_write(scratch, "p.json", PLACEMENT);
    settings.trace = scratch_write(scratch, "t.json",
                                   "{\"Bert_1\": {\"rq_id\": [0], \"e2e_latency\": [1], "
                                   "\"arrive\": [0], \"stage_exec_info\": [[[1, 2, 0, 7]]]}}");
    reads(scratch);
    assert_non_null(
        strstr(run.report.notes, "1 request of the trace ran on other devices than placed"));
    settings.trace =
        scratch_write(scratch, "t.json",
                      "{\"Bert_0\": {\"rq_id\": [0], \"e2e_latency\": [1], \"arrive\""
                      ": [0], \"stage_exec_info\": [[[1, 2, 0, 7]], [[2, 3, 0, 1]]]}}");
    fails(scratch, "t.json: Bert_0.stage_exec_info: item 0 ran on device 0:7...: no replica of the "
                   "placement has these devices");
    settings.trace = scratch_write(scratch, "t.json",
                                   "{\"Bert_0\": {\"rq_id\": [0], \"e2e_latency\": [1], "
                                   "\"arrive\": [0], \"stage_exec_info\": [[[1, 2, 0, 1]]]}}");
    fails(scratch, "t.json: Bert_0.stage_exec_info has 1 stages, but the placement has 2");
}

#define MODEL(ids, e2e, arrive, stages)                                                            \
    "{\"m_0\": {\"rq_id\": " ids ", \"e2e_latency\": " e2e ", \"arrive\": " arrive                 \
    ", \"stage_exec_info\": " stages "}}"

static void bad_traces_are_located(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "{}", "t.json: not a trace of DLSIM: expected an object {model: {rq_id, e2e_latency, "
                "arrive, stage_exec_info}}" },
        { "{\"m_0\": 3}", "t.json: m_0 is '3': expected an object with rq_id, e2e_latency, arrive "
                          "and stage_exec_info" },
        { "{\"\": {}}", "t.json: key '': expected the name of a service" },
        { "{\"a\\nb\": {}}", "t.json: key 'a?b': expected the name of a service" },
        { "{\"m_0\": {\"rq_id\": [0], \"e2e_latency\": [1]}}",
          "t.json: m_0.arrive is missing: expected a list, an item a request" },
        { "{\"m_0\": {\"rq_id\": [0], \"e2e_latency\": [1], \"arrive\": [0]}}",
          "t.json: m_0.stage_exec_info is missing: expected a list, an item a stage" },
        { MODEL("[]", "[]", "[]", "[[]]"), "t.json: no requests: expected at least one" },
        { MODEL("[0]", "[1, 2]", "[0]", "[[[1, 2, 0, 0]]]"),
          "t.json: m_0.e2e_latency has 2 items, but rq_id has 1" },
        { MODEL("[0]", "[1]", "[0]", "[[[1, 2, 0, 0]], []]"),
          "t.json: m_0.stage_exec_info[1] has 0 items, but rq_id has 1" },
        { MODEL("[0, 3, 0]", "[1, 1, 1]", "[0, 1, 2]",
                "[[[1, 2, 0, 0], [1, 2, 0, 0], [1, 2, 0, 0]]]"),
          "t.json: m_0.rq_id[2] is '0': item 0 has it already" },
        { MODEL("[0.5]", "[1]", "[0]", "[[[1, 2, 0, 0]]]"),
          "t.json: m_0.rq_id[0] is '0.5': expected a whole number of at least 0" },
        { MODEL("[0]", "[true]", "[0]", "[[[1, 2, 0, 0]]]"),
          "t.json: m_0.e2e_latency[0] is 'true': expected seconds of at least 0" },
        { MODEL("[0]", "[1]", "[\"0\"]", "[[[1, 2, 0, 0]]]"),
          "t.json: m_0.arrive[0] is '0': expected seconds of at least 0" },
        { MODEL("[0]", "[1]", "[-1]", "[[[1, 2, 0, 0]]]"),
          "t.json: m_0.arrive[0] is '-1': expected seconds of at least 0" },
        { MODEL("[0]", "[1]", "[1e7]", "[[[1, 2, 0, 0]]]"),
          "t.json: m_0.arrive[0] is '10000000': expected seconds of at least 0" },
        { MODEL("[0]", "[1]", "[0]", "[[[1, 2, 0]]]"),
          "t.json: m_0.stage_exec_info[0][0] is '[...]': expected [start, end, node_ids, "
          "devices]" },
        { MODEL("[0]", "[1]", "[0]", "[[[null, 2, 0, 0]]]"),
          "t.json: m_0.stage_exec_info[0][0][0] is 'null': expected seconds" },
        { MODEL("[0]", "[1]", "[0]", "[[[1, 0.5, 0, 0]]]"),
          "t.json: m_0.stage_exec_info[0][0][1] is '0.5': expected an end that is not before the "
          "start" },
        { MODEL("[0]", "[1]", "[0]", "[[[1, 2, [], 0]]]"),
          "t.json: m_0.stage_exec_info[0][0] is '[...]': expected a list of node ids" },
        { MODEL("[0]", "[NaN]", "[0]", "[[[1, 2, 0, 0]]]"), "t.json:1:40: not JSON from here on" },
        { MODEL("[0]", "[1]", "[0]", "[[[1, Infinity, 0, 0]]]"),
          "t.json:1:84: not JSON from here on" },
        { "{" BERT_0 ", " BERT_0 "}", "t.json: key 'Bert_0' is there twice" },
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        settings.trace = scratch_write(scratch, "t.json", cases[i].text);
        fails(scratch, cases[i].message);
    }
}

static void a_request_that_the_workload_lacks_is_an_error(void **state)
{
    struct scratch *scratch = *state;

    settings.workload = scratch_write(scratch, "w", HEAD "0,0.0\n1,0.12345678901234568\n0,0.15\n");
    settings.trace = scratch_write(scratch, "t.json", "{" BERT_0 ",\n" BERT_1 "}");
    assert_false(import_run(scratch, &import_dlsim, NULL, &settings));
    assert_non_null(strstr(scratch->err.text, "t.json: Bert_0.arrive[2] is '2.000000000002': "));
    assert_non_null(strstr(scratch->err.text, " has no such arrival of service Bert_0"));
}

/* Twelve requests of 10 ms; number 5 takes 27 ms, 6 waits for it, 7 comes later. */
static void stalls_and_what_waited_for_them_are_listed(void **state)
{
    struct scratch *scratch = *state;
    const char *ids = "", *e2e = "", *arrive = "", *stages = "";

    for (int i = 0; i < 12; i++) {
        int start_ms = i == 6 ? 529 : 100 * i, arrive_ms = i == 6 ? 510 : 100 * i;
        const char *comma = i ? ", " : "";

        ids = arena_printf(scratch->arena, "%s%s%d", ids, comma, i);
        e2e = arena_printf(scratch->arena, "%s%s1", e2e, comma);
        arrive = arena_printf(scratch->arena, "%s%s%.3f", arrive, comma, arrive_ms / 1e3);
        stages = arena_printf(scratch->arena, "%s%s[%.3f, %.3f, [0], [[0]]]", stages, comma,
                              start_ms / 1e3, (start_ms + (i == 5 ? 27 : 10)) / 1e3);
    }
    settings.trace = scratch_write(
        scratch, "t.json",
        arena_printf(scratch->arena,
                     "{\"m_0\": {\"rq_id\": [%s], \"e2e_latency\": [%s], \"arrive\": [%s], "
                     "\"stage_exec_info\": [[%s]]}}",
                     ids, e2e, arrive, stages));
    reads(scratch);
    assert_string_equal(import_rows("exclude.csv"),
                        "request_id,what\n5,stage 0 took 0.027 s; its median is 0.01 s\n"
                        "6,stage 0 waited while 5 stalled\n");
    settings.stall_ratio = 3;
    reads(scratch);
    assert_string_equal(import_rows("exclude.csv"), "request_id,what\n");
}

static void inputs_are_told_by_what_they_hold(void **state)
{
    struct scratch *scratch = *state;

    assert_true(import_run(scratch, &import_dlsim, scratch_write(scratch, "p", " \n" PLACEMENT),
                           &settings));
    assert_non_null(import_table("placement.csv"));
    assert_true(
        import_run(scratch, &import_dlsim, scratch_write(scratch, "t", "{" BERT_0 "}"), &settings));
    assert_non_null(import_table("stages.csv"));
    settings.model = "Bert";
    assert_true(
        import_run(scratch, &import_dlsim, scratch_write(scratch, "w", WORKLOAD), &settings));
    assert_non_null(import_table("workload.csv"));
    settings.workload = "other";
    assert_false(
        import_run(scratch, &import_dlsim, scratch_write(scratch, "w", WORKLOAD), &settings));
    assert_non_null(strstr(scratch->err.text, "is a workload: expected one, there is 'other'"));
    dlsim_defaults(&settings);
    fails(scratch, "a FILE is missing: expected a placement, a workload or a trace of DLSIM");
    import_fails(scratch, &import_dlsim, "-", &settings,
                 "'-' does not tell what it is: expected --placement -, --workload - or --trace -");
}

#define RULE(function) cmocka_unit_test_setup_teardown(function, begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(entries_of_a_service_are_its_replicas),
        RULE(lists_of_one_may_be_nested_or_plain),
        RULE(bad_placements_are_located),
        RULE(a_workload_is_converted_to_the_picosecond),
        RULE(python_endings_and_none_are_read),
        RULE(services_come_from_the_placement_or_the_trace),
        RULE(bad_workloads_are_located),
        RULE(only_lists_of_plain_items_are_lists),
        RULE(a_trace_gets_the_rows_and_replicas_it_ran_as),
        RULE(alone_a_trace_numbers_its_replicas_and_keeps_unique_ids),
        RULE(colliding_ids_are_numbered_by_arrival),
        RULE(keys_may_be_numbers_of_models),
        RULE(other_devices_than_placed_are_told),
        RULE(bad_traces_are_located),
        RULE(a_request_that_the_workload_lacks_is_an_error),
        RULE(stalls_and_what_waited_for_them_are_listed),
        RULE(inputs_are_told_by_what_they_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
