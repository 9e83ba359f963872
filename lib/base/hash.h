/* hash.h - FNV-1a, 64 bits (Fowler, Noll, Vo): to name inputs in reports and to guard frames. */
#ifndef ORRERY_BASE_HASH_H
#define ORRERY_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_START UINT64_C(14695981039346656037)

/* Goes on from a previous value; start with HASH_START. */
uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count);
/* Of numbers, a word at a time: for the places of a table in memory, not for what is shown. */
static inline uint64_t hash_words(uint64_t hash, const int32_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ (uint32_t)words[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return hash;
}

#endif
