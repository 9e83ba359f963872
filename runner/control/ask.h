/* ask.h - asks a coordinator something while its run goes on. */
#ifndef ORRERY_RUNNER_CONTROL_ASK_H
#define ORRERY_RUNNER_CONTROL_ASK_H

#include "lib/base/cli.h"
#include "lib/wire/frame.h"
#include <stdint.h>

struct arena;
struct channel;
struct channel_hub;
struct err;

#define ASK_PATIENCE_NS INT64_C(5000000000) /* with a coordinator that says nothing */

/* ---- where, on the command line ---- */

struct ask_options { /* the first member of the options of a command */
    const char *connect, *keys;
};
#define ASK_KEY_CONNECT 256
#define ASK_KEY_KEYS 257
#define ASK_KEY_OWN 258 /* of the command's own options, from here on */
#define ASK_OPTIONS                                                                                \
    { "connect", ASK_KEY_CONNECT, "HOST:PORT", 0, "Where the coordinator listens (required)", 0 }, \
    {                                                                                              \
        "keys", ASK_KEY_KEYS, "DIR", 0, "Folder with the cluster's keys, when the run has them", 0 \
    }
/* These, and that there is no argument; ARGP_ERR_UNKNOWN: the command's own. */
error_t ask_parse_option(int key, char *text, struct argp_state *state);

/* ---- asking ---- */

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
