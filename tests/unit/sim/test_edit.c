/* test_edit.c - merging, splitting, cutting and scaling workloads, with rows that wait. */
#include "sim/workload/edit.h"

#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/generate/generate.h"
#include "tests/unit/scratch.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define S UNITS_PS_PER_S

/* Open rows, a session that begins at 2 s, two clients, and a session of one of them. */
#define MIXED                                                                                      \
    "request_id,arrival_s,service,prompt_tokens,output_tokens,slo_s,client,think_s,session,"       \
    "prefix_tokens,batch\n"                                                                        \
    "0,0.5,chat,10,1,2,,,,,\n"                                                                     \
    "1,2,chat,20,2,,,,s0,,\n"                                                                      \
    "2,,chat,30,3,,,1.5,s0,22,\n"                                                                  \
    "5,2.5,code,40,4,,,,,,3\n"                                                                     \
    "6,3,code,50,5,,c0,0.25,,,\n"                                                                  \
    "7,,code,60,6,,c0,0.5,,,\n"                                                                    \
    "8,4,code,70,7,,c1,,s1,,\n"                                                                    \
    "9,,chat,80,8,,c1,0.125,s1,77,\n"                                                              \
    "11,7.5,chat,90,9,,,,,,\n"

static struct workload *load_text(struct scratch *scratch, const char *name, const char *rows)
{
    struct workload *workload =
        workload_load(scratch->arena, scratch_write(scratch, name, rows), scratch_err(scratch));

    if (!workload)
        fail_msg("%s", scratch->err.text);
    return workload;
}

/* What would be written, without metadata. */
static const char *text_of(struct scratch *scratch, const struct workload *workload)
{
    struct out *out = out_open_memory(scratch->arena);

    workload_write(out, workload, NULL);
    return strchr(scratch_text(out), '\n') + 1;
}

static void assert_text(struct scratch *scratch, const struct workload *workload, const char *text)
{
    if (!workload)
        fail_msg("%s", scratch->err.text);
    assert_string_equal(text_of(scratch, workload), text);
}

static void assert_message(struct scratch *scratch, const char *text)
{
    if (!strstr(scratch_message(scratch), text))
        fail_msg("'%s' is not in: %s", text, scratch->err.text);
    scratch_err(scratch);
}

/* The rows of text with ids 0, 1, ... */
static const char *renumbered(struct scratch *scratch, const char *text)
{
    struct out *out = out_open_memory(scratch->arena);
    int id = 0;

    out_bytes(out, text, strcspn(text, "\n") + 1);
    for (text = strchr(text, '\n') + 1; *text; text = strchr(text, '\n') + 1) {
        const char *comma = strchr(text, ',');

        out_int(out, id++);
        out_bytes(out, comma, strcspn(comma, "\n") + 1);
    }
    return scratch_text(out);
}

/* ---- merge ---- */

static void merged_rows_come_by_arrival_then_id_then_file(void **state)
{
    struct scratch *scratch = *state;
    struct workload *parts[3] = {
        load_text(scratch, "a.csv", "request_id,arrival_s,service\n0,1,a\n4,2,a\n9,3,a\n"),
        load_text(scratch, "b.csv", "request_id,arrival_s,service\n0,1,b\n3,2,b\n"),
        load_text(scratch, "c.csv", "request_id,arrival_s,service\n7,0,b\n8,9,c\n"),
    };

    assert_text(scratch, edit_merge(scratch->arena, parts, 3, EDIT_REFUSE, scratch_err(scratch)),
                "request_id,arrival_s,service\n"
                "0,0,b\n1,1,a\n2,1,b\n3,2,b\n4,2,a\n5,3,a\n6,9,c\n");
}

static void rows_that_wait_stay_behind_the_row_above(void **state)
{
    struct scratch *scratch = *state;
    struct workload *parts[2] = {
        load_text(scratch, "a.csv", "request_id,arrival_s,service,session\n0,1,a,x\n1,,a,x\n"),
        load_text(scratch, "b.csv", "request_id,arrival_s,service\n0,0.5,b\n2,1,b\n3,1.5,b\n"),
    };

    assert_text(scratch, edit_merge(scratch->arena, parts, 2, EDIT_REFUSE, scratch_err(scratch)),
                "request_id,arrival_s,service,session\n"
                "0,0.5,b,\n1,1,a,x\n2,,a,x\n3,1,b,\n4,1.5,b,\n");
}

static void one_name_in_two_files_is_refused_joined_or_renamed(void **state)
{
    struct scratch *scratch = *state;
    struct workload *parts[3] = {
        load_text(scratch, "a.csv",
                  "request_id,arrival_s,service,client,session\n0,,a,c0,x\n1,,a,c0,\n"),
        load_text(scratch, "b.csv", "request_id,arrival_s,service,client\n0,,b,new\n1,,b,c0\n"),
        load_text(scratch, "c.csv",
                  "request_id,arrival_s,service,client,session\n"
                  "0,,c,c0.3,\n1,0,c,,x\n"),
    };

    assert_null(edit_merge(scratch->arena, parts, 2, EDIT_REFUSE, scratch_err(scratch)));
    assert_message(scratch, "b.csv:3: client 'c0' is in a file before, too");
    assert_non_null(edit_merge(scratch->arena, parts + 1, 2, EDIT_REFUSE, scratch_err(scratch)));
    assert_text(scratch, edit_merge(scratch->arena, parts, 2, EDIT_JOIN, scratch_err(scratch)),
                "request_id,arrival_s,service,client,session\n"
                "0,,a,c0,x\n1,,b,new,\n2,,a,c0,\n3,,b,c0,\n");
    /* Of the third file only the session is taken, but all of its names change alike. */
    assert_text(scratch, edit_merge(scratch->arena, parts, 3, EDIT_RENAME, scratch_err(scratch)),
                "request_id,arrival_s,service,client,session\n"
                "0,,a,c0,x\n1,,b,new.2,\n2,,c,c0.3.3,\n3,,a,c0,\n4,,b,c0.2,\n5,0,c,,x.3\n");
}

/* ---- split ---- */

static void round_robin_goes_by_rows_where_nobody_waits(void **state)
{
    struct scratch *scratch = *state;
    const char *rows = "request_id,arrival_s,service\n0,1,a\n1,1,b\n2,1,a\n3,2,c\n4,3,a\n";
    struct workload *workload = load_text(scratch, "w.csv", rows);
    struct edit_parts parts;

    assert_true(edit_split_into(scratch->arena, workload, 2, &parts, scratch_err(scratch)));
    assert_int_equal(parts.count, 2);
    assert_text(scratch, parts.parts[0], "request_id,arrival_s,service\n0,1,a\n2,1,a\n4,3,a\n");
    assert_text(scratch, parts.parts[1], "request_id,arrival_s,service\n1,1,b\n3,2,c\n");
    assert_text(scratch, edit_merge(scratch->arena, parts.parts, 2, EDIT_REFUSE, &scratch->err),
                rows);
}

static void round_robin_keeps_together_what_waits(void **state)
{
    struct scratch *scratch = *state;
    struct workload *workload = load_text(scratch, "w.csv", MIXED);
    struct edit_parts parts;

    /* Units: row 0, s0, row 5, c0, c1 with s1, row 11. */
    assert_true(edit_split_into(scratch->arena, workload, 3, &parts, scratch_err(scratch)));
    assert_text(scratch, parts.parts[0],
                "request_id,arrival_s,service,prompt_tokens,output_tokens,slo_s,client,think_s\n"
                "0,0.5,chat,10,1,2,,\n6,3,code,50,5,,c0,0.25\n7,,code,60,6,,c0,0.5\n");
    assert_int_equal(parts.parts[1]->count, 4);
    assert_int_equal(parts.parts[1]->client_count, 1);
    assert_int_equal(parts.parts[1]->session_count, 2);
    assert_int_equal(parts.parts[2]->count, 2);
    assert_text(scratch,
                edit_merge(scratch->arena, parts.parts, 3, EDIT_REFUSE, scratch_err(scratch)),
                renumbered(scratch, text_of(scratch, workload)));
    assert_false(edit_split_into(scratch->arena, workload, 7, &parts, scratch_err(scratch)));
    assert_message(scratch, "w.csv: 7 parts of 6 requests, or groups");
}

/* A session whose client has other rows ties them all together, in whatever order they come. */
static void groups_are_chains_of_clients_and_sessions(void **state)
{
    struct scratch *scratch = *state;
    struct workload *workload = load_text(scratch, "w.csv",
                                          "request_id,arrival_s,service,client,session\n"
                                          "0,,a,c0,\n1,,a,c1,\n2,,a,c2,\n3,,a,c2,s0\n4,,a,c1,s0\n"
                                          "5,,a,,s1\n6,,a,c0,s1\n");
    struct edit_parts parts;

    assert_true(edit_split_into(scratch->arena, workload, 2, &parts, scratch_err(scratch)));
    assert_int_equal(parts.parts[0]->count, 3); /* c0, s1 */
    assert_int_equal(parts.parts[1]->count, 4); /* c1, c2, s0 */
    assert_false(edit_split_into(scratch->arena, workload, 3, &parts, scratch_err(scratch)));
}

static void intervals_cut_at_their_start(void **state)
{
    struct scratch *scratch = *state;
    struct workload *workload = load_text(scratch, "w.csv", MIXED);
    struct edit_parts parts;

    assert_true(
        edit_split_every(scratch->arena, workload, 2 * S, false, &parts, scratch_err(scratch)));
    assert_int_equal(parts.count, 4);
    assert_int_equal(parts.parts[0]->count, 1);
    assert_int_equal(parts.parts[1]->count, 5);
    assert_int_equal(parts.parts[2]->count, 2);
    assert_text(scratch, parts.parts[3],
                "request_id,arrival_s,service,prompt_tokens,output_tokens\n11,7.5,chat,90,9\n");
    assert_text(scratch,
                edit_merge(scratch->arena, parts.parts, 4, EDIT_REFUSE, scratch_err(scratch)),
                renumbered(scratch, text_of(scratch, workload)));
    assert_true(edit_split_every(scratch->arena, workload, S, true, &parts, scratch_err(scratch)));
    assert_int_equal(parts.count, 8);
    assert_null(parts.parts[1]); /* nothing arrives from 1 to 2 s */
    assert_text(scratch, parts.parts[4],
                "request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s,session,"
                "prefix_tokens\n8,0,code,70,7,c1,,s1,\n9,,chat,80,8,c1,0.125,s1,77\n");
}

static void cuts_by_time_of_rows_without_one_are_refused(void **state)
{
    struct scratch *scratch = *state;
    struct workload *workload =
        load_text(scratch, "w.csv", "request_id,arrival_s,service,client\n0,1,a,\n1,,a,c0\n");
    struct edit_slice slice = { .from_ps = S };
    struct edit_parts parts;

    assert_false(
        edit_split_every(scratch->arena, workload, S, false, &parts, scratch_err(scratch)));
    assert_message(scratch, "w.csv:3: a row without an arrival_s");
    assert_null(edit_slice(scratch->arena, workload, &slice, scratch_err(scratch)));
    assert_message(scratch, "w.csv:3: a row without an arrival_s");
    slice = (struct edit_slice){ .first = 2 };
    assert_non_null(edit_slice(scratch->arena, workload, &slice, scratch_err(scratch)));
    assert_false(
        edit_split_every(scratch->arena, workload, S / 1000, false, &parts, scratch_err(scratch)));
    assert_message(scratch, "w.csv:2: this row would be in part 1000: expected at most 500");
}

/* ---- slice ---- */

static void a_slice_has_the_rows_of_its_window(void **state)
{
    struct scratch *scratch = *state;
    struct workload *workload = load_text(scratch, "w.csv", MIXED);
    struct edit_slice slice = { .from_ps = 2 * S, .to_ps = 4 * S };

    assert_text(scratch, edit_slice(scratch->arena, workload, &slice, scratch_err(scratch)),
                "request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s,session,"
                "prefix_tokens,batch\n"
                "1,0,chat,20,2,,,s0,,\n2,,chat,30,3,,1.5,s0,22,\n5,0.5,code,40,4,,,,,3\n"
                "6,1,code,50,5,c0,0.25,,,\n7,,code,60,6,c0,0.5,,,\n");
    slice.is_kept = true;
    slice.first = 1;
    assert_text(scratch, edit_slice(scratch->arena, workload, &slice, scratch_err(scratch)),
                "request_id,arrival_s,service,prompt_tokens,output_tokens,session\n"
                "1,2,chat,20,2,s0\n");
    slice = (struct edit_slice){ .from_ps = 8 * S };
    assert_null(edit_slice(scratch->arena, workload, &slice, scratch_err(scratch)));
    assert_message(scratch, "w.csv: no request arrives in the window");
}

/* ---- scale ---- */

static struct workload *scaled(struct scratch *scratch, const struct workload *workload,
                               struct edit_scale scale)
{
    return edit_scale(scratch->arena, workload, &scale, scratch_err(scratch));
}

static void times_are_multiplied_exactly(void **state)
{
    struct scratch *scratch = *state;
    struct workload *workload = load_text(scratch, "w.csv", MIXED), *half;

    half = scaled(scratch, workload, (struct edit_scale){ .time_scale = GENERATE_SCALE_UNIT / 2 });
    for (size_t i = 0; i < workload->count; i++) {
        struct workload_request a = workload_at(workload, i), b = workload_at(half, i);

        assert_true(b.arrival_ps ==
                    (a.arrival_ps == WORKLOAD_CLOSED ? WORKLOAD_CLOSED : a.arrival_ps / 2));
        assert_true(b.think_ps == a.think_ps / 2);
        assert_true(b.slo_ps == a.slo_ps);
        assert_true(b.request_id == a.request_id);
        assert_int_equal(b.prefix_tokens, a.prefix_tokens);
    }
    assert_text(scratch,
                scaled(scratch, half, (struct edit_scale){ .time_scale = 2 * GENERATE_SCALE_UNIT }),
                text_of(scratch, workload));
}

static void rates_are_multiplied_and_think_times_stay(void **state)
{
    struct scratch *scratch = *state;
    struct workload *workload = load_text(scratch, "w.csv", MIXED), *fast;

    fast = scaled(scratch, workload, (struct edit_scale){ .rate_scale = 4 * GENERATE_SCALE_UNIT });
    assert_true(fast->arrivals_ps[8] == 15 * S / 8);
    assert_true(fast->thinks_ps[2] == 3 * S / 2);
    /* Six arrivals in 7 s become 10/s: five gaps in 0.5 s. */
    fast = scaled(scratch, workload, (struct edit_scale){ .rate_per_s = 10 });
    assert_true(fast->arrivals_ps[8] - fast->arrivals_ps[0] == S / 2);
}

static void copies_are_requests_of_others(void **state)
{
    struct scratch *scratch = *state;
    struct workload *workload = load_text(
        scratch, "w.csv", "request_id,arrival_s,service,session\n3,1,a,\n5,2,a,x\n6,,a,x\n");

    assert_text(scratch, scaled(scratch, workload, (struct edit_scale){ .copies = 2 }),
                "request_id,arrival_s,service,session\n0,1,a,\n1,1,a,\n2,2,a,x\n3,2,a,x.2\n"
                "4,,a,x\n5,,a,x.2\n");
}

static double cv_of(const struct workload *workload)
{
    double n = (double)workload->count - 1, squares = 0;
    double mean =
        (double)(workload->arrivals_ps[workload->count - 1] - workload->arrivals_ps[0]) / n;

    for (size_t i = 1; i < workload->count; i++) {
        double away = (double)(workload->arrivals_ps[i] - workload->arrivals_ps[i - 1]) - mean;

        squares += away * away;
    }
    return sqrt(squares / n) / mean;
}

static void gaps_vary_as_asked_within_the_same_span(void **state)
{
    static const double cvs[] = { 0, 0.3, 1, 3, 12 };
    struct scratch *scratch = *state;
    struct generate_options options = {
        .process = GENERATE_POISSON, .rate_per_s = 5, .max_requests = 2000, .seed = 1
    };
    struct workload *workload;

    assert_true(generate_parse_service(scratch->arena, "a", &options, scratch_err(scratch)));
    workload = generate_open(scratch->arena, &options, &scratch->err);
    for (size_t k = 0; k < sizeof(cvs) / sizeof(cvs[0]); k++) {
        struct workload *other =
            scaled(scratch, workload, (struct edit_scale){ .has_cv = true, .cv = cvs[k] });

        assert_non_null(other);
        assert_true(fabs(cv_of(other) - cvs[k]) < 1e-6);
        assert_true(other->arrivals_ps[0] == workload->arrivals_ps[0]);
        assert_true(other->arrivals_ps[1999] == workload->arrivals_ps[1999]);
        for (size_t i = 1; i < 2000; i++)
            assert_true(other->arrivals_ps[i] >= other->arrivals_ps[i - 1]);
    }
}

static void scales_without_a_meaning_are_refused(void **state)
{
    struct scratch *scratch = *state;
    struct workload *closed = load_text(
        scratch, "c.csv", "request_id,arrival_s,service,client,think_s\n0,,a,c,1\n1,,a,c,2\n");
    struct workload *once =
        load_text(scratch, "o.csv", "request_id,arrival_s,service\n0,5,a\n1,5,a\n2,5,a\n");
    struct workload *late =
        load_text(scratch, "l.csv", "request_id,arrival_s,service\n0,0,a\n1,1,a\n2,8000000,a\n");

    assert_null(scaled(scratch, closed, (struct edit_scale){ .rate_scale = 5 }));
    assert_message(scratch, "c.csv: no row has an arrival_s: --rate-scale has no meaning");
    assert_null(scaled(scratch, closed, (struct edit_scale){ .has_cv = true, .cv = 1 }));
    assert_message(scratch, "c.csv: 0 arrivals of different times");
    assert_non_null(scaled(scratch, closed, (struct edit_scale){ .time_scale = 5 }));
    assert_null(scaled(scratch, once, (struct edit_scale){ .rate_per_s = 5 }));
    assert_message(scratch, "o.csv: all rows arrive at once: --rate has nothing to scale");
    assert_null(scaled(scratch, once, (struct edit_scale){ .has_cv = true, .cv = 1 }));
    assert_message(scratch, "o.csv: 3 arrivals of different times");
    assert_null(
        scaled(scratch, late, (struct edit_scale){ .time_scale = 2 * GENERATE_SCALE_UNIT }));
    assert_message(scratch, "l.csv:4: this row would come after 9000000 s");
    assert_null(scaled(scratch, late, (struct edit_scale){ .has_cv = true, .cv = 50 }));
    assert_message(scratch, "--cv is '50': the gaps of this workload can be made to vary from 0");
    assert_null(scaled(scratch, late, (struct edit_scale){ .copies = 100000000 }));
    assert_message(scratch, "expected at most 100000000 in all");
    assert_null(scaled(scratch, late, (struct edit_scale){ .rate_per_s = 1e-9 }));
    assert_message(scratch, "take 2e+09 s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(merged_rows_come_by_arrival_then_id_then_file),
        scratch_test(rows_that_wait_stay_behind_the_row_above),
        scratch_test(one_name_in_two_files_is_refused_joined_or_renamed),
        scratch_test(round_robin_goes_by_rows_where_nobody_waits),
        scratch_test(round_robin_keeps_together_what_waits),
        scratch_test(groups_are_chains_of_clients_and_sessions),
        scratch_test(intervals_cut_at_their_start),
        scratch_test(cuts_by_time_of_rows_without_one_are_refused),
        scratch_test(a_slice_has_the_rows_of_its_window),
        scratch_test(times_are_multiplied_exactly),
        scratch_test(rates_are_multiplied_and_think_times_stay),
        scratch_test(copies_are_requests_of_others),
        scratch_test(gaps_vary_as_asked_within_the_same_span),
        scratch_test(scales_without_a_meaning_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
