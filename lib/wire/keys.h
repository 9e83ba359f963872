/* keys.h - the secret that the boards of one cluster share: who has it may join, who has not is
 * turned away, and nothing between them can be read or changed on the way (CurveZMQ).
 *
 * One file, cluster.key, readable by its owner alone, the same on every board. It holds two pairs:
 * a socket that listens proves that it has the first, one that connects the second. */
#ifndef ORRERY_WIRE_KEYS_H
#define ORRERY_WIRE_KEYS_H

#include <stdbool.h>

struct arena;
struct err;

#define KEYS_FILE "cluster.key"
#define KEYS_TEXT_BYTES 41 /* 40 characters of Z85 and the NUL */

struct keys_pair {
    char public_key[KEYS_TEXT_BYTES], secret_key[KEYS_TEXT_BYTES];
};

struct keys {
    struct keys_pair listen, connect;
};

/* Draws new pairs and writes folder/cluster.key (mode 0600; the folder is made when missing). A
 * file that is there stays: boards that have it would be locked out. */
bool keys_create(struct arena *arena, const char *folder, struct err *err);
/* Reads folder/cluster.key. A file that others may read is refused, as ssh does. NULL on errors,
 * whose text never holds a key. */
const struct keys *keys_load(struct arena *arena, const char *folder, struct err *err);

#endif
