/* price_book.c - blocks by hash; steps of one token of one sequence by tokens in the cache, all
 * others by hash, too. What is forgotten when a table is full is looked up again. */
#include "lib/policy/price_book.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/format/cost.h"
#include "lib/policy/plan.h"
#include <string.h>

#define FIRST_SLOTS ((size_t)1 << 10)
#define MAX_SLOTS ((size_t)1 << 19)
#define FIRST_PAST 256
#define MAX_PAST 4096 /* longer ones are looked up by hash */
#define NOT_KNOWN (-1)

struct owner {
    struct model model;
    const struct cost_table *table;
    int threads;
};

struct shape {
    int32_t owner;
    struct plan_counts counts;
    struct price_cost *decodes; /* of one token behind so many; time_ps NOT_KNOWN */
    int32_t decode_room;
};

struct key {
    int32_t of, block; /* owner and block; shape and -1 */
    int32_t batch, new_tokens, past_tokens;
};
struct slot {
    struct key key; /* new_tokens 0 = free */
    struct price_cost cost;
};
struct table {
    struct slot *slots; /* at most half of them taken */
    size_t slot_count, used;
};

struct price_book {
    struct arena *arena;
    struct owner *owners;
    struct shape *shapes;
    int32_t owner_count, owner_room, shape_count, shape_room;
    int32_t *shape_slots; /* hash of shapes: number + 1 */
    int32_t shape_slot_count;
    struct table blocks, steps;
};

struct price_book *price_book_create(struct arena *arena)
{
    struct price_book *book = arena_alloc(arena, sizeof *book);

    book->arena = arena;
    book->shape_slot_count = 256;
    book->shape_slots = arena_array(arena, (size_t)book->shape_slot_count, sizeof(int32_t));
    for (int t = 0; t < 2; t++) {
        struct table *table = t == 0 ? &book->blocks : &book->steps;

        table->slot_count = FIRST_SLOTS;
        table->slots = arena_array(arena, FIRST_SLOTS, sizeof *table->slots);
    }
    return book;
}

bool price_add_product(int64_t time_ps, int64_t times, int64_t *sum_ps, struct err *err)
{
    int64_t product_ps;

    if (__builtin_mul_overflow(time_ps, times, &product_ps) ||
        __builtin_add_overflow(*sum_ps, product_ps, sum_ps))
        return err_set(err, ERR_INPUT, "a step of a stage costs more than 106 days");
    return true;
}

/* ---- owners and shapes ---- */

static bool are_alike(const struct model *a, const struct model *b)
{
    return a->kind == b->kind && a->ffn == b->ffn && a->norm == b->norm &&
           a->positions == b->positions && a->hidden == b->hidden && a->heads == b->heads &&
           a->kv_heads == b->kv_heads && a->head_dim == b->head_dim &&
           a->ffn_hidden == b->ffn_hidden && a->vocab == b->vocab &&
           a->weight_bits == b->weight_bits;
}

int32_t price_book_owner(struct price_book *book, const struct model *model,
                         const struct cost_table *table, int threads)
{
    for (int32_t i = 0; i < book->owner_count; i++)
        if (book->owners[i].table == table && book->owners[i].threads == threads &&
            are_alike(&book->owners[i].model, model))
            return i;
    if (book->owner_count == book->owner_room) {
        int32_t room = arena_wider(book->owner_room, 16);

        book->owners = arena_grow(book->arena, book->owners, (size_t)book->owner_room, (size_t)room,
                                  sizeof *book->owners);
        book->owner_room = room;
    }
    book->owners[book->owner_count] = (struct owner){ *model, table, threads };
    return book->owner_count++;
}

static uint64_t hash_shape(int32_t owner, const struct plan_counts *counts)
{
    return hash_bytes(hash_bytes(HASH_START, &owner, sizeof owner), counts, sizeof *counts);
}

static int32_t *shape_slot(const struct price_book *book, int32_t owner,
                           const struct plan_counts *counts)
{
    size_t mask = (size_t)book->shape_slot_count - 1;
    size_t at = (size_t)hash_shape(owner, counts) & mask;

    for (; book->shape_slots[at] != 0; at = (at + 1) & mask) {
        const struct shape *shape = &book->shapes[book->shape_slots[at] - 1];

        if (shape->owner == owner && memcmp(&shape->counts, counts, sizeof *counts) == 0)
            break;
    }
    return &book->shape_slots[at];
}

static void shapes_widen(struct price_book *book)
{
    int32_t room = arena_wider(book->shape_room, 64);

    book->shapes = arena_grow(book->arena, book->shapes, (size_t)book->shape_room, (size_t)room,
                              sizeof *book->shapes);
    book->shape_room = room;
    if (2 * room <= book->shape_slot_count)
        return;
    book->shape_slot_count = 4 * room;
    book->shape_slots = arena_array(book->arena, (size_t)book->shape_slot_count, sizeof(int32_t));
    for (int32_t i = 0; i < book->shape_count; i++)
        *shape_slot(book, book->shapes[i].owner, &book->shapes[i].counts) = i + 1;
}

int32_t price_book_shape(struct price_book *book, int32_t owner, const struct plan_counts *counts)
{
    int32_t *slot = shape_slot(book, owner, counts);

    if (*slot != 0)
        return *slot - 1;
    if (book->shape_count == book->shape_room) {
        shapes_widen(book);
        slot = shape_slot(book, owner, counts);
    }
    book->shapes[book->shape_count] = (struct shape){ .owner = owner, .counts = *counts };
    *slot = book->shape_count + 1;
    return book->shape_count++;
}

/* ---- tables ---- */

static uint64_t hash_key(const struct key *key)
{
    const int32_t words[] = { key->of, key->block, key->batch, key->new_tokens, key->past_tokens };

    return hash_words(HASH_START, words, sizeof words / sizeof words[0]);
}

static struct slot *find_slot(const struct table *table, const struct key *key)
{
    size_t mask = table->slot_count - 1;
    size_t at = (size_t)hash_key(key) & mask;

    while (table->slots[at].key.new_tokens != 0 &&
           memcmp(&table->slots[at].key, key, sizeof *key) != 0)
        at = (at + 1) & mask;
    return &table->slots[at];
}

/* The slot of a new key: it is taken from now on. */
static struct slot *take_slot(struct price_book *book, struct table *table, const struct key *key)
{
    struct slot *slot;

    if (2 * table->used >= table->slot_count) {
        struct slot *old = table->slots;
        size_t old_count = table->slot_count;

        table->used = 0;
        if (old_count == MAX_SLOTS) {
            memset(old, 0, old_count * sizeof *old);
        } else {
            table->slot_count *= 2;
            table->slots = arena_array(book->arena, table->slot_count, sizeof *table->slots);
            for (size_t i = 0; i < old_count; i++)
                if (old[i].key.new_tokens != 0) {
                    *find_slot(table, &old[i].key) = old[i];
                    table->used++;
                }
        }
    }
    slot = find_slot(table, key);
    slot->key = *key;
    table->used++;
    return slot;
}

/* ---- blocks ---- */

static bool block_find(const struct owner *owner, const struct key *key, struct price_cost *found,
                       struct err *err)
{
    bool is_add = key->block == PRICE_ADD, is_conn = is_add || key->block == BLOCK_CONN;
    struct model_op ops[MODEL_MAX_OPS];
    int count = model_batch_ops(&owner->model, is_conn ? BLOCK_CONN : (enum model_block)key->block,
                                key->batch, key->new_tokens, key->past_tokens, ops);

    *found = (struct price_cost){ 0 };
    for (int i = 0; i < count; i++) {
        enum interp_origin origin;
        int64_t time_ps;

        if (is_conn && is_add != (ops[i].op != OP_NORM))
            continue;
        if (!cost_lookup(owner->table, &ops[i], owner->threads, owner->model.weight_bits, &time_ps,
                         &origin, err) ||
            !price_add_product(time_ps, is_conn ? 1 : ops[i].count, &found->time_ps, err))
            return false;
        found->extrapolated += origin == INTERP_EXTRAPOLATED;
    }
    return true;
}

const struct price_cost *price_book_block(struct price_book *book, int32_t owner,
                                          enum model_block block, int32_t batch, int32_t new_tokens,
                                          int32_t past_tokens, struct err *err)
{
    /* Blocks but attention do not care what is in the cache. */
    struct key key = { owner, (int32_t)block, batch, new_tokens,
                       block == BLOCK_ATTN ? past_tokens : 0 };
    struct slot *slot = find_slot(&book->blocks, &key);
    struct price_cost found;

    if (slot->key.new_tokens != 0)
        return &slot->cost;
    if (!block_find(&book->owners[owner], &key, &found, err))
        return NULL;
    slot = take_slot(book, &book->blocks, &key);
    slot->cost = found;
    return &slot->cost;
}

/* ---- steps ---- */

static bool step_find(struct price_book *book, const struct shape *shape, const struct key *key,
                      struct price_cost *found, struct err *err)
{
    const struct plan_counts *counts = &shape->counts;

    *found = (struct price_cost){ 0 };
    for (int b = 0; b <= PRICE_ADD; b++) {
        bool is_conn = b == PRICE_ADD || b == BLOCK_CONN;
        int64_t times = counts->layers[is_conn ? BLOCK_CONN : b];
        const struct price_cost *block;

        if (is_conn && times > 0)
            times = b == PRICE_ADD ? counts->adds : counts->norms;
        if (times == 0)
            continue;
        block = price_book_block(book, shape->owner, (enum model_block)b, key->batch,
                                 key->new_tokens, key->past_tokens, err);
        if (!block || !price_add_product(block->time_ps, times, &found->time_ps, err))
            return false;
        found->extrapolated += block->extrapolated;
    }
    return true;
}

static struct price_cost *decode_of(struct price_book *book, struct shape *shape, int32_t past)
{
    int32_t room = shape->decode_room > 0 ? shape->decode_room : FIRST_PAST;

    if (past < shape->decode_room)
        return &shape->decodes[past];
    while (room <= past)
        room *= 2;
    shape->decodes = arena_grow(book->arena, shape->decodes, (size_t)shape->decode_room,
                                (size_t)room, sizeof *shape->decodes);
    for (int32_t i = shape->decode_room; i < room; i++)
        shape->decodes[i].time_ps = NOT_KNOWN;
    shape->decode_room = room;
    return &shape->decodes[past];
}

const struct price_cost *price_book_step(struct price_book *book, int32_t number, int32_t batch,
                                         int32_t new_tokens, int32_t past_tokens, struct err *err)
{
    struct shape *shape = &book->shapes[number];
    const struct key key = { number, -1, batch, new_tokens, past_tokens };
    struct price_cost *decode, found;
    struct slot *slot;

    if (batch == 1 && new_tokens == 1 && past_tokens < MAX_PAST) {
        decode = decode_of(book, shape, past_tokens);
        if (decode->time_ps != NOT_KNOWN)
            return decode;
        if (!step_find(book, shape, &key, &found, err))
            return NULL;
        *decode = found;
        return decode;
    }
    slot = find_slot(&book->steps, &key);
    if (slot->key.new_tokens != 0)
        return &slot->cost;
    if (!step_find(book, shape, &key, &found, err))
        return NULL;
    slot = take_slot(book, &book->steps, &key);
    slot->cost = found;
    return &slot->cost;
}
