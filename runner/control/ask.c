/* ask.c - one DEALER to a coordinator. */
#include "runner/control/ask.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/wire/channel.h"
#include "lib/wire/keys.h"
#include <string.h>

#define MAX_ANSWER_BYTES (INT64_C(4) << 20)

error_t ask_parse_option(int key, char *text, struct argp_state *state)
{
    struct ask_options *options = state->input;
    struct err err = ERR_INIT;

    switch (key) {
    case ASK_KEY_CONNECT:
        options->connect = text;
        if (!channel_check_address("--connect", text, &err))
            cli_error(state, "%s", err.text);
        return 0;
    case ASK_KEY_KEYS:
        options->keys = text;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "'%s': expected options only", text);
        return 0;
    case ARGP_KEY_END:
        if (!options->connect)
            cli_error(state, "--connect is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

bool ask_open(struct arena *arena, const char *connect, const char *keys, struct ask *ask,
              struct err *err)
{
    const struct keys *loaded = NULL;
    bool is_open = false;

    *ask = (struct ask){ .arena = arena, .connect = connect };
    if (keys && !(loaded = keys_load(arena, keys, err)))
        return false;
    ask->hub = channel_hub_create(arena, loaded, err);
    if (!ask->hub)
        return false;
    ask->channel = channel_open(arena, ask->hub, CHANNEL_DEALER, 16, MAX_ANSWER_BYTES, err);
    if (!ask->channel || !channel_connect(ask->channel, connect, err) ||
        !channel_wait_open(ask->hub, ask->channel, clock_now_ns() + ASK_PATIENCE_NS, &is_open, err))
        return false;
    return is_open || err_set(err, ERR_SYSTEM, "no coordinator at %s", connect);
}

void ask_close(struct ask *ask)
{
    channel_close(ask->channel, 0);
    channel_hub_destroy(ask->hub);
}

bool ask_send(const struct ask *ask, enum frame_type type, const char *text, struct err *err)
{
    struct frame frame = { .type = type, .payload_bytes = (int64_t)strlen(text) };
    enum channel_result result = channel_send(ask->channel, NULL, &frame, text, err);

    return result == CHANNEL_DONE || err->kind != ERR_NONE
               ? result == CHANNEL_DONE
               : err_set(err, ERR_SYSTEM, "the coordinator at %s does not read", ask->connect);
}

const char *ask_receive(const struct ask *ask, int64_t deadline_ns, enum frame_type *type,
                        struct err *err)
{
    while (clock_now_ns() < deadline_ns) {
        struct channel_wait wait = { ask->channel, false, false };
        struct channel_message message;
        const char *text;

        if (!channel_wait(ask->hub, &wait, 1, deadline_ns, err))
            return NULL;
        if (channel_receive(ask->channel, &message, err) != CHANNEL_DONE) {
            if (err->kind != ERR_NONE)
                return NULL;
            continue;
        }
        *type = message.frame.type;
        text = arena_strndup(ask->arena, (const char *)message.payload,
                             (size_t)message.frame.payload_bytes);
        channel_message_close(&message);
        return text;
    }
    return NULL;
}
