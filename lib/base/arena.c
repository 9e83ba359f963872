/* arena.c - memory that lives as long as its run: small pieces from chunks, large ones on their
 * own.
 *
 * Blocks come from calloc, so that a large one that is never touched costs nothing. Under
 * AddressSanitizer every piece is a block of its own and an overrun is caught at its own edge. */
#include "lib/base/arena.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)1 << 16)
#define SMALL_ALIGN ((size_t)16)
#define LARGE_ALIGN ((size_t)64)
#define LARGE_BYTES ((size_t)4096)

#if defined(__SANITIZE_ADDRESS__)
#define OWN_BLOCK_BYTES ((size_t)1)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OWN_BLOCK_BYTES ((size_t)1)
#endif
#endif
#ifndef OWN_BLOCK_BYTES
#define OWN_BLOCK_BYTES LARGE_BYTES
#endif

struct block {
    _Alignas(16) struct block *next; /* as large as SMALL_ALIGN, so that what follows is aligned */
};

struct arena {
    struct block *blocks;
    char *free_start; /* rest of the current chunk */
    size_t free_bytes;
    size_t used_bytes;
};

static _Noreturn void out_of_memory(size_t size_bytes)
{
    fprintf(stderr, "out of memory: %zu bytes more were refused\n", size_bytes);
    exit(2);
}

struct arena *arena_create(void)
{
    struct arena *arena = calloc(1, sizeof *arena);

    if (!arena)
        out_of_memory(sizeof *arena);
    return arena;
}

void arena_destroy(struct arena *arena)
{
    if (!arena)
        return;
    while (arena->blocks) {
        struct block *next = arena->blocks->next;

        free(arena->blocks);
        arena->blocks = next;
    }
    free(arena);
}

/* Memory behind a new block's header, or NULL. */
static char *add_block(struct arena *arena, size_t size_bytes)
{
    struct block *block;

    if (size_bytes > PTRDIFF_MAX - sizeof *block)
        return NULL;
    block = calloc(1, sizeof *block + size_bytes);
    if (!block)
        return NULL;
    block->next = arena->blocks;
    arena->blocks = block;
    return (char *)(block + 1);
}

static char *align_up(char *start, size_t align)
{
    return start + (align - (uintptr_t)start % align) % align;
}

void *arena_try_alloc(struct arena *arena, size_t size_bytes)
{
    size_t rounded = (size_bytes + SMALL_ALIGN - 1) / SMALL_ALIGN * SMALL_ALIGN;
    char *start;

    if (size_bytes >= OWN_BLOCK_BYTES) {
        size_t slack = size_bytes >= LARGE_BYTES ? LARGE_ALIGN - SMALL_ALIGN : 0;

        if (size_bytes > PTRDIFF_MAX - LARGE_ALIGN)
            return NULL;
        start = add_block(arena, size_bytes + slack);
        if (!start)
            return NULL;
        arena->used_bytes += size_bytes;
        return slack > 0 ? align_up(start, LARGE_ALIGN) : start;
    }
    if (rounded == 0)
        rounded = SMALL_ALIGN;
    if (rounded > arena->free_bytes) {
        start = add_block(arena, CHUNK_BYTES);
        if (!start)
            return NULL;
        arena->free_start = start;
        arena->free_bytes = CHUNK_BYTES;
    }
    start = arena->free_start;
    arena->free_start += rounded;
    arena->free_bytes -= rounded;
    arena->used_bytes += size_bytes;
    return start;
}

void *arena_alloc(struct arena *arena, size_t size_bytes)
{
    void *memory = arena_try_alloc(arena, size_bytes);

    if (!memory)
        out_of_memory(size_bytes);
    return memory;
}

void *arena_array(struct arena *arena, size_t count, size_t size_bytes)
{
    if (size_bytes > 0 && count > SIZE_MAX / size_bytes)
        out_of_memory(SIZE_MAX);
    return arena_alloc(arena, count * size_bytes);
}

void *arena_grow(struct arena *arena, const void *old, size_t old_count, size_t new_count,
                 size_t size_bytes)
{
    void *memory;

    assert(new_count >= old_count);
    memory = arena_array(arena, new_count, size_bytes);
    if (old_count > 0)
        memcpy(memory, old, old_count * size_bytes);
    return memory;
}

int32_t arena_wider(int32_t room, int32_t first)
{
    if (room > INT32_MAX / 2) {
        fprintf(stderr, "out of memory: a table with more than %d places was refused\n", room);
        exit(2);
    }
    return room > 0 ? 2 * room : first;
}

char *arena_strndup(struct arena *arena, const char *text, size_t length)
{
    char *copy;

    length = strnlen(text, length);
    copy = arena_alloc(arena, length + 1);
    memcpy(copy, text, length);
    return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
    return arena_strndup(arena, text, strlen(text));
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args;
    char *text;
    int length;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(length >= 0);
    text = arena_alloc(arena, (size_t)length + 1);
    va_start(args, format);
    (void)vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

size_t arena_used_bytes(const struct arena *arena)
{
    return arena->used_bytes;
}
