/* handover_world.h - workers on one machine that hand KV caches over, without a coordinator. */
#ifndef ORRERY_TESTS_RUNNER_HANDOVER_WORLD_H
#define ORRERY_TESTS_RUNNER_HANDOVER_WORLD_H

#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/policy/batch.h"
#include "lib/wire/channel.h"
#include "runner/worker/handover_internal.h"
#include "runner/worker/internal.h"
#include "runner/worker/kv.h"
#include "runner/worker/shard.h"
#include "tests/unit/runner/shapes.h"
#include <string.h>

#define PROMPT 9
#define WORKERS 4
#define STAGES 4 /* of a worker, at most */
#define PATIENCE_NS INT64_C(20000000000)
#define REQUEST 7

struct world {
    struct arena *arena;
    struct channel_hub *hub;
    struct channel *router;
    struct worker_options options;
    struct setup setups[WORKERS];
    struct worker workers[WORKERS];
    int moved_count, refused_count;
    int64_t moved_bytes;
    int complete_count; /* devices that have said that all of their own is there */
};

static inline void check(bool ok, const struct err *err)
{
    if (!ok)
        fail_msg("%s", err->text);
}

/* ---- workers on one machine ---- */

static inline void create(struct world *world, const struct model *model, int32_t max_tokens)
{
    *world = (struct world){ .arena = arena_create() };
    for (int32_t w = 0; w < WORKERS; w++) {
        world->setups[w] = tiny_setup(world->arena, model, 0, 0, 1);
        world->setups[w].worker = w;
        world->setups[w].stage_count = 0;
        world->setups[w].models[0].max_tokens = max_tokens;
        world->setups[w].models[0].max_total_tokens = 2 * max_tokens;
        world->setups[w].stages =
            arena_array(world->arena, STAGES, sizeof *world->setups[w].stages);
    }
}

/* Whole layers first..end-1 of a chain, on one worker. */
static inline struct setup_stage *place(struct world *world, int32_t worker, enum setup_phase phase,
                                        int32_t id, int32_t first, int32_t end)
{
    struct setup *setup = &world->setups[worker];
    struct setup_stage *stage = &setup->stages[setup->stage_count++];
    int32_t layers = setup->models[0].model.layers;

    *stage = (struct setup_stage){ .id = id,
                                   .previous_worker = SETUP_COORDINATOR,
                                   .batch_size = 1,
                                   .cache_count = 1,
                                   .phase = phase,
                                   .twin = SETUP_NOBODY,
                                   .layer_first = first,
                                   .layer_count = end - first,
                                   .has_embed = first == 0,
                                   .has_lm_head = end == layers,
                                   .is_last = end == layers };
    stage->moves = arena_array(world->arena, 64, sizeof *stage->moves);
    return stage;
}

/* KV heads heads[p]..heads[p + 1] - 1 on the worker at position p, all else on the first. */
static inline void place_parts(struct world *world, const int32_t *workers, const int32_t *heads,
                               int32_t count, enum setup_phase phase, int32_t id)
{
    const struct model *model = &world->setups[0].models[0].model;
    const unsigned rest = 1u << BLOCK_PROJ | 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN;
    const struct setup_slice ends[] = {
        { 1u << BLOCK_EMBED, -1, -1, 0, 0, 0, 1, false },
        { rest, 0, model->layers - 1, 0, 0, 0, 1, false },
        { 1u << BLOCK_CONN, 0, model->layers - 1, 0, 0, 0, 1, false },
        { 1u << BLOCK_LM_HEAD, -1, -1, 0, 0, 0, 1, false },
    };

    for (int32_t p = 0; p < count; p++) {
        struct setup_stage *stage = place(world, workers[p], phase, id, 0, model->layers);

        stage->position = p;
        stage->position_count = count;
        stage->workers = arena_array(world->arena, (size_t)count, sizeof *stage->workers);
        memcpy(stage->workers, workers, (size_t)count * sizeof *workers);
        stage->slices = arena_array(world->arena, 16, sizeof *stage->slices);
        for (int32_t k = 0; k < count; k++)
            if (heads[k + 1] > heads[k])
                stage->slices[stage->slice_count++] = (struct setup_slice){
                    1u << BLOCK_ATTN, 0,    model->layers - 1, k, heads[k], heads[k + 1] - 1,
                    model->kv_heads,  false
                };
        for (size_t k = 0; k < sizeof ends / sizeof ends[0]; k++)
            stage->slices[stage->slice_count++] = ends[k];
    }
}

static inline void add_move(struct setup_stage *from, const struct setup_stage *to,
                            int32_t to_worker, int32_t head_first, int32_t head_end)
{
    int32_t first = from->layer_first > to->layer_first ? from->layer_first : to->layer_first;
    int32_t from_end = from->layer_first + from->layer_count;
    int32_t to_end = to->layer_first + to->layer_count;
    int32_t end = from_end < to_end ? from_end : to_end;

    if (first < end && head_first < head_end)
        from->moves[from->move_count++] =
            (struct setup_move){ to->id,  to_worker,  first,
                                 end - 1, head_first, head_end - head_first };
}

/* The heads of a layer that the worker has in the stage. */
static inline void heads_of(const struct setup_stage *stage, int32_t kv_heads, int32_t *first,
                            int32_t *end)
{
    *first = 0;
    *end = stage->position_count > 0 ? 0 : kv_heads;
    for (int i = 0; i < stage->slice_count; i++)
        if (stage->slices[i].position == stage->position &&
            (stage->slices[i].blocks & 1u << BLOCK_ATTN)) {
            *first = stage->slices[i].part_first;
            *end = stage->slices[i].part_last + 1;
        }
}

static inline void plan_moves(struct world *world, struct setup_stage *from)
{
    int32_t kv_heads = world->setups[0].models[0].model.kv_heads, a, a_end, b, b_end;

    heads_of(from, kv_heads, &a, &a_end);
    for (int32_t w = 0; w < WORKERS; w++)
        for (int i = 0; i < world->setups[w].stage_count; i++) {
            const struct setup_stage *to = &world->setups[w].stages[i];

            if (to->phase != SETUP_DECODING)
                continue;
            heads_of(to, kv_heads, &b, &b_end);
            add_move(from, to, w, a > b ? a : b, a_end < b_end ? a_end : b_end);
        }
}

static inline void open_worker(struct world *world, int32_t number,
                               char endpoint[CHANNEL_ADDRESS_BYTES])
{
    struct worker *worker = &world->workers[number];
    struct err err = ERR_INIT;

    *worker = (struct worker){ .options = &world->options,
                               .arena = world->arena,
                               .hub = world->hub,
                               .setup = &world->setups[number],
                               .waiting = -1,
                               .trouble = ERR_INIT };
    worker->control = channel_open(world->arena, world->hub, CHANNEL_DEALER, 1000, 1 << 20, &err);
    worker->data = channel_open(world->arena, world->hub, CHANNEL_PULL, 0, 1 << 24, &err);
    assert_non_null(worker->control);
    assert_non_null(worker->data);
    check(channel_connect(worker->control, world->options.connect, &err), &err);
    check(channel_bind(worker->data, "127.0.0.1:0", endpoint, &err), &err);
    worker->queue = batch_queue_create(world->arena, BATCH_NONE);
    if (world->setups[number].stage_count > 0) {
        worker->shard = shard_create(world->arena, worker->setup, NULL, NULL, &err);
        if (!worker->shard)
            fail_msg("%s", err.text);
        worker_hold_stages(worker, 0);
    }
}

/* All that is placed: what goes where, then sockets. */
static inline void open_world(struct world *world)
{
    static char address[CHANNEL_ADDRESS_BYTES];
    char endpoints[WORKERS][CHANNEL_ADDRESS_BYTES];
    struct err err = ERR_INIT;

    for (int32_t w = 0; w < WORKERS; w++)
        for (int i = 0; i < world->setups[w].stage_count; i++)
            if (world->setups[w].stages[i].phase == SETUP_PROMPTS)
                plan_moves(world, &world->setups[w].stages[i]);
    world->hub = channel_hub_create(world->arena, NULL, &err);
    assert_non_null(world->hub);
    world->router = channel_open(world->arena, world->hub, CHANNEL_ROUTER, 1000, 1 << 20, &err);
    assert_non_null(world->router);
    check(channel_bind(world->router, "127.0.0.1:0", address, &err), &err);
    world->options = (struct worker_options){ .device = "d", .connect = address };
    for (int32_t w = 0; w < WORKERS; w++)
        open_worker(world, w, endpoints[w]);
    for (int32_t w = 0; w < WORKERS; w++)
        for (int32_t k = 0; k < WORKERS; k++) {
            bool is_open;

            if (k == w)
                continue;
            check(worker_add_peer(&world->workers[w], k, endpoints[k], &err), &err);
            check(channel_wait_open(world->hub, worker_find_peer(&world->workers[w], k),
                                    clock_now_ns() + PATIENCE_NS, &is_open, &err),
                  &err);
            assert_true(is_open);
        }
}

/* A step that could begin. */
static inline void drop_next(struct worker *worker)
{
    int32_t number = batch_take(worker->queue);

    assert_true(number >= 0);
    channel_message_close(&worker->jobs[number]->message);
    worker_free_job(worker, number);
}

static inline void close_world(struct world *world)
{
    for (int w = 0; w < WORKERS; w++) {
        struct worker *worker = &world->workers[w];

        while (batch_peek(worker->queue) >= 0)
            drop_next(worker);
        handover_close(worker);
        for (int32_t i = 0; i < worker->peer_count; i++)
            channel_close(worker->peers[i], 0);
        channel_close(worker->data, 0);
        channel_close(worker->control, 0);
        shard_destroy(worker->shard);
    }
    channel_close(world->router, 0);
    channel_hub_destroy(world->hub);
    arena_destroy(world->arena);
}

/* ---- what the coordinator and the workers do ---- */

static inline void hear(struct world *world)
{
    struct channel_message message;
    struct err err = ERR_INIT;

    while (channel_receive(world->router, &message, &err) == CHANNEL_DONE) {
        if (message.frame.type == FRAME_MOVED) {
            assert_true(message.frame.payload_bytes >= FRAME_MOVED_BYTES);
            world->moved_count++;
            world->moved_bytes += frame_get_int64(message.payload + 16);
            world->complete_count += frame_get_int64(message.payload + 40) != 0;
            assert_true(frame_get_int64(message.payload + 24) <=
                        frame_get_int64(message.payload + 32));
        }
        world->refused_count += message.frame.type == FRAME_REFUSE;
        channel_message_close(&message);
    }
}

static inline void turn(struct world *world)
{
    struct err err = ERR_INIT;

    hear(world);
    for (int w = 0; w < WORKERS; w++) {
        if (!world->workers[w].handover)
            continue;
        worker_receive_steps(&world->workers[w]);
        check(handover_advance(&world->workers[w], clock_now_ns() + HANDOVER_TURN_NS, &err), &err);
    }
}

/* A MOVE of the request to every stage of prompts, which has so many tokens of it. */
static inline void move(struct world *world, int64_t request, int32_t tokens, int32_t total_tokens)
{
    struct err err = ERR_INIT;

    for (int w = 0; w < WORKERS; w++)
        for (int i = 0; i < world->setups[w].stage_count; i++) {
            const struct setup_stage *stage = &world->setups[w].stages[i];
            const int32_t to[] = { 10, 11 };
            unsigned char payload[sizeof to];
            struct channel_message message = { .payload = payload };

            if (stage->phase != SETUP_PROMPTS)
                continue;
            frame_put_words(payload, to, 2);
            message.frame = (struct frame){ .type = FRAME_MOVE,
                                            .stage = stage->id,
                                            .request = request,
                                            .step = 1,
                                            .new_tokens = tokens,
                                            .total_tokens = total_tokens,
                                            .payload_bytes = sizeof to };
            check(worker_on_control(&world->workers[w], &message, &err), &err);
        }
}

static inline void await_complete(struct world *world, int count)
{
    int64_t deadline_ns = clock_now_ns() + PATIENCE_NS;

    while (world->complete_count < count && clock_now_ns() < deadline_ns)
        turn(world);
    assert_int_equal(world->complete_count, count);
}

/* The worker that has the stage, and which it is there. */
static inline struct worker *find(struct world *world, int32_t id, int *index)
{
    for (int w = 0; w < WORKERS; w++)
        if (world->workers[w].shard &&
            (*index = shard_find_stage(world->workers[w].shard, id)) >= 0)
            return &world->workers[w];
    return NULL;
}

/* A step through stages `first`, first + 1, ... of a chain; returns the token. */
static inline int32_t step(struct world *world, int32_t first, int32_t number,
                           const int32_t *tokens, int32_t count, int32_t past)
{
    unsigned char *payload = arena_alloc(world->arena, 4 * (size_t)count);
    struct frame frame = { .type = FRAME_STEP,
                           .request = REQUEST,
                           .step = number,
                           .new_tokens = count,
                           .past_tokens = past,
                           .total_tokens = 20,
                           .payload_bytes = 4 * (int64_t)count };
    int32_t token = -1;
    int index;

    frame_put_words(payload, tokens, (size_t)count);
    for (frame.stage = first; find(world, frame.stage, &index); frame.stage++) {
        struct worker *worker = find(world, frame.stage, &index);
        struct shard_output output;
        struct err err = ERR_INIT;

        if (shard_step(worker->shard, index, &frame, payload, &output, &err) != SHARD_DONE)
            fail_msg("stage %d: %s", frame.stage, err.text);
        frame.payload_bytes = (int64_t)output.bytes;
        payload = arena_alloc(world->arena, output.bytes);
        frame_put_words(payload, output.words, output.bytes / 4);
        if (worker->setup->stages[index].is_last)
            memcpy(&token, output.words, sizeof token);
    }
    return token;
}

/* ---- heads ---- */

static inline float value_of(int32_t layer, int32_t head, int64_t at, bool is_value)
{
    return (float)(layer * 1000 + head * 100) + (float)at * 0.25F + (is_value ? 0.125F : 0);
}

/* Each head of each layer that a stage has of the request, in keys and values. */
static inline void each_head(struct world *world, enum setup_phase phase, int32_t tokens,
                             bool is_written)
{
    const struct model *model = &world->setups[0].models[0].model;

    for (int w = 0; w < WORKERS; w++)
        for (int i = 0; i < world->setups[w].stage_count; i++) {
            const struct setup_stage *stage = &world->setups[w].stages[i];
            struct kv_pool *pool = shard_caches(world->workers[w].shard, i);
            const struct forward_kv *kv;

            if (stage->phase != phase)
                continue;
            kv = is_written ? kv_pool_take(pool, REQUEST, tokens) : kv_pool_find(pool, REQUEST);
            for (int32_t l = 0; l < stage->layer_count; l++)
                for (int32_t h = 0; h < model->kv_heads; h++) {
                    int head = shard_kv_head(world->workers[w].shard, i, l, h);
                    int64_t count = (int64_t)tokens * model->head_dim;

                    for (int64_t at = 0; head >= 0 && at < count; at++) {
                        int64_t to = head * (int64_t)kv[l].capacity * model->head_dim + at;
                        float k = value_of(stage->layer_first + l, h, at, false);
                        float v = value_of(stage->layer_first + l, h, at, true);

                        if (is_written) {
                            kv[l].k[to] = k;
                            kv[l].v[to] = v;
                        } else if (kv[l].k[to] != k || kv[l].v[to] != v) {
                            fail_msg("worker %d, layer %d, head %d, value %d", w, l, h, (int)at);
                        }
                    }
                }
        }
}

/* ---- two workers ---- */

static inline void send_step(struct world *world, int32_t from, int32_t to, int32_t number)
{
    const int32_t token = 3;
    const struct frame frame = { .type = FRAME_STEP,
                                 .stage = 10,
                                 .request = REQUEST,
                                 .step = number,
                                 .new_tokens = 1,
                                 .past_tokens = PROMPT,
                                 .total_tokens = 20,
                                 .payload_bytes = 4 };
    struct err err = ERR_INIT;

    assert_int_equal(
        channel_send_words(worker_find_peer(&world->workers[from], to), NULL, &frame, &token, &err),
        CHANNEL_DONE);
}

static inline void release(struct world *world, int worker)
{
    struct err err = ERR_INIT;
    const struct channel_message message = { .frame = { .type = FRAME_RELEASE,
                                                        .request = REQUEST } };

    check(worker_on_control(&world->workers[worker], &message, &err), &err);
}

static inline void open_two(struct world *world)
{
    const struct model model = tiny_model();

    create(world, &model, 12);
    place(world, 0, SETUP_PROMPTS, 0, 0, 4);
    place(world, 1, SETUP_DECODING, 10, 0, 4);
    open_world(world);
}

static inline void turns(struct world *world, int64_t ns)
{
    int64_t deadline_ns = clock_now_ns() + ns;

    while (clock_now_ns() < deadline_ns)
        turn(world);
}

#endif
