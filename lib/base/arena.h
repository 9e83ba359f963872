/* arena.h - the memory of one run: allocate freely, free all at once.
 *
 * The only file that calls malloc. Memory is zeroed. Running out of memory prints one line and
 * aborts with exit status 2, here and nowhere else: no caller could do better. Blocks of a size
 * that a user chose (weights, pools) use arena_try_alloc and turn NULL into an error. */
#ifndef ORRERY_BASE_ARENA_H
#define ORRERY_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

struct arena *arena_create(void);
void arena_destroy(struct arena *arena); /* NULL is allowed */

/* Zeroed memory aligned to 64 bytes when size >= 4096, else to 16. size 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t size_bytes);
/* As arena_alloc, but NULL when the system refuses. */
void *arena_try_alloc(struct arena *arena, size_t size_bytes);
/* count elements; aborts when count * size overflows. */
void *arena_array(struct arena *arena, size_t count, size_t size_bytes);
/* A copy of old with room for new_count elements, the new ones zeroed. old stays valid until the
 * arena ends, so grow by doubling. */
void *arena_grow(struct arena *arena, const void *old, size_t old_count, size_t new_count,
                 size_t size_bytes);
/* Room for a table that is full: twice as much, `first` to begin with. Aborts as running out of
 * memory does where an int32_t could not number the elements any more. */
int32_t arena_wider(int32_t room, int32_t first);
char *arena_strdup(struct arena *arena, const char *text);
char *arena_strndup(struct arena *arena, const char *text, size_t length);
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Bytes handed out so far. */
size_t arena_used_bytes(const struct arena *arena);

#endif
