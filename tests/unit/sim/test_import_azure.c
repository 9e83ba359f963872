/* test_import_azure.c - Azure's three public layouts: tokens, counts a minute, invocations. */
#include "sim/import/azure.h"

#include "lib/base/rng.h"
#include "tests/unit/sim/import_run.h"
#include <inttypes.h>
#include <math.h>
#include <unistd.h>

#define MINUTE_PS (60 * UNITS_PS_PER_S)
#define LLM_HEAD "TIMESTAMP,ContextTokens,GeneratedTokens\n"
#define DAY_HEAD "HashOwner,HashApp,HashFunction,Trigger,1,2,3,4\n"
#define CALLS_HEAD "app,func,end_timestamp,duration\n"
#define LAYOUTS                                                                                    \
    ": expected TIMESTAMP,ContextTokens,GeneratedTokens (LLM inference), "                         \
    "HashOwner,HashApp,HashFunction,Trigger,1,2,... (Functions 2019) or "                          \
    "app,func,end_timestamp,duration (Functions 2021)"

static struct azure_settings settings;

static int begin(void **state)
{
    azure_defaults(&settings);
    return scratch_begin(state);
}

static void set_services(int count)
{
    static const char *const names[] = { "a", "b", "c", "d" };

    settings.replay.service_count = count;
    for (int i = 0; i < count; i++)
        settings.replay.services[i] = names[i];
}

static void set_process(enum azure_process process)
{
    settings.process = process;
    settings.process_text = azure_process_names[process];
}

static const struct workload *reads(struct scratch *scratch, const char *text)
{
    if (!import_run(scratch, &import_azure, scratch_write(scratch, "x.csv", text), &settings))
        fail_msg("%s", scratch->err.text);
    return import_workload(scratch, NULL);
}

static void fails(struct scratch *scratch, const char *text, const char *message)
{
    import_fails(scratch, &import_azure, scratch_write(scratch, "x.csv", text), &settings, message);
}

/* ---- LLM inference ---- */

static void dates_become_exact_arrivals(void **state)
{
    reads(*state, LLM_HEAD "2023-11-16 23:59:59.9999999,374,44\n"
                           "2023-11-17 00:00:00.0000001,396,109\n"
                           "2023-11-17 00:00:04.3145790,879,55\n");
    assert_string_equal(import_rows(NULL), "request_id,arrival_s,service,prompt_tokens,"
                                           "output_tokens\n"
                                           "0,0,llm,374,44\n"
                                           "1,0.0000002,llm,396,109\n"
                                           "2,4.3145791,llm,879,55\n");
    assert_string_equal(run.report.layout, "LLM inference trace");
}

static void rows_without_tokens_are_dropped_or_kept(void **state)
{
    static const char rows[] = LLM_HEAD "2023-11-16 18:15:46,5,0\n2023-11-16 18:15:47,0,4\n"
                                        "2023-11-16 18:15:48,5,6\n";

    set_services(1);
    reads(*state, rows);
    assert_string_equal(import_rows(NULL), "request_id,arrival_s,service,prompt_tokens,"
                                           "output_tokens\n0,2,a,5,6\n");
    settings.keeps_empty = true;
    reads(*state, rows);
    assert_string_equal(import_rows(NULL), "request_id,arrival_s,service,prompt_tokens,"
                                           "output_tokens\n0,0,a,5,1\n1,2,a,5,6\n");
    assert_string_equal(run.report.reasons[0].why, "without context tokens");
}

/* Our excerpts were cut from these files: written back in their layout they come out the same. */
static void check_excerpt(struct scratch *scratch, const char *name)
{
    const char *path = arena_printf(scratch->arena, "../shared/data/workloads/%s", name);
    const struct workload *real = workload_load(scratch->arena, path, scratch_err(scratch)),
                          *imported;
    struct out *out = out_open_memory(scratch->arena);

    assert_non_null(real);
    out_text(out, LLM_HEAD);
    for (size_t i = 0; i < real->count; i++) {
        struct workload_request row = workload_at(real, i);
        /* From 18:15:46.6805900 on, in units of 100 ns. */
        int64_t at =
            row.arrival_ps / 100000 + (INT64_C(18 * 3600 + 15 * 60 + 46)) * 10000000 + 6805900;

        assert_true(row.arrival_ps % 100000 == 0);
        out_printf(out, "2023-11-16 %02d:%02d:%02d.%07d,%d,%d\n", (int)(at / 36000000000),
                   (int)(at / 600000000 % 60), (int)(at / 10000000 % 60), (int)(at % 10000000),
                   row.prompt_tokens, row.output_tokens);
    }
    imported = reads(scratch, scratch_text(out));
    assert_int_equal(imported->count, real->count);
    for (size_t i = 0; i < real->count; i++) {
        struct workload_request a = workload_at(real, i), b = workload_at(imported, i);

        assert_true(a.arrival_ps == b.arrival_ps && a.prompt_tokens == b.prompt_tokens &&
                    a.output_tokens == b.output_tokens);
    }
}

static void real_excerpts_come_back(void **state)
{
    if (access("../shared/data/workloads", R_OK) != 0) {
        print_message("skipped: no ../shared/data/workloads beside this checkout\n");
        skip();
    }
    check_excerpt(*state, "azure_llm_2023_conv_first600s.csv");
    check_excerpt(*state, "azure_llm_2023_code_first600s.csv");
}

/* ---- Functions 2021 ---- */

#define CALLS                                                                                      \
    CALLS_HEAD "A,f,79.5,0.25\nA,g,80,3.5\nB,f,80.5,0.25\nA,f,81.125,0\n"                          \
               "B,g,82,0\n"

static void invocations_arrive_at_their_end_less_their_duration(void **state)
{
    reads(*state, CALLS);
    assert_string_equal(import_rows(NULL), "request_id,arrival_s,service\n"
                                           "0,0,functions\n"
                                           "1,2.75,functions\n"
                                           "2,3.75,functions\n"
                                           "3,4.625,functions\n"
                                           "4,5.5,functions\n");
    assert_string_equal(run.report.notes, "1 row stood out of order, sorted");
}

/* Functions in order of the file: A,f A,g B,f B,g. */
static void functions_are_mapped_in_stripes_or_blocks(void **state)
{
    set_services(2);
    reads(*state, CALLS);
    assert_string_equal(import_rows(NULL), "request_id,arrival_s,service\n"
                                           "0,0,b\n1,2.75,a\n2,3.75,a\n3,4.625,a\n4,5.5,b\n");
    settings.map = AZURE_ROUND_ROBIN;
    reads(*state, CALLS);
    assert_string_equal(import_rows(NULL), "request_id,arrival_s,service\n"
                                           "0,0,a\n1,2.75,a\n2,3.75,b\n3,4.625,a\n4,5.5,b\n");
    settings.map = AZURE_STRIPE;
    settings.replay.from_ps = UNITS_PS_PER_S; /* A,g is out: A,f B,f B,g are left */
    reads(*state, CALLS);
    assert_string_equal(import_rows(NULL), "request_id,arrival_s,service\n"
                                           "0,1.75,a\n1,2.75,b\n2,3.625,a\n3,4.5,a\n");
    set_services(4);
    fails(*state, CALLS,
          "3 functions with invocations in the slice for 4 services: expected at least one a "
          "service");
}

static void a_replay_may_be_faster_and_have_tokens(void **state)
{
    const struct workload *workload;

    settings.replay.scale_nano = 500000000;
    settings.replay.copies = 3;
    settings.prompt = "uniform:8:64";
    settings.output = "constant:7";
    workload = reads(*state, CALLS);
    assert_int_equal(workload->count, 15);
    assert_true(workload->arrivals_ps[3] == 11 * UNITS_PS_PER_S / 8);
    assert_true(workload->has_tokens);
    assert_int_equal(workload_at(workload, 14).output_tokens, 7);
    assert_non_null(strstr(run.report.notes, "seed 1"));
}

/* ---- fits ---- */

#define MANY 20000

static double *draw(struct scratch *scratch, bool is_pareto, double shape)
{
    double *gaps_s = arena_array(scratch->arena, MANY, sizeof *gaps_s);
    struct rng rng = rng_stream(3, RNG_TEST, 0);

    for (int i = 0; i < MANY; i++)
        gaps_s[i] = is_pareto ? rng_pareto(&rng, shape, 0.01) : rng_gamma(&rng, shape, 0.1);
    return gaps_s;
}

static void assert_near(double seen, double expected, double relative)
{
    if (!(fabs(seen / expected - 1) < relative))
        fail_msg("%g is not near %g", seen, expected);
}

static void fits_find_what_was_drawn(void **state)
{
    static const double shapes[] = { 0.05, 0.25, 1, 4, 100 };
    static const double tails[] = { 1.5, 3, 6 };

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        double shape = shapes[i], interval_s = MANY * shape * 0.1;
        const double *gaps_s = draw(*state, false, shape);
        struct azure_gaps gaps = azure_fit(AZURE_GAMMA, gaps_s, MANY, MANY, interval_s);

        assert_near(gaps.shape, shape, 0.03);
        assert_near(gaps.rate_per_s, 1 / (shape * 0.1), 0.05);
        gaps = azure_fit(AZURE_EXPONENTIAL, gaps_s, MANY, MANY, interval_s);
        assert_near(gaps.rate_per_s, 1 / (shape * 0.1), 0.05);
    }
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        double shape = tails[i], mean_s = 0.01 * shape / (shape - 1);
        struct azure_gaps gaps =
            azure_fit(AZURE_PARETO, draw(*state, true, shape), MANY, MANY, MANY * mean_s);

        assert_near(gaps.shape, shape, 0.03);
        assert_near(gaps.rate_per_s, 1 / mean_s, 0.06);
    }
}

/* The likelihood of a gamma fit has no slope: log k - psi(k) = log(mean) - mean(log). */
static void gaps_that_are_alike_give_a_steady_process(void **state)
{
    static const double alike[] = { 0.5, 0.5, 0.5, 0.5 };
    struct azure_gaps gaps = azure_fit(AZURE_GAMMA, alike, 4, 5, 2.5);

    (void)state;
    assert_true(gaps.shape > 1e7);
    assert_near(gaps.rate_per_s, 2, 1e-9);
    gaps = azure_fit(AZURE_PARETO, alike, 4, 5, 2.5);
    assert_true(gaps.shape > 1e7);
    assert_near(gaps.rate_per_s, 2, 1e-6);
}

static void a_fit_beyond_five_times_the_seen_rate_gets_the_seen_rate(void **state)
{
    static const double burst[] = { 0.001, 0.002, 0.001 };
    static const double tail[] = { 1e-6, 10, 100, 300 };
    struct azure_gaps gaps = azure_fit(AZURE_EXPONENTIAL, burst, 3, 4, 600);

    (void)state;
    assert_near(gaps.rate_per_s, 4.0 / 600, 1e-12);
    gaps = azure_fit(AZURE_GAMMA, burst, 3, 4, 0.02); /* 750/s fitted, 200/s seen */
    assert_near(gaps.rate_per_s, 750, 1e-9);
    gaps = azure_fit(AZURE_PARETO, tail, 4, 5, 600); /* no mean */
    assert_int_equal(gaps.process, AZURE_EXPONENTIAL);
    assert_near(gaps.rate_per_s, 5.0 / 600, 1e-12);
    gaps = azure_fit(AZURE_GAMMA, burst, 1, 2, 600);
    assert_int_equal(gaps.process, AZURE_EXPONENTIAL);
    assert_near(gaps.rate_per_s, 2.0 / 600, 1e-12);
    assert_true(azure_fit(AZURE_GAMMA, NULL, 0, 0, 600).rate_per_s == 0);
}

/* A busy trace of exponential gaps: what is drawn from its fits is as busy. */
static void drawn_invocations_keep_rate_and_variation(void **state)
{
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);
    struct rng rng = rng_stream(5, RNG_TEST, 1);
    const struct workload *workload;
    double at_s = 0;

    out_text(out, CALLS_HEAD);
    for (int i = 0; i < 6000; i++) {
        at_s += rng_exponential(&rng, 0.5);
        out_printf(out, "A,f,%.9f,0\n", at_s);
    }
    settings.replay.until_ps = 3000 * UNITS_PS_PER_S;
    for (enum azure_process p = AZURE_EXPONENTIAL; p <= AZURE_GAMMA; p++) {
        set_process(p);
        settings.rate_scale = 1;
        workload = reads(scratch, scratch_text(out));
        assert_near((double)workload->count, 6000, 0.06);
        assert_true(workload->arrivals_ps[workload->count - 1] < 3000 * UNITS_PS_PER_S);
        settings.rate_scale = 0.25;
        workload = reads(scratch, scratch_text(out));
        assert_near((double)workload->count, 1500, 0.1);
    }
    settings.rate_scale = 1;
    settings.cv_scale = 3; /* of about 1 */
    settings.cv_scale_text = "3";
    workload = reads(scratch, scratch_text(out));
    {
        double sum = 0, squares = 0, n = (double)(workload->count - 1);

        for (size_t i = 1; i < workload->count; i++) {
            double gap = (double)(workload->arrivals_ps[i] - workload->arrivals_ps[i - 1]);

            sum += gap;
            squares += gap * gap;
        }
        assert_near(sqrt(squares / n - sum / n * sum / n) / (sum / n), 3, 0.1);
    }
}

/* ---- Functions 2019 ---- */

static void counts_become_the_rates_of_their_minutes(void **state)
{
    const struct workload *workload;
    int64_t seen[2][4] = { { 0 } };

    set_services(2);
    workload = reads(*state, DAY_HEAD "o,a,f,http,3000,0,6000,0\n"
                                      "o,a,none,timer,0,0,0,0\n"
                                      "o,a,g,queue,0,4500,0,1\n"
                                      "o,b,f,http,1500,0,0,0\n");
    for (size_t i = 0; i < workload->count; i++)
        seen[workload_at(workload, i).service != workload_at(workload, 0).service]
            [workload->arrivals_ps[i] / MINUTE_PS]++;
    assert_string_equal(workload->services[workload_at(workload, 0).service], "a");
    assert_near((double)seen[0][0], 4500, 0.06); /* f of app a and, behind g, f of app b */
    assert_near((double)seen[0][2], 6000, 0.06);
    assert_near((double)seen[1][1], 4500, 0.06);
    assert_int_equal(seen[0][1] + seen[0][3] + seen[1][0] + seen[1][2], 0);
    assert_int_equal(run.report.read, 4);
    assert_int_equal(run.report.kept, 3);
    assert_string_equal(run.report.reasons[0].why, "without invocations in the slice");
}

static void intervals_and_slices_are_whole_minutes(void **state)
{
    const struct workload *workload;
    int64_t seen[2] = { 0 };

    settings.interval_ps = 2 * MINUTE_PS;
    settings.replay.from_ps = MINUTE_PS;
    workload = reads(*state, DAY_HEAD "o,a,f,http,9000,3000,0,2000\n");
    for (size_t i = 0; i < workload->count; i++)
        seen[workload->arrivals_ps[i] / (2 * MINUTE_PS)]++;
    assert_near((double)seen[0], 3000, 0.06);
    assert_near((double)seen[1], 2000, 0.08);
    assert_true(workload->arrivals_ps[workload->count - 1] < 3 * MINUTE_PS);
    settings.replay.from_ps = UNITS_PS_PER_S;
    fails(*state, DAY_HEAD "o,a,f,http,1,1,1,1\n",
          "--interval, --from and --until: Functions 2019 are counts a minute: expected whole "
          "minutes");
}

static void gamma_counts_have_the_given_cv(void **state)
{
    const struct workload *workload;
    double sum = 0, squares = 0, n;

    set_process(AZURE_GAMMA);
    settings.cv = 2;
    settings.cv_text = "2";
    settings.interval_ps = 4 * MINUTE_PS;
    workload = reads(*state, DAY_HEAD "o,a,f,http,9000,9000,9000,9000\n");
    n = (double)(workload->count - 1);
    for (size_t i = 1; i < workload->count; i++) {
        double gap = (double)(workload->arrivals_ps[i] - workload->arrivals_ps[i - 1]);

        sum += gap;
        squares += gap * gap;
    }
    assert_near(n, 36000, 0.05);
    assert_near(sqrt(squares / n - sum / n * sum / n) / (sum / n), 2, 0.06);
}

static void further_files_are_further_days(void **state)
{
    struct scratch *scratch = *state;
    const char *files[2];
    const struct workload *workload;

    files[0] = scratch_write(scratch, "d1.csv", DAY_HEAD "o,a,f,http,60,0,0,0\n");
    files[1] = scratch_write(scratch, "d2.csv", DAY_HEAD "o,a,f,http,0,600,0,0\n");
    run = (struct import_job){
        .arena = scratch->arena, .importer = "azure", .files = files, .file_count = 2
    };
    assert_true(azure_import(&run, &settings, scratch_err(scratch)));
    workload = import_workload(scratch, NULL);
    assert_near((double)workload->count, 660, 0.15);
    assert_true(workload->arrivals_ps[workload->count - 1] > 1441 * MINUTE_PS);
    assert_true(workload->arrivals_ps[workload->count - 1] < 1442 * MINUTE_PS);
    files[1] = scratch_write(scratch, "c.csv", CALLS);
    assert_false(azure_import(&run, &settings, scratch_err(scratch)));
    assert_string_equal(scratch_message(scratch),
                        "c.csv: not a day of Functions 2019, as the first file is");
}

static void adding_a_service_shifts_no_draw_of_another(void **state)
{
    struct scratch *scratch = *state;
    const struct workload *one, *two;
    size_t k = 0;

    settings.prompt = "uniform:1:1000";
    set_services(1);
    one = reads(scratch, DAY_HEAD "o,a,f,http,100,100,100,100\n");
    set_services(2);
    two = reads(scratch, DAY_HEAD "o,a,f,http,100,100,100,100\no,a,g,http,50,0,50,0\n");
    for (size_t i = 0; i < two->count; i++) {
        struct workload_request row = workload_at(two, i);

        if (strcmp(two->services[row.service], "a") != 0)
            continue;
        assert_true(one->arrivals_ps[k] == row.arrival_ps);
        assert_int_equal(workload_at(one, k).prompt_tokens, row.prompt_tokens);
        k++;
    }
    assert_int_equal(k, one->count);
    assert_true(two->count > one->count);
}

/* ---- what is refused ---- */

static void other_layouts_are_told_what_was_expected(void **state)
{
    fails(*state, "request_id,b\n1,2\n", "x.csv:1:1: unknown column 'request_id'" LAYOUTS);
    fails(*state, "x_a\n1\n", "x.csv:1: missing column 'TIMESTAMP'" LAYOUTS);
    fails(*state, "TIMESTAMP,ContextTokens\n", "x.csv:1: missing column 'GeneratedTokens'" LAYOUTS);
    fails(*state, "app,func,end_timestamp,TIMESTAMP\n",
          "x.csv:1: missing column 'ContextTokens'" LAYOUTS);
    fails(*state, CALLS_HEAD, "x.csv: no request is left: 0 rows read, 0 kept, 0 dropped");
    fails(*state, "TIMESTAMP,ContextTokens,GeneratedTokens,app\n",
          "x.csv:1: unexpected column 'app'" LAYOUTS);
    fails(*state, "HashOwner,HashApp,HashFunction,Trigger,1,3\n",
          "x.csv:1: missing column '2': expected the minutes of a day from 1 on without a gap");
    fails(*state, "HashOwner,HashApp,HashFunction,Trigger\n",
          "x.csv:1: missing column '1'" LAYOUTS);
}

static void bad_rows_are_located(void **state)
{
    fails(*state, LLM_HEAD "yesterday,1,1\n",
          "x.csv:2:1: TIMESTAMP is 'yesterday': expected a "
          "date such as 2023-11-16 18:15:46.68");
    fails(*state, LLM_HEAD "2023-11-16 18:15:46,x,1\n",
          "x.csv:2:2: ContextTokens is 'x': not a whole number");
    fails(*state, LLM_HEAD "2023-11-16 18:15:46,1,-2\n",
          "x.csv:2:3: GeneratedTokens is '-2': expected a whole number from 0 to 1000000000");
    fails(*state, CALLS_HEAD "A,,1,0\n", "x.csv:2:2: func is '': expected the name of a function");
    fails(*state, CALLS_HEAD "A,f,x,0\n",
          "x.csv:2:3: end_timestamp is 'x': expected decimal seconds");
    fails(*state, CALLS_HEAD "A,f,1,-0.5\n",
          "x.csv:2:4: duration is '-0.5': expected at least 0 seconds");
    fails(*state, DAY_HEAD "o,a,,http,0,0,0,0\n",
          "x.csv:2:3: HashFunction is '': expected the name of a function");
    fails(*state, DAY_HEAD "o,a,f,http,0,0,0.5,0\n", "x.csv:2:7: 3 is '0.5': not a whole number");
    fails(*state, DAY_HEAD "o,a,f,http,0,0,0,0\n",
          "x.csv: no request is left: 1 row read, 0 kept, 1 dropped (1 without invocations in "
          "the slice)");
    settings.rate_scale = 1e-9;
    fails(*state, DAY_HEAD "o,a,f,http,1,0,0,0\n",
          "x.csv: no request is drawn: raise --rate-scale, or take a longer slice");
}

static void options_of_another_layout_are_refused(void **state)
{
    struct scratch *scratch = *state;
    static const char llm[] = LLM_HEAD "2023-11-16 18:15:46,1,1\n";
    static const char day[] = DAY_HEAD "o,a,f,http,1,1,1,1\n";

    set_services(2);
    fails(scratch, llm, "--service is given twice: the LLM inference trace is of one service");
    set_services(0);
    settings.prompt = "constant:1";
    fails(scratch, llm,
          "--prompt has no meaning for the LLM inference trace, which is replayed "
          "with its tokens");
    settings.prompt = NULL;
    set_process(AZURE_VANILLA);
    fails(scratch, day,
          "--process is 'vanilla': Functions 2019 are counts a minute: expected "
          "exponential or gamma");
    set_process(AZURE_GAMMA);
    fails(scratch, day,
          "--process gamma and --cv belong together: counts a minute do not tell a cv");
    settings.cv_text = "2";
    settings.cv = 2;
    fails(scratch, CALLS,
          "--cv has no meaning for Functions 2021, where gaps are fitted "
          "(--cv-scale)");
    settings.replay.time_scale = "2";
    fails(scratch, day,
          "--time-scale has no meaning for Functions 2019, which are counts a "
          "minute");
    settings.cv_text = NULL;
    fails(scratch, CALLS, "--time-scale has no meaning for drawn arrivals (use --rate-scale)");
    settings.replay.time_scale = NULL;
    set_process(AZURE_PARETO);
    settings.cv_scale_text = "2";
    fails(scratch, CALLS, "--cv-scale has a meaning for --process gamma alone");
    set_process(AZURE_VANILLA);
    fails(scratch, CALLS,
          "--cv-scale has no meaning for --process vanilla, which replays what was "
          "recorded");
    set_process(AZURE_EXPONENTIAL);
    settings.cv_scale_text = NULL;
    settings.interval_ps = 1;
    settings.interval = "1ps";
    fails(scratch, CALLS, "--interval is '1ps': expected at most 10000000 intervals in the trace");
    import_fails(scratch, &import_azure, NULL, &settings,
                 "a FILE is missing: what to import (- is stdin)");
}

#define RULE(function) cmocka_unit_test_setup_teardown(function, begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(dates_become_exact_arrivals),
        RULE(rows_without_tokens_are_dropped_or_kept),
        RULE(real_excerpts_come_back),
        RULE(invocations_arrive_at_their_end_less_their_duration),
        RULE(functions_are_mapped_in_stripes_or_blocks),
        RULE(a_replay_may_be_faster_and_have_tokens),
        RULE(fits_find_what_was_drawn),
        RULE(gaps_that_are_alike_give_a_steady_process),
        RULE(a_fit_beyond_five_times_the_seen_rate_gets_the_seen_rate),
        RULE(drawn_invocations_keep_rate_and_variation),
        RULE(counts_become_the_rates_of_their_minutes),
        RULE(intervals_and_slices_are_whole_minutes),
        RULE(gamma_counts_have_the_given_cv),
        RULE(further_files_are_further_days),
        RULE(adding_a_service_shifts_no_draw_of_another),
        RULE(other_layouts_are_told_what_was_expected),
        RULE(bad_rows_are_located),
        RULE(options_of_another_layout_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
