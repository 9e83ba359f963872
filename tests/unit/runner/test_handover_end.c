/* test_handover_end.c - steps that wait for KV caches, requests that end and replicas that are lost
 * while these are on their way, and messages that cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

#include "tests/unit/runner/handover_world.h"

/* ---- steps that wait, and requests that end ---- */

static void a_step_waits_for_its_caches(void **state)
{
    struct world world;

    (void)state;
    open_two(&world);
    send_step(&world, 0, 1, 1);
    turns(&world, 50000000);
    assert_int_equal(world.workers[1].handover->parked.count, 1);
    assert_int_equal(batch_peek(world.workers[1].queue), -1);
    each_head(&world, SETUP_PROMPTS, PROMPT, true);
    move(&world, REQUEST, PROMPT, 20);
    await_complete(&world, 1);
    assert_int_equal(world.workers[1].handover->parked.count, 0);
    assert_true(batch_take(world.workers[1].queue) >= 0);
    /* a later one waits for nothing */
    send_step(&world, 0, 1, 2);
    while (batch_peek(world.workers[1].queue) < 0)
        turn(&world);
    close_world(&world);
}

static void what_comes_of_a_request_that_has_ended_is_dropped(void **state)
{
    struct world world;

    (void)state;
    open_two(&world);
    send_step(&world, 0, 1, 1);
    turns(&world, 50000000);
    release(&world, 1);
    assert_int_equal(world.workers[1].handover->parked.count, 0);
    send_step(&world, 0, 1, 1);
    each_head(&world, SETUP_PROMPTS, PROMPT, true);
    release(&world, 1); /* nothing of it is known there any more */
    move(&world, REQUEST, PROMPT, 20);
    turns(&world, 100000000);
    assert_int_equal(world.moved_count, 0);
    assert_int_equal(world.workers[1].handover->parked.count, 0);
    assert_null(kv_pool_find(shard_caches(world.workers[1].shard, 0), REQUEST));
    assert_null(kv_pool_find(shard_caches(world.workers[0].shard, 0), REQUEST));
    close_world(&world);
}

/* On the side of prompts too, in the middle of a MOVE. */
static void a_request_that_ends_before_its_caches_go_sends_nothing(void **state)
{
    struct world world;

    (void)state;
    open_two(&world);
    each_head(&world, SETUP_PROMPTS, PROMPT, true);
    move(&world, REQUEST, PROMPT, 20);
    release(&world, 0);
    turns(&world, 100000000);
    assert_int_equal(world.moved_count, 0);
    assert_null(world.workers[0].handover->moving);
    close_world(&world);
}

/* The replica was lost meanwhile: pieces and steps of before are nobody's. */
static void what_a_lost_replica_sent_is_dropped(void **state)
{
    struct world world;

    (void)state;
    open_two(&world);
    send_step(&world, 0, 1, 1);
    turns(&world, 50000000);
    assert_int_equal(world.workers[1].handover->parked.count, 1);
    worker_reset(&world.workers[1], 0, 1);
    assert_int_equal(world.workers[1].handover->parked.count, 0);
    each_head(&world, SETUP_PROMPTS, PROMPT, true);
    move(&world, REQUEST, PROMPT, 20);
    turns(&world, 100000000);
    assert_int_equal(world.moved_count, 0);
    worker_reset(&world.workers[0], 0, 1);
    assert_null(kv_pool_find(shard_caches(world.workers[0].shard, 0), REQUEST));
    close_world(&world);
}

static void a_cache_without_memory_is_refused_once(void **state)
{
    const struct model model = tiny_model();
    struct world world;
    int64_t taken = 100;

    (void)state;
    create(&world, &model, 12);
    place(&world, 0, SETUP_PROMPTS, 0, 0, 4);
    place(&world, 1, SETUP_DECODING, 10, 0, 4);
    world.setups[1].memory_bytes = shard_need_bytes(&world.setups[1]);
    open_world(&world);
    while (kv_pool_take(shard_caches(world.workers[1].shard, 0), taken, 24))
        taken++;
    each_head(&world, SETUP_PROMPTS, PROMPT, true);
    send_step(&world, 0, 1, 1);
    move(&world, REQUEST, PROMPT, 20);
    turns(&world, 100000000);
    assert_int_equal(world.refused_count, 1);
    assert_int_equal(world.moved_count, 0);
    release(&world, 1);
    assert_int_equal(world.workers[1].handover->parked.count, 0);
    close_world(&world);
}

/* ---- damage ---- */

struct damage {
    const char *why; /* what the error says */
    struct frame frame;
    struct frame_piece piece;
    int32_t cut_words; /* of the payload */
};

static void expect_bad(struct world *world, const struct damage *damage)
{
    struct worker *worker = &world->workers[1];
    struct kv_pool *pool = shard_caches(worker->shard, 0);
    unsigned char *payload = arena_alloc(world->arena, 1 << 16);
    int64_t used = kv_pool_used_bytes(pool);
    struct frame frame = damage->frame;
    int32_t words[FRAME_PIECE_WORDS];
    struct err err = ERR_INIT;

    frame.type = FRAME_CACHE;
    frame.stage = 10;
    frame.request = REQUEST;
    frame_put_piece(words, &damage->piece);
    frame_put_words(payload, words, FRAME_PIECE_WORDS);
    frame.payload_bytes = 4 * FRAME_PIECE_WORDS - 4 * (int64_t)damage->cut_words;
    if (damage->piece.layer_count > 0 && damage->piece.layer_count <= 4 &&
        damage->piece.head_count > 0 && damage->piece.head_count <= 4)
        frame.payload_bytes += INT64_C(8) * 16 * frame.new_tokens * damage->piece.layer_count *
                               damage->piece.head_count;
    assert_false(handover_take(worker, &frame, payload, false, 0, &err));
    assert_int_equal(err.kind, ERR_INPUT);
    if (!strstr(err.text, damage->why))
        fail_msg("%s: expected %s", err.text, damage->why);
    assert_int_equal(kv_pool_used_bytes(pool), used);
}

static void damaged_pieces_are_refused_before_memory_is_taken(void **state)
{
    const struct frame good = { .new_tokens = PROMPT, .total_tokens = 20 };
    const struct frame_piece all = { .layer_count = 4, .head_count = 4, .is_last = true };
    struct damage damages[] = {
        { "too few bytes", good, { 0 }, 3 },
        { "layers that are not here", good, { .layer_count = 5, .head_count = 4 }, 0 },
        { "layers that are not here", good, { .layer_count = 0, .head_count = 4 }, 0 },
        { "layers that are not here",
          good,
          { .layer_first = -1, .layer_count = 2, .head_count = 4 },
          0 },
        { "layers that are not here",
          good,
          { .layer_first = INT32_MAX, .layer_count = INT32_MAX, .head_count = 4 },
          0 },
        { "layers that are not here",
          good,
          { .layer_first = INT32_MIN, .layer_count = INT32_MAX, .head_count = 4 },
          0 },
        { "heads that the model has not", good, { .layer_count = 4, .head_count = 5 }, 0 },
        { "heads that the model has not", good, { .layer_count = 4, .head_count = -1 }, 0 },
        { "heads that the model has not",
          good,
          { .layer_count = 4, .head_first = 3, .head_count = INT32_MAX },
          0 },
        { "impossible lengths", { .new_tokens = 0, .total_tokens = 20 }, all, 0 },
        { "impossible lengths", { .new_tokens = 21, .total_tokens = 20 }, all, 0 },
        { "impossible lengths", { .new_tokens = 9, .total_tokens = 1 << 24 }, all, 0 },
        { "another size", good, all, 1 },
        { "another size", good, all, -1 },
        { "too few bytes", { .new_tokens = 9, .total_tokens = 20, .entries = 2 }, all, 0 },
    };
    struct world world;

    (void)state;
    open_two(&world);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++)
        expect_bad(&world, &damages[i]);
    close_world(&world);
}

static void a_piece_that_comes_twice_is_an_error(void **state)
{
    const struct frame_piece piece = { .layer_count = 1, .head_count = 4 };
    struct frame frame = { .type = FRAME_CACHE,
                           .stage = 10,
                           .request = REQUEST,
                           .new_tokens = 2,
                           .total_tokens = 20,
                           .payload_bytes = 4 * FRAME_PIECE_WORDS + 8 * 16 * 2 * 4 };
    unsigned char payload[4 * FRAME_PIECE_WORDS + 8 * 16 * 2 * 4] = { 0 };
    int32_t words[FRAME_PIECE_WORDS];
    struct err err = ERR_INIT;
    struct world world;

    (void)state;
    open_two(&world);
    frame_put_piece(words, &piece);
    frame_put_words(payload, words, FRAME_PIECE_WORDS);
    assert_true(handover_take(&world.workers[1], &frame, payload, false, 0, &err));
    assert_false(handover_take(&world.workers[1], &frame, payload, false, 0, &err));
    assert_non_null(strstr(err.text, "what is there already"));
    close_world(&world);
}

static void a_move_that_cannot_be_is_refused(void **state)
{
    static const struct frame bad[] = {
        { .stage = 10, .new_tokens = 9, .total_tokens = 20 },
        { .stage = 5, .new_tokens = 9, .total_tokens = 20 },
        { .stage = 0, .new_tokens = 0, .total_tokens = 20 },
        { .stage = 0, .new_tokens = 21, .total_tokens = 20 },
        { .stage = 0, .new_tokens = 9, .total_tokens = 1 << 24 },
        { .stage = 0, .new_tokens = 9, .total_tokens = 20, .entries = 1 },
        { .stage = 0, .new_tokens = 9, .total_tokens = 20, .payload_bytes = 3 },
    };
    unsigned char payload[64] = { 0 };
    struct world world;

    (void)state;
    open_two(&world);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct channel_message message = { .payload = payload };
        struct err err = ERR_INIT;

        message.frame = bad[i];
        message.frame.type = FRAME_MOVE;
        assert_false(handover_ask(&world.workers[i == 0], &message, &err));
        assert_int_equal(err.kind, ERR_INPUT);
        assert_null(world.workers[0].handover->moving);
    }
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_waits_for_its_caches),
        cmocka_unit_test(what_comes_of_a_request_that_has_ended_is_dropped),
        cmocka_unit_test(a_request_that_ends_before_its_caches_go_sends_nothing),
        cmocka_unit_test(what_a_lost_replica_sent_is_dropped),
        cmocka_unit_test(a_cache_without_memory_is_refused_once),
        cmocka_unit_test(damaged_pieces_are_refused_before_memory_is_taken),
        cmocka_unit_test(a_piece_that_comes_twice_is_an_error),
        cmocka_unit_test(a_move_that_cannot_be_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
