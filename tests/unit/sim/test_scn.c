/* test_scn.c - cases for the flow model: what the reader takes and refuses, and the reference
 * cases. */
#include "sim/network/scn.h"

#include "lib/base/units.h"
#include "sim/network/flow.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/scratch.h"

#define REAL "../shared/data/triosim/net"
#define S UNITS_PS_PER_S

static const struct scn *load(struct scratch *scratch, const char *text)
{
    scratch->err = (struct err)ERR_INIT;
    return scn_load(scratch->arena, scratch_write(scratch, "case.scn", text), &scratch->err);
}

static void assert_refused(struct scratch *scratch, const char *text, const char *expected)
{
    const char *path = arena_printf(scratch->arena, "%s/case.scn", scratch->folder);

    assert_null(load(scratch, text));
    assert_int_equal(scratch->err.kind, ERR_INPUT);
    assert_int_equal(strncmp(scratch->err.text, path, strlen(path)), 0);
    assert_string_equal(scratch->err.text + strlen(path), expected);
}

static void a_case_is_read_as_it_stands(void **state)
{
    struct scratch *scratch = *state;
    const struct scn *scn = load(scratch, "# a remark\n"
                                          "R up 125000000 0\n"
                                          "\n"
                                          "  R\tair 1 1\r\n"
                                          "F 0.5 1e3 2e-3 10 0.5 2 1 0.25 0 1\n"
                                          "F 0 1 0 7 1 0");

    assert_non_null(scn);
    assert_int_equal(scn->resource_count, 2);
    assert_string_equal(scn->resources[1].name, "air");
    assert_false(scn->resources[0].is_fat_pipe);
    assert_true(scn->resources[1].is_fat_pipe);
    assert_int_equal(scn->resources[1].line, 4);
    assert_int_equal(scn->flow_count, 2);
    assert_int_equal(scn->flows[0].start_ps, S / 2);
    assert_int_equal(scn->flows[0].latency_ps, S / 500);
    assert_true(fabs(scn->flows[0].bytes - 1000) < 1e-9);
    assert_true(fabs(scn->flows[0].bound_bytes_per_s - 10) < 1e-9);
    assert_true(fabs(scn->flows[0].penalty - 0.5) < 1e-9);
    assert_int_equal(scn->flows[0].use_count, 2);
    assert_int_equal(scn->uses[0].resource, 1);
    assert_int_equal(scn->flows[1].use_count, 0);
}

static void what_is_wrong_is_named_with_its_place(void **state)
{
    struct scratch *scratch = *state;

#define L "R a 1 0\n"
    assert_refused(scratch, "", ": no flows: expected at least one line F ...");
    assert_refused(scratch, L, ": no flows: expected at least one line F ...");
    assert_refused(
        scratch, "X 1\n",
        ":1:1: line's kind is 'X': expected R (a resource), F (a flow) or # (a comment)");
    assert_refused(scratch, "R\n", ":1:2: name is '': expected the name of a resource");
    assert_refused(scratch, "R a\n",
                   ":1:3: capacity is '': expected bytes a second from 0 to 1e18");
    assert_refused(scratch, "R a -1 0\n",
                   ":1:3: capacity is '-1': expected bytes a second from 0 to 1e18");
    assert_refused(scratch, "R a nan 0\n",
                   ":1:3: capacity is 'nan': expected bytes a second from 0 to 1e18");
    assert_refused(scratch, "R a 1e19 0\n",
                   ":1:3: capacity is '1e19': expected bytes a second from 0 to 1e18");
    assert_refused(scratch, "R a 1 2\n",
                   ":1:4: policy is '2': expected 0 (shared) or 1 (fat pipe)");
    assert_refused(scratch, "R a 1 0 9\n",
                   ":1:5: '9' is one field too many: expected R name capacity policy");
    assert_refused(scratch, L L, ":2:2: name is 'a': line 1 has a resource of this name already");
    assert_refused(scratch, L "F -1 1 0 0 1 1 0 1\n",
                   ":2:2: start is '-1': expected seconds from 0 to 9000000");
    assert_refused(scratch, L "F 9e6 1 9000001 0 1 1 0 1\n",
                   ":2:4: latency is '9000001': expected seconds from 0 to 9000000");
    assert_refused(scratch, L "F 0 -1 0 0 1 1 0 1\n",
                   ":2:3: bytes is '-1': expected bytes from 0 to 1e18");
    assert_refused(scratch, L "F 0 1 0 -2 1 1 0 1\n",
                   ":2:5: bound is '-2': expected bytes a second from 0 (none) to 1e18");
    assert_refused(scratch, L "F 0 1 0 0 0 1 0 1\n",
                   ":2:6: penalty is '0': expected a number from 1e-18 to 1e18");
    assert_refused(scratch, L "F 0 1 0 0 1 -1\n",
                   ":2:7: n is '-1': expected how many resources, 0 to 1000000");
    assert_refused(scratch, L "F 0 1 0 0 1 0\n",
                   ":2:7: n is '0': expected a resource, or a bound: nothing limits this flow");
    assert_refused(
        scratch, L "F 0 1 0 0 1 1 1 1\n",
        ":2:8: resource is '1': expected the number of a resource of a line above, 0 to 0");
    assert_refused(scratch, "F 0 1 0 0 1 1 0 1\n",
                   ":1:8: resource is '0': expected a resource: R lines stand before the flows "
                   "that use them");
    assert_refused(scratch, L "F 0 1 0 0 1 1 0 0\n",
                   ":2:9: weight is '0': expected a number from 1e-18 to 1e18");
    assert_refused(scratch, L "F 0 1 0 0 1 2 0 1\n",
                   ":2:10: resource is '': expected the number of a resource of a line above, 0 "
                   "to 0");
    assert_refused(scratch, L "F 0 1 0 0 1 1 0 1 0\n",
                   ":2:10: '0' is one field too many: expected F start bytes latency bound penalty "
                   "n, then n pairs resource weight");
    assert_refused(scratch, L "F 0 1 0 0 1 1 0 1 \xff\n", ":2: line is not UTF-8");
}

static bool run(struct scratch *scratch, const struct scn *scn, const char *changes_text,
                struct scn_result *result)
{
    struct scn_changes changes;

    assert_non_null(scn);
    if (!changes_text)
        return scn_run(scratch->arena, scn, NULL, result, &scratch->err);
    return scn_load_changes(scratch->arena, scratch_write(scratch, "c.csv", changes_text), scn,
                            &changes, &scratch->err) &&
           scn_run(scratch->arena, scn, &changes, result, &scratch->err);
}

static void latency_goes_before_the_bytes(void **state)
{
    struct scratch *scratch = *state;
    struct scn_result result;

    assert_true(
        run(scratch, load(scratch, L "F 1 2 0.5 0 1 1 0 1\nF 0 1 0 0 1 1 0 1\n"), NULL, &result));
    assert_int_equal(result.finish_ps[0], 3 * S + S / 2);
    assert_int_equal(result.finish_ps[1], S);
    assert_int_equal(result.end_ps, 3 * S + S / 2);
    assert_int_equal(result.event_count, 4);
    assert_int_equal(result.busy_ps[0], 3 * S);
    assert_true(fabs(result.bytes[0] - 3) < 1e-9);
}

static void capacities_change_in_order_of_the_table(void **state)
{
    struct scratch *scratch = *state;
    struct scn_result result;

    assert_true(run(scratch, load(scratch, L "F 0 4 0 0 1 1 0 1\n"),
                    "time_s,resource,capacity_bytes_per_s\n1,a,0\n5,a,0.5\n5,a,2\n", &result));
    assert_int_equal(result.finish_ps[0], 6 * S + S / 2);
    assert_false(run(scratch, load(scratch, L "F 0 4 0 0 1 1 0 1\n"),
                     "time_s,resource,capacity_bytes_per_s\n2,a,1\n1,a,1\n", &result));
    assert_non_null(strstr(scratch->err.text, "c.csv:3:1: time_s is '1': earlier than the row"));
    assert_false(run(scratch, load(scratch, L "F 0 4 0 0 1 1 0 1\n"),
                     "time_s,resource,capacity_bytes_per_s\n2,b,1\n", &result));
    assert_non_null(strstr(scratch->err.text, "c.csv:2:2: resource is 'b': expected a"));
}

static void flows_that_never_end_are_an_error(void **state)
{
    struct scratch *scratch = *state;
    struct scn_result result;

    assert_false(run(scratch,
                     load(scratch, L "R b 0 0\nF 0 4 0 0 1 1 0 1\nF 0 4 0 0 1 2 0 1 1 1\n"
                                     "F 3 4 0 0 1 1 1 1\n"),
                     NULL, &result));
    assert_non_null(strstr(scratch->err.text, "case.scn:4: flow 1 never ends: resource 'b' has no "
                                              "capacity (flows that never end: 2)"));
    assert_false(run(scratch, load(scratch, L "F 0 1e7 0 0 1 1 0 1\n"), NULL, &result));
    assert_non_null(strstr(scratch->err.text, "case.scn:2: flow 0 would end after 9000000 s"));
    assert_false(run(scratch, load(scratch, L "F 9e6 0 9e6 0 1 1 0 1\n"), NULL, &result));
    assert_non_null(strstr(scratch->err.text, "case.scn:2: flow 0 would end after 9000000 s"));
}

/* Seconds that the reference says flow number has ended at: lines "flow finish_s" in order. */
static void assert_finishes(const char *name, const struct scn *scn,
                            const struct scn_result *result)
{
    char path[256], line[128], *end;
    FILE *file;

    (void)snprintf(path, sizeof path, REAL "/%s.finish", name);
    file = fopen(path, "r");
    assert_non_null(file);
    for (int32_t i = 0; i < scn->flow_count; i++) {
        double finish_s, ours_s = (double)result->finish_ps[i] / 1e12;

        assert_non_null(fgets(line, sizeof line, file));
        assert_int_equal(strtol(line, &end, 10), i);
        finish_s = strtod(end, NULL);
        if (!(fabs(ours_s - finish_s) <= 1e-9))
            fail_msg("%s: flow %d ends at %.12f s, not at %.9f s", name, i, ours_s, finish_s);
    }
    assert_null(fgets(line, sizeof line, file));
    (void)fclose(file);
}

static void the_reference_cases_end_when_their_simulators_say(void **state)
{
    static const char *const names[] = {
        "star16", "ring16", "mesh3x3", "wifi8", "star16_weighted_bounded", "twolink_bottleneck"
    };
    struct scratch *scratch = *state;

    if (access(REAL "/star16.scn", R_OK) != 0) {
        print_message("skipped: no " REAL " beside this checkout\n");
        skip();
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *path = arena_printf(scratch->arena, REAL "/%s.scn", names[i]);
        const struct scn *scn = scn_load(scratch->arena, path, &scratch->err);
        struct scn_result result;

        assert_true(run(scratch, scn, NULL, &result));
        assert_finishes(names[i], scn, &result);
    }
}

int main(void)
{

    const struct CMUnitTest tests[] = {
        scratch_test(a_case_is_read_as_it_stands),
        scratch_test(what_is_wrong_is_named_with_its_place),
        scratch_test(latency_goes_before_the_bytes),
        scratch_test(capacities_change_in_order_of_the_table),
        scratch_test(flows_that_never_end_are_an_error),
        scratch_test(the_reference_cases_end_when_their_simulators_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
