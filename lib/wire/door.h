/* door.h - who may connect to the sockets of a process, and why somebody could not: inside lib/wire
 * only. Sockets and contexts are ZeroMQ's. */
#ifndef ORRERY_WIRE_DOOR_H
#define ORRERY_WIRE_DOOR_H

#include <stdbool.h>
#include <stddef.h>

struct arena;
struct door; /* answers ZeroMQ's question who may come in, in a thread of its own */
struct door_watch;
struct err;
struct keys;

/* Before the first socket of the context. Lets in whoever has the keys. */
struct door *door_open(struct arena *arena, void *context, const struct keys *keys,
                       struct err *err);
/* When all other sockets are closed, before the context ends. NULL is allowed. */
void door_close(struct door *door, void *context);
/* Gives a socket its keys, before it binds or connects. */
bool door_lock(void *socket, const struct keys *keys, bool is_listener);

/* Hears of handshakes that fail. NULL: ZeroMQ says why in errno. */
struct door_watch *door_watch(struct arena *arena, void *context, void *socket);
void door_unwatch(struct door_watch *watch, void *socket); /* NULL is allowed */
/* Takes what has been heard, which must not pile up. */
void door_look(struct door_watch *watch);
/* As channel_refusal. */
bool door_refusal(struct door_watch *watch, char *text, size_t size);

#endif
