/* test_batch.c - fixed batches by AlpaServe's rules, computed by hand. */
#include "sim/alpaserve/alpaserve.h"

#include "tests/unit/sim/booked.h"

#define HEAD "service,replica,stage,device,executable\n"
/* "one" takes 100, 150 and 250 ms in batches of 1, 2 and 4. */
#define STAGES                                                                                     \
    "executable,stage,latency_s,batch\n"                                                           \
    "one,0,0.1,1\none,0,0.15,2\none,0,0.25,4\n"                                                    \
    "two,0,0.1,1\ntwo,1,0.06,1\ntwo,0,0.12,2\ntwo,1,0.2,2\n"                                       \
    "quick,0,0.01,1\n"
#define ALONE HEAD "a,0,0,x,one\n"

static const struct overheads no_overheads;

static struct booked *create(void **state, const char *placement, int32_t max_size)
{
    struct booked *b = booked_create(*state, placement, STAGES, NULL);

    b->input.overheads = &no_overheads;
    b->options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = max_size };
    return b;
}

static void add_each_ms(struct booked *b, int32_t service, int64_t first, int count, int64_t slo_ps)
{
    for (int i = 0; i < count; i++)
        booked_add(b, service, (first + i) * MS, slo_ps);
}

static void what_waits_leaves_in_the_largest_size_that_it_fills(void **state)
{
    struct booked *b = create(state, ALONE, 4);

    add_each_ms(b, 0, 0, 8, 0);
    booked_run(b);
    assert_ok(b, 0, 0, 0, 100 * MS);
    for (size_t i = 1; i < 5; i++)
        assert_ok(b, i, 0, 100 * MS, 350 * MS);
    assert_ok(b, 5, 0, 350 * MS, 500 * MS);
    assert_ok(b, 6, 0, 350 * MS, 500 * MS);
    assert_ok(b, 7, 0, 500 * MS, 600 * MS);
    assert_int_equal(b->result.batch_count, 4);
    assert_int_equal(b->result.busy_ps[0], 600 * MS);
    assert_int_equal(b->result.event_count, 8 + 4); /* the last one finds nothing to do */
    for (size_t i = 0; i < 8; i++) {
        static const int64_t batch_ids[8] = { 0, 1, 1, 1, 1, 2, 2, 3 };
        static const int32_t shares[8] = { 0, 0, 1, 2, 3, 0, 1, 0 };
        static const int32_t sizes[8] = { 1, 4, 4, 4, 4, 2, 2, 1 };

        assert_int_equal(b->spans[i].index, i);
        assert_int_equal(b->spans[i].batch_id, batch_ids[i]);
        assert_int_equal(b->spans[i].share, shares[i]);
        assert_int_equal(b->spans[i].batch_size, sizes[i]);
        assert_int_equal(b->spans[i].start_ps, b->ends[i].start_ps);
        assert_int_equal(b->spans[i].finish_ps, b->ends[i].finish_ps);
    }
}

static void the_response_comes_before_the_first_stage(void **state)
{
    struct booked *b = create(state, HEAD "a,0,0,x,two\na,0,1,y,two\n", 2);

    b->input.overheads = NULL; /* 11 ms and 1.018 */
    add_each_ms(b, 0, 0, 3, 0);
    booked_run(b);
    assert_ok(b, 0, 0, 11 * MS, INT64_C(173880000000));
    /* Stage 0 is free at 112.8: 123.8 to 245.96; stage 1 takes 203.6 more. */
    assert_ok(b, 1, 0, INT64_C(123800000000), INT64_C(449560000000));
    assert_ok(b, 2, 0, INT64_C(123800000000), INT64_C(449560000000));
}

static void growth_ends_where_the_deadline_of_the_head_fails(void **state)
{
    struct booked *b = create(state, ALONE, 4);

    booked_add(b, 0, 0, 0);
    booked_add(b, 0, 1 * MS, 249 * MS); /* two at 100 are done at 250 */
    booked_add(b, 0, 2 * MS, 340 * MS); /* alone at 250: done at 350 */
    booked_add(b, 0, 3 * MS, 347 * MS);
    booked_add(b, 0, 4 * MS, 345 * MS); /* alone at 250: too late */
    booked_add(b, 0, 5 * MS, 345 * MS);
    booked_run(b);
    assert_ok(b, 1, 0, 100 * MS, 250 * MS);
    assert_ok(b, 2, 0, 100 * MS, 250 * MS);
    assert_ok(b, 3, 0, 250 * MS, 350 * MS);
    assert_gone(b, 4, TRACE_DROPPED, 350 * MS);
    assert_gone(b, 5, TRACE_DROPPED, 350 * MS);
    assert_int_equal(b->result.end_ps, 350 * MS);
    assert_int_equal(b->order[4], 4);
}

static void a_head_that_is_late_is_dropped_when_its_turn_comes(void **state)
{
    struct booked *b = create(state, HEAD "a,0,0,x,one\nb,0,0,x,quick\n", 4);

    booked_add(b, 0, 0, 0);
    booked_add(b, 0, 1 * MS, 198 * MS); /* at 100 it would be done at 200 */
    booked_add(b, 1, 2 * MS, 0);        /* takes the turn that is left */
    booked_run(b);
    assert_gone(b, 1, TRACE_DROPPED, 100 * MS);
    assert_ok(b, 2, 1, 100 * MS, 110 * MS);
}

static void the_service_with_the_oldest_head_goes_first(void **state)
{
    struct booked *b = create(state, HEAD "a,0,0,x,one\nb,0,0,x,quick\n", 4);

    booked_add(b, 0, 0, 0);
    booked_add(b, 1, 1 * MS, 0);
    booked_add(b, 0, 2 * MS, 0);
    booked_add(b, 1, 3 * MS, 0);
    booked_add(b, 0, 4 * MS, 0);
    booked_run(b);
    assert_ok(b, 1, 1, 100 * MS, 110 * MS);
    assert_ok(b, 2, 0, 110 * MS, 260 * MS); /* both of a: only the head counts */
    assert_ok(b, 4, 0, 110 * MS, 260 * MS);
    assert_ok(b, 3, 1, 260 * MS, 270 * MS);
}

/* In the original a group without work ended the loop over idle groups, and those behind it had to
 * wait for the next arrival. */
static void an_idle_group_without_work_holds_up_no_other(void **state)
{
    struct booked *b = create(state, HEAD "a,0,0,x,quick\nb,0,0,y,one\n", 4);

    booked_add(b, 0, 0, 0);
    add_each_ms(b, 1, 0, 2, 0);
    booked_add(b, 0, 500 * MS, 0);
    booked_run(b);
    assert_ok(b, 2, 1, 100 * MS, 200 * MS);
}

static void all_groups_of_a_service_take_from_one_queue(void **state)
{
    struct booked *b = create(state, HEAD "a,0,0,x,one\na,1,0,y,one\nb,0,0,y,one\n", 4);

    booked_add(b, 1, 0, 0);      /* y until 100 */
    booked_add(b, 0, 1 * MS, 0); /* x until 101 */
    booked_add(b, 0, 2 * MS, 0); /* chooses y, which is free first */
    booked_add(b, 0, 3 * MS, 0);
    booked_add(b, 1, 4 * MS, 0);
    booked_run(b);
    assert_ok(b, 2, 1, 100 * MS, 250 * MS); /* y takes both */
    assert_ok(b, 3, 1, 100 * MS, 250 * MS);
    assert_ok(b, 4, 2, 250 * MS, 350 * MS);
    /* Were y's batch longer, x would have taken what waits at 101. */
    b->count = 0;
    booked_add(b, 1, 0, 0);
    booked_add(b, 0, 1 * MS, 0);
    booked_add(b, 1, 2 * MS, 0); /* older */
    booked_add(b, 0, 3 * MS, 0); /* chooses y */
    booked_run(b);
    assert_ok(b, 2, 2, 100 * MS, 200 * MS);
    assert_ok(b, 3, 0, 101 * MS, 201 * MS);
}

static void a_batch_waits_until_it_is_full_or_its_oldest_has_waited(void **state)
{
    struct booked *b = create(state, HEAD "a,0,0,x,one\nb,0,0,x,quick\n", 4);

    b->options.batch.wait_ps = 20 * MS;
    booked_add(b, 0, 0, 0);
    booked_add(b, 0, 5 * MS, 0);
    booked_add(b, 1, 6 * MS, 0); /* a size of 1 is full at once, and x is idle */
    add_each_ms(b, 0, 400, 4, 0);
    booked_run(b);
    assert_ok(b, 2, 1, 6 * MS, 16 * MS);
    assert_ok(b, 0, 0, 20 * MS, 170 * MS);
    assert_ok(b, 1, 0, 20 * MS, 170 * MS);
    for (size_t i = 3; i < 7; i++)
        assert_ok(b, i, 0, 403 * MS, 653 * MS);
}

static void a_batch_does_not_wait_where_that_costs_its_head_the_deadline(void **state)
{
    struct booked *b = create(state, ALONE, 4);

    b->options.batch.wait_ps = 20 * MS;
    booked_add(b, 0, 0, 120 * MS);
    booked_add(b, 0, 500 * MS, 119 * MS);
    booked_run(b);
    assert_ok(b, 0, 0, 20 * MS, 120 * MS);
    assert_ok(b, 1, 0, 500 * MS, 600 * MS);
}

static void the_largest_batch_is_that_of_the_stage_else_of_the_command_line(void **state)
{
    struct booked *b = booked_create(*state,
                                     "service,replica,stage,device,executable,max_batch\n"
                                     "a,0,0,x,one,2\nb,0,0,y,one,\n",
                                     STAGES, NULL);

    b->input.overheads = &no_overheads;
    b->options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 4 };
    for (int32_t service = 0; service < 2; service++)
        for (int i = 0; i < 5; i++)
            booked_add(b, service, 0, 0);
    booked_run(b);
    assert_ok(b, 1, 0, 100 * MS, 250 * MS);
    assert_ok(b, 4, 0, 250 * MS, 400 * MS);
    assert_ok(b, 9, 1, 100 * MS, 350 * MS);
    b->options.batch.max_size = 1;
    booked_run(b);
    assert_ok(b, 1, 0, 100 * MS, 250 * MS);
    assert_ok(b, 9, 1, 400 * MS, 500 * MS);
}

static void items_fill_a_batch(void **state)
{
    struct booked *b = create(state, ALONE, 4);

    booked_add(b, 0, 0, 0)->items = 3; /* alone in a batch of 4 */
    booked_add(b, 0, 1 * MS, 0)->items = 2;
    booked_add(b, 0, 2 * MS, 0)->items = 1;
    booked_add(b, 0, 3 * MS, 0)->items = 1;
    booked_add(b, 0, 4 * MS, 0)->items = 5;
    booked_run(b);
    assert_ok(b, 0, 0, 0, 250 * MS);
    for (size_t i = 1; i < 4; i++)
        assert_ok(b, i, 0, 250 * MS, 500 * MS);
    assert_gone(b, 4, TRACE_REFUSED, 4 * MS);
}

static void a_client_comes_back_when_its_batch_has_ended(void **state)
{
    struct booked *b = create(state, ALONE, 4);

    booked_add(b, 0, 0, 0);
    booked_add(b, 0, 10 * MS, 150 * MS); /* is dropped at 100 */
    booked_add_closed(b, 0, 30 * MS);
    booked_add_closed(b, 0, 0);
    booked_run(b);
    assert_gone(b, 1, TRACE_DROPPED, 100 * MS);
    assert_ok(b, 2, 0, 130 * MS, 230 * MS);
    assert_ok(b, 3, 0, 230 * MS, 330 * MS);
}

/* a on x and y, b on y and z, c on z: one group, in which a and c may run side by side. */
static void replicas_that_share_a_first_device_are_one_group(void **state)
{
    struct booked *b =
        create(state, HEAD "a,0,0,x,one\na,0,0,y,one\nb,0,0,y,one\nb,0,0,z,one\nc,0,0,z,one\n", 1);

    booked_add(b, 0, 0, 0);      /* x, y until 100 */
    booked_add(b, 1, 1 * MS, 0); /* waits for y */
    booked_add(b, 2, 2 * MS, 0); /* z is free: until 102 */
    booked_add(b, 0, 3 * MS, 0);
    booked_add(b, 2, 4 * MS, 0);
    booked_run(b);
    assert_ok(b, 0, 0, 0, 100 * MS);
    assert_ok(b, 2, 2, 2 * MS, 102 * MS);
    assert_ok(b, 3, 0, 100 * MS, 200 * MS); /* b is older, but z is taken */
    assert_ok(b, 4, 2, 102 * MS, 202 * MS);
    assert_ok(b, 1, 1, 202 * MS, 302 * MS);
}

static void queues_outlast_their_epoch(void **state)
{
    struct booked *b = booked_create(*state,
                                     "service,replica,stage,device,executable,epoch,from_s\n"
                                     "a,0,0,x,one,0,\nb,0,0,x,one,0,\nc,0,0,x,quick,0,\n"
                                     "a,0,0,x,one,1,0.15\nb,0,0,y,one,1,0.15\n",
                                     STAGES, NULL);
    const int64_t switch_ps[4] = { 0, 0, 0, 5 * MS };

    b->input.overheads = &no_overheads;
    b->input.switch_ps = switch_ps;
    b->options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 4 };
    for (int32_t i = 0; i < 2; i++)
        booked_add(b, 0, i * MS, 0);
    booked_add(b, 1, 2 * MS, 0);
    booked_add(b, 2, 3 * MS, 0);
    booked_add(b, 0, 4 * MS, 0);
    booked_run(b);
    assert_ok(b, 1, 0, 100 * MS, 250 * MS);
    assert_ok(b, 4, 0, 100 * MS, 250 * MS);
    assert_ok(b, 2, 4, 155 * MS, 255 * MS);
    assert_gone(b, 3, TRACE_REFUSED, 150 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(what_waits_leaves_in_the_largest_size_that_it_fills),
        scratch_test(the_response_comes_before_the_first_stage),
        scratch_test(growth_ends_where_the_deadline_of_the_head_fails),
        scratch_test(a_head_that_is_late_is_dropped_when_its_turn_comes),
        scratch_test(the_service_with_the_oldest_head_goes_first),
        scratch_test(an_idle_group_without_work_holds_up_no_other),
        scratch_test(all_groups_of_a_service_take_from_one_queue),
        scratch_test(a_batch_waits_until_it_is_full_or_its_oldest_has_waited),
        scratch_test(a_batch_does_not_wait_where_that_costs_its_head_the_deadline),
        scratch_test(the_largest_batch_is_that_of_the_stage_else_of_the_command_line),
        scratch_test(items_fill_a_batch),
        scratch_test(a_client_comes_back_when_its_batch_has_ended),
        scratch_test(replicas_that_share_a_first_device_are_one_group),
        scratch_test(queues_outlast_their_epoch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
