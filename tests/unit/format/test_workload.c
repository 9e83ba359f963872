/* test_workload.c - the rules of workloads/README.md, each with a table that keeps and one that
 * breaks it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/units.h"
#include "lib/format/names.h"
#include "lib/format/workload.h"
#include "tests/unit/scratch.h"
#include <unistd.h>

#define HEAD "request_id,arrival_s,service"

static struct workload *load(struct scratch *scratch, const char *text)
{
    return workload_load(scratch->arena, scratch_write(scratch, "w.csv", text),
                         scratch_err(scratch));
}

static void expect_error(struct scratch *scratch, const char *text, const char *message)
{
    assert_null(load(scratch, text));
    assert_int_equal(scratch->err.kind, ERR_INPUT);
    assert_string_equal(scratch_message(scratch), message);
}

static void expect_error_at(struct scratch *scratch, const char *text, const char *place)
{
    assert_null(load(scratch, text));
    assert_int_equal(scratch->err.kind, ERR_INPUT);
    if (strncmp(scratch_message(scratch), place, strlen(place)) != 0)
        fail_msg("'%s' does not begin with '%s'", scratch_message(scratch), place);
}

static void every_column_is_read(void **state)
{
    struct scratch *scratch = *state;
    const struct workload *w =
        load(scratch, "batch,prefix_tokens,session,think_s,client,slo_s,output_tokens,"
                      "prompt_tokens,service,arrival_s,request_id,x_note\n"
                      "2,3,s0,0.25,c0,1.5,7,8,chat,0.126146556213,5,mine\n"
                      ",,,,,,,,code,0.126146556213,9223372036854775807,\n");
    assert_non_null(w);
    assert_int_equal(w->count, 2);
    assert_int_equal(workload_at(w, 0).request_id, 5);
    assert_int_equal(workload_at(w, 0).arrival_ps, INT64_C(126146556213));
    assert_int_equal(workload_at(w, 0).think_ps, INT64_C(250000000000));
    assert_int_equal(workload_at(w, 0).slo_ps, INT64_C(1500000000000));
    assert_int_equal(workload_at(w, 0).prompt_tokens, 8);
    assert_int_equal(workload_at(w, 0).output_tokens, 7);
    assert_int_equal(workload_at(w, 0).prefix_tokens, 3);
    assert_int_equal(workload_at(w, 0).batch, 2);
    assert_string_equal(w->services[workload_at(w, 0).service], "chat");
    assert_string_equal(w->clients[workload_at(w, 0).client], "c0");
    assert_string_equal(w->sessions[workload_at(w, 0).session], "s0");
    assert_int_equal(workload_at(w, 1).request_id, INT64_MAX);
    assert_string_equal(w->services[workload_at(w, 1).service], "code");
    assert_int_equal(workload_at(w, 1).client, -1);
    assert_int_equal(workload_at(w, 1).session, -1);
    assert_int_equal(workload_at(w, 1).slo_ps, 0);
    assert_int_equal(workload_at(w, 1).batch, 1);
    assert_int_equal(workload_line(w, 1), 3);
    assert_int_equal(w->service_column, 9);
    assert_int_equal(w->prompt_column, 8);
    assert_int_equal(w->output_column, 7);
    assert_int_equal(w->batch_column, 1);
    assert_false(w->has_tokens);
}

static void names_are_numbered_in_order_of_appearance(void **state)
{
    struct scratch *scratch = *state;
    const struct workload *w = load(scratch, HEAD ",client\n"
                                                  "0,0,b,z\n1,0,a,y\n2,0,b,z\n3,1,c,x\n");

    assert_non_null(w);
    assert_int_equal(w->service_count, 3);
    assert_string_equal(w->services[0], "b");
    assert_string_equal(w->services[1], "a");
    assert_string_equal(w->services[2], "c");
    assert_int_equal(workload_at(w, 2).service, 0);
    assert_int_equal(w->client_count, 3);
    assert_int_equal(workload_at(w, 2).client, 0);
    assert_int_equal(w->session_count, 0);
}

static void thousands_of_names_keep_their_numbers(void **state)
{
    struct scratch *scratch = *state;
    struct names *names = names_create(scratch->arena);
    char text[32];

    for (int i = 0; i < 5000; i++) {
        (void)snprintf(text, sizeof text, "client%d", i);
        assert_int_equal(names_put(names, text), i);
    }
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(text, sizeof text, "client%d", i);
        assert_int_equal(names_find(names, text), i);
        assert_int_equal(names_put(names, text), i);
        assert_string_equal(names_list(names)[i], text);
    }
    assert_int_equal(names_find(names, "client5000"), -1);
    assert_int_equal(names_find_bytes(names, "client12345", 9), 123);
    assert_int_equal(names_find_bytes(names, "client12345", 3), -1);
    assert_int_equal(names_put_bytes(names, "client12345", 10), 1234);
    assert_int_equal(names_put_bytes(names, "client12345", 11), 5000);
    assert_string_equal(names_list(names)[5000], "client12345");
    assert_int_equal(names_count(names), 5001);
}

static void ids_must_rise_strictly(void **state)
{
    expect_error(*state, HEAD "\n3,0,a\n3,1,a\n",
                 "w.csv:3:1: request_id is '3': must be above 3, the one in the row before");
    expect_error(*state, HEAD "\n3,0,a\n2,1,a\n",
                 "w.csv:3:1: request_id is '2': must be above 3, the one in the row before");
    expect_error_at(*state, HEAD "\n-3,0,a\n", "w.csv:2:1: request_id is '-3': ");
    expect_error_at(*state, HEAD "\n,0,a\n", "w.csv:2:1: request_id is '': ");
    expect_error_at(*state, HEAD "\n9223372036854775808,0,a\n", "w.csv:2:1: request_id is '9");
    expect_error_at(*state, HEAD "\n1.5,0,a\n", "w.csv:2:1: request_id is '1.5': ");
}

static void arrivals_must_be_sorted_seconds(void **state)
{
    static const char *const bad[] = { "-1", "abc", "nan", "1e999", "inf", "0x10", "9000001" };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[64], place[64];

        (void)snprintf(text, sizeof text, HEAD "\n0,%s,a\n", bad[i]);
        (void)snprintf(place, sizeof place, "w.csv:2:2: arrival_s is '%s': ", bad[i]);
        expect_error_at(*state, text, place);
    }
    expect_error_at(*state, HEAD "\n0,\"1,2\",a\n", "w.csv:2:2: arrival_s is '1,2': ");
    expect_error(*state, HEAD "\n0,2,a\n1,1.5,a\n",
                 "w.csv:3:2: arrival_s is '1.5': earlier than 2, an arrival above it; rows must be "
                 "sorted by arrival");
}

static void an_arrival_may_be_empty_only_for_a_client_or_a_session(void **state)
{
    const struct workload *w = load(*state, HEAD ",client,session,think_s\n"
                                                 "0,,a,c,,0.5\n1,3,a,,,\n2,,a,,s,\n3,3,a,c,,\n");

    assert_non_null(w);
    assert_int_equal(workload_at(w, 0).arrival_ps, WORKLOAD_CLOSED);
    assert_int_equal(workload_at(w, 0).think_ps, UNITS_PS_PER_S / 2);
    assert_int_equal(workload_at(w, 1).arrival_ps, 3 * UNITS_PS_PER_S);
    assert_int_equal(workload_at(w, 2).arrival_ps, WORKLOAD_CLOSED);
    assert_int_equal(workload_at(w, 2).session, 0);
    expect_error(*state, HEAD ",client\n0,,a,\n",
                 "w.csv:2:2: arrival_s is '': expected seconds; only a row with a client or a "
                 "session may leave it empty");
    expect_error_at(*state, HEAD ",client,think_s\n0,,a,c,-1\n", "w.csv:2:5: think_s is '-1': ");
}

static void token_counts_are_positive_and_the_prefix_is_part_of_the_prompt(void **state)
{
    const struct workload *w = load(*state, HEAD ",prompt_tokens,output_tokens\n0,0,a,1,\n");

    assert_non_null(w);
    assert_true(w->has_tokens);
    assert_int_equal(workload_at(w, 0).output_tokens, 0);
    expect_error_at(*state, HEAD ",prompt_tokens\n0,0,a,0\n", "w.csv:2:4: prompt_tokens is '0': ");
    expect_error_at(*state, HEAD ",prompt_tokens\n0,0,a,4294967297\n",
                    "w.csv:2:4: prompt_tokens is '4294967297': ");
    expect_error_at(*state, HEAD ",output_tokens\n0,0,a,-1\n", "w.csv:2:4: output_tokens is '-1'");
    expect_error(*state, HEAD ",prompt_tokens,prefix_tokens\n0,0,a,5,6\n",
                 "w.csv:2:5: prefix_tokens is '6': expected at most prompt_tokens, which is 5");
    expect_error_at(*state, HEAD ",batch\n0,0,a,0\n", "w.csv:2:4: batch is '0': ");
    expect_error_at(*state, HEAD ",slo_s\n0,0,a,0\n", "w.csv:2:4: slo_s is '0': ");
    expect_error_at(*state, HEAD "\n0,0,\n", "w.csv:2:3: service is '': ");
}

static void a_table_must_be_there_whole_and_have_a_row(void **state)
{
    struct scratch *scratch = *state;

    expect_error(scratch, HEAD "\n", "w.csv: no requests: expected at least one row");
    expect_error_at(scratch, "", "w.csv:");
    expect_error_at(scratch, HEAD "\n0,0\n", "w.csv:2: ");
    expect_error_at(scratch, HEAD "\n0,0,a,4\n", "w.csv:2: ");
    expect_error_at(scratch, "request_id,arrival_s\n0,0\n", "w.csv:1: missing column 'service'");
    expect_error_at(scratch, HEAD ",servise\n0,0,a,b\n", "w.csv:1:4: unknown column 'servise'");
    expect_error_at(scratch, "# orrery: placement 1\n" HEAD "\n0,0,a\n", "w.csv:1: ");
    assert_null(workload_load(scratch->arena,
                              arena_printf(scratch->arena, "%s/none.csv", scratch->folder),
                              scratch_err(scratch)));
    assert_int_equal(scratch->err.kind, ERR_SYSTEM);
}

static void lines_are_kept_across_blank_ones(void **state)
{
    const struct workload *w =
        load(*state, "# orrery: workload 1\n\n" HEAD "\n0,0,a\n\n1,0,a\n2,0,a\n\n\n3,0,a");
    static const long lines[] = { 4, 6, 7, 10 };

    assert_non_null(w);
    assert_int_equal(w->count, 4);
    for (size_t i = 0; i < w->count; i++)
        assert_int_equal(workload_line(w, i), lines[i]);
}

static void a_column_that_says_nothing_is_not_kept(void **state)
{
    const struct workload *w = load(*state, HEAD ",slo_s,client,think_s,session,prompt_tokens,"
                                                 "output_tokens,prefix_tokens,batch\n"
                                                 "0,0,a,,,0,,,,0,1\n1,0,a,,,,,,,,\n");

    assert_non_null(w);
    assert_non_null(w->arrivals_ps);
    assert_null(w->request_ids);
    assert_null(w->service_ids);
    assert_null(w->slos_ps);
    assert_null(w->client_ids);
    assert_null(w->thinks_ps);
    assert_null(w->session_ids);
    assert_null(w->prompt_tokens);
    assert_null(w->output_tokens);
    assert_null(w->prefix_tokens);
    assert_null(w->batches);
}

/* Rows of defaults first, so that every column begins late and grows. */
static void a_built_workload_gives_back_its_rows(void **state)
{
    enum { COUNT = 3000 };
    struct scratch *scratch = *state;
    struct workload_builder *builder = workload_build(scratch->arena, "rows");
    struct workload_request rows[COUNT];
    struct workload *w;

    for (int i = 0; i < COUNT; i++) {
        int32_t n = i < 100 ? 0 : i % 7;

        rows[i] = (struct workload_request){ .request_id = i < 50 ? i : 2 * i,
                                             .arrival_ps = n == 1 ? WORKLOAD_CLOSED : i,
                                             .think_ps = n,
                                             .slo_ps = 2 * n,
                                             .service = n % 2,
                                             .client = n % 3 - 1,
                                             .session = n % 4 - 1,
                                             .prompt_tokens = 3 * n,
                                             .output_tokens = 4 * n,
                                             .prefix_tokens = n / 2,
                                             .batch = 1 + n };
    }
    assert_int_equal(workload_builder_service(builder, "a"), 0);
    assert_int_equal(workload_builder_service(builder, "b"), 1);
    assert_int_equal(workload_builder_client(builder, "c"), 0);
    assert_int_equal(workload_builder_client(builder, "d"), 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(workload_builder_session(builder, &"xyz"[i]), i);
    assert_int_equal(workload_builder_service(builder, "a"), 0);
    for (int i = 0; i < COUNT; i++)
        workload_builder_add(builder, &rows[i]);
    assert_int_equal(workload_builder_count(builder), COUNT);
    w = workload_builder_finish(builder);
    assert_int_equal(w->count, COUNT);
    assert_int_equal(w->service_count, 2);
    assert_int_equal(w->client_count, 2);
    assert_int_equal(w->session_count, 3);
    assert_false(w->has_tokens);
    for (size_t i = 0; i < COUNT; i++) {
        const struct workload_request row = workload_at(w, i);

        assert_memory_equal(&row, &rows[i],
                            offsetof(struct workload_request, batch) + sizeof row.batch);
        assert_int_equal(workload_line(w, i), 0);
    }
}

static void reserved_columns_are_made_once(void **state)
{
    struct scratch *scratch = *state;
    struct workload_builder *builder = workload_build(scratch->arena, "rows");
    size_t before_bytes = arena_used_bytes(scratch->arena);
    const struct workload *w;

    workload_builder_reserve(builder, 10000);
    for (int32_t i = 0; i < 10000; i++)
        workload_builder_add(builder, &(struct workload_request){ .request_id = i,
                                                                  .arrival_ps = i,
                                                                  .client = -1,
                                                                  .session = -1,
                                                                  .prompt_tokens = 1 + i,
                                                                  .batch = 1 });
    w = workload_builder_finish(builder);
    assert_true(w->has_tokens);
    assert_int_equal(arena_used_bytes(scratch->arena) - before_bytes, 10000 * (8 + 4));
}

static void what_is_written_reads_back_the_same(void **state)
{
    static const char text[] = "# orrery: workload 1\n"
                               "# seed: 1\n"
                               "# note: two lines\n"
                               "request_id,arrival_s,service,prompt_tokens,output_tokens,slo_s,"
                               "client,think_s,session,prefix_tokens,batch\n"
                               "0,0,chat,8,2,,,,,,\n"
                               "1,0.1,\"a,b\",,,2.5,c0,,,,\n"
                               "4,,chat,9,1,,c0,0.000000000001,s0,4,3\n";
    static const char *const meta[] = { "seed", "1", "note", "two\nlines", NULL };
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);
    const struct workload *w = load(scratch, text);

    assert_non_null(w);
    workload_write(out, w, meta);
    assert_string_equal(scratch_text(out), text);
}

static void columns_that_nobody_uses_are_not_written(void **state)
{
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);
    const struct workload *w = load(scratch, HEAD ",client,slo_s,batch\n0,0,a,,,1\n1,2,a,,,\n");

    assert_non_null(w);
    workload_write(out, w, NULL);
    assert_string_equal(scratch_text(out), "# orrery: workload 1\n" HEAD "\n0,0,a\n1,2,a\n");
}

static void real_workloads_are_read_whole(void **state)
{
    static const struct {
        const char *path;
        size_t count;
        int session_count;
    } files[] = {
        { "../shared/data/workloads/azure_llm_2023_conv_first600s.csv", 2867, 0 },
        { "../shared/data/workloads/azure_llm_2023_code_first600s.csv", 1482, 0 },
        { "../shared/data/workloads/mlperf_edge_multiturn_est.csv", 1007, 20 },
    };
    struct scratch *scratch = *state;

    if (access("../shared/data/workloads", R_OK) != 0) {
        print_message("skipped: no ../shared/data/workloads beside this checkout\n");
        skip();
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const struct workload *w = workload_load(scratch->arena, files[i].path, &scratch->err);

        if (!w)
            fail_msg("%s", scratch->err.text);
        assert_int_equal(w->count, files[i].count);
        assert_int_equal(w->session_count, files[i].session_count);
        assert_true(w->has_tokens);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(every_column_is_read),
        scratch_test(names_are_numbered_in_order_of_appearance),
        scratch_test(thousands_of_names_keep_their_numbers),
        scratch_test(ids_must_rise_strictly),
        scratch_test(arrivals_must_be_sorted_seconds),
        scratch_test(an_arrival_may_be_empty_only_for_a_client_or_a_session),
        scratch_test(token_counts_are_positive_and_the_prefix_is_part_of_the_prompt),
        scratch_test(a_table_must_be_there_whole_and_have_a_row),
        scratch_test(lines_are_kept_across_blank_ones),
        scratch_test(a_column_that_says_nothing_is_not_kept),
        scratch_test(a_built_workload_gives_back_its_rows),
        scratch_test(reserved_columns_are_made_once),
        scratch_test(what_is_written_reads_back_the_same),
        scratch_test(columns_that_nobody_uses_are_not_written),
        scratch_test(real_workloads_are_read_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
