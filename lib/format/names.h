/* names.h - names to dense numbers: 0, 1, 2 ... in order of first appearance.
 *
 * Tables name services, clients and devices in every row; a name is kept once and compared as a
 * number. Order never depends on the hash. */
#ifndef ORRERY_FORMAT_NAMES_H
#define ORRERY_FORMAT_NAMES_H

#include <stddef.h>
#include <stdint.h>

struct arena;
struct names;

struct names *names_create(struct arena *arena);
/* Number of the name; a new one is copied. */
int32_t names_put(struct names *names, const char *name);
int32_t names_put_bytes(struct names *names, const char *name, size_t length); /* no NUL in it */
int32_t names_find(const struct names *names, const char *name);               /* -1 = not there */
int32_t names_find_bytes(const struct names *names, const char *name, size_t length);
int32_t names_count(const struct names *names);
/* By number. The array is replaced when names_put grows it; the names stay. */
const char **names_list(const struct names *names);

#endif
