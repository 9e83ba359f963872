/* names.c - an open-addressing hash from name to number, at most half full. */
#include "lib/format/names.h"

#include "lib/base/arena.h"
#include "lib/base/hash.h"
#include <stddef.h>
#include <string.h>

struct names {
    struct arena *arena;
    const char **list;
    int32_t count, capacity; /* of list */
    int32_t *slots;          /* 2 * capacity of them: number + 1, 0 = free */
};

#define FIRST_CAPACITY 16

struct names *names_create(struct arena *arena)
{
    struct names *names = arena_alloc(arena, sizeof *names);

    names->arena = arena;
    names->capacity = FIRST_CAPACITY;
    names->list = arena_array(arena, FIRST_CAPACITY, sizeof *names->list);
    names->slots = arena_array(arena, (size_t)2 * FIRST_CAPACITY, sizeof *names->slots);
    return names;
}

/* The slot that holds the name, or the free one where it belongs. */
static size_t find_slot(const struct names *names, const char *name, size_t length)
{
    size_t mask = (size_t)names->capacity * 2 - 1;
    size_t slot = (size_t)hash_bytes(HASH_START, name, length) & mask;

    for (; names->slots[slot] != 0; slot = (slot + 1) & mask) {
        const char *other = names->list[names->slots[slot] - 1];

        if (strncmp(other, name, length) == 0 && other[length] == '\0')
            break;
    }
    return slot;
}

static void grow(struct names *names)
{
    size_t old = (size_t)names->capacity;

    names->list = arena_grow(names->arena, names->list, old, 2 * old, sizeof *names->list);
    names->slots = arena_array(names->arena, 4 * old, sizeof *names->slots);
    names->capacity *= 2;
    for (int32_t i = 0; i < names->count; i++)
        names->slots[find_slot(names, names->list[i], strlen(names->list[i]))] = i + 1;
}

int32_t names_put_bytes(struct names *names, const char *name, size_t length)
{
    size_t slot = find_slot(names, name, length);

    if (names->slots[slot] != 0)
        return names->slots[slot] - 1;
    if (names->count == names->capacity) {
        grow(names);
        slot = find_slot(names, name, length);
    }
    names->list[names->count] = arena_strndup(names->arena, name, length);
    names->slots[slot] = ++names->count;
    return names->count - 1;
}

int32_t names_put(struct names *names, const char *name)
{
    return names_put_bytes(names, name, strlen(name));
}

int32_t names_find_bytes(const struct names *names, const char *name, size_t length)
{
    return names->slots[find_slot(names, name, length)] - 1;
}

int32_t names_find(const struct names *names, const char *name)
{
    return names_find_bytes(names, name, strlen(name));
}

int32_t names_count(const struct names *names)
{
    return names->count;
}

const char **names_list(const struct names *names)
{
    return names->list;
}
