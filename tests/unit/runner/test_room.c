/* test_room.c - who may send to a bounded queue that copies of the stage before share. The workers
 * are absent, so that nothing is sent: what was granted shows by the room that is left. */
#include "runner/load/room.h"

#include "lib/base/arena.h"
#include "lib/policy/batch.h"
#include "lib/policy/plan.h"
#include "lib/wire/frame.h"
#include "runner/fleet/assign.h"
#include "runner/fleet/fleet.h"
#include "runner/load/internal.h"
#include "runner/load/table.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

#define COPIES 3
#define NEXT 1 /* id of the stage whose queue they share, and its worker */
#define ASKS 1
#define LEAVES 2

/* Stage 0 has three copies, on workers 0, 2 and 3; stage 1 is on worker 1. */
struct world {
    struct arena *arena;
    struct plan_stage stages[1 + COPIES];
    const struct plan_stage *ids[1 + COPIES], *copies[COPIES], *alone[1];
    int32_t devices[1 + COPIES];
    struct plan_replica replica;
    struct plan plan;
    struct batch_options batch;
    struct assignment assignment;
    struct fleet_worker workers[1 + COPIES];
    struct fleet fleet;
    struct serve_input input;
    struct serve serve;
};

static const int32_t copy_ids[COPIES] = { 0, 2, 3 };

static void place(struct world *world)
{
    for (int32_t i = 0; i <= COPIES; i++) {
        world->devices[i] = i;
        world->ids[i] = &world->stages[i];
        world->stages[i] =
            (struct plan_stage){ .id = i, .device_count = 1, .devices = &world->devices[i] };
    }
    for (int k = 0; k < COPIES; k++) {
        world->copies[k] = &world->stages[copy_ids[k]];
        world->stages[copy_ids[k]].copy = k;
    }
    world->alone[0] = &world->stages[NEXT];
    world->stages[0].copy_count = COPIES;
    world->stages[0].copies = world->copies;
    world->stages[NEXT].number = world->stages[NEXT].copy_count = 1;
    world->stages[NEXT].copies = world->alone;
    world->replica = (struct plan_replica){ .stage_count = 2,
                                            .stages = world->stages,
                                            .decode_count = 2,
                                            .decode_stages = world->stages,
                                            .total_count = 1 + COPIES };
    world->plan = (struct plan){ .replica_count = 1,
                                 .stage_count = 1 + COPIES,
                                 .replicas = &world->replica,
                                 .stages = world->ids };
}

/* The queues of stages 0 and 1 take so many. */
static struct serve *begin(struct world *world, int32_t first_depth, int32_t depth)
{
    for (int k = 0; k < COPIES; k++)
        world->stages[copy_ids[k]].queue_depth = first_depth;
    world->stages[NEXT].queue_depth = depth;
    room_create(&world->serve);
    return &world->serve;
}

static int set_up(void **state)
{
    struct arena *arena = arena_create();
    struct world *world = arena_alloc(arena, sizeof *world);

    world->arena = arena;
    place(world);
    world->assignment.worker_of = world->devices; /* a worker each, of the same number */
    world->assignment.count = 1 + COPIES;
    world->fleet = (struct fleet){ .assignment = &world->assignment,
                                   .count = 1 + COPIES,
                                   .workers = world->workers };
    world->input = (struct serve_input){ .plan = &world->plan, .batch = &world->batch };
    world->serve = (struct serve){ .arena = arena,
                                   .input = &world->input,
                                   .fleet = &world->fleet,
                                   .table = table_create(arena, 1, 1, 1 + COPIES) };
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    arena_destroy(world->arena);
    return 0;
}

static void tell(struct serve *serve, int worker, struct frame frame)
{
    frame.type = FRAME_CREDIT;
    room_credit(serve, worker, &frame);
}

/* Of a copy, about a step with a number of its own. */
static void ask(struct serve *serve, int32_t copy, int64_t number)
{
    tell(serve, copy_ids[copy],
         (struct frame){ .stage = NEXT, .step = ASKS, .past_tokens = copy, .request = number });
}

static void leave(struct serve *serve, int32_t copy, int64_t number)
{
    tell(serve, copy_ids[copy],
         (struct frame){ .stage = NEXT, .step = LEAVES, .past_tokens = copy, .request = number });
}

static void credit(struct serve *serve, int worker, int32_t stage, int32_t count)
{
    tell(serve, worker, (struct frame){ .stage = stage, .new_tokens = count });
}

static bool has_room(const struct serve *serve, int32_t stage)
{
    return room_has(serve, serve->input->plan->stages[stage]);
}

/* How much is left, which is put back. */
static int room_of(struct serve *serve, int32_t stage)
{
    int count = 0;

    for (; has_room(serve, stage); count++)
        room_take(serve, serve->input->plan->stages[stage]);
    for (int i = 0; i < count; i++)
        credit(serve, serve_worker_of(serve, serve->input->plan->stages[stage]), stage, 1);
    return count;
}

/* ---- queues of stages 0 ---- */

static void an_unbounded_queue_always_has_room(void **state)
{
    struct serve *serve = begin(*state, 0, 0);

    for (int i = 0; i < 100; i++)
        room_take(serve, serve->input->plan->stages[0]);
    assert_true(has_room(serve, 0));
}

static void each_copy_of_stage_0_has_room_of_its_own(void **state)
{
    struct serve *serve = begin(*state, 2, 0);

    room_take(serve, serve->input->plan->stages[2]);
    room_take(serve, serve->input->plan->stages[2]);
    assert_false(has_room(serve, 2));
    assert_int_equal(room_of(serve, 0), 2);
    credit(serve, 2, 2, 1);
    assert_int_equal(room_of(serve, 2), 1);
    credit(serve, 2, 2, INT32_MAX); /* never more than it takes */
    assert_int_equal(room_of(serve, 2), 2);
}

static void room_in_front_of_fixed_batches_is_for_all_that_they_take(void **state)
{
    struct world *world = *state;
    struct serve *serve;

    world->batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 4 };
    serve = begin(world, 3, 2);
    assert_int_equal(room_of(serve, 0), 12);
    assert_int_equal(room_of(serve, NEXT), 2); /* where batches come whole */
}

static void what_strangers_say_is_not_heard(void **state)
{
    struct serve *serve = begin(*state, 1, 1);

    room_take(serve, serve->input->plan->stages[0]);
    credit(serve, 2, 0, 1);    /* another's queue */
    credit(serve, 0, 1000, 1); /* no stage */
    serve->table->replicas[0].generation = 1;
    credit(serve, 0, 0, 1); /* of before it was lost */
    assert_false(has_room(serve, 0));
    serve->table->replicas[0].generation = 0;
    tell(serve, 0, (struct frame){ .stage = NEXT, .step = ASKS, .past_tokens = 1, .request = 1 });
    tell(serve, 0, (struct frame){ .stage = NEXT, .step = ASKS, .past_tokens = 9, .request = 1 });
    assert_int_equal(room_of(serve, NEXT), 1);
}

/* ---- a queue that copies share ---- */

static void copies_get_room_in_the_order_of_asking(void **state)
{
    struct serve *serve = begin(*state, 0, 1);

    ask(serve, 2, 1);
    ask(serve, 0, 1);
    ask(serve, 1, 1);
    assert_false(has_room(serve, NEXT));
    credit(serve, NEXT, NEXT, 1); /* copy 2 has sent, and that has begun: copy 0 is let go */
    room_left(serve, serve->input->plan->stages[0], 0); /* and has sent as well */
    leave(serve, 1, 1);                                 /* who had been granted nothing */
    leave(serve, 0, 1);
    assert_false(has_room(serve, NEXT));
    credit(serve, NEXT, NEXT, 1);
    assert_int_equal(room_of(serve, NEXT), 1);
}

static void who_leaves_makes_room_for_the_next(void **state)
{
    struct serve *serve = begin(*state, 0, 1);

    ask(serve, 0, 7);
    ask(serve, 1, 3);
    leave(serve, 0, 6); /* an earlier step of its own */
    leave(serve, 1, 3);
    assert_false(has_room(serve, NEXT));
    ask(serve, 1, 4);
    leave(serve, 0, 7);
    assert_false(has_room(serve, NEXT));
    leave(serve, 1, 4);
    assert_int_equal(room_of(serve, NEXT), 1);
}

static void a_step_that_has_been_told_of_has_used_its_room(void **state)
{
    struct serve *serve = begin(*state, 0, 1);

    ask(serve, 0, 1);
    room_left(serve, serve->input->plan->stages[0], 0);
    leave(serve, 0, 1);
    assert_false(has_room(serve, NEXT)); /* it is in the queue */
    room_lose(serve, 0);
    assert_false(has_room(serve, NEXT));
    credit(serve, NEXT, NEXT, 1);
    assert_int_equal(room_of(serve, NEXT), 1);
}

static void who_still_asks_is_not_taken_for_who_has_sent(void **state)
{
    struct serve *serve = begin(*state, 0, 1);

    ask(serve, 0, 1);
    ask(serve, 1, 1);
    room_left(serve, serve->input->plan->stages[copy_ids[1]], 1);
    leave(serve, 0, 1);
    assert_false(has_room(serve, NEXT)); /* it is the other's */
}

/* ---- workers that are lost ---- */

static void what_a_lost_copy_was_granted_goes_to_the_next(void **state)
{
    struct serve *serve = begin(*state, 0, 1);

    ask(serve, 0, 1);
    ask(serve, 1, 1);
    ask(serve, 2, 1);
    room_lose(serve, copy_ids[1]); /* who waits goes, and gives nothing */
    assert_false(has_room(serve, NEXT));
    room_lose(serve, copy_ids[0]);
    assert_false(has_room(serve, NEXT));
    leave(serve, 2, 1);
    assert_int_equal(room_of(serve, NEXT), 1);
}

static void nobody_waits_for_a_queue_that_is_lost(void **state)
{
    struct serve *serve = begin(*state, 0, 1);

    ask(serve, 0, 1);
    ask(serve, 1, 1);
    room_lose(serve, NEXT);
    leave(serve, 1, 1);
    room_empty(serve, serve->input->plan->stages[NEXT]); /* it is back */
    assert_int_equal(room_of(serve, NEXT), 1);
    ask(serve, 1, 2);
    assert_false(has_room(serve, NEXT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_unbounded_queue_always_has_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_copy_of_stage_0_has_room_of_its_own, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(room_in_front_of_fixed_batches_is_for_all_that_they_take,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_strangers_say_is_not_heard, set_up, tear_down),
        cmocka_unit_test_setup_teardown(copies_get_room_in_the_order_of_asking, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_leaves_makes_room_for_the_next, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_step_that_has_been_told_of_has_used_its_room, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(who_still_asks_is_not_taken_for_who_has_sent, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_a_lost_copy_was_granted_goes_to_the_next, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nobody_waits_for_a_queue_that_is_lost, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
