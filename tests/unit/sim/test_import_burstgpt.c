/* test_import_burstgpt.c - BurstGPT, and what it shares with all replays: order, slices, speed. */
#include "sim/import/burstgpt.h"

#include "tests/unit/sim/import_run.h"

#define HEAD "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
#define ROWS                                                                                       \
    HEAD "5,ChatGPT,472,18,490,Conversation log\n"                                                 \
         "45.25,ChatGPT,1087,0,1087,API log\n"                                                     \
         "46,GPT-4,417,276,693,API log\n"                                                          \
         "118,ChatGPT,1360,647,2007,Conversation log\n"

static struct burstgpt_settings settings;

static int begin(void **state)
{
    settings = (struct burstgpt_settings){ .log_type = NULL };
    replay_defaults(&settings.replay);
    return scratch_begin(state);
}

static void reads(struct scratch *scratch, const char *text)
{
    if (!import_run(scratch, &import_burstgpt, scratch_write(scratch, "b.csv", text), &settings))
        fail_msg("%s", scratch->err.text);
    (void)import_workload(scratch, NULL);
}

static void fails(struct scratch *scratch, const char *text, const char *message)
{
    import_fails(scratch, &import_burstgpt, scratch_write(scratch, "b.csv", text), &settings,
                 message);
}

static void services_are_models_and_failures_are_dropped(void **state)
{
    struct scratch *scratch = *state;

    reads(scratch, ROWS);
    assert_string_equal(import_rows(NULL), "request_id,arrival_s,service,prompt_tokens,"
                                           "output_tokens\n"
                                           "0,0,ChatGPT,472,18\n"
                                           "1,41,GPT-4,417,276\n"
                                           "2,113,ChatGPT,1360,647\n");
    assert_int_equal(run.report.read, 4);
    assert_int_equal(run.report.kept, 3);
    assert_int_equal(run.report.reason_count, 1);
    assert_string_equal(run.report.reasons[0].why, "failed (0 response tokens)");
    assert_int_equal(run.report.reasons[0].rows, 1);
}

static void failures_may_be_kept_as_one_token(void **state)
{
    settings.keeps_failed = true;
    settings.replay.service_count = 1;
    settings.replay.services[0] = "chat";
    reads(*state, ROWS);
    assert_string_equal(import_rows(NULL), "request_id,arrival_s,service,prompt_tokens,"
                                           "output_tokens\n"
                                           "0,0,chat,472,18\n"
                                           "1,40.25,chat,1087,1\n"
                                           "2,41,chat,417,276\n"
                                           "3,113,chat,1360,647\n");
}

/* Time still counts from the first row of the file, though it is left out. */
static void rows_are_filtered_by_log_type_and_model(void **state)
{
    settings.log_type = "API log";
    reads(*state, ROWS);
    assert_string_equal(import_rows(NULL), "request_id,arrival_s,service,prompt_tokens,"
                                           "output_tokens\n0,41,GPT-4,417,276\n");
    settings.log_type = NULL;
    settings.model = "ChatGPT";
    reads(*state, ROWS);
    assert_int_equal(run.report.kept, 2);
    settings.log_type = "none";
    fails(*state, ROWS,
          "b.csv: no request is left: 4 rows read, 0 kept, 4 dropped (4 of another log type)");
}

static void later_files_have_more_columns(void **state)
{
    reads(*state, "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total "
                  "tokens,Log Type\n7.5,s1,0.3,GPT-4,3,4,7,API log\n");
    assert_string_equal(import_rows(NULL), "request_id,arrival_s,service,prompt_tokens,"
                                           "output_tokens\n0,0,GPT-4,3,4\n");
}

static void rows_out_of_order_are_sorted_stably_and_counted(void **state)
{
    reads(*state, HEAD "10,a,1,1,2,x\n30,b,2,2,4,x\n20,c,3,3,6,x\n20,d,4,4,8,x\n5,e,5,5,10,x\n"
                       "30,f,6,6,12,x\n");
    assert_string_equal(import_rows(NULL), "request_id,arrival_s,service,prompt_tokens,"
                                           "output_tokens\n"
                                           "0,0,e,5,5\n"
                                           "1,5,a,1,1\n"
                                           "2,15,c,3,3\n"
                                           "3,15,d,4,4\n"
                                           "4,25,b,2,2\n"
                                           "5,25,f,6,6\n");
    assert_string_equal(run.report.notes, "3 rows stood out of order, sorted");
}

static void a_slice_begins_at_zero_and_its_end_is_outside(void **state)
{
    settings.replay.from_ps = 41 * UNITS_PS_PER_S;
    settings.replay.until_ps = 113 * UNITS_PS_PER_S;
    reads(*state, ROWS);
    assert_string_equal(import_rows(NULL), "request_id,arrival_s,service,prompt_tokens,"
                                           "output_tokens\n0,0,GPT-4,417,276\n");
    assert_string_equal(run.report.reasons[1].why, "outside --from and --until");
    assert_int_equal(run.report.reasons[1].rows, 2);
}

static void scale_and_copies_change_times_exactly(void **state)
{
    settings.replay.scale_nano = 333333333;
    settings.replay.copies = 2;
    settings.replay.slo_ps = UNITS_PS_PER_S / 2;
    reads(*state, ROWS);
    assert_string_equal(import_rows(NULL), "request_id,arrival_s,service,prompt_tokens,"
                                           "output_tokens,slo_s\n"
                                           "0,0,ChatGPT,472,18,0.5\n"
                                           "1,0,ChatGPT,472,18,0.5\n"
                                           "2,13.666666653,GPT-4,417,276,0.5\n"
                                           "3,13.666666653,GPT-4,417,276,0.5\n"
                                           "4,37.666666629,ChatGPT,1360,647,0.5\n"
                                           "5,37.666666629,ChatGPT,1360,647,0.5\n");
}

static void months_are_cut_before_they_are_simulated(void **state)
{
    static const char rows[] = HEAD "0.25,a,1,1,2,x\n10454400.5,a,1,1,2,x\n";

    fails(*state, rows,
          "b.csv:3: arrives 10454400 s after the first row: expected at most 9000000 s, so cut it "
          "with --from and --until");
    settings.replay.until_ps = 60 * UNITS_PS_PER_S;
    reads(*state, rows);
    assert_int_equal(run.report.kept, 1);
    settings.replay.until_ps = 0;
    settings.replay.scale_nano = 1000000000000000;
    fails(*state, HEAD "0,a,1,1,2,x\n10,a,1,1,2,x\n",
          "b.csv:3: arrives after more than 9000000 s at this --time-scale");
    settings.replay.copies = 100000000;
    fails(*state, HEAD "0,a,1,1,2,x\n10,a,1,1,2,x\n",
          "2 requests, each 100000000 times: expected at most 100000000 in all");
}

static void bad_rows_are_located(void **state)
{
    fails(*state, "Timestamp,Model\n", "b.csv:1: missing column 'Request tokens'");
    fails(*state, HEAD "soon,a,1,1,2,x\n",
          "b.csv:2:1: Timestamp is 'soon': expected decimal seconds");
    fails(*state, HEAD "1,,1,1,2,x\n", "b.csv:2:2: Model is '': expected the name of a model");
    fails(*state, HEAD "1,a,-1,1,2,x\n",
          "b.csv:2:3: Request tokens is '-1': expected a whole number from 0 to 1000000000");
    fails(*state, HEAD "1,a,1,1.5,2,x\n",
          "b.csv:2:4: Response tokens is '1.5': not a whole number");
    fails(*state, HEAD "1,a,1,1,x,x\n", "b.csv:2:5: Total tokens is 'x': not a whole number");
    fails(*state, HEAD "1,a,0,1,1,x\n",
          "b.csv: no request is left: 1 row read, 0 kept, 1 dropped (1 without request tokens)");
    fails(*state, HEAD, "b.csv: no request is left: 0 rows read, 0 kept, 0 dropped");
    settings.log_type = "x";
    fails(*state, "Timestamp,Model,Request tokens,Response tokens\n1,a,1,1\n",
          "b.csv: no column 'Log Type', which --log-type asks for");
    import_fails(*state, &import_burstgpt, NULL, &settings,
                 "a FILE is missing: what to import (- is stdin)");
}

#define RULE(function) cmocka_unit_test_setup_teardown(function, begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(services_are_models_and_failures_are_dropped),
        RULE(failures_may_be_kept_as_one_token),
        RULE(rows_are_filtered_by_log_type_and_model),
        RULE(later_files_have_more_columns),
        RULE(rows_out_of_order_are_sorted_stably_and_counted),
        RULE(a_slice_begins_at_zero_and_its_end_is_outside),
        RULE(scale_and_copies_change_times_exactly),
        RULE(months_are_cut_before_they_are_simulated),
        RULE(bad_rows_are_located),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
