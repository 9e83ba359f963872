/* price.c - sums measured operators over the slices of a stage, and remembers the sums.
 *
 * The memory is a hash of (owner, stage, batch, new, past); it starts anew when full, so that a run
 * of any length stays within it. What it forgets is computed again with the same result. */
#include "lib/policy/price.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/saturate.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "lib/format/overhead.h"
#include "lib/policy/pass.h"
#include "lib/policy/plan.h"
#include "lib/policy/price_book.h"
#include <string.h>

/* At most 2^20 sums, in 64 MB: all contexts of a long-context model in a pipeline of eight. */
#define FIRST_SLOTS ((size_t)1 << 10)
#define MAX_SLOTS ((size_t)1 << 21)

#define FIRST_OWNERS ((size_t)16)
#define NO_OWNER (-1)
#define NO_SHAPE (-1)

/* Whose costs: few in a run, so they are numbered. Sums are those of full speed: a device whose
 * speed changes again and again has one owner and one set of sums. */
struct owner {
    const struct model *model;
    const struct cost_table *table;
    int threads;
};
struct key {
    int32_t owner, stage, batch, new_tokens, past_tokens;
};
struct sum {
    struct key key; /* new_tokens 0 = free slot */
    int32_t extrapolated;
    uint32_t extrapolated_ops;
    int64_t time_ps;
};

struct price {
    struct arena *arena;
    struct owner *owners;
    size_t owner_count, owner_room;
    int32_t *last_owners; /* by stage: whose costs were asked for last; NO_OWNER = nobody's */
    size_t last_room;
    struct sum *slots; /* at most half of them taken */
    size_t slot_count, used;
    bool has_kappa;
    int64_t without_kappa;
    uint32_t extrapolated_ops;
    const struct overheads *overheads; /* NULL = none */
    struct price_book *book;           /* NULL = none */
    int32_t *shapes;                   /* by stage: of the book; NO_SHAPE = not known yet */
    size_t shape_room;
};

struct price *price_create(struct arena *arena)
{
    struct price *price = arena_alloc(arena, sizeof *price);

    price->arena = arena;
    return price;
}

int64_t price_scale(int64_t time_ps, double speed_ratio)
{
    /* Exact without a ratio: a double holds only 53 bits. */
    if (!(speed_ratio < 1) && !(speed_ratio > 1))
        return time_ps;
    return dmath_round((double)time_ps / speed_ratio);
}

/* ---- memory ---- */

static bool is_same(const struct owner *a, const struct owner *b)
{
    return a->model == b->model && a->table == b->table && a->threads == b->threads;
}

static int32_t search_owner(struct price *price, const struct owner *owner)
{
    for (size_t i = 0; i < price->owner_count; i++)
        if (is_same(&price->owners[i], owner))
            return (int32_t)i;
    if (price->owner_count == price->owner_room) {
        size_t room = price->owner_room ? 2 * price->owner_room : FIRST_OWNERS;

        price->owners =
            arena_grow(price->arena, price->owners, price->owner_room, room, sizeof *price->owners);
        price->owner_room = room;
    }
    price->owners[price->owner_count] = *owner;
    return (int32_t)price->owner_count++;
}

/* A stage keeps its owner for a whole run, so it is searched for once. */
static int32_t find_owner(struct price *price, size_t stage, const struct owner *owner)
{
    if (stage >= price->last_room) {
        size_t room = price->last_room ? price->last_room : FIRST_OWNERS;

        while (room <= stage)
            room *= 2;
        price->last_owners = arena_grow(price->arena, price->last_owners, price->last_room, room,
                                        sizeof *price->last_owners);
        for (size_t i = price->last_room; i < room; i++)
            price->last_owners[i] = NO_OWNER;
        price->last_room = room;
    }
    if (price->last_owners[stage] == NO_OWNER ||
        !is_same(&price->owners[price->last_owners[stage]], owner))
        price->last_owners[stage] = search_owner(price, owner);
    return price->last_owners[stage];
}

static uint64_t hash_key(const struct key *key)
{
    const int32_t words[] = { key->owner, key->stage, key->batch, key->new_tokens,
                              key->past_tokens };

    return hash_words(HASH_START, words, sizeof words / sizeof words[0]);
}

/* The slot that holds the key, or the free one where it belongs. */
static struct sum *find_slot(const struct price *price, const struct key *key)
{
    size_t mask = price->slot_count - 1;
    size_t slot = (size_t)hash_key(key) & mask;

    while (price->slots[slot].key.new_tokens != 0 &&
           memcmp(&price->slots[slot].key, key, sizeof *key) != 0)
        slot = (slot + 1) & mask;
    return &price->slots[slot];
}

static void make_room(struct price *price)
{
    struct sum *old = price->slots;
    size_t old_count = price->slot_count;

    if (2 * price->used < price->slot_count)
        return;
    price->used = 0;
    if (price->slot_count == MAX_SLOTS) {
        memset(price->slots, 0, MAX_SLOTS * sizeof *price->slots);
        return;
    }
    price->slot_count *= 2;
    price->slots = arena_array(price->arena, price->slot_count, sizeof *price->slots);
    for (size_t i = 0; i < old_count; i++) {
        if (old[i].key.new_tokens == 0)
            continue;
        *find_slot(price, &old[i].key) = old[i];
        price->used++;
    }
}

/* ---- sums ---- */

static bool add_op(const struct owner *owner, const struct model_op *op, int64_t times,
                   struct sum *sum, struct err *err)
{
    enum interp_origin origin;
    int64_t time_ps;

    if (!cost_lookup(owner->table, op, owner->threads, owner->model->weight_bits, &time_ps, &origin,
                     err) ||
        !price_add_product(time_ps, times, &sum->time_ps, err))
        return false;
    if (origin == INTERP_EXTRAPOLATED) {
        sum->extrapolated++;
        sum->extrapolated_ops |= op_set_of(op->op, op->phase);
    }
    return true;
}

/* A block of all its layers; all layers of a model cost the same. */
static bool add_block(const struct owner *owner, enum model_block block,
                      const struct plan_counts *counts, const struct key *key, struct sum *sum,
                      struct err *err)
{
    struct model_op ops[MODEL_MAX_OPS];
    int count =
        model_batch_ops(owner->model, block, key->batch, key->new_tokens, key->past_tokens, ops);

    for (int i = 0; i < count; i++) {
        int64_t times = counts->layers[block] * ops[i].count;

        if (block == BLOCK_CONN)
            times = ops[i].op == OP_NORM ? counts->norms : counts->adds;
        if (times > 0 && !add_op(owner, &ops[i], times, sum, err))
            return false;
    }
    return true;
}

/* The same from the book. */
static bool add_known(struct price *price, const struct owner *owner, const struct pass_term *term,
                      const struct key *key, struct sum *sum, struct err *err)
{
    bool is_conn = term->block == BLOCK_CONN;
    int32_t number = price_book_owner(price->book, term->model, owner->table, owner->threads);

    for (int i = 0; i < (is_conn ? 2 : 1); i++) {
        int64_t times = !is_conn ? 1 : i == 0 ? term->norms : term->adds;
        const struct price_cost *cost;

        if (times == 0)
            continue;
        cost = price_book_block(price->book, number, i == 0 ? term->block : PRICE_ADD, key->batch,
                                key->new_tokens, key->past_tokens, err);
        if (!cost || !price_add_product(cost->time_ps, times, &sum->time_ps, err))
            return false;
        sum->extrapolated += cost->extrapolated;
    }
    return true;
}

/* A block as far as a device has it, or some norms and additions. */
static bool add_term(const struct owner *owner, const struct pass_term *term, const struct key *key,
                     struct sum *sum, struct err *err)
{
    struct model_op ops[MODEL_MAX_OPS];
    int count = model_batch_ops(term->model, term->block, key->batch, key->new_tokens,
                                key->past_tokens, ops);

    for (int i = 0; i < count; i++) {
        int64_t times = ops[i].count;

        if (term->block == BLOCK_CONN)
            times = ops[i].op == OP_NORM ? term->norms : term->adds;
        if (times > 0 && !add_op(owner, &ops[i], times, sum, err))
            return false;
    }
    return true;
}

static bool add_slices(const struct owner *owner, const struct plan_stage *stage,
                       const struct key *key, struct sum *sum, struct err *err)
{
    const struct plan_counts counts = plan_stage_counts(stage);

    for (int block = 0; block < BLOCK_COUNT; block++)
        if (counts.layers[block] > 0 &&
            !add_block(owner, (enum model_block)block, &counts, key, sum, err))
            return false;
    return true;
}

void price_use_kappa(struct price *price)
{
    price->has_kappa = true;
}

void price_use_book(struct price *price, struct price_book *book)
{
    price->book = price->has_kappa ? NULL : book;
}

void price_use_overheads(struct price *price, const struct overheads *overheads)
{
    price->overheads = overheads;
}

int64_t price_without_kappa(const struct price *price)
{
    return price->without_kappa;
}

uint32_t price_extrapolated_ops(const struct price *price)
{
    return price->extrapolated_ops;
}

static void apply_kappa(struct price *price, const struct owner *owner, const struct key *key,
                        int64_t *time_ps)
{
    bool is_decode = key->new_tokens == 1 && key->past_tokens > 0;
    double kappa;

    if (!cost_kappa(owner->table, owner->model->name, is_decode ? OP_DECODE : OP_PREFILL,
                    key->new_tokens, key->past_tokens + key->new_tokens, key->batch, owner->threads,
                    owner->model->weight_bits, &kappa))
        price->without_kappa++;
    else
        *time_ps = dmath_round((double)*time_ps * kappa);
}

/* ---- the book ---- */

static int32_t shape_of(struct price *price, const struct plan_stage *stage,
                        const struct owner *owner)
{
    const struct plan_counts counts = plan_stage_counts(stage);

    return price_book_shape(
        price->book, price_book_owner(price->book, owner->model, owner->table, owner->threads),
        &counts);
}

/* As find_sum, of a stage, less kappa, which is not asked for. A stage has one owner in a run. */
static bool known_sum(struct price *price, const struct owner *owner,
                      const struct plan_stage *stage, const struct key *key, struct sum *sum,
                      struct err *err)
{
    size_t id = (size_t)stage->id;
    const struct price_cost *cost;

    if (id >= price->shape_room) {
        size_t room = price->shape_room ? price->shape_room : 64;

        while (room <= id)
            room *= 2;
        price->shapes =
            arena_grow(price->arena, price->shapes, price->shape_room, room, sizeof(int32_t));
        for (size_t i = price->shape_room; i < room; i++)
            price->shapes[i] = NO_SHAPE;
        price->shape_room = room;
    }
    if (price->shapes[id] == NO_SHAPE)
        price->shapes[id] = shape_of(price, stage, owner);
    cost = price_book_step(price->book, price->shapes[id], key->batch, key->new_tokens,
                           key->past_tokens, err);
    if (!cost)
        return false;
    sum->time_ps = cost->time_ps;
    sum->extrapolated = cost->extrapolated;
    return price_add_product(plan_stage_codec_ps(stage), (int64_t)key->batch * key->new_tokens,
                             &sum->time_ps, err);
}

/* The sum of a key, as it was remembered, or is found now by way of stage or piece. */
static const struct sum *find_sum(struct price *price, const struct owner *owner,
                                  const struct key *key, const struct plan_stage *stage,
                                  const struct pass_piece *piece, struct err *err)
{
    struct sum *slot, sum = { .key = *key };

    if (price->slot_count == 0) {
        price->slot_count = FIRST_SLOTS;
        price->slots = arena_array(price->arena, FIRST_SLOTS, sizeof *price->slots);
    }
    slot = find_slot(price, key);
    if (slot->key.new_tokens != 0)
        return slot;
    if (stage && !add_slices(owner, stage, key, &sum, err))
        return NULL;
    for (int i = 0; piece && i < piece->term_count; i++) {
        const struct pass_term *term = &piece->terms[i];

        struct err detail = ERR_INIT;

        if (price->book ? !add_known(price, owner, term, key, &sum, &detail)
                        : !add_term(owner, term, key, &sum, &detail)) {
            (void)err_set(err, detail.kind, "%s (block %s%s)", detail.text,
                          model_block_names[term->block],
                          piece->range.of > 1 ? ", a part of the sequence" : PRICE_OF_SLICED);
            return NULL;
        }
    }
    if (price->has_kappa)
        apply_kappa(price, owner, key, &sum.time_ps);
    if (stage && !price_add_product(plan_stage_codec_ps(stage),
                                    (int64_t)key->batch * key->new_tokens, &sum.time_ps, err))
        return NULL;
    for (int i = 0; piece && i < piece->term_count; i++)
        if (!price_add_product(piece->terms[i].row_ps, (int64_t)key->batch * key->new_tokens,
                               &sum.time_ps, err))
            return NULL;
    price->extrapolated_ops |= sum.extrapolated_ops;
    make_room(price);
    slot = find_slot(price, key);
    *slot = sum;
    price->used++;
    return slot;
}

static const struct sum *step_sum(struct price *price, int32_t id, const struct owner *owner,
                                  int32_t batch, int32_t new_tokens, int32_t past_tokens,
                                  const struct plan_stage *stage, const struct pass_piece *piece,
                                  struct err *err)
{
    struct key key = { find_owner(price, (size_t)id, owner), id, batch, new_tokens, past_tokens };

    if (new_tokens > INT32_MAX / batch) {
        err_set(err, ERR_INPUT, "a batch of %d requests of %d tokens is too large", batch,
                new_tokens);
        return NULL;
    }
    return find_sum(price, owner, &key, stage, piece, err);
}

static struct owner owner_of(const struct model *model, const struct cost_table *table, int threads)
{
    int known = threads > 0 ? threads : cost_only_threads(table);

    return (struct owner){ model, table, known > 0 ? known : 1 };
}

bool price_step(struct price *price, const struct plan_stage *stage, const struct model *model,
                const struct cost_table *table, int threads, double speed_ratio, int32_t new_tokens,
                int32_t past_tokens, int64_t *time_ps, int *extrapolated, struct err *err)
{
    return price_batch(price, stage, model, table, threads, speed_ratio, 1, new_tokens, past_tokens,
                       time_ps, extrapolated, err);
}

bool price_batch(struct price *price, const struct plan_stage *stage, const struct model *model,
                 const struct cost_table *table, int threads, double speed_ratio, int32_t batch,
                 int32_t new_tokens, int32_t past_tokens, int64_t *time_ps, int *extrapolated,
                 struct err *err)
{
    struct owner owner = owner_of(model, table, threads);
    const struct key known_key = { NO_OWNER, stage->id, batch, new_tokens, past_tokens };
    struct sum known;
    const struct sum *sum = &known;

    if (!price->book || new_tokens > INT32_MAX / batch)
        sum = step_sum(price, stage->id, &owner, batch, new_tokens, past_tokens, stage, NULL, err);
    else if (!known_sum(price, &owner, stage, &known_key, &known, err))
        return false;
    if (!sum)
        return false;
    *time_ps = price_scale(saturate_add(sum->time_ps, overhead_step_ps(price->overheads, batch)),
                           speed_ratio);
    *extrapolated = sum->extrapolated;
    return true;
}

bool price_piece(struct price *price, const struct pass_piece *piece, const struct model *model,
                 const struct cost_table *table, int threads, double speed_ratio,
                 int32_t new_tokens, int32_t past_tokens, int64_t *time_ps, int *extrapolated,
                 struct err *err)
{
    return price_piece_batch(price, piece, model, table, threads, speed_ratio, 1, new_tokens,
                             past_tokens, time_ps, extrapolated, err);
}

bool price_piece_batch(struct price *price, const struct pass_piece *piece,
                       const struct model *model, const struct cost_table *table, int threads,
                       double speed_ratio, int32_t batch, int32_t new_tokens, int32_t past_tokens,
                       int64_t *time_ps, int *extrapolated, struct err *err)
{
    struct owner owner = owner_of(model, table, threads);
    const struct sum *sum;

    *time_ps = 0;
    *extrapolated = 0;
    if (new_tokens > INT32_MAX / batch)
        return err_set(err, ERR_INPUT, "a batch of %d requests of %d tokens is too large", batch,
                       new_tokens);
    if (piece->range.of > 1) { /* norms and additions do not care whose rows they are */
        new_tokens = pass_range_tokens(&piece->range, batch * new_tokens);
        batch = 1;
    }
    if (new_tokens == 0)
        return true;
    sum = step_sum(price, piece->id, &owner, batch, new_tokens, past_tokens, NULL, piece, err);
    if (!sum)
        return false;
    *time_ps = price_scale(sum->time_ps, speed_ratio);
    *extrapolated = sum->extrapolated;
    return true;
}
