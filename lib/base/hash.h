/* hash.h - FNV-1a, 64 bits (Fowler, Noll, Vo): to name inputs in reports and to guard frames. */
#ifndef ORRERY_BASE_HASH_H
#define ORRERY_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_START UINT64_C(14695981039346656037)

/* Goes on from a previous value; start with HASH_START. */
uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count);

#endif
