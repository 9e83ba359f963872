/* handover_take.c - KV caches that come, and the steps that wait for them. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/policy/batch.h"
#include "lib/wire/channel.h"
#include "runner/setup/setup.h"
#include "runner/worker/handover_internal.h"
#include "runner/worker/internal.h"
#include "runner/worker/kv.h"
#include "runner/worker/shard.h"
#include "runner/worker/sliced.h"
#include <inttypes.h>
#include <string.h>

static const struct setup_model *model_of(const struct worker *worker, int stage)
{
    return &worker->setup->models[worker->setup->stages[stage].model];
}

/* ---- caches that are on their way, or there ---- */

static bool is_gone(const struct handover *handover, int64_t request)
{
    for (int i = 0; i < HANDOVER_GONE_MOST; i++)
        if (handover->gone[i] == request)
            return true;
    return false;
}

static struct arriving **bucket_of(struct handover *handover, int64_t request)
{
    return &handover->buckets[(uint64_t)request % HANDOVER_BUCKETS];
}

static struct arriving *find(struct handover *handover, int stage, int64_t request)
{
    struct arriving *at = *bucket_of(handover, request);

    while (at && (at->request != request || at->stage != stage))
        at = at->next;
    return at;
}

/* Of a request that has not ended; NULL: it has. */
static struct arriving *find_or_begin(struct worker *worker, int stage, int64_t request)
{
    struct handover *handover = worker->handover;
    struct caches *caches = &handover->caches[stage];
    struct arriving *arriving = find(handover, stage, request);
    struct arriving **bucket = bucket_of(handover, request);

    if (arriving || is_gone(handover, request))
        return arriving;
    arriving = caches->free;
    if (arriving) {
        caches->free = arriving->next;
        memset(arriving->has, 0, (size_t)caches->units * sizeof *arriving->has);
    } else {
        arriving = arena_alloc(worker->arena, sizeof *arriving);
        arriving->has = arena_array(worker->arena, (size_t)caches->units + 1, sizeof(bool));
    }
    arriving->request = request;
    arriving->stage = stage;
    arriving->missing = caches->units;
    arriving->others = caches->others;
    arriving->is_refused = false;
    arriving->next = *bucket;
    *bucket = arriving;
    return arriving;
}

/* Of every request that the step is of; those that have ended are said so. */
static bool are_there(struct worker *worker, int stage, const struct channel_message *message,
                      bool *has_ended)
{
    const struct frame *frame = &message->frame;
    bool are_all = true;

    *has_ended = false;
    for (int32_t i = 0; i < (frame->entries > 0 ? frame->entries : 1); i++) {
        struct frame_entry entry = { .request = frame->request };
        const struct arriving *arriving;
        int32_t words[FRAME_ENTRY_WORDS];

        if (frame->entries > 0) {
            frame_get_words(words, message->payload + INT64_C(4) * FRAME_ENTRY_WORDS * i,
                            FRAME_ENTRY_WORDS);
            frame_get_entry(words, &entry);
        }
        arriving = find_or_begin(worker, stage, entry.request);
        *has_ended = *has_ended || !arriving;
        are_all = are_all && arriving && arriving->missing == 0 && arriving->others == 0;
    }
    return are_all;
}

/* ---- steps that wait ---- */

static void drop_step(struct worker *worker, int32_t number)
{
    struct job *job = worker->jobs[number];

    worker_owe(worker, job->stage);
    channel_message_close(&job->message);
    worker_free_job(worker, number);
}

bool handover_holds(struct worker *worker, int32_t number)
{
    struct handover *handover = worker->handover;
    const struct job *job = worker->jobs[number];
    const struct frame *frame = &job->message.frame;
    bool has_ended;

    if (frame->type != FRAME_STEP || frame->step != 1 || job->stage >= handover->caches_count ||
        handover->caches[job->stage].begin == NULL ||
        frame->payload_bytes < INT64_C(4) * FRAME_ENTRY_WORDS * frame->entries)
        return false;
    if (are_there(worker, job->stage, &job->message, &has_ended))
        return false;
    if (has_ended)
        drop_step(worker, number);
    else
        ring_push(&handover->parked, worker->arena, number);
    return true;
}

/* Those whose caches have come join the queue, in the order in which they came. */
static void wake(struct worker *worker)
{
    struct ring *parked = &worker->handover->parked;

    for (uint32_t left = parked->count; left > 0; left--) {
        int32_t number = ring_take(parked);
        bool has_ended;

        if (are_there(worker, worker->jobs[number]->stage, &worker->jobs[number]->message,
                      &has_ended))
            worker_push_step(worker, number);
        else
            ring_push(parked, worker->arena, number);
    }
}

void handover_release(struct worker *worker, int64_t request)
{
    struct handover *handover = worker->handover;
    struct arriving **at = bucket_of(handover, request);

    while (*at) {
        struct arriving *arriving = *at;

        if (arriving->request != request) {
            at = &arriving->next;
            continue;
        }
        *at = arriving->next;
        arriving->next = handover->caches[arriving->stage].free;
        handover->caches[arriving->stage].free = arriving;
    }
    /* pieces of it may be on their way still */
    handover->gone[handover->gone_at] = request;
    handover->gone_at = (handover->gone_at + 1) % HANDOVER_GONE_MOST;
    for (uint32_t left = handover->parked.count; left > 0; left--) {
        int32_t number = ring_take(&handover->parked);

        if (worker_is_of(&worker->jobs[number]->message, request))
            drop_step(worker, number);
        else
            ring_push(&handover->parked, worker->arena, number);
    }
}

static void drop_jobs_of(struct worker *worker, struct ring *ring, int stage)
{
    for (uint32_t left = ring->count; left > 0; left--) {
        int32_t number = ring_take(ring);

        if (worker->jobs[number]->stage != stage) {
            ring_push(ring, worker->arena, number);
            continue;
        }
        channel_message_close(&worker->jobs[number]->message);
        worker_free_job(worker, number);
    }
}

void handover_forget(struct worker *worker, int stage)
{
    struct handover *handover = worker->handover;

    for (int i = 0; i < HANDOVER_BUCKETS; i++)
        for (struct arriving **at = &handover->buckets[i]; *at;) {
            struct arriving *arriving = *at;

            if (arriving->stage != stage) {
                at = &arriving->next;
                continue;
            }
            *at = arriving->next;
            arriving->next = handover->caches[stage].free;
            handover->caches[stage].free = arriving;
        }
    drop_jobs_of(worker, &handover->parked, stage);
    drop_jobs_of(worker, &handover->incoming, stage);
}

/* ---- what comes ---- */

struct piece { /* a CACHE, and where its values stand */
    const struct frame *frame;
    int stage;
    struct frame_piece of;
    const unsigned char *entries, *values;
    bool is_native;
};

static void get_words(const struct piece *piece, void *words, const unsigned char *from,
                      size_t count)
{
    if (piece->is_native)
        memcpy(words, from, 4 * count);
    else
        frame_get_words(words, from, count);
}

/* Tokens of its cache are `tokens`. */
static struct frame_entry entry_at(const struct piece *piece, int32_t i)
{
    const struct frame *frame = piece->frame;
    struct frame_entry entry = { frame->request, frame->new_tokens, 0, frame->total_tokens };
    int32_t words[FRAME_ENTRY_WORDS];

    if (frame->entries == 0)
        return entry;
    get_words(piece, words, piece->entries + INT64_C(4) * FRAME_ENTRY_WORDS * i, FRAME_ENTRY_WORDS);
    frame_get_entry(words, &entry);
    return entry;
}

static int32_t count_of(const struct piece *piece)
{
    return piece->frame->entries > 0 ? piece->frame->entries : 1;
}

static bool is_bad(const struct piece *piece, const char *what, struct err *err)
{
    return err_set(err, ERR_INPUT, "stage %d: a piece of KV caches of %s", piece->frame->stage,
                   what);
}

/* Layers and heads that are here, by the whole model's numbers. */
static bool place_ok(struct worker *worker, const struct piece *piece, struct err *err)
{
    const struct setup_stage *stage = &worker->setup->stages[piece->stage];
    const struct frame_piece *of = &piece->of;

    if (of->layer_count < 1 || of->layer_first < stage->layer_first ||
        of->layer_count > stage->layer_first + stage->layer_count - of->layer_first)
        return is_bad(piece, "layers that are not here", err);
    if (of->head_count < 1 || of->head_first < 0 ||
        of->head_count > model_of(worker, piece->stage)->model.kv_heads - of->head_first)
        return is_bad(piece, "heads that the model has not", err);
    for (int32_t i = 0; i < of->layer_count; i++)
        for (int32_t h = 0; h < of->head_count; h++)
            if (shard_kv_head(worker->shard, piece->stage, of->layer_first - stage->layer_first + i,
                              of->head_first + h) < 0)
                return is_bad(piece, "heads that are not here", err);
    return true;
}

/* Requests and tokens, and as many bytes as they make: before memory depends on them. */
static bool size_ok(struct worker *worker, const struct piece *piece, struct err *err)
{
    const struct setup_model *model = model_of(worker, piece->stage);
    const struct frame *frame = piece->frame;
    int64_t tokens = 0, head_bytes;

    head_bytes = INT64_C(4) * (FRAME_ENTRY_WORDS * (int64_t)frame->entries + FRAME_PIECE_WORDS);
    for (int32_t i = 0; i < count_of(piece); i++) {
        const struct frame_entry entry = entry_at(piece, i);

        if (entry.request < 0 || entry.tokens < 1 || entry.tokens > entry.total_tokens ||
            entry.total_tokens > model->max_total_tokens)
            return is_bad(piece, "requests of impossible lengths", err);
        tokens += entry.tokens;
    }
    if (tokens != frame->new_tokens)
        return is_bad(piece, "another number of tokens than it says", err);
    return frame->payload_bytes == head_bytes + INT64_C(8) * tokens * model->model.head_dim *
                                                    piece->of.layer_count * piece->of.head_count ||
           is_bad(piece, "another size than it says", err);
}

static bool piece_ok(struct worker *worker, struct piece *piece, const unsigned char *payload,
                     struct err *err)
{
    const struct frame *frame = piece->frame;
    int64_t entries_bytes = INT64_C(4) * FRAME_ENTRY_WORDS * frame->entries;
    int32_t words[FRAME_PIECE_WORDS];

    if (frame->entries > model_of(worker, piece->stage)->max_seqs ||
        frame->payload_bytes < entries_bytes + INT64_C(4) * FRAME_PIECE_WORDS)
        return is_bad(piece, "too few bytes", err);
    piece->entries = payload;
    get_words(piece, words, payload + entries_bytes, FRAME_PIECE_WORDS);
    frame_get_piece(words, &piece->of);
    piece->values = payload + entries_bytes + INT64_C(4) * FRAME_PIECE_WORDS;
    return place_ok(worker, piece, err) && size_ok(worker, piece, err);
}

/* The caches of a request: its own, or new ones. NULL: there is no memory for them. */
static const struct forward_kv *caches_of(struct worker *worker, int stage,
                                          const struct frame_entry *entry)
{
    struct kv_pool *pool = shard_caches(worker->shard, stage);
    const struct forward_kv *kv = kv_pool_find(pool, entry->request);

    if (kv)
        return kv;
    return kv_pool_take(pool, entry->request,
                        worker->setup->stages[stage].has_batches
                            ? model_of(worker, stage)->max_total_tokens
                            : entry->total_tokens);
}

static bool refuse(struct worker *worker, const struct piece *piece, struct arriving *arriving,
                   struct err *err)
{
    const struct frame refusal = { .type = FRAME_REFUSE,
                                   .stage = piece->frame->stage,
                                   .request = arriving->request };

    if (worker->setup->stages[piece->stage].has_batches)
        return err_set(err, ERR_SYSTEM, "stage %d: no memory for the caches of a batch",
                       piece->frame->stage);
    arriving->is_refused = true;
    handover_tell(worker, worker->control, &refusal, NULL);
    return true;
}

/* The values of one request: of each layer and head keys, then values. */
static bool fill(struct worker *worker, const struct piece *piece, struct arriving *arriving,
                 const struct forward_kv *kv, const struct frame_entry *entry,
                 const unsigned char *from, struct err *err)
{
    const struct frame_piece *of = &piece->of;
    const struct caches *caches = &worker->handover->caches[piece->stage];
    int32_t skipped = worker->setup->stages[piece->stage].layer_first;
    int64_t dim = model_of(worker, piece->stage)->model.head_dim, count = entry->tokens * dim;

    for (int32_t i = of->layer_first - skipped; i < of->layer_first - skipped + of->layer_count;
         i++)
        for (int32_t h = of->head_first; h < of->head_first + of->head_count; h++) {
            int32_t head = shard_kv_head(worker->shard, piece->stage, i, h);
            bool *has = &arriving->has[caches->begin[i] + head];

            if (*has || kv[i].capacity < entry->tokens)
                return is_bad(piece, "what is there already", err);
            *has = true;
            arriving->missing--;
            get_words(piece, kv[i].k + (int64_t)(ptrdiff_t)head * kv[i].capacity * dim, from,
                      (size_t)count);
            get_words(piece, kv[i].v + (int64_t)(ptrdiff_t)head * kv[i].capacity * dim,
                      from + 4 * count, (size_t)count);
            from += 8 * count;
        }
    return true;
}

/* All of its own has come to this device: the first of the stage waits for that. */
static void tell_first(struct worker *worker, const struct arriving *arriving)
{
    const struct setup_stage *stage = &worker->setup->stages[arriving->stage];
    const struct frame frame = { .type = FRAME_MOVED,
                                 .stage = stage->id,
                                 .request = arriving->request,
                                 .finish_ns = worker->generations[arriving->stage] };

    if (stage->position > 0)
        handover_tell(worker, worker_find_peer(worker, stage->workers[0]), &frame, NULL);
}

/* A message has come whole: from where, its bytes, when it was sent and received, and whether that
 * was all for this device; then its entries. */
static void tell_coordinator(struct worker *worker, const struct piece *piece, int64_t receive_ns,
                             bool is_all)
{
    int64_t entries_bytes = INT64_C(4) * FRAME_ENTRY_WORDS * piece->frame->entries;
    struct arena *arena = arena_create();
    unsigned char *payload = arena_alloc(arena, (size_t)(FRAME_MOVED_BYTES + entries_bytes));
    struct frame frame = *piece->frame;
    int32_t words[FRAME_ENTRY_WORDS];

    frame_put_int64(payload, piece->of.from_stage);
    frame_put_int64(payload + 8, piece->of.from_worker);
    frame_put_int64(payload + 16, piece->of.message_bytes);
    frame_put_int64(payload + 24, frame.start_ns);
    frame_put_int64(payload + 32, receive_ns);
    frame_put_int64(payload + 40, is_all);
    for (int32_t i = 0; i < frame.entries; i++) {
        const struct frame_entry entry = entry_at(piece, i);

        frame_put_entry(words, &entry);
        frame_put_words(payload + FRAME_MOVED_BYTES + INT64_C(4) * FRAME_ENTRY_WORDS * i, words,
                        FRAME_ENTRY_WORDS);
    }
    frame.type = FRAME_MOVED;
    frame.start_ns = 0; /* finish stays: the generation of the replica */
    frame.payload_bytes = FRAME_MOVED_BYTES + entries_bytes;
    handover_tell(worker, worker->control, &frame, payload);
    arena_destroy(arena);
}

/* Of one request of a piece. *is_taken becomes true where it is wanted, and there is room for it;
 * *is_all where that was all for this device. */
static bool take_one(struct worker *worker, const struct piece *piece,
                     const struct frame_entry *entry, const unsigned char *from, bool *is_taken,
                     bool *is_all, struct err *err)
{
    struct arriving *arriving = find_or_begin(worker, piece->stage, entry->request);
    const struct forward_kv *kv;

    if (!arriving || arriving->is_refused)
        return true;
    kv = caches_of(worker, piece->stage, entry);
    if (!kv)
        return refuse(worker, piece, arriving, err);
    if (!fill(worker, piece, arriving, kv, entry, from, err))
        return false;
    *is_taken = true;
    if (arriving->missing > 0)
        return true;
    *is_all = true;
    tell_first(worker, arriving);
    return true;
}

bool handover_take(struct worker *worker, const struct frame *frame, const unsigned char *payload,
                   bool is_native, int64_t receive_ns, struct err *err)
{
    struct piece piece = { .frame = frame,
                           .stage = shard_find_stage(worker->shard, frame->stage),
                           .is_native = is_native };
    int64_t token_bytes;
    bool is_taken = false, is_all = false;

    if (!piece_ok(worker, &piece, payload, err))
        return false;
    token_bytes = INT64_C(8) * model_of(worker, piece.stage)->model.head_dim *
                  piece.of.layer_count * piece.of.head_count;
    for (int32_t i = 0; i < count_of(&piece); i++) {
        const struct frame_entry entry = entry_at(&piece, i);

        if (!take_one(worker, &piece, &entry, piece.values, &is_taken, &is_all, err))
            return false;
        piece.values += entry.tokens * token_bytes;
    }
    if (piece.of.is_last && is_taken)
        tell_coordinator(worker, &piece, receive_ns, is_all);
    if (is_all)
        wake(worker);
    return true;
}

bool handover_take_job(struct worker *worker, int32_t number, struct err *err)
{
    struct job *job = worker->jobs[number];
    struct arriving *arriving = NULL;
    bool ok = true;

    if (job->message.frame.type == FRAME_CACHE)
        ok = handover_take(worker, &job->message.frame, job->message.payload, false,
                           job->receive_ns, err);
    else
        arriving = find_or_begin(worker, job->stage, job->message.frame.request);
    if (arriving && arriving->others > 0 && --arriving->others == 0)
        wake(worker);
    channel_message_close(&job->message);
    worker_free_job(worker, number);
    return ok;
}
