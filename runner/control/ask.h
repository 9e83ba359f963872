/* ask.h - asks a coordinator something while its run goes on. */
#ifndef ORRERY_RUNNER_CONTROL_ASK_H
#define ORRERY_RUNNER_CONTROL_ASK_H

#include "lib/wire/frame.h"
#include <stdint.h>

struct arena;
struct channel;
struct channel_hub;
struct err;

#define ASK_PATIENCE_NS INT64_C(5000000000) /* with a coordinator that says nothing */

struct ask {
    struct arena *arena;
    struct channel_hub *hub;
    struct channel *channel;
    const char *connect;
};

/* keys: the folder, NULL = none. ask_close is called in any case. */
bool ask_open(struct arena *arena, const char *connect, const char *keys, struct ask *ask,
              struct err *err);
void ask_close(struct ask *ask);
bool ask_send(const struct ask *ask, enum frame_type type, const char *text, struct err *err);
/* The next message of such a type that comes before the deadline; NULL: none has, or an error. */
const char *ask_receive(const struct ask *ask, int64_t deadline_ns, enum frame_type *type,
                        struct err *err);

#endif
