/* json_writer.c - the streaming writer of json.h: commas, indents and escapes. */
#include "lib/base/arena.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/base/utf8.h"
#include <assert.h>
#include <math.h>
#include <string.h>

#define DEPTH_MAX 64

struct json_writer {
    struct out *out;
    bool is_pretty;
    int depth;
    bool is_array[DEPTH_MAX], has_items[DEPTH_MAX]; /* of each open object or array */
};

struct json_writer *json_writer_create(struct arena *arena, struct out *out, bool pretty)
{
    struct json_writer *json = arena_alloc(arena, sizeof *json);

    json->out = out;
    json->is_pretty = pretty;
    return json;
}

static void put_string(struct out *out, const char *text)
{
    size_t left = strlen(text);

    out_char(out, '"');
    while (left > 0) {
        size_t length = utf8_length(text, left);

        if (length == 0) { /* from a path, say: shown, and the document stays valid */
            out_text(out, "\\ufffd");
            length = 1;
        } else if (*text == '"' || *text == '\\') {
            out_char(out, '\\');
            out_char(out, *text);
        } else if ((unsigned char)*text < 0x20) {
            out_printf(out, "\\u%04x", (unsigned)*text);
        } else {
            out_bytes(out, text, length);
        }
        text += length;
        left -= length;
    }
    out_char(out, '"');
}

static void new_line(struct json_writer *json)
{
    if (!json->is_pretty)
        return;
    out_char(json->out, '\n');
    for (int i = 0; i < json->depth; i++)
        out_text(json->out, "  ");
}

/* What stands before any value: comma, indent, key. */
static void begin_value(struct json_writer *json, const char *key)
{
    if (json->depth > 0) {
        int top = json->depth - 1;

        assert((key == NULL) == json->is_array[top]);
        if (json->has_items[top])
            out_char(json->out, ',');
        json->has_items[top] = true;
        new_line(json);
    }
    if (key) {
        put_string(json->out, key);
        out_text(json->out, json->is_pretty ? ": " : ":");
    }
}

static void end_value(struct json_writer *json)
{
    if (json->depth == 0)
        out_char(json->out, '\n');
}

static void begin_nest(struct json_writer *json, const char *key, bool is_array)
{
    begin_value(json, key);
    assert(json->depth < DEPTH_MAX);
    json->is_array[json->depth] = is_array;
    json->has_items[json->depth] = false;
    json->depth++;
    out_char(json->out, is_array ? '[' : '{');
}

static void end_nest(struct json_writer *json, bool is_array)
{
    assert(json->depth > 0 && json->is_array[json->depth - 1] == is_array);
    json->depth--;
    if (json->has_items[json->depth])
        new_line(json);
    out_char(json->out, is_array ? ']' : '}');
    end_value(json);
}

void json_begin_object(struct json_writer *json, const char *key)
{
    begin_nest(json, key, false);
}

void json_end_object(struct json_writer *json)
{
    end_nest(json, false);
}

void json_begin_array(struct json_writer *json, const char *key)
{
    begin_nest(json, key, true);
}

void json_end_array(struct json_writer *json)
{
    end_nest(json, true);
}

void json_put_text(struct json_writer *json, const char *key, const char *text)
{
    if (!text) {
        json_put_null(json, key);
        return;
    }
    begin_value(json, key);
    put_string(json->out, text);
    end_value(json);
}

void json_put_int(struct json_writer *json, const char *key, int64_t value)
{
    begin_value(json, key);
    out_int(json->out, value);
    end_value(json);
}

void json_put_double(struct json_writer *json, const char *key, double value)
{
    if (!isfinite(value)) {
        json_put_null(json, key);
        return;
    }
    begin_value(json, key);
    out_double(json->out, value);
    end_value(json);
}

void json_put_seconds(struct json_writer *json, const char *key, int64_t time_ps)
{
    begin_value(json, key);
    out_seconds(json->out, time_ps);
    end_value(json);
}

void json_put_bool(struct json_writer *json, const char *key, bool value)
{
    begin_value(json, key);
    out_text(json->out, value ? "true" : "false");
    end_value(json);
}

void json_put_null(struct json_writer *json, const char *key)
{
    begin_value(json, key);
    out_text(json->out, "null");
    end_value(json);
}
