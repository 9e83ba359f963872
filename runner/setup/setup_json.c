/* setup_json.c - JSON texts: begun, ended, and read member by member. */
#include "runner/setup/setup_json.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "runner/setup/setup.h"
#include <inttypes.h>
#include <string.h>

struct setup_text setup_begin_text(struct arena *arena)
{
    struct setup_text text = { .arena = arena, .out = out_open_memory(arena) };

    text.json = json_writer_create(arena, text.out, false);
    json_begin_object(text.json, NULL);
    return text;
}

const char *setup_end_text(struct setup_text *text)
{
    size_t length;
    const char *bytes;
    char *copy;

    json_end_object(text->json);
    bytes = out_memory(text->out, &length);
    copy = arena_strndup(text->arena, bytes, length);
    out_abort(text->out);
    return copy;
}

/* ---- reading ---- */

const struct json *setup_parse(struct arena *arena, const unsigned char *text, size_t length,
                               const char *what, struct err *err)
{
    if (length > (size_t)SETUP_MAX_TEXT_BYTES) {
        err_set(err, ERR_INPUT, "%s: %zu bytes: expected at most %" PRId64, what, length,
                SETUP_MAX_TEXT_BYTES);
        return NULL;
    }
    if (memchr(text, '\0', length)) {
        err_set(err, ERR_INPUT, "%s: a NUL byte in the text", what);
        return NULL;
    }
    return json_parse(arena, arena_strndup(arena, (const char *)text, length), what, err);
}

bool setup_get_int(const struct json *object, const char *key, int64_t min, int64_t max,
                   int32_t *value, struct err *err)
{
    const struct json *member = json_get(object, key);
    int64_t number;

    if (!member || !json_int(member, &number) || number < min || number > max)
        return err_set(err, ERR_INPUT,
                       "setup: %s: expected a whole number from %" PRId64 " to %" PRId64, key, min,
                       max);
    *value = (int32_t)number;
    return true;
}

bool setup_get_bool(const struct json *object, const char *key, bool *value, struct err *err)
{
    const struct json *member = json_get(object, key);

    return (member && json_bool(member, value)) ||
           err_set(err, ERR_INPUT, "setup: %s: expected true or false", key);
}

bool setup_get_text(const struct json *object, const char *key, const char **value, struct err *err)
{
    const struct json *member = json_get(object, key);

    *value = member ? json_text(member) : NULL;
    if (!*value)
        err_set(err, ERR_INPUT, "setup: %s: expected a text", key);
    return *value != NULL;
}

bool setup_get_int64(const struct json *object, const char *key, int64_t *value, struct err *err)
{
    const char *text;

    return setup_get_text(object, key, &text, err) &&
           (units_parse_int(text, value) ||
            err_set(err, ERR_INPUT, "setup: %s is '%s': expected a whole number", key, text));
}

bool setup_get_array(const struct json *object, const char *key, const struct json **array,
                     int *count, struct err *err)
{
    *array = json_get(object, key);
    *count = *array ? json_count(*array) : 0;
    return (*array && *count <= SETUP_MAX_ITEMS) ||
           err_set(err, ERR_INPUT, "setup: %s: expected at most %d items", key, SETUP_MAX_ITEMS);
}
