/* test_reset.c - two devices of one stage lose their replica in the middle of passes: what comes
 * then is as if nothing had been before, and nothing is left of it. */
#include "runner/worker/internal.h"

#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/policy/batch.h"
#include "runner/worker/batcher.h"
#include "runner/worker/beat.h"
#include "runner/worker/kv.h"
#include "runner/worker/shard.h"
#include "runner/worker/sliced.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#include "tests/unit/runner/shapes.h"

#define DEVICES 2
#define PROMPT 5
#define STEPS 4
#define PATIENCE_NS INT64_C(20000000000)
#define TURN_NS INT64_C(200000)

struct world {
    struct arena *arena;
    struct channel_hub *hub;
    struct channel *router, *push; /* the coordinator's */
    struct worker_options options;
    struct worker workers[DEVICES];
    int64_t held_bytes[DEVICES]; /* of caches, before the first step */
    int64_t result_name;
    int32_t result_step, result_token; /* the last one that came; name -1: none has */
};

static void check(bool ok, const struct err *err)
{
    if (!ok)
        fail_msg("%s", err->text);
}

/* Every block in two halves. */
static struct setup halves(struct arena *arena, int32_t position, int32_t generation)
{
    const struct model model = tiny_model();
    struct setup setup = tiny_setup(arena, &model, 0, 0, model.layers);
    struct setup_stage *stage = &setup.stages[0];
    const unsigned blocks[] = { 1u << BLOCK_ATTN, 1u << BLOCK_PROJ,
                                1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN };

    stage->generation = generation;
    stage->position = position;
    stage->position_count = DEVICES;
    stage->workers = arena_array(arena, DEVICES, sizeof *stage->workers);
    stage->slices = arena_array(arena, 16, sizeof *stage->slices);
    for (int32_t i = 0; i < DEVICES; i++) {
        stage->workers[i] = i;
        for (size_t k = 0; k < sizeof blocks / sizeof blocks[0]; k++)
            stage->slices[stage->slice_count++] =
                (struct setup_slice){ blocks[k], 0, model.layers - 1, i, i, i, DEVICES, false };
    }
    stage->slices[stage->slice_count++] =
        (struct setup_slice){ 1u << BLOCK_CONN, 0, model.layers - 1, 0, 0, 0, 1, false };
    stage->slices[stage->slice_count++] =
        (struct setup_slice){ 1u << BLOCK_EMBED, -1, -1, 0, 0, 0, 1, false };
    stage->slices[stage->slice_count++] =
        (struct setup_slice){ 1u << BLOCK_LM_HEAD, -1, -1, 0, 0, 0, 1, false };
    setup.worker = position;
    return setup;
}

static void open_worker(struct world *world, struct worker *worker, int32_t position,
                        int32_t generation, char endpoint[CHANNEL_ADDRESS_BYTES])
{
    struct err err = ERR_INIT;
    struct setup *setup = arena_alloc(world->arena, sizeof *setup);

    *setup = halves(world->arena, position, generation);
    *worker = (struct worker){ .options = &world->options,
                               .arena = world->arena,
                               .hub = world->hub,
                               .setup = setup,
                               .waiting = -1 };
    worker->control = channel_open(world->arena, world->hub, CHANNEL_DEALER, 1000, 1 << 20, &err);
    worker->data = channel_open(world->arena, world->hub, CHANNEL_PULL, 0, 1 << 20, &err);
    assert_non_null(worker->control);
    assert_non_null(worker->data);
    check(channel_connect(worker->control, world->options.connect, &err), &err);
    check(channel_bind(worker->data, "127.0.0.1:0", endpoint, &err), &err);
    worker->beat = beat_start(world->arena, world->hub, world->options.connect, 1, &err);
    assert_non_null(worker->beat);
    worker->queue = batch_queue_create(world->arena, BATCH_NONE);
    worker->shard = shard_create(world->arena, setup, NULL, NULL, &err);
    if (!worker->shard)
        fail_msg("%s", err.text);
    worker_hold_stages(worker, 0);
    world->held_bytes[position] = kv_pool_used_bytes(shard_caches(worker->shard, 0));
}

static void open_world(struct world *world, int32_t generation)
{
    struct err err = ERR_INIT;
    static char address[CHANNEL_ADDRESS_BYTES];
    char endpoints[DEVICES][CHANNEL_ADDRESS_BYTES];
    bool is_open = false;

    *world = (struct world){ .arena = arena_create(), .result_name = -1 };
    world->hub = channel_hub_create(world->arena, NULL, &err);
    assert_non_null(world->hub);
    world->router = channel_open(world->arena, world->hub, CHANNEL_ROUTER, 1000, 1 << 20, &err);
    assert_non_null(world->router);
    check(channel_bind(world->router, "127.0.0.1:0", address, &err), &err);
    world->options = (struct worker_options){ .device = "d", .connect = address };
    for (int32_t i = 0; i < DEVICES; i++)
        open_worker(world, &world->workers[i], i, generation, endpoints[i]);
    for (int32_t i = 0; i < DEVICES; i++) {
        check(worker_add_peer(&world->workers[i], 1 - i, endpoints[1 - i], &err), &err);
        check(worker_await_peers(&world->workers[i], 0, 0, PATIENCE_NS, &err), &err);
    }
    world->push = channel_open(world->arena, world->hub, CHANNEL_PUSH, 0, 0, &err);
    assert_non_null(world->push);
    check(channel_connect(world->push, endpoints[0], &err) &&
              channel_wait_open(world->hub, world->push, clock_now_ns() + PATIENCE_NS, &is_open,
                                &err),
          &err);
    assert_true(is_open);
}

static void close_world(struct world *world)
{
    for (int i = 0; i < DEVICES; i++) {
        struct worker *worker = &world->workers[i];

        sliced_close(worker->sliced[0]);
        channel_close(worker->peers[0], 0);
        beat_stop(worker->beat);
        channel_close(worker->data, 0);
        channel_close(worker->control, 0);
        shard_destroy(worker->shard);
    }
    channel_close(world->push, 0);
    channel_close(world->router, 0);
    channel_hub_destroy(world->hub);
    arena_destroy(world->arena);
}

/* ---- what the coordinator and the workers do ---- */

static void hear(struct world *world)
{
    struct channel_message message;
    struct err err = ERR_INIT;

    while (channel_receive(world->router, &message, &err) == CHANNEL_DONE) {
        const struct frame answer = { .type = FRAME_BEAT };

        if (message.frame.type == FRAME_BEAT)
            channel_send(world->router, &message.from, &answer, NULL, &err);
        if (message.frame.type == FRAME_RESULT) {
            world->result_name = message.frame.request;
            world->result_step = message.frame.step;
            frame_get_words(&world->result_token, message.payload, 1);
        }
        channel_message_close(&message);
    }
}

/* One round of worker_serve of each. */
static void turn(struct world *world)
{
    hear(world);
    for (int i = 0; i < DEVICES; i++) {
        struct worker *worker = &world->workers[i];
        struct err err = ERR_INIT;
        int32_t number;

        check(worker_receive_until(worker, clock_now_ns() + TURN_NS, &err), &err);
        check(sliced_advance(worker->sliced[0], &err), &err);
        number = batch_peek(worker->queue);
        if (number < 0)
            continue;
        assert_int_equal(batch_take(worker->queue), number);
        worker_free_job(worker, number);
        check(sliced_compute(worker->sliced[0], worker->jobs[number]->piece, &err), &err);
    }
}

/* The prompts differ by request modulo 3. */
static void ask(struct world *world, int64_t name, int32_t step, int32_t token, int32_t generation)
{
    int32_t tokens[PROMPT] = { token };
    struct frame frame = { .type = FRAME_STEP,
                           .request = name,
                           .step = step,
                           .new_tokens = step == 0 ? PROMPT : 1,
                           .past_tokens = step == 0 ? 0 : PROMPT + step - 1,
                           .total_tokens = PROMPT + STEPS,
                           .finish_ns = generation };
    struct err err = ERR_INIT;

    for (int i = 0; step == 0 && i < PROMPT; i++)
        tokens[i] = (int32_t)(name % 3) * 50 + 7 * i + 1;
    frame.payload_bytes = 4 * (int64_t)frame.new_tokens;
    assert_int_equal(channel_send_words(world->push, NULL, &frame, tokens, &err), CHANNEL_DONE);
}

static void await_result(struct world *world, int64_t name, int32_t step)
{
    int64_t deadline_ns = clock_now_ns() + PATIENCE_NS;

    while (world->result_name != name || world->result_step != step) {
        if (clock_now_ns() > deadline_ns)
            fail_msg("step %d of %d does not end", (int)step, (int)name);
        turn(world);
    }
}

static void tell(struct world *world, int position, enum frame_type type, int64_t name,
                 int32_t generation)
{
    const struct channel_message message = {
        .frame = { .type = type, .request = name, .finish_ns = generation }
    };
    struct err err = ERR_INIT;

    check(worker_on_control(&world->workers[position], &message, &err), &err);
}

static void whole_request(struct world *world, int64_t name, int32_t generation, int32_t *tokens)
{
    for (int32_t step = 0; step < STEPS; step++) {
        ask(world, name, step, step > 0 ? tokens[step - 1] : 0, generation);
        await_result(world, name, step);
        tokens[step] = world->result_token;
    }
}

static void release(struct world *world, int64_t name)
{
    for (int i = 0; i < DEVICES; i++)
        tell(world, i, FRAME_RELEASE, name, 0);
}

static void nothing_is_held(struct world *world)
{
    for (int i = 0; i < 20; i++) /* the last device tells of its pass behind the first */
        turn(world);
    for (int i = 0; i < DEVICES; i++) {
        assert_int_equal(kv_pool_used_bytes(shard_caches(world->workers[i].shard, 0)),
                         world->held_bytes[i]);
        assert_int_equal(batch_length(world->workers[i].queue), 0);
        assert_int_equal(world->workers[i].job_count - world->workers[i].free_count, 0);
    }
}

/* ---- tests ---- */

static void tokens_are_those_undisturbed(void **state)
{
    struct world world;
    int32_t expected[3][STEPS], got[STEPS], generation = 0;
    int64_t name = 3;

    (void)state;
    open_world(&world, 0);
    for (int32_t i = 0; i < 3; i++) {
        whole_request(&world, i, 0, expected[i]);
        release(&world, i);
    }
    nothing_is_held(&world);
    /* lost after so many turns of a prompt and of a second request behind it, the one device or the
     * other told first, the later one only by what comes from the first */
    for (int turns = 0; turns < 40; turns++) {
        ask(&world, name++, 0, 0, generation);
        ask(&world, name++, 0, 0, generation);
        for (int i = 0; i < turns; i++)
            turn(&world);
        generation++;
        tell(&world, turns % 2, FRAME_RESET, 0, generation);
        if (turns % 3 == 0)
            turn(&world); /* the other one still sends messages of before */
        if (turns % 4 == 0)
            tell(&world, 1 - turns % 2, FRAME_RESET, 0, generation);
        ask(&world, name++, 0, 0, generation - 1); /* on its way for long */
        whole_request(&world, name, generation, got);
        for (int step = 0; step < STEPS; step++)
            assert_int_equal(got[step], expected[name % 3][step]);
        release(&world, name++);
        nothing_is_held(&world);
    }
    close_world(&world);
}

static void who_joins_late_is_of_the_generation(void **state)
{
    struct world world;
    int32_t expected[STEPS], got[STEPS];

    (void)state;
    open_world(&world, 0);
    whole_request(&world, 0, 0, expected);
    close_world(&world);
    open_world(&world, 7);
    ask(&world, 3, 0, 0, 6);
    whole_request(&world, 6, 7, got);
    for (int step = 0; step < STEPS; step++)
        assert_int_equal(got[step], expected[step]);
    release(&world, 6);
    nothing_is_held(&world);
    assert_int_equal(frame_generation(&(struct frame){ .type = FRAME_PART,
                                                       .finish_ns = (INT64_C(7) << 32) + 5 }),
                     7);
    close_world(&world);
}

static void tell_peers(struct worker *worker, const char *endpoint)
{
    const struct setup_peer peer = { 1, endpoint };
    const char *text = setup_encode_peers(worker->arena, &peer, 1);
    struct channel_message message = { .payload = (const unsigned char *)text };
    struct err err = ERR_INIT;

    message.frame = (struct frame){ .type = FRAME_PEERS, .payload_bytes = (int64_t)strlen(text) };
    check(worker_on_control(worker, &message, &err), &err);
}

/* A batch is of no request that a RELEASE could name, and where copies share a queue the
 * coordinator has forgotten who asked for room in one that was lost. */
static void who_waits_for_room_drops_its_batch_when_the_queue_is_lost(void **state)
{
    struct world world;
    struct worker *worker = &world.workers[0];

    (void)state;
    open_world(&world, 0);
    worker->waiting = WORKER_NO_REQUEST;
    tell_peers(worker, "");
    assert_true(worker->are_lost[0]);
    assert_true(worker->waiting == WORKER_NO_REQUEST); /* for something else */
    tell_peers(worker, "127.0.0.1:9");
    worker->room_of = worker->peers[0];
    tell_peers(worker, "");
    tell_peers(worker, "127.0.0.1:9"); /* heard of at once */
    assert_false(worker->are_lost[0]);
    assert_true(worker->waiting == -1);
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_those_undisturbed),
        cmocka_unit_test(who_joins_late_is_of_the_generation),
        cmocka_unit_test(who_waits_for_room_drops_its_batch_when_the_queue_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
