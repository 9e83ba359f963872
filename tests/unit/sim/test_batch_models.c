/* test_batch_models.c - fixed batches of models: encoders in one pass, decoders until all of a
 * batch have ended; what is padded, who waits, messages, failures, and batches of one against none.
 */
#include "tests/unit/sim/llm_fixture.h"

#include "lib/base/rng.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"

#define ROUNDS 60
#define NS INT64_C(1000) /* ps */
#define LINKS "medium,kind,node,bits_per_s,latency_s\n"
#define DEVICES "device,type,speed_ratio\n"

static int64_t reader_ps; /* of a pass, beside its tokens */

static void set_up_files(int32_t max_size, int64_t wait_ps)
{
    llm_setup_files(1, 1, 0);
    fixture.options.kv = (struct serve_kv){ 0 };
    fixture.options.batch =
        (struct batch_options){ .kind = BATCH_FIXED, .max_size = max_size, .wait_ps = wait_ps };
}

static void assert_times(int index, int64_t start_ps, int64_t first_ps, int64_t finish_ps)
{
    const struct serve_request *request = &fixture.result.requests[index];

    assert_int_equal(request->status, TRACE_OK);
    assert_int_equal(request->start_ps, start_ps);
    assert_int_equal(request->first_token_ps, first_ps);
    assert_int_equal(request->finish_ps, finish_ps);
}

static void find_reader_ps(void)
{
    set_up_files(1, 0);
    fixture_write("p.csv", P "s,0,0,a,reader,,all\n");
    fixture_write("w.csv", "request_id,arrival_s,service,prompt_tokens\n0,0,s,4\n");
    fixture_must_run();
    reader_ps = fixture.result.requests[0].finish_ps - 4 * MS;
    assert_in_range(reader_ps, 5, 20);
}

/* ---- encoders ---- */

static void encoders_are_padded_to_the_longest_of_the_batch(void **state)
{
    (void)state;
    find_reader_ps();
    set_up_files(3, 0);
    fixture_write("p.csv", P "s,0,0,a,reader,,all\n");
    fixture_write("w.csv", "request_id,arrival_s,service,prompt_tokens\n"
                           "0,0,s,4\n1,0.001,s,2\n2,0.002,s,5\n3,0.003,s,1\n4,0.0035,s,1\n");
    fixture_must_run();
    /* alone; then three of 5; then the last */
    assert_times(0, 0, 4 * MS + reader_ps, 4 * MS + reader_ps);
    for (int i = 1; i <= 3; i++)
        assert_times(i, 4 * MS + reader_ps, 19 * MS + 2 * reader_ps, 19 * MS + 2 * reader_ps);
    assert_times(4, 19 * MS + 2 * reader_ps, 20 * MS + 3 * reader_ps, 20 * MS + 3 * reader_ps);
    assert_int_equal(fixture.result.devices[0].busy_ps, 20 * MS + 3 * reader_ps);
}

static void a_batch_waits_until_it_is_full_or_has_waited(void **state)
{
    (void)state;
    find_reader_ps();
    set_up_files(2, 10 * MS);
    fixture_write("p.csv", P "s,0,0,a,reader,,all\n");
    fixture_write("w.csv", "request_id,arrival_s,service,prompt_tokens\n"
                           "0,0,s,1\n1,0.004,s,3\n2,0.02,s,1\n");
    fixture_must_run();
    assert_times(0, 4 * MS, 10 * MS + reader_ps, 10 * MS + reader_ps);
    assert_times(1, 4 * MS, 10 * MS + reader_ps, 10 * MS + reader_ps);
    assert_times(2, 30 * MS, 31 * MS + reader_ps, 31 * MS + reader_ps);
}

/* Micro-batches: one batch of two is in the second stage while the next one is in the first. */
static void batches_follow_each_other_through_a_pipeline(void **state)
{
    (void)state;
    set_up_files(2, 0);
    fixture_write("p.csv",
                  P "s,0,0,a,duo,,embed\ns,0,0,a,duo,0,layer\ns,0,1,b,duo,1,layer\ns,0,1,b,duo,,"
                    "lm_head\n");
    fixture_cluster(DEVICES "a,t,1\nb,t,1\n", LINKS "lan,switch,*,8e9,0\n"); /* 1 ns a byte */
    fixture_write("w.csv", W "0,0,s,2,1\n1,0,s,2,1\n2,0,s,3,1\n3,0,s,1,1\n");
    fixture_must_run();
    /* 8 bytes each into a: 0 comes first and runs alone for 2 ms, then 1 and 2, 3 tokens each */
    assert_times(0, 8 * NS, 4 * MS + 17 + (8 + 64 + 4) * NS, 4 * MS + 17 + (8 + 64 + 4) * NS);
    assert_int_equal(fixture.result.requests[1].start_ps, 2 * MS + 8 + 8 * NS);
    assert_int_equal(fixture.result.requests[2].start_ps, 2 * MS + 8 + 8 * NS);
    assert_times(1, 2 * MS + 8 + 8 * NS, 14 * MS + 25 + (8 + 192 + 8) * NS,
                 14 * MS + 25 + (8 + 192 + 8) * NS);
    assert_int_equal(fixture.result.requests[3].start_ps, 8 * MS + 16 + 8 * NS);
    /* tokens in, activations of 2, 6 and 1 tokens of 32 bytes, results */
    assert_int_equal(fixture.result.moved_bytes, 4 * 8 + 32 * (2 + 6 + 1) + 4 * 4);
}

/* ---- decoders ---- */

static void a_batch_of_decoders_goes_on_until_all_have_ended(void **state)
{
    struct metrics all, *services;

    (void)state;
    set_up_files(3, 0);
    fixture_write("w.csv", W "0,0,s,1,1\n1,0.0001,s,3,3\n2,0.0002,s,5,1\n3,0.0003,s,2,2\n"
                             "4,0.0004,s,4,1\n");
    fixture.metrics.has_all = fixture.options.has_parts = true;
    fixture_must_run();
    assert_times(0, 0, MS + EACH_PS, MS + EACH_PS);
    /* three of 5 tokens, then two, then one; nobody joins them */
    assert_times(2, MS + EACH_PS, 16 * MS + 2 * EACH_PS, 16 * MS + 2 * EACH_PS);
    assert_times(3, MS + EACH_PS, 16 * MS + 2 * EACH_PS, 18 * MS + 3 * EACH_PS);
    assert_times(1, MS + EACH_PS, 16 * MS + 2 * EACH_PS, 19 * MS + 4 * EACH_PS);
    assert_times(4, 19 * MS + 4 * EACH_PS, 23 * MS + 5 * EACH_PS, 23 * MS + 5 * EACH_PS);
    /* two of 1, one of 3; a job counts for each of its batch: 1, 3 x 15, 2 x 2, 1, 4 */
    all = metrics_end(fixture.meter, fixture.result.end_ps, &services);
    assert_int_equal(all.itl.count, 3);
    assert_int_equal(all.itl.max, 2 * MS + EACH_PS);
    assert_int_equal(all.itl.min, MS + EACH_PS);
    assert_true(fixture.result.parts.compute_ps == (double)(55 * MS + 8 * EACH_PS));
    assert_int_equal(fixture.result.replicas[0].active_ps, 23 * MS + 5 * EACH_PS);
}

/* Room for one batch in front of the only stage: the next two gather there while the steps of the
 * first go on, which take no place from them. */
static void steps_of_a_batch_do_not_wait_for_requests_behind_it(void **state)
{
    (void)state;
    set_up_files(2, 0);
    fixture_write("p.csv", "service,replica,stage,device,model,layers,block,queue_depth\n"
                           "s,0,0,a,tiny,,all,1\n");
    fixture_write("w.csv", W "0,0,s,1,2\n1,0,s,1,2\n2,0,s,1,2\n3,0,s,1,2\n4,0,s,1,2\n");
    fixture_must_run();
    /* alone, twice a millisecond; then two by two, twice two */
    assert_times(0, 0, MS + EACH_PS, 2 * MS + 2 * EACH_PS);
    for (int i = 1; i < 5; i++) {
        int64_t start_ps = (i < 3 ? 2 : 6) * MS + (i < 3 ? 2 : 4) * EACH_PS;

        assert_times(i, start_ps, start_ps + 2 * MS + EACH_PS, start_ps + 4 * MS + 2 * EACH_PS);
    }
}

static void the_first_of_a_batch_may_end_first(void **state)
{
    (void)state;
    set_up_files(2, MS);
    fixture_write("p.csv", "service,replica,stage,device,model,layers,block\n"
                           "s,0,0,a,duo,,embed\ns,0,0,a,duo,0,layer\n"
                           "s,0,1,b,duo,1,layer\ns,0,1,b,duo,,lm_head\n");
    fixture_cluster(DEVICES "a,t,1\nb,t,1\n", LINKS "lan,switch,*,8e9,0\n");
    fixture_write("w.csv", W "0,0,s,2,1\n1,0,s,2,3\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].start_ps, 16 * NS); /* with the second */
    assert_int_equal(fixture.result.requests[0].finish_ps, 8 * MS + 17 + (16 + 128 + 8) * NS);
    /* then a token at a time */
    assert_int_equal(fixture.result.requests[1].finish_ps,
                     12 * MS + 3 * 17 + (16 + 128 + 8 + 2 * (4 + 32 + 4)) * NS);
}

static void max_batch_of_the_rows_counts(void **state)
{
    (void)state;
    find_reader_ps();
    set_up_files(1, 0);
    fixture.options.batch.kind = BATCH_NONE;
    fixture_write("p.csv", "service,replica,stage,device,model,max_batch\ns,0,0,a,reader,2\n");
    fixture_write("w.csv", "request_id,arrival_s,service,prompt_tokens\n"
                           "0,0,s,1\n1,0,s,1\n2,0,s,1\n3,0,s,1\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[1].start_ps, MS + reader_ps);
    assert_int_equal(fixture.result.requests[2].finish_ps, 3 * MS + 2 * reader_ps);
    assert_int_equal(fixture.result.requests[3].finish_ps, 4 * MS + 3 * reader_ps);
    fixture.options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 5000 };
    fixture_write("p.csv", P "s,0,0,a,reader,,all\n");
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "at most 4096 requests of a model at once"));
}

static void a_batch_too_large_to_compute_is_an_error(void **state)
{
    (void)state;
    set_up_files(3, MS);
    fixture_write("models.csv", "model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,"
                                "ffn,norm,positions,tied_lm_head,weight_bits,kv_bits,max_context\n"
                                "reader,encoder,1,8,1,1,8,16,32,gelu,layer,learned,no,32,32,\n");
    fixture_write("p.csv", P "s,0,0,a,reader,,all\n");
    fixture_write("w.csv", "request_id,arrival_s,service,prompt_tokens\n"
                           "0,0,s,800000000\n1,0,s,1\n2,0,s,1\n");
    assert_false(fixture_run());
    assert_non_null(
        strstr(fixture.err.text, "a batch of 3 requests of 800000000 tokens is too large"));
}

/* ---- failures, replicas, all else ---- */

static int draw(struct rng *rng, int low, int high)
{
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

static void write_requests(struct rng *rng, int count)
{
    const char *text = W;
    int64_t at_us = 0;

    for (int i = 0; i < count; i++) {
        at_us += draw(rng, 0, 2) * draw(rng, 0, 30000);
        text =
            arena_printf(fixture.arena, "%s%d,%d.%06d,s,%d,%d\n", text, i, (int)(at_us / 1000000),
                         (int)(at_us % 1000000), draw(rng, 1, 20), draw(rng, 1, 12));
    }
    fixture_write("w.csv", text);
}

static const char *draw_pipeline(struct rng *rng)
{
    const char *text = P;

    for (int r = 0; r < draw(rng, 1, 3); r++)
        text =
            arena_printf(fixture.arena,
                         "%ss,%d,0,d%d,duo,,embed\ns,%d,0,d%d,duo,0,layer\ns,%d,1,d%d,duo,1,layer\n"
                         "s,%d,1,d%d,duo,,lm_head\n",
                         text, r, r, r, r, r, (r + 1) % 3, r, (r + 1) % 3);
    return text;
}

static void start_anew(int round)
{
    if (round == 0)
        return;
    fixture_tear_down(NULL);
    fixture_set_up(NULL);
}

/* The run checks memory, busy times, on-time starts and Little's law itself. */
static void everyone_has_an_end_whatever_happens(void **state)
{
    struct rng rng = rng_stream(4, RNG_TEST, 0);
    int ok = 0, failed = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        start_anew(round);
        set_up_files(draw(&rng, 2, 6), draw(&rng, 0, 1) * draw(&rng, 0, 40) * MS);
        fixture.options.dispatch = (enum dispatch_kind)draw(&rng, 0, DISPATCH_COUNT - 1);
        write_requests(&rng, 50);
        fixture_cluster(DEVICES "d0,t,1\nd1,t,0.5\nd2,t,2\n",
                        draw(&rng, 0, 1) > 0 ? LINKS "air,wifi,*,1e6,0.001\n" : NULL);
        fixture_write("p.csv", draw_pipeline(&rng));
        if (draw(&rng, 0, 1) > 0) {
            fixture_write("e.csv", arena_printf(fixture.arena,
                                                "time_s,target,event,value\n0.%02d,d%d,down,\n"
                                                "1.1,d0,speed_ratio,0.5\n1.%d,d%d,%s,\n",
                                                draw(&rng, 1, 90), 1, draw(&rng, 2, 9), 1, "up"));
            fixture.files.events = fixture_path("e.csv");
        }
        fixture_must_run();
        for (size_t i = 0; i < 50; i++) {
            ok += fixture.result.requests[i].status == TRACE_OK;
            failed += fixture.result.requests[i].status == TRACE_FAILED;
        }
    }
    assert_int_equal(ok + failed, 50 * ROUNDS);
    assert_in_range(ok, 25 * ROUNDS, INT32_MAX);
    assert_in_range(failed, ROUNDS, INT32_MAX);
}

/* Activations are those of a full batch as long as the longest request, caches those of all. */
static void activations_are_those_of_a_full_batch(void **state)
{
    int64_t cache_bytes, peak_bytes, batch_bytes;

    (void)state;
    set_up_files(4, 0);
    fixture_write("p.csv", P "s,0,0,a,tiny,,all\n");
    fixture_write("w.csv", W "0,0,s,10,3\n1,0,s,4,3\n");
    fixture_must_run();
    {
        const struct plan *plan = fixture.scenario.input.plan;
        const struct model_step prefill = { 40, 4, 10 }, last = { 4, 4, 13 };
        int64_t first = plan_stage_work_bytes(plan, plan->stages[0], 0, &prefill);
        int64_t later = plan_stage_work_bytes(plan, plan->stages[0], 0, &last);

        batch_bytes = first > later ? first : later;
        cache_bytes = 20 * plan_stage_kv_bytes_per_token(plan, plan->stages[0]);
        peak_bytes = plan_stage_weight_bytes(plan, plan->stages[0], 0) + batch_bytes + cache_bytes;
    }
    assert_int_equal(fixture.result.devices[0].peak_bytes, peak_bytes);
    /* what does not fit is no request's turn, and says so */
    fixture_cluster(arena_printf(fixture.arena, "device,type,memory_bytes\na,t,%lld\n",
                                 (long long)peak_bytes - 1),
                    NULL);
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "comes to its replica"));
    fixture.options.memory = SERVE_MEMORY_REFUSE;
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_OK);
    assert_int_equal(fixture.result.requests[1].status, TRACE_REFUSED);
}

#define models_test(function)                                                                      \
    cmocka_unit_test_setup_teardown(function, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        models_test(encoders_are_padded_to_the_longest_of_the_batch),
        models_test(a_batch_waits_until_it_is_full_or_has_waited),
        models_test(batches_follow_each_other_through_a_pipeline),
        models_test(a_batch_of_decoders_goes_on_until_all_have_ended),
        models_test(steps_of_a_batch_do_not_wait_for_requests_behind_it),
        models_test(the_first_of_a_batch_may_end_first),
        models_test(max_batch_of_the_rows_counts),
        models_test(activations_are_those_of_a_full_batch),
        models_test(a_batch_too_large_to_compute_is_an_error),
        models_test(everyone_has_an_end_whatever_happens),
    };

    return cmocka_run_group_tests_name("batch_models", tests, NULL, NULL);
}
