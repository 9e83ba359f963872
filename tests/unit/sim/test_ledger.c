/* test_ledger.c - what was taken is booked on every stage, so that a prediction comes true. By
 * hand, and at random against a recursion of its own. */
#include "tests/unit/sim/fixture.h"

#include "lib/base/rng.h"

#define STAGES "executable,stage,latency_s,gap_s\n"
#define PLACED "service,replica,stage,device,executable\n"
#define REQUESTS "request_id,arrival_s,service\n"
#define OBJECTIVES "request_id,arrival_s,service,slo_s\n"

static enum trace_status status_of(size_t index)
{
    return fixture.result.requests[index].status;
}

static void many_requests(int count)
{
    struct out *out = out_open_memory(fixture.arena);

    out_text(out, REQUESTS);
    for (int i = 0; i < count; i++)
        out_printf(out, "%d,0,s\n", i);
    fixture_write("w.csv", out_memory(out, NULL));
}

/* The second stage does ten a 100 ms, and begins after 5. */
static void requests_that_come_at_once_are_booked_on_later_stages(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.005,0\nx,1,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    many_requests(100);
    fixture.options.admission = ADMIT_SLO;
    fixture.options.slo_ps = 100 * MS;
    fixture_must_run();
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(status_of(i), i < 9 ? TRACE_OK : TRACE_DROPPED);
    assert_request_ms(8, 0, 40, 95);
}

/* With late ones start in stage 0 that reach stage 1 in time; of batches the first, which finds a
 * free, is of one. */
static void starts_are_booked_on_later_stages(void **state)
{
    (void)state;
    fixture_stages("executable,stage,batch,latency_s\nx,0,1,0.005\nx,1,1,0.010\n"
                   "x,0,2,0.005\nx,1,2,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    many_requests(100);
    fixture.options.admission = ADMIT_LATE;
    fixture.options.slo_ps = 100 * MS;
    fixture_must_run();
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(status_of(i), i < 9 ? TRACE_OK : TRACE_DROPPED);
    fixture.options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 2 };
    fixture_must_run();
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(status_of(i), i < 17 ? TRACE_OK : TRACE_DROPPED);
}

/* a has one of 10 at b before it from 0 on; it fails at 4, and the next one has b for itself. */
static void what_is_lost_is_booked_no_more(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.005,0\nx,1,0.010,0\ny,0,0.001,0\ny,1,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\nr,0,0,c,y\nr,0,1,b,y\n");
    fixture_write("w.csv", OBJECTIVES "0,0,s,\n1,0,r,0.011\n2,0.003,r,0.011\n3,0.004,r,0.011\n");
    fixture_write("e.csv", "time_s,target,event,value\n0.004,a,down,\n");
    fixture.options.admission = ADMIT_SLO;
    fixture_must_run();
    assert_request_ms(0, 0, 0, 15);
    assert_int_equal(status_of(1), TRACE_DROPPED); /* b is promised to 0 from 5 to 15 */
    fixture.files.events = fixture_path("e.csv");
    fixture_must_run();
    assert_int_equal(status_of(0), TRACE_FAILED);
    assert_int_equal(status_of(1), TRACE_DROPPED);
    assert_int_equal(status_of(2), TRACE_DROPPED);
    assert_request_ms(3, 4, 4, 15);
}

/* b needs 20 for each from 1 ms on: the fourth there leaves it at 5 + 4 * 20. */
static void what_a_changed_speed_costs_is_booked(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.005,0\nx,1,0.010,0\n");
    fixture_cluster("device,type\na,t\nb,t\n", NULL);
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    fixture_write("w.csv",
                  OBJECTIVES "0,0,s,\n1,0,s,\n2,0,s,\n3,0.001,s,0.083999\n4,0.001,s,0.084\n");
    fixture_write("e.csv", "time_s,target,event,value\n0.001,b,speed_ratio,0.5\n");
    fixture.files.events = fixture_path("e.csv");
    fixture.options.admission = ADMIT_SLO;
    fixture_must_run();
    assert_int_equal(status_of(3), TRACE_DROPPED);
    assert_request_ms(4, 1, 15, 85);
}

/* ---- at random ---- */

enum { MOST_STAGES = 5, MOST_REQUESTS = 80 };

struct pipeline {
    int stage_count, request_count;
    int64_t cost_ps[MOST_STAGES], gap_ps[MOST_STAGES];
    int64_t arrival_ps[MOST_REQUESTS], slo_ps[MOST_REQUESTS]; /* 0 = none */
};

static int64_t draw_ms(struct rng *rng, uint64_t most)
{
    return (int64_t)rng_below(rng, most + 1) * MS;
}

static void pipeline_draw(struct rng *rng, struct pipeline *line)
{
    int64_t at_ps = 0;

    line->stage_count = 1 + (int)rng_below(rng, MOST_STAGES);
    line->request_count = 1 + (int)rng_below(rng, MOST_REQUESTS);
    for (int s = 0; s < line->stage_count; s++) {
        line->cost_ps[s] = MS + draw_ms(rng, 20);
        line->gap_ps[s] = draw_ms(rng, 3);
    }
    for (int i = 0; i < line->request_count; i++) {
        at_ps += rng_below(rng, 3) == 0 ? 0 : draw_ms(rng, 20);
        line->arrival_ps[i] = at_ps;
        line->slo_ps[i] = rng_below(rng, 8) == 0 ? 0 : MS + draw_ms(rng, 150);
    }
}

static void pipeline_write(const struct pipeline *line)
{
    struct out *stages = out_open_memory(fixture.arena), *rows = out_open_memory(fixture.arena);
    struct out *requests = out_open_memory(fixture.arena);

    out_text(stages, STAGES);
    out_text(rows, PLACED);
    for (int s = 0; s < line->stage_count; s++) {
        out_printf(stages, "x,%d,", s);
        out_seconds(stages, line->cost_ps[s]);
        out_char(stages, ',');
        out_seconds(stages, line->gap_ps[s]);
        out_char(stages, '\n');
        out_printf(rows, "s,0,%d,d%d,x\n", s, s);
    }
    out_text(requests, OBJECTIVES);
    for (int i = 0; i < line->request_count; i++) {
        out_printf(requests, "%d,", i);
        out_seconds(requests, line->arrival_ps[i]);
        out_text(requests, ",s,");
        if (line->slo_ps[i] > 0)
            out_seconds(requests, line->slo_ps[i]);
        out_char(requests, '\n');
    }
    fixture_stages(out_memory(stages, NULL));
    fixture_write("p.csv", out_memory(rows, NULL));
    fixture_write("w.csv", out_memory(requests, NULL));
}

/* The finish of a request of its own, on clocks that it moves on. */
static int64_t finish_of(const struct pipeline *line, int64_t arrival_ps, int64_t *free_ps)
{
    int64_t time_ps = arrival_ps;

    for (int s = 0; s < line->stage_count; s++) {
        time_ps = (free_ps[s] > time_ps ? free_ps[s] : time_ps) + line->cost_ps[s];
        free_ps[s] = time_ps + line->gap_ps[s];
    }
    return time_ps;
}

static void whoever_is_taken_is_in_time_and_who_is_not_would_have_missed(void **state)
{
    struct rng rng = rng_stream(11, RNG_TEST, 0);

    (void)state;
    fixture.options.admission = ADMIT_SLO;
    for (int round = 0; round < 150; round++) {
        struct pipeline line;
        int64_t free_ps[MOST_STAGES] = { 0 };

        pipeline_draw(&rng, &line);
        pipeline_write(&line);
        fixture_must_run();
        for (int i = 0; i < line.request_count; i++) {
            const struct serve_request *request = &fixture.result.requests[i];
            int64_t tried_ps[MOST_STAGES], finish_ps;

            memcpy(tried_ps, free_ps, sizeof free_ps);
            finish_ps = finish_of(&line, line.arrival_ps[i], tried_ps);
            if (line.slo_ps[i] > 0 && finish_ps > line.arrival_ps[i] + line.slo_ps[i]) {
                assert_int_equal(request->status, TRACE_DROPPED);
                continue;
            }
            assert_int_equal(request->status, TRACE_OK);
            assert_int_equal(request->finish_ps, finish_ps);
            memcpy(free_ps, tried_ps, sizeof free_ps);
        }
    }
}

/* Whatever dispatch chooses, and with overheads that are always the same. */
static void replicas_keep_their_promises(void **state)
{
    struct rng rng = rng_stream(12, RNG_TEST, 0);

    (void)state;
    fixture.options.admission = ADMIT_SLO;
    fixture_write("o.csv", "where,dist,mean_s\ndispatch,constant,0.003\nworker,constant,0.002\n");
    for (int round = 0; round < 60; round++) {
        struct pipeline line;
        struct out *rows = out_open_memory(fixture.arena);
        int replicas = 1 + (int)rng_below(&rng, 3), taken = 0;

        pipeline_draw(&rng, &line);
        pipeline_write(&line);
        out_text(rows, PLACED);
        for (int r = 0; r < replicas; r++)
            for (int s = 0; s < line.stage_count; s++)
                out_printf(rows, "s,%d,%d,d%d-%d,x\n", r, s, r, s);
        fixture_write("p.csv", out_memory(rows, NULL));
        fixture.options.dispatch = (enum dispatch_kind)rng_below(&rng, DISPATCH_STICKY);
        fixture.files.overhead = round % 2 ? fixture_path("o.csv") : NULL;
        fixture_must_run();
        for (int i = 0; i < line.request_count; i++) {
            const struct serve_request *request = &fixture.result.requests[i];

            if (request->status == TRACE_DROPPED)
                continue;
            assert_int_equal(request->status, TRACE_OK);
            assert_true(line.slo_ps[i] == 0 ||
                        request->finish_ps <= line.arrival_ps[i] + line.slo_ps[i]);
            taken++;
        }
        assert_true(taken > 0 || line.request_count < 20);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_that_come_at_once_are_booked_on_later_stages),
        TEST(starts_are_booked_on_later_stages),
        TEST(what_is_lost_is_booked_no_more),
        TEST(what_a_changed_speed_costs_is_booked),
        TEST(whoever_is_taken_is_in_time_and_who_is_not_would_have_missed),
        TEST(replicas_keep_their_promises),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
