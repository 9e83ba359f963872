/* handover.c - KV caches that are sent, piece by piece, between all else that a worker does. */
#include "runner/worker/handover.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/policy/pass.h"
#include "lib/wire/channel.h"
#include "runner/setup/setup.h"
#include "runner/worker/handover_internal.h"
#include "runner/worker/internal.h"
#include "runner/worker/kv.h"
#include "runner/worker/shard.h"
#include <inttypes.h>
#include <string.h>

#define PIECE_BYTES (INT64_C(1) << 20) /* of values; of one head of one layer it may be more */
#define NOBODY (-1)

static const struct setup_model *model_of(const struct worker *worker, int stage)
{
    return &worker->setup->models[worker->setup->stages[stage].model];
}

static void create(struct worker *worker)
{
    worker->handover = arena_alloc(worker->arena, sizeof *worker->handover);
    for (int i = 0; i < HANDOVER_GONE_MOST; i++)
        worker->handover->gone[i] = NOBODY;
}

/* Of all prompts that go at once. */
static int64_t most_tokens(const struct setup_model *model)
{
    return model->max_tokens > model->max_total_tokens ? model->max_tokens
                                                       : model->max_total_tokens;
}

int64_t handover_message_bytes(const struct setup_model *model)
{
    int64_t values_bytes = INT64_C(8) * model->model.head_dim * most_tokens(model);
    int64_t head_bytes =
        INT64_C(4) * (FRAME_ENTRY_WORDS * (int64_t)model->max_seqs + FRAME_PIECE_WORDS);

    return model->model.kind != MODEL_DECODER
               ? 0
               : head_bytes + (values_bytes > PIECE_BYTES ? values_bytes : PIECE_BYTES);
}

/* What comes to a stage of decode steps on this device. */
static void hold_caches(struct worker *worker, int index)
{
    const struct setup_stage *stage = &worker->setup->stages[index];
    struct caches *caches = &worker->handover->caches[index];
    int32_t positions[PASS_MAX_DEVICES];
    int32_t count = setup_cache_positions(stage, &model_of(worker, index)->model, positions);

    *caches = (struct caches){ 0 };
    if (stage->phase != SETUP_DECODING || count == 0)
        return;
    caches->begin = arena_array(worker->arena, (size_t)stage->layer_count + 1, sizeof(int32_t));
    for (int32_t i = 0; i < stage->layer_count; i++) {
        caches->begin[i] = caches->units;
        caches->units += shard_kv_heads(worker->shard, index, i);
    }
    for (int32_t i = 0; i < count && stage->position == 0; i++)
        caches->others += positions[i] > 0;
}

void handover_hold_stages(struct worker *worker, int first_stage)
{
    struct handover *handover;
    int64_t bytes;

    if (!worker->handover)
        create(worker);
    handover = worker->handover;
    bytes = handover->words_bytes;
    handover->caches = arena_grow(worker->arena, handover->caches, (size_t)first_stage,
                                  (size_t)worker->setup->stage_count, sizeof *handover->caches);
    handover->caches_count = worker->setup->stage_count;
    for (int i = first_stage; i < worker->setup->stage_count; i++) {
        hold_caches(worker, i);
        if (worker->setup->stages[i].move_count > 0 &&
            handover_message_bytes(model_of(worker, i)) > bytes)
            bytes = handover_message_bytes(model_of(worker, i));
    }
    if (bytes > handover->words_bytes) {
        handover->words = arena_alloc(worker->arena, (size_t)bytes);
        handover->words_bytes = bytes;
    }
}

/* ---- short messages ---- */

void handover_tell(struct worker *worker, struct channel *out, const struct frame *frame,
                   const unsigned char *payload)
{
    struct handover *handover = worker->handover;
    struct telling *telling = handover->free_telling;
    size_t bytes = (size_t)frame->payload_bytes;

    if (telling)
        handover->free_telling = telling->next;
    else
        telling = arena_alloc(worker->arena, sizeof *telling);
    if (bytes > telling->room) {
        telling->payload = arena_alloc(worker->arena, bytes);
        telling->room = bytes;
    }
    telling->out = out;
    telling->frame = *frame;
    telling->next = NULL;
    if (bytes > 0)
        memcpy(telling->payload, payload, bytes);
    if (handover->telling)
        handover->last_telling->next = telling;
    else
        handover->telling = telling;
    handover->last_telling = telling;
}

static bool tell_all(struct worker *worker, struct err *err)
{
    struct handover *handover = worker->handover;

    while (handover->telling) {
        struct telling *telling = handover->telling;

        if (telling->out && !worker_is_lost(worker, telling->out)) {
            switch (channel_send(telling->out, NULL, &telling->frame, telling->payload, err)) {
            case CHANNEL_DONE:
            case CHANNEL_GONE:
                break;
            case CHANNEL_LATER:
                return true;
            case CHANNEL_BAD:
                return false;
            }
        }
        handover->telling = telling->next;
        telling->next = handover->free_telling;
        handover->free_telling = telling;
    }
    return true;
}

/* ---- what is to be sent ---- */

static struct moving *new_moving(struct worker *worker, int32_t entries, int32_t to_count)
{
    struct handover *handover = worker->handover;
    struct moving *moving = handover->free_moving;

    if (moving)
        handover->free_moving = moving->next;
    else
        moving = arena_alloc(worker->arena, sizeof *moving);
    if (entries > moving->room) {
        moving->entries = arena_array(worker->arena, (size_t)entries, sizeof *moving->entries);
        moving->room = entries;
    }
    if (to_count > moving->to_room) {
        moving->to = arena_array(worker->arena, (size_t)to_count, sizeof *moving->to);
        moving->to_room = to_count;
    }
    moving->is_own = true;
    moving->move = NOBODY;
    moving->layer = moving->head = 0;
    moving->next = NULL;
    return moving;
}

/* Requests, with the tokens that they have in the caches of the stage. */
static bool read_requests(const struct worker *worker, const struct channel_message *message,
                          struct moving *moving)
{
    const struct frame *frame = &message->frame;
    const struct setup_model *model = model_of(worker, moving->stage);
    int64_t tokens = 0;

    moving->count = frame->entries > 0 ? frame->entries : 1;
    moving->entries[0] =
        (struct frame_entry){ frame->request, frame->new_tokens, 0, frame->total_tokens };
    for (int32_t i = 0; i < moving->count; i++) {
        const unsigned char *at = message->payload + INT64_C(4) * FRAME_ENTRY_WORDS * i;
        const struct frame_entry *entry = &moving->entries[i];
        int32_t words[FRAME_ENTRY_WORDS];

        if (frame->entries > 0) {
            frame_get_words(words, at, FRAME_ENTRY_WORDS);
            frame_get_entry(words, &moving->entries[i]);
        }
        if (entry->request < 0 || entry->tokens < 1 || entry->tokens > entry->total_tokens ||
            entry->total_tokens > model->max_total_tokens)
            return false;
        tokens += entry->tokens;
    }
    return tokens == frame->new_tokens && tokens <= most_tokens(model);
}

/* The next move of the stage that goes where this goes; NOBODY: there is none. */
static int next_move(const struct worker *worker, const struct moving *moving, int from)
{
    const struct setup_stage *stage = &worker->setup->stages[moving->stage];

    for (int i = from; i < stage->move_count; i++)
        for (int32_t k = 0; k < moving->to_count; k++)
            if (moving->to[k] == stage->moves[i].to_stage &&
                moving->is_own == (stage->moves[i].to_worker == worker->setup->worker))
                return i;
    return NOBODY;
}

static bool is_same_message(const struct setup_move *a, const struct setup_move *b)
{
    return a->to_stage == b->to_stage && a->to_worker == b->to_worker;
}

/* Comes to another part of what it sends, or to its end. */
static void go_to(const struct worker *worker, struct moving *moving, int move)
{
    const struct setup_stage *stage = &worker->setup->stages[moving->stage];
    int before = moving->move;

    moving->move = move;
    if (move == NOBODY)
        return;
    moving->layer = stage->moves[move].layer_first;
    moving->head = stage->moves[move].head_first;
    if (before != NOBODY && is_same_message(&stage->moves[before], &stage->moves[move]))
        return;
    moving->begun_ns = 0;
    moving->bytes = 0;
    for (int i = move; i < stage->move_count; i++)
        if (is_same_message(&stage->moves[i], &stage->moves[move]))
            moving->bytes += INT64_C(8) * model_of(worker, moving->stage)->model.head_dim *
                             moving->frame.new_tokens * stage->moves[i].head_count *
                             (stage->moves[i].layer_last - stage->moves[i].layer_first + 1);
}

/* ---- pieces ---- */

static bool has_caches(const struct worker *worker, const struct moving *moving)
{
    const struct kv_pool *pool = shard_caches(worker->shard, moving->stage);

    for (int32_t i = 0; i < moving->count; i++)
        if (!pool || !kv_pool_find(pool, moving->entries[i].request))
            return false;
    return true;
}

/* The first is done, or void. What was computed for it is needed no longer. */
static void end_moving(struct worker *worker)
{
    struct handover *handover = worker->handover;
    struct moving *moving = handover->moving;

    for (int32_t i = 0; i < moving->count; i++)
        shard_release_stage(worker->shard, moving->stage, moving->entries[i].request);
    handover->moving = moving->next;
    moving->next = handover->free_moving;
    handover->free_moving = moving;
}

/* As many layers as fit, or, of one that does not, as many heads. */
static struct frame_piece piece_of(const struct worker *worker, const struct moving *moving)
{
    const struct setup_stage *stage = &worker->setup->stages[moving->stage];
    const struct setup_move *move = &stage->moves[moving->move];
    int64_t head_bytes =
        INT64_C(8) * model_of(worker, moving->stage)->model.head_dim * moving->frame.new_tokens;
    int64_t heads = PIECE_BYTES / head_bytes, layers = heads / move->head_count;
    int32_t heads_left = move->head_first + move->head_count - moving->head;
    int32_t layers_left = move->layer_last - moving->layer + 1, next;
    struct frame_piece piece = { .from_stage = stage->id,
                                 .from_worker = worker->setup->worker,
                                 .layer_first = moving->layer,
                                 .layer_count = 1,
                                 .head_first = moving->head,
                                 .head_count = heads_left,
                                 .message_bytes = moving->bytes };

    if (layers > 1 && heads_left == move->head_count)
        piece.layer_count = layers < layers_left ? (int32_t)layers : layers_left;
    else if (heads < heads_left)
        piece.head_count = heads > 1 ? (int32_t)heads : 1;
    next = next_move(worker, moving, moving->move + 1);
    piece.is_last = piece.layer_count == layers_left && piece.head_count == heads_left &&
                    (next == NOBODY || !is_same_message(move, &stage->moves[next]));
    return piece;
}

/* Into handover->words: entries, what it is, values. Returns the bytes; 0 with an error. */
static int64_t pack(struct worker *worker, const struct moving *moving,
                    const struct frame_piece *piece, struct err *err)
{
    const struct kv_pool *pool = shard_caches(worker->shard, moving->stage);
    int32_t skipped = worker->setup->stages[moving->stage].layer_first;
    int64_t dim = model_of(worker, moving->stage)->model.head_dim;
    int32_t *words = worker->handover->words;

    for (int32_t i = 0; i < moving->frame.entries; i++, words += FRAME_ENTRY_WORDS)
        frame_put_entry(words, &moving->entries[i]);
    frame_put_piece(words, piece);
    words += FRAME_PIECE_WORDS;
    for (int32_t i = 0; i < moving->count; i++) {
        const struct forward_kv *kv = kv_pool_find(pool, moving->entries[i].request);
        int64_t count = moving->entries[i].tokens * dim;

        for (int32_t l = piece->layer_first - skipped;
             l < piece->layer_first - skipped + piece->layer_count; l++)
            for (int32_t h = piece->head_first; h < piece->head_first + piece->head_count; h++) {
                int head = shard_kv_head(worker->shard, moving->stage, l, h);

                if (head < 0 || kv[l].capacity < moving->entries[i].tokens) {
                    err_set(err, ERR_INPUT, "stage %d has no KV cache of %d tokens in layer %d",
                            moving->frame.stage, moving->entries[i].tokens, l + skipped);
                    return 0;
                }
                memcpy(words, kv[l].k + (int64_t)(ptrdiff_t)head * kv[l].capacity * dim,
                       (size_t)(4 * count));
                memcpy(words + count, kv[l].v + (int64_t)(ptrdiff_t)head * kv[l].capacity * dim,
                       (size_t)(4 * count));
                words += 2 * count;
            }
    }
    return 4 * (int64_t)(words - worker->handover->words);
}

/* Past the piece. */
static void step_over(const struct worker *worker, struct moving *moving,
                      const struct frame_piece *piece)
{
    const struct setup_move *move = &worker->setup->stages[moving->stage].moves[moving->move];

    moving->head += piece->head_count;
    if (moving->head < move->head_first + move->head_count)
        return;
    moving->head = move->head_first;
    moving->layer += piece->layer_count;
    if (moving->layer > move->layer_last)
        go_to(worker, moving, next_move(worker, moving, moving->move + 1));
}

/* What goes to nobody is passed over. */
static bool send_piece(struct worker *worker, struct moving *moving, struct err *err)
{
    const struct setup_move *move = &worker->setup->stages[moving->stage].moves[moving->move];
    bool is_own = move->to_worker == worker->setup->worker;
    struct channel *out = is_own ? NULL : worker_find_peer(worker, move->to_worker);
    const struct frame_piece piece = piece_of(worker, moving);
    struct frame frame = moving->frame;

    if (!is_own && (!out || worker_is_lost(worker, out))) {
        step_over(worker, moving, &piece);
        return true;
    }
    if (moving->begun_ns == 0)
        moving->begun_ns = clock_now_ns();
    frame.type = FRAME_CACHE;
    frame.stage = move->to_stage;
    frame.start_ns = moving->begun_ns; /* finish stays: the generation of the replica */
    frame.payload_bytes = pack(worker, moving, &piece, err);
    if (frame.payload_bytes == 0)
        return false;
    if (is_own) {
        step_over(worker, moving, &piece);
        return handover_take(worker, &frame, (const unsigned char *)worker->handover->words, true,
                             clock_now_ns(), err);
    }
    switch (channel_send_words(out, NULL, &frame, worker->handover->words, err)) {
    case CHANNEL_DONE:
    case CHANNEL_GONE:
        step_over(worker, moving, &piece);
        break;
    case CHANNEL_LATER:
        worker->handover->is_blocked = true;
        break;
    case CHANNEL_BAD:
        return false;
    }
    return true;
}

/* At once: a step that comes next keeps its place before others, as where nothing has to go. */
static bool copy_own(struct worker *worker, struct moving *moving, struct err *err)
{
    go_to(worker, moving, next_move(worker, moving, 0));
    while (moving->move != NOBODY && has_caches(worker, moving))
        if (!send_piece(worker, moving, err))
            return false;
    moving->is_own = false;
    moving->move = NOBODY;
    go_to(worker, moving, next_move(worker, moving, 0));
    return true;
}

bool handover_ask(struct worker *worker, const struct channel_message *message, struct err *err)
{
    struct handover *handover = worker->handover;
    const struct frame *frame = &message->frame;
    int stage = shard_find_stage(worker->shard, frame->stage);
    int64_t entries_bytes = INT64_C(4) * FRAME_ENTRY_WORDS * frame->entries;
    int64_t to_bytes = frame->payload_bytes - entries_bytes;
    struct moving *moving;

    if (stage < 0 || worker->setup->stages[stage].phase != SETUP_PROMPTS ||
        frame->entries > model_of(worker, stage)->max_seqs || to_bytes < 0 || to_bytes % 4 != 0)
        return err_set(err, ERR_INPUT, "stage %d has no KV caches that go anywhere", frame->stage);
    if (!worker_is_current(worker, stage, frame_generation(frame)))
        return true;
    moving = new_moving(worker, frame->entries > 0 ? frame->entries : 1, (int32_t)(to_bytes / 4));
    moving->stage = stage;
    moving->frame = *frame;
    moving->to_count = (int32_t)(to_bytes / 4);
    frame_get_words(moving->to, message->payload + entries_bytes, (size_t)moving->to_count);
    if (!read_requests(worker, message, moving))
        return err_set(err, ERR_INPUT, "stage %d: KV caches of impossible lengths are to go",
                       frame->stage);
    if (!copy_own(worker, moving, err))
        return false;
    if (handover->moving)
        handover->last_moving->next = moving;
    else
        handover->moving = moving;
    handover->last_moving = moving;
    return true;
}

static bool move_on(struct worker *worker, struct err *err)
{
    struct moving *moving = worker->handover->moving;

    if (moving->move == NOBODY || !has_caches(worker, moving)) {
        end_moving(worker);
        return true;
    }
    return send_piece(worker, moving, err);
}

bool handover_advance(struct worker *worker, int64_t until_ns, struct err *err)
{
    struct handover *handover = worker->handover;

    handover->is_blocked = false;
    do {
        if (!tell_all(worker, err))
            return false;
        if (!handover_is_busy(worker) || clock_now_ns() >= until_ns)
            return true;
        if (handover->incoming.count > 0 &&
            !handover_take_job(worker, ring_take(&handover->incoming), err))
            return false;
        if (handover->moving && !handover->is_blocked && !move_on(worker, err))
            return false;
    } while (true);
}

bool handover_is_busy(const struct worker *worker)
{
    const struct handover *handover = worker->handover;

    return handover->incoming.count > 0 || (handover->moving && !handover->is_blocked);
}

bool handover_receive(struct worker *worker, int32_t number)
{
    struct handover *handover = worker->handover;
    const struct job *job = worker->jobs[number];
    enum frame_type type = job->message.frame.type;

    if ((type != FRAME_CACHE && type != FRAME_MOVED) || job->stage < 0 ||
        job->stage >= handover->caches_count || !handover->caches[job->stage].begin)
        return false;
    ring_push(&handover->incoming, worker->arena, number);
    return true;
}

void handover_reset(struct worker *worker, int stage)
{
    struct moving **at = &worker->handover->moving;

    handover_forget(worker, stage);
    worker->handover->last_moving = NULL;
    while (*at) {
        struct moving *moving = *at;

        if (moving->stage != stage) {
            worker->handover->last_moving = moving;
            at = &moving->next;
            continue;
        }
        *at = moving->next;
        moving->next = worker->handover->free_moving;
        worker->handover->free_moving = moving;
    }
}

void handover_close(struct worker *worker)
{
    struct handover *handover = worker->handover;

    while (handover && handover->incoming.count > 0)
        channel_message_close(&worker->jobs[ring_take(&handover->incoming)]->message);
    while (handover && handover->parked.count > 0)
        channel_message_close(&worker->jobs[ring_take(&handover->parked)]->message);
}
