/* setup_texts.c - the short texts around a SETUP: who joins, who is ready, where peers listen,
 * updates. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/wire/channel.h"
#include "runner/setup/setup.h"
#include "runner/setup/setup_json.h"
#include <inttypes.h>
#include <string.h>

#define MAX_LINE 1024 /* characters */

const char *setup_encode_hello(struct arena *arena, const char *device, int64_t number)
{
    struct setup_text text = setup_begin_text(arena);

    json_put_text(text.json, "device", device);
    json_put_text(text.json, "number", arena_printf(arena, "%" PRId64, number));
    json_put_text(text.json, "version", CLI_VERSION);
    return setup_end_text(&text);
}

const char *setup_encode_ready(struct arena *arena, const struct setup_ready *ready)
{
    struct setup_text text = setup_begin_text(arena);

    json_put_text(text.json, "endpoint", ready->endpoint);
    json_put_text(text.json, "machine", ready->machine);
    json_put_text(text.json, "blas_core", ready->blas_core);
    json_put_int(text.json, "weight_bytes", ready->weight_bytes);
    return setup_end_text(&text);
}

const char *setup_encode_update(struct arena *arena, const char *path, const char *placement)
{
    struct setup_text text = setup_begin_text(arena);

    json_put_text(text.json, "path", path);
    json_put_text(text.json, "placement", placement);
    return setup_end_text(&text);
}

const char *setup_encode_answer(struct arena *arena, const struct setup_answer *answer)
{
    struct setup_text text = setup_begin_text(arena);

    json_put_bool(text.json, "is_taken", answer->is_taken);
    json_put_text(text.json, "line", answer->line);
    json_put_int(text.json, "weight_bytes", answer->weight_bytes);
    return setup_end_text(&text);
}

const char *setup_encode_peers(struct arena *arena, const struct setup_peer *peers, int count)
{
    struct setup_text text = setup_begin_text(arena);

    json_begin_array(text.json, "peers");
    for (int i = 0; i < count; i++) {
        json_begin_object(text.json, NULL);
        json_put_int(text.json, "worker", peers[i].worker);
        json_put_text(text.json, "endpoint", peers[i].endpoint);
        json_end_object(text.json);
    }
    json_end_array(text.json);
    return setup_end_text(&text);
}

/* ---- reading ---- */

bool setup_decode_hello(struct arena *arena, const unsigned char *text, size_t length_bytes,
                        const char **device, int64_t *number, struct err *err)
{
    const struct json *object = setup_parse(arena, text, length_bytes, "hello", err);
    const char *version;

    if (!object || !setup_get_text(object, "device", device, err) ||
        !setup_get_text(object, "version", &version, err))
        return false;
    if (strcmp(version, CLI_VERSION) != 0)
        return err_set(
            err, ERR_INPUT,
            "the worker of device '%s' is orrery-run %s: the coordinator is " CLI_VERSION, *device,
            version);
    return setup_get_int64(object, "number", number, err);
}

/* It ends up in the head of an output file, where a line break would forge another line. */
static bool get_line(const struct json *object, const char *what, const char *key,
                     const char **value, struct err *err)
{
    if (!setup_get_text(object, key, value, err))
        return false;
    for (const char *c = *value; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127 || c - *value >= MAX_LINE)
            return err_set(err, ERR_INPUT,
                           "%s: %s: expected one line of at most %d printable characters", what,
                           key, MAX_LINE);
    return true;
}

bool setup_decode_update(struct arena *arena, const unsigned char *text, size_t length_bytes,
                         const char **path, const char **placement, struct err *err)
{
    const struct json *object = setup_parse(arena, text, length_bytes, "update", err);

    return object && get_line(object, "update", "path", path, err) &&
           setup_get_text(object, "placement", placement, err);
}

bool setup_decode_answer(struct arena *arena, const unsigned char *text, size_t length_bytes,
                         struct setup_answer *answer, struct err *err)
{
    const struct json *object = setup_parse(arena, text, length_bytes, "answer", err);
    const struct json *weights = object ? json_get(object, "weight_bytes") : NULL;

    return object && setup_get_bool(object, "is_taken", &answer->is_taken, err) &&
           get_line(object, "answer", "line", &answer->line, err) &&
           ((weights && json_int(weights, &answer->weight_bytes) && answer->weight_bytes >= 0) ||
            err_set(err, ERR_INPUT, "answer: weight_bytes: expected a whole number"));
}

bool setup_decode_ready(struct arena *arena, const unsigned char *text, size_t length_bytes,
                        struct setup_ready *ready, struct err *err)
{
    const struct json *object = setup_parse(arena, text, length_bytes, "ready", err);
    const struct json *weights = object ? json_get(object, "weight_bytes") : NULL;

    if (!object || !setup_get_text(object, "endpoint", &ready->endpoint, err) ||
        !channel_check_address("ready: endpoint", ready->endpoint, err) ||
        !get_line(object, "ready", "machine", &ready->machine, err) ||
        !get_line(object, "ready", "blas_core", &ready->blas_core, err))
        return false;
    return (weights && json_int(weights, &ready->weight_bytes) && ready->weight_bytes >= 0) ||
           err_set(err, ERR_INPUT, "ready: weight_bytes: expected a whole number");
}

bool setup_decode_peers(struct arena *arena, const unsigned char *text, size_t length_bytes,
                        struct setup_peer **peers, int *count, struct err *err)
{
    const struct json *object = setup_parse(arena, text, length_bytes, "peers", err);
    const struct json *array;

    if (!object || !setup_get_array(object, "peers", &array, count, err))
        return false;
    *peers = arena_array(arena, (size_t)*count, sizeof **peers);
    for (int i = 0; i < *count; i++) {
        struct setup_peer *peer = &(*peers)[i];
        const struct json *item = json_at(array, i);

        if (!setup_get_int(item, "worker", 0, INT32_MAX, &peer->worker, err) ||
            !setup_get_text(item, "endpoint", &peer->endpoint, err) ||
            (peer->endpoint[0] != '\0' &&
             !channel_check_address("peers: endpoint", peer->endpoint, err)))
            return false;
    }
    return true;
}
