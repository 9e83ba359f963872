/* test_cmd.c - the commands as a user sees them: exit status, stdout, stderr, files left behind. */
#include "tests/unit/sim/fixture.h"

#include "lib/base/cli.h"
#include "lib/base/json.h"
#include "sim/cmd/cmd.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>

#define MAX_ARGS 100
#define REQUESTS                                                                                   \
    "request_id,service,replica,arrival_s,start_s,first_token_s,finish_s,prompt_tokens,"           \
    "output_tokens,client,status\n"

typedef int command_fn(int argc, char **argv);

static void redirect(int fd, const char *name)
{
    int file = open(fixture_path(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (file < 0 || dup2(file, fd) < 0)
        _exit(99);
    close(file);
}

/* Runs "NAME ARGS" in the fixture's folder, in a child of its own since wrong use exits; what it
 * prints goes to the files out and err. */
static int command(command_fn *function, const char *name, const char *args)
{
    char *argv[MAX_ARGS + 1] = { NULL }, *words = arena_strdup(fixture.arena, args);
    int argc = 0, status;
    pid_t child;

    argv[argc++] = arena_strdup(fixture.arena, name);
    for (char *end; *words && argc < MAX_ARGS; words = end) {
        end = words + strcspn(words, " ");
        argv[argc++] = words;
        if (*end)
            *end++ = '\0';
    }
    fflush(stdout);
    fflush(stderr);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        redirect(STDOUT_FILENO, "out");
        redirect(STDERR_FILENO, "err");
        if (chdir(fixture.folder) != 0)
            _exit(99);
        exit(function(argc, argv));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int run(const char *args)
{
    return command(cmd_run, "orrery-sim run", args);
}

static int generate(const char *args)
{
    return command(cmd_generate, "orrery-sim generate", args);
}

static int check(const char *args)
{
    return command(cmd_check, "orrery-sim check", args);
}

static int trace(const char *args)
{
    return command(cmd_trace, "orrery-sim trace", args);
}

static void assert_in(const char *file, const char *text)
{
    const char *content = fixture_read(file);

    if (!strstr(content, text))
        fail_msg("'%s' is not in %s:\n%s", text, file, content);
}

static bool exists(const char *name)
{
    return access(fixture_path(name), F_OK) == 0;
}

/* No temporary file either. */
static void assert_file_count(int expected)
{
    DIR *folder = opendir(fixture.folder);
    int count = 0;

    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));)
        count += entry->d_name[0] != '.';
    closedir(folder);
    assert_int_equal(count, expected);
}

static int set_up(void **state)
{
    fixture_set_up(state);
    fixture_stages("executable,stage,latency_s\nx,0,0.010\n");
    fixture_write("p.csv", "service,replica,stage,device,executable\ns,0,0,a,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0,s\n2,0.5,s\n");
    return 0;
}

#define BASE "-p p.csv -w w.csv -c costs/t"

static void run_reports_and_exits_0(void **state)
{
    (void)state;
    assert_int_equal(run(BASE), CLI_DONE);
    assert_in("out", "requests   3: 3 ok");
    assert_in("out", "  workload   w.csv ");
    assert_string_equal(fixture_read("err"), "");
}

static void run_prints_one_json_object(void **state)
{
    const struct json *json;

    (void)state;
    assert_int_equal(run(BASE " --json --seed 7"), CLI_DONE);
    json = json_parse(fixture.arena, fixture_read("out"), "out", &fixture.err);
    assert_non_null(json);
    assert_in("out", "\"seed\": 7");
    assert_in("out", "\"path\": \"costs/t/stages.csv\"");
}

static void run_writes_all_its_files(void **state)
{
    (void)state;
    fixture_cluster("device,type\na,t\n", "medium,kind,node,bits_per_s,latency_s\n"
                                          "lan,switch,*,1e9,0.001\n");
    assert_int_equal(run(BASE " --cluster cluster --requests-out r.csv --stages-out s.csv "
                              "--transfers-out t.csv --chrome-trace c.json"),
                     CLI_DONE);
    assert_in("r.csv", "# seed: 1\nrequest_id,");
    assert_in("r.csv", "\n1,s,0,0,0.011,,0.022,,,,ok,\n");
    assert_in("s.csv", "\n0,s,0,0,a,0.001,0.011,0,,\n");
    assert_in("t.csv", "\n0,0,,source,a,lan,0,0,0.001\n");
    assert_in("c.json", "\"traceEvents\"");
    assert_file_count(6 + 4); /* p, w, costs, cluster, out, err, and these four */
}

static void run_sends_a_file_to_stdout_in_place_of_the_report(void **state)
{
    (void)state;
    assert_int_equal(run(BASE " --requests-out -"), CLI_DONE);
    assert_true(strncmp(fixture_read("out"), "# orrery: requests 1\n", 21) == 0);
    assert_null(strstr(fixture_read("out"), "goodput"));
}

static void run_exits_1_when_a_request_misses_the_slo(void **state)
{
    (void)state;
    assert_int_equal(run(BASE " --slo 20ms"), CLI_DONE);
    assert_int_equal(run(BASE " --slo 19ms --requests-out r.csv"), CLI_NO);
    assert_in("out", "66.67 % of all requests");
    assert_true(exists("r.csv"));
    fixture_write("w.csv", "request_id,arrival_s,service,slo_s\n0,0,s,0.001\n");
    assert_int_equal(run(BASE), CLI_DONE); /* without --slo the answer is not asked for */
}

/* The second request waits 10 ms for the first. */
static void run_tells_of_queues_unless_latency_alone_is_asked_for(void **state)
{
    (void)state;
    assert_int_equal(run(BASE " --json"), CLI_DONE);
    assert_in("out", "  \"queue_s\": {\n    \"mean\": 0.003333333333,\n    \"p50\": 0,");
    assert_in("out", "\"bottleneck\": \"nothing limits: device a is busy 5.9 % of the time; "
                     "latency is 75 % compute, 0.0 % transfers, 25 % queueing; the largest part "
                     "is compute\"");
    assert_in("out", "\"in_flight_s\": 0.03,\n      \"bubble_ratio\": 0\n");
    assert_int_equal(run(BASE " --json --metrics latency"), CLI_DONE);
    assert_in("out", "  \"queue_s\": {\n    \"mean\": null,");
    assert_in("out", "\"time_in_system\": null");
    assert_in("out", "\"replicas\": []");
}

static void run_refuses_options_that_could_change_nothing(void **state)
{
    static const char *const wrong[][2] = {
        { BASE " --admission slo", "--admission slo: no request has an objective" },
        { BASE " --admission late", "--admission late: no request has an objective" },
        { BASE " --switch-cost 1s", "--switch-cost: the placement has one epoch" },
        { BASE " --slo-ttft 1s", "--slo-ttft: executables have no first token" },
        { BASE " --slo-tpot 1s", "--slo-tpot: no service is a decoder" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (run(wrong[i][0]) != CLI_FAIL)
            fail_msg("accepted: %s", wrong[i][0]);
        assert_in("err", wrong[i][1]);
    }
    assert_int_equal(run(BASE " --admission slo --slo 15ms"), CLI_NO);
    assert_int_equal(run(BASE " --switch-cost 0s"), CLI_DONE);
    fixture_write("w.csv", "request_id,arrival_s,service,slo_s\n0,0,s,0.001\n1,0,s,\n");
    assert_int_equal(run(BASE " --admission slo"), CLI_DONE);
    assert_in("out", "requests   2: 1 ok, 1 dropped");
}

static void run_simulates_a_closed_loop_without_a_file(void **state)
{
    (void)state;
    assert_int_equal(run("-p p.csv -c costs --clients 2 --think constant:5ms --requests 10 "
                         "--service s"),
                     CLI_DONE);
    assert_in("out", "requests   10: 10 ok");
    assert_int_equal(
        generate("--clients 2 --think constant:5ms --requests 10 --service s -o w.csv"), CLI_DONE);
    assert_int_equal(run(BASE " --requests-out file.csv"), CLI_DONE);
    assert_int_equal(run("-p p.csv -c costs --clients 2 --think constant:5ms --requests 10 "
                         "--service s --requests-out option.csv"),
                     CLI_DONE);
    assert_in("option.csv", "\n# clients: 2\n# think: constant:5ms\n"); /* whence they come */
    assert_string_equal(strstr(fixture_read("file.csv"), "\nrequest_id"),
                        strstr(fixture_read("option.csv"), "\nrequest_id"));
}

static void run_replaces_nothing_that_it_reads(void **state)
{
    const char *workload = fixture_read("w.csv");

    (void)state;
    assert_int_equal(run(BASE " --requests-out w.csv"), CLI_FAIL);
    assert_in("err", "w.csv is read by this run: an output would replace it");
    assert_int_equal(run(BASE " --stages-out ./costs/../p.csv"), CLI_FAIL);
    assert_string_equal(fixture_read("w.csv"), workload);
}

static void run_says_when_time_ends_before_the_requests(void **state)
{
    (void)state;
    assert_int_equal(run("-p p.csv -c costs --process constant --rate 0.001/s --requests 20000 "
                         "--service s"),
                     CLI_FAIL);
    assert_in("err", "9000 of 20000 requests arrive before time ends");
}

static void other_rules_decide_for_themselves(void **state)
{
    (void)state;
    assert_int_equal(run(BASE " --rules dlsim --dispatch random"), CLI_FAIL);
    assert_in("err", "--rules dlsim has a dispatch of its own");
    assert_int_equal(run(BASE " --rules alpaserve --admission none"), CLI_FAIL);
    assert_in("err", "--rules alpaserve has an admission of its own");
    assert_int_equal(run(BASE " --rules dlsim --batch fixed:2"), CLI_FAIL);
    assert_in("err", "--rules dlsim knows no batches");
}

static void run_limits_and_rules_are_options(void **state)
{
    (void)state;
    assert_int_equal(run(BASE " --until 400ms --dispatch round-robin --batch none"), CLI_DONE);
    assert_in("out", "requests   2: 2 ok");
    assert_int_equal(run(BASE " --max-requests 1"), CLI_DONE);
    assert_in("out", "requests   1: 1 ok");
}

static void run_gives_the_same_bytes_twice(void **state)
{
    const char *first;

    (void)state;
    assert_int_equal(run(BASE " --json"), CLI_DONE);
    first = fixture_read("out");
    assert_int_equal(run(BASE " --json"), CLI_DONE);
    assert_string_equal(fixture_read("out"), first);
}

static void a_failed_run_leaves_no_file(void **state)
{
    (void)state;
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,9000000,s\n");
    fixture_stages("executable,stage,latency_s\nx,0,9000000\n");
    assert_int_equal(run(BASE " --requests-out r.csv --stages-out s.csv --chrome-trace c.json"),
                     CLI_FAIL);
    assert_in("err", "orrery-sim run: simulated time passes");
    assert_string_equal(fixture_read("out"), "");
    assert_file_count(5); /* costs, p, w, out, err */
    assert_int_equal(run(BASE " --requests-out nowhere/r.csv --stages-out s.csv"), CLI_FAIL);
    assert_in("err", "nowhere/r.csv");
    assert_file_count(5);
}

static void a_full_disk_fails_and_leaves_no_file(void **state)
{
    (void)state;
    assert_int_equal(run(BASE " --requests-out r.csv --stages-out /dev/full"), CLI_FAIL);
    assert_in("err", "/dev/full: No space left on device");
    assert_false(exists("r.csv"));
}

static void run_names_wrong_use(void **state)
{
    static const char *const wrong[][2] = {
        { "", "--placement is missing" },
        { "-p p.csv", "--costs is missing" },
        { "-p p.csv -c costs", "either --workload, or --clients" },
        { BASE " --clients 2", "either --workload, or --clients" },
        { BASE " --prompt constant:2", "describe requests that are made here" },
        { BASE " --dispatch fastest", "--dispatch" },
        { BASE " --batch continuous:8", "--batch" },
        { BASE " --slo 5", "--slo" },
        { BASE " --seed -1", "--seed" },
        { BASE " --max-requests 0", "--max-requests" },
        { BASE " extra", "'extra' is not an option" },
        { BASE " --requests-out x --stages-out x", "two outputs go to 'x'" },
        { BASE " --json --requests-out -", "cannot share stdout" },
        { "-p p.csv -c costs --clients 2 --service s --requests 5", "--clients needs" },
        { "-p p.csv -c costs --clients 2 --service s --requests 5 --think 1s", "--think" },
        { "-p p.csv -c costs --clients 2 --service s:0 --requests 5", "--service is 's:0'" },
        { BASE " --place p.csv", "--place" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (run(wrong[i][0]) != CLI_FAIL)
            fail_msg("accepted: %s", wrong[i][0]);
        assert_in("err", wrong[i][1]);
        assert_string_equal(fixture_read("out"), "");
    }
}

static void run_takes_at_most_64_costs(void **state)
{
    struct out *args = out_open_memory(fixture.arena);

    (void)state;
    out_text(args, "-p p.csv -w w.csv");
    for (int i = 0; i <= SCENARIO_MAX_COSTS; i++)
        out_text(args, " -ccosts");
    assert_int_equal(run(out_memory(args, NULL)), CLI_FAIL);
    assert_in("err", "--costs: more than 64 given");
}

static void run_reads_extra_models(void **state)
{
    (void)state;
    fixture_write("models.csv", "model,kind\n");
    assert_int_equal(run(BASE " --models models.csv"), CLI_FAIL);
    assert_in("err", "models.csv:1");
}

static void generate_writes_what_made_it(void **state)
{
    (void)state;
    assert_int_equal(generate("--process gamma --cv 2 --rate 20/s --duration 3s --service a:2 "
                              "--service b --prompt uniform:1:9 --output constant:4 --slo 1s "
                              "--seed 9 -o g.csv"),
                     CLI_DONE);
    assert_in("g.csv",
              "# process: gamma\n# rate: 20/s\n# duration: 3s\n# cv: 2\n# service: a:2 b:1\n"
              "# prompt: uniform:1:9\n# output: constant:4\n# slo: 1s\n# seed: 9\n");
    assert_in("g.csv", "request_id,arrival_s,service,prompt_tokens,output_tokens,slo_s\n0,");
    assert_int_equal(generate("--process mmpp --cv 1.2 --dwell 1s --rate 20 --requests 5 "
                              "--service a -o -"),
                     CLI_DONE);
    assert_in("out", "# process: mmpp\n# rate: 20\n# cv: 1.2\n# dwell: 1s\n# requests: 5\n");
}

static void generate_names_wrong_use(void **state)
{
    static const char *const wrong[][2] = {
        { "--process poisson --rate 1 --duration 5s --service s", "-o is missing" },
        { "--rate 1 --duration 5s --service s -o g.csv", "either --process (open)" },
        { "--process poisson --clients 2 -o g.csv", "either --process (open)" },
        { "--clients 2 --rate 1 -o g.csv", "no meaning with --clients" },
        { "--process bogus -o g.csv", "--process" },
        { "--process poisson --rate 0 -o g.csv", "--rate" },
        { "--process poisson --rate 1 --duration 5 -o g.csv", "--duration" },
        { "--process gamma --cv 0 -o g.csv", "--cv is '0'" },
        { "--process poisson --rate 1 --duration 5s --service s --prompt many -o g.csv",
          "--prompt" },
        { "--process poisson --rate 1 --duration 5s -o g.csv", "--service is missing" },
        { "--process poisson --rate 1 --duration 5s --service s -o no/g.csv", "no/g.csv" },
        { "stray", "'stray' is not an option" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (generate(wrong[i][0]) != CLI_FAIL)
            fail_msg("accepted: %s", wrong[i][0]);
        assert_in("err", wrong[i][1]);
        assert_false(exists("g.csv"));
    }
}

static void check_prints_errors_and_compares_with_the_tolerance(void **state)
{
    (void)state;
    fixture_write("p.csv", REQUESTS "0,s,0,0,0,,1.04,,,,ok\n1,s,0,0,0,,1.50,,,,ok\n");
    fixture_write("r.csv", REQUESTS "0,s,0,0,0,,1,,,,ok\n1,s,0,0,0,,1,,,,ok\n");
    fixture_write("x.csv", "1\n");
    assert_int_equal(check("--predicted p.csv --real r.csv"), CLI_DONE);
    assert_in("out", "MARE                        2 pairs       27.00 %");
    assert_int_equal(check("--predicted p.csv --real r.csv --max-mare 5%"), CLI_NO);
    assert_int_equal(check("--predicted p.csv --real r.csv --exclude x.csv --max-mare 5%"),
                     CLI_DONE);
    assert_int_equal(check("--predicted p.csv --real r.csv --max-mare 0.2 --json"), CLI_NO);
    assert_in("out", "\"pairs\": 2,\n  \"missing\": 0,\n  \"latency\": {\n    \"mare\": 0.27");
    assert_in("out", "\"predicted_s\": {\n      \"mean\": 1.27,");
    assert_in("out", "\"real_s\": {\n      \"mean\": 1,");
}

static void check_names_wrong_use(void **state)
{
    static const char *const wrong[][2] = {
        { "--real r.csv", "both required" },
        { "--real none.csv --predicted r.csv", "none.csv: No such file" },
        { "--real p.csv --predicted p.csv", "p.csv:1" },
        { "--real p.csv --predicted p.csv --max-mare x", "--max-mare is 'x'" },
        { "--real p.csv --predicted p.csv --max-mare -1%", "--max-mare" },
        { "--real p.csv --predicted p.csv --max-mare %", "--max-mare" },
        { "--real r.csv --predicted r.csv --max-mare 5", "500 %: did you mean '5%'?" },
        { "--real r.csv --predicted r.csv --max-mare 1.01", "101 %: did you mean '1.01%'?" },
        { "stray", "'stray'" },
    };

    (void)state;
    fixture_write("r.csv", REQUESTS "0,s,0,0,0,,1,,,,ok\n");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (check(wrong[i][0]) != CLI_FAIL)
            fail_msg("accepted: %s", wrong[i][0]);
        assert_in("err", wrong[i][1]);
    }
}

static void trace_writes_one_or_two_processes(void **state)
{
    (void)state;
    assert_int_equal(run(BASE " --stages-out s.csv --requests-out r.csv"), CLI_DONE);
    assert_int_equal(trace("--stages s.csv -o one.json"), CLI_DONE);
    assert_in("one.json", "\"name\":\"predicted\"");
    assert_null(strstr(fixture_read("one.json"), "measured"));
    assert_int_equal(trace("--stages s.csv --requests r.csv --against s.csv --against-requests "
                           "r.csv --names sim,real -o two.json"),
                     CLI_DONE);
    assert_in("two.json", "{\"name\":\"sim\"}");
    assert_in("two.json", "{\"name\":\"real\"}");
    assert_non_null(json_parse(fixture.arena, fixture_read("two.json"), "two.json", &fixture.err));
}

static void trace_names_wrong_use(void **state)
{
    static const char *const wrong[][2] = {
        { "--stages s.csv", "both required" },
        { "--stages s.csv --against-requests r.csv -o t.json", "needs --against" },
        { "--stages s.csv --names one -o t.json", "--names is 'one'" },
        { "--stages none.csv -o t.json", "none.csv: No such file" },
        { "--stages w.csv -o t.json", "w.csv:1" },
        { "stray", "'stray'" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (trace(wrong[i][0]) != CLI_FAIL)
            fail_msg("accepted: %s", wrong[i][0]);
        assert_in("err", wrong[i][1]);
        assert_false(exists("t.json"));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(run_reports_and_exits_0),
        TEST(run_prints_one_json_object),
        TEST(run_writes_all_its_files),
        TEST(run_sends_a_file_to_stdout_in_place_of_the_report),
        TEST(run_exits_1_when_a_request_misses_the_slo),
        TEST(run_tells_of_queues_unless_latency_alone_is_asked_for),
        TEST(run_refuses_options_that_could_change_nothing),
        TEST(run_simulates_a_closed_loop_without_a_file),
        TEST(run_replaces_nothing_that_it_reads),
        TEST(run_says_when_time_ends_before_the_requests),
        TEST(other_rules_decide_for_themselves),
        TEST(run_limits_and_rules_are_options),
        TEST(run_gives_the_same_bytes_twice),
        TEST(a_failed_run_leaves_no_file),
        TEST(a_full_disk_fails_and_leaves_no_file),
        TEST(run_names_wrong_use),
        TEST(run_takes_at_most_64_costs),
        TEST(run_reads_extra_models),
        TEST(generate_writes_what_made_it),
        TEST(generate_names_wrong_use),
        TEST(check_prints_errors_and_compares_with_the_tolerance),
        TEST(check_names_wrong_use),
        TEST(trace_writes_one_or_two_processes),
        TEST(trace_names_wrong_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
