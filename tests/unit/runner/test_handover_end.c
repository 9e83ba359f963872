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
    drop_next(&world.workers[1]);
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

/* What was on its way when the request ended takes no cache that nobody would ever release. */
static void pieces_behind_the_end_of_a_request_take_nothing(void **state)
{
    const struct frame told = { .type = FRAME_MOVED, .stage = 10, .request = REQUEST };
    struct frame frame = { .type = FRAME_CACHE,
                           .stage = 10,
                           .request = REQUEST,
                           .new_tokens = 2,
                           .total_tokens = 20,
                           .payload_bytes = 4 * FRAME_PIECE_WORDS + 8 * 16 * 2 * 4 };
    unsigned char payload[4 * FRAME_PIECE_WORDS + 8 * 16 * 2 * 4] = { 0 };
    struct err err = ERR_INIT;
    struct kv_pool *pool;
    struct world world;
    int64_t used;

    (void)state;
    open_two(&world);
    pool = shard_caches(world.workers[1].shard, 0);
    used = kv_pool_used_bytes(pool);
    for (int32_t layer = 0; layer < 2; layer++) {
        const struct frame_piece piece = {
            .layer_first = layer, .layer_count = 1, .head_count = 4, .is_last = layer > 0
        };
        int32_t words[FRAME_PIECE_WORDS];

        frame_put_piece(words, &piece);
        frame_put_words(payload, words, FRAME_PIECE_WORDS);
        check(handover_take(&world.workers[1], &frame, payload, false, 0, &err), &err);
        assert_int_equal(kv_pool_used_bytes(pool) > used, layer == 0);
        if (layer == 0)
            release(&world, 1);
    }
    assert_null(kv_pool_find(pool, REQUEST));
    assert_int_equal(channel_send(worker_find_peer(&world.workers[0], 1), NULL, &told, NULL, &err),
                     CHANNEL_DONE);
    turns(&world, 50000000);
    for (int i = 0; i < HANDOVER_BUCKETS; i++)
        assert_null(world.workers[1].handover->buckets[i]);
    assert_int_equal(world.moved_count, 0);
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

/* One of a batch has ended: the others go on. */
static void others_of_a_batch_are_taken_without_who_has_ended(void **state)
{
    const struct frame frame = { .type = FRAME_CACHE,
                                 .stage = 10,
                                 .request = 3,
                                 .entries = 2,
                                 .new_tokens = 4,
                                 .payload_bytes = 4 * (2 * FRAME_ENTRY_WORDS + FRAME_PIECE_WORDS) +
                                                  8 * 16 * 4 * 4 * 4 };
    const struct frame_piece piece = { .layer_count = 4, .head_count = 4, .is_last = true };
    unsigned char *payload;
    int32_t words[2 * FRAME_ENTRY_WORDS + FRAME_PIECE_WORDS];
    struct world world;
    struct err err = ERR_INIT;

    (void)state;
    open_two(&world);
    world.setups[1].models[0].max_seqs = 2;
    world.setups[1].stages[0].has_batches = true;
    payload = arena_alloc(world.arena, (size_t)frame.payload_bytes);
    frame_put_entry(words, &(struct frame_entry){ REQUEST + 1, 2, 0, 20 });
    frame_put_entry(words + FRAME_ENTRY_WORDS, &(struct frame_entry){ REQUEST, 2, 0, 20 });
    frame_put_piece(words + 2 * (ptrdiff_t)FRAME_ENTRY_WORDS, &piece);
    frame_put_words(payload, words, 2 * FRAME_ENTRY_WORDS + FRAME_PIECE_WORDS);
    release(&world, 1);
    check(handover_take(&world.workers[1], &frame, payload, false, 0, &err), &err);
    await_complete(&world, 1);
    assert_int_equal(world.moved_count, 1);
    assert_null(kv_pool_find(shard_caches(world.workers[1].shard, 0), REQUEST));
    assert_non_null(kv_pool_find(shard_caches(world.workers[1].shard, 0), REQUEST + 1));
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

/* More tokens than the stage computes at once, of a request that is named twice. */
static void a_move_longer_than_any_prompt_is_refused(void **state)
{
    struct channel_message message = { .frame = { .type = FRAME_MOVE,
                                                  .entries = 2,
                                                  .new_tokens = 40,
                                                  .payload_bytes = 4 * 2 * FRAME_ENTRY_WORDS } };
    unsigned char payload[4 * 2 * FRAME_ENTRY_WORDS];
    int32_t words[FRAME_ENTRY_WORDS];
    struct err err = ERR_INIT;
    struct world world;

    (void)state;
    open_two(&world);
    world.setups[0].models[0].max_seqs = 2;
    frame_put_entry(words, &(struct frame_entry){ REQUEST, 20, 0, 20 });
    frame_put_words(payload, words, FRAME_ENTRY_WORDS);
    frame_put_words(payload + sizeof words, words, FRAME_ENTRY_WORDS);
    message.payload = payload;
    assert_false(handover_ask(&world.workers[0], &message, &err));
    assert_non_null(strstr(err.text, "impossible lengths"));
    close_world(&world);
}

/* What a worker has to give to itself is for a stage that it has. */
static void a_move_to_a_stage_that_is_not_here_is_refused(void **state)
{
    struct world world;
    struct worker *worker = &world.workers[0];
    struct err err = ERR_INIT;
    struct setup_move *own;

    (void)state;
    open_two(&world);
    check(worker_await_peers(worker, worker->peer_count, 0, PATIENCE_NS, &err), &err);
    own = &world.setups[0].stages[0].moves[0];
    own->to_worker = 0;
    for (own->to_stage = 0; own->to_stage <= 99; own->to_stage += 99) {
        err = (struct err)ERR_INIT;
        assert_false(worker_await_peers(worker, worker->peer_count, 0, PATIENCE_NS, &err));
        assert_non_null(strstr(err.text, "one of stage 0 is missing"));
    }
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_waits_for_its_caches),
        cmocka_unit_test(what_comes_of_a_request_that_has_ended_is_dropped),
        cmocka_unit_test(pieces_behind_the_end_of_a_request_take_nothing),
        cmocka_unit_test(a_request_that_ends_before_its_caches_go_sends_nothing),
        cmocka_unit_test(what_a_lost_replica_sent_is_dropped),
        cmocka_unit_test(a_cache_without_memory_is_refused_once),
        cmocka_unit_test(others_of_a_batch_are_taken_without_who_has_ended),
        cmocka_unit_test(damaged_pieces_are_refused_before_memory_is_taken),
        cmocka_unit_test(a_piece_that_comes_twice_is_an_error),
        cmocka_unit_test(a_move_that_cannot_be_is_refused),
        cmocka_unit_test(a_move_longer_than_any_prompt_is_refused),
        cmocka_unit_test(a_move_to_a_stage_that_is_not_here_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
