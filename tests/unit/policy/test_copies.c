/* test_copies.c - ways through stages with copies: chosen place by place, and numbered. */
#include "lib/policy/copies.h"

#include "tests/unit/policy/placed.h"

#define COPIES HEAD "model,layers,block,copy\n"
/* Stage 0 twice, stage 1 three times, stage 2 once. */
#define THREE                                                                                      \
    COPIES "c,0,0,a,gpt2,,embed,0\nc,0,0,a,gpt2,0-3,layer,0\nc,0,0,b,gpt2,,embed,5\n"              \
           "c,0,0,b,gpt2,0-3,layer,5\nc,0,1,c,gpt2,4-7,layer,0\nc,0,1,d,gpt2,4-7,layer,1\n"        \
           "c,0,1,e,gpt2,4-7,layer,2\nc,0,2,f,gpt2,8-11,layer,0\nc,0,2,f,gpt2,,lm_head,0\n"

struct known { /* of each stage of the plan */
    bool is_down[8];
    int64_t backlog_ps[8], outstanding[8];
};

static void look(void *arg, const struct plan_stage *copy, struct dispatch_replica *facts)
{
    const struct known *known = arg;

    facts->is_up = !known->is_down[copy->id];
    facts->backlog_ps = known->backlog_ps[copy->id];
    facts->outstanding = known->outstanding[copy->id];
}

static const struct dispatch_request who = { .request_id = 3, .session = -1, .client = -1 };

static void places_are_stages_whatever_copies_they_have(void **state)
{
    const struct plan *plan = build(*state, THREE);
    const struct plan_replica *replica = plan->replicas;

    assert_int_equal(copies_place_count(replica), 3);
    assert_true(copies_are_in(replica));
    assert_int_equal(replica->total_count, 6);
    for (int i = 0; i < replica->total_count; i++)
        assert_int_equal(copies_place(replica, &replica->stages[i]), replica->stages[i].number);
    assert_ptr_equal(copies_base(replica, 1), &replica->stages[1]);
    assert_false(copies_are_in(build(*state, MODEL "c,0,0,a,gpt2,,\n")->replicas));
}

static void every_way_has_a_number_of_its_own(void **state)
{
    const struct plan *plan = build(*state, THREE);
    const struct plan_replica *replica = plan->replicas;
    bool is_taken[6] = { false };

    assert_true(copies_have_numbers(replica));
    for (int16_t a = 0; a < 2; a++)
        for (int16_t b = 0; b < 3; b++) {
            const int16_t way[3] = { a, b, 0 };
            int64_t number = copies_number(replica, way);

            assert_in_range(number, 0, 5);
            assert_false(is_taken[number]);
            is_taken[number] = true;
            for (int place = 0; place < 3; place++) {
                const struct plan_stage *base = copies_base(replica, place);

                assert_ptr_equal(copies_at(replica, number, place), base->copies[way[place]]);
                assert_int_equal(number / copies_divisor(replica, place) % base->copy_count,
                                 way[place]);
            }
        }
    for (int64_t odd = INT64_MIN; odd != 0; odd = odd < 0 ? INT64_MAX : 0) /* of a stranger */
        for (int place = 0; place < 3; place++)
            assert_int_equal(copies_at(replica, odd, place)->number, place);
}

static void each_stage_takes_turns_of_its_own(void **state)
{
    struct scratch *scratch = *state;
    const struct plan *plan = build(scratch, THREE);
    struct copies *copies = copies_create(scratch->arena, plan, DISPATCH_ROUND_ROBIN, 1);
    struct known known = { .is_down = { false } };

    for (int i = 0; i < 12; i++) {
        int16_t way[3];

        if (i == 6) /* an update brings stages: nobody's turn changes */
            copies_extend(copies, scratch->arena, plan);
        copies_choose(copies, plan->replicas, &who, look, &known, way);
        assert_int_equal(way[0], i % 2);
        assert_int_equal(way[1], i % 3);
        assert_int_equal(way[2], 0);
    }
}

static void rules_ask_about_copies_as_about_replicas(void **state)
{
    struct scratch *scratch = *state;
    const struct plan *plan = build(scratch, THREE);
    const struct plan_stage *base = copies_base(plan->replicas, 1);
    struct copies *idle = copies_create(scratch->arena, plan, DISPATCH_LEAST_IDLE, 1);
    struct copies *few = copies_create(scratch->arena, plan, DISPATCH_LEAST_OUTSTANDING, 1);
    struct known known = { .is_down = { false } };
    int16_t way[3];

    for (int k = 0; k < 3; k++) {
        known.backlog_ps[base->copies[k]->id] = k == 2 ? 5 : 9;
        known.outstanding[base->copies[k]->id] = k == 1 ? 5 : 9;
    }
    copies_choose(idle, plan->replicas, &who, look, &known, way);
    assert_int_equal(way[1], 2);
    copies_choose(few, plan->replicas, &who, look, &known, way);
    assert_int_equal(way[1], 1);
    known.is_down[base->copies[1]->id] = true;
    copies_choose(few, plan->replicas, &who, look, &known, way);
    assert_int_equal(way[1], 0);
    for (int k = 0; k < 3; k++)
        known.is_down[base->copies[k]->id] = true;
    copies_choose(few, plan->replicas, &who, look, &known, way);
    assert_int_equal(way[1], 0); /* none: the replica is down */
}

static void too_many_ways_have_no_numbers(void **state)
{
    struct scratch *scratch = *state;
    const char *text = COPIES;

    for (int s = 0; s < 12; s++)
        for (int k = 0; k < 42; k++) /* 42^12 is above 2^63 */
            text = arena_printf(
                scratch->arena, "%s%sc,0,%d,d,gpt2,%d,layer,%d\n%s", text,
                s == 0 ? arena_printf(scratch->arena, "c,0,0,d,gpt2,,embed,%d\n", k) : "", s, s, k,
                s == 11 ? arena_printf(scratch->arena, "c,0,11,d,gpt2,,lm_head,%d\n", k) : "");
    assert_false(copies_have_numbers(build(scratch, text)->replicas));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(places_are_stages_whatever_copies_they_have),
        TEST(every_way_has_a_number_of_its_own),
        TEST(each_stage_takes_turns_of_its_own),
        TEST(rules_ask_about_copies_as_about_replicas),
        TEST(too_many_ways_have_no_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
