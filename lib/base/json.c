/* json.c - the reader of json.h: cJSON parses, and the result is copied into the arena once what
 * cJSON lets pass (NUL, raw control characters, duplicate keys, infinite numbers) has been refused.
 * The writer is in json_writer.c. */
#include "lib/base/json.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/utf8.h"
#ifndef WITHOUT_CJSON
#include <cjson/cJSON.h>
#endif
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES ((size_t)64 << 20)
#define EXACT_INT 9007199254740992.0 /* 2^53: from here on a double skips integers */

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_TEXT, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_kind kind;
    const char *key;  /* in an object */
    const char *text; /* of a string */
    double number;    /* of a number or a bool */
    int count;        /* of an array or an object */
    const struct json *items;
};

/* ---- checks ---- */

static bool bad_place(const char *text, const char *at, const char *path, const char *what,
                      struct err *err)
{
    long line = 1;
    const char *line_start = text;

    for (const char *c = text; c < at; c++) {
        if (*c == '\n') {
            line++;
            line_start = c + 1;
        }
    }
    return err_at(err, path, line, (int)(at - line_start) + 1, "%s", what);
}

static bool check_text(const char *text, size_t length, const char *path, struct err *err)
{
    bool is_string = false;
    size_t step;

    for (size_t i = 0; i < length; i += step) {
        const char *c = text + i;

        step = utf8_length(c, length - i);
        if (step == 0)
            return bad_place(text, c, path, "not UTF-8", err);
        if (*c == '\0')
            return bad_place(text, c, path, "NUL byte", err);
        if (is_string && (unsigned char)*c < 0x20)
            return bad_place(text, c, path, "control character inside a string", err);
        if (*c == '\\' && length - i >= 6 && memcmp(c, "\\u0000", 6) == 0)
            return bad_place(text, c, path, "NUL character", err);
        if (*c == '\\' && i + 1 < length && (c[1] == '"' || c[1] == '\\'))
            step = 2;
        else if (*c == '"')
            is_string = !is_string;
    }
    return true;
}

#ifndef WITHOUT_CJSON
static int compare_keys(const void *a, const void *b)
{
    const char *const *left = a, *const *right = b;

    return strcmp(*left, *right);
}

static bool check_keys(struct arena *arena, const struct json *object, const char *path,
                       struct err *err)
{
    const char **keys = arena_array(arena, (size_t)object->count, sizeof *keys);

    for (int i = 0; i < object->count; i++)
        keys[i] = object->items[i].key;
    qsort(keys, (size_t)object->count, sizeof *keys, compare_keys);
    for (int i = 1; i < object->count; i++) {
        if (strcmp(keys[i - 1], keys[i]) == 0)
            return err_at(err, path, 0, 0, "key '%.100s' is there twice", keys[i]);
    }
    return true;
}

/* ---- copy; the depth is bounded by cJSON's own limit of 1000 ---- */

static bool copy(struct arena *arena, const cJSON *from, struct json *to, const char *path,
                 struct err *err);

static bool copy_items(struct arena *arena, const cJSON *from, struct json *to, const char *path,
                       struct err *err)
{
    struct json *items;
    const cJSON *child = NULL;
    int i = 0;

    to->count = cJSON_GetArraySize(from);
    to->items = items = arena_array(arena, (size_t)to->count, sizeof *items);
    cJSON_ArrayForEach(child, from)
    {
        if (!copy(arena, child, &items[i++], path, err))
            return false;
    }
    return to->kind == JSON_ARRAY || check_keys(arena, to, path, err);
}

static bool copy(struct arena *arena, const cJSON *from, struct json *to, const char *path,
                 struct err *err)
{
    if (from->string)
        to->key = arena_strdup(arena, from->string);
    if (cJSON_IsArray(from) || cJSON_IsObject(from)) {
        to->kind = cJSON_IsArray(from) ? JSON_ARRAY : JSON_OBJECT;
        return copy_items(arena, from, to, path, err);
    }
    if (cJSON_IsString(from)) {
        to->kind = JSON_TEXT;
        to->text = arena_strdup(arena, from->valuestring);
    } else if (cJSON_IsNumber(from)) {
        to->kind = JSON_NUMBER;
        to->number = from->valuedouble;
        if (!isfinite(to->number))
            return err_at(err, path, 0, 0, "a number is too large: expected less than 1.8e308");
    } else if (cJSON_IsBool(from)) {
        to->kind = JSON_BOOL;
        to->number = cJSON_IsTrue(from);
    }
    return true;
}

static const struct json *parse(struct arena *arena, const char *text, size_t length,
                                const char *path, struct err *err)
{
    struct json *json = arena_alloc(arena, sizeof *json);
    const char *end = NULL;
    cJSON *tree;
    bool ok;

    if (!check_text(text, length, path, err))
        return NULL;
    tree = cJSON_ParseWithLengthOpts(text, length + 1, &end, 1);
    if (!tree) {
        bad_place(text, end && end <= text + length ? end : text, path, "not JSON from here on",
                  err);
        return NULL;
    }
    ok = copy(arena, tree, json, path, err);
    cJSON_Delete(tree);
    return ok ? json : NULL;
}

#else

/* Static builds: Debian has no archive of cJSON. Tables and the catalogue are CSV. */
static const struct json *parse(struct arena *arena, const char *text, size_t length,
                                const char *path, struct err *err)
{
    (void)arena;
    if (check_text(text, length, path, err))
        err_at(err, path, 0, 0,
               "this build reads no JSON (it has no cJSON): expected a name of the catalogue, or "
               "models as CSV");
    return NULL;
}
#endif

/* ---- public ---- */

const struct json *json_parse(struct arena *arena, const char *text, const char *path,
                              struct err *err)
{
    return parse(arena, text, strlen(text), path, err);
}

const struct json *json_load(struct arena *arena, const char *path, struct err *err)
{
    FILE *file = fopen(path, "rb");
    size_t capacity = (size_t)1 << 16, used = 0;
    char *text;

    if (!file) {
        err_errno(err, path);
        return NULL;
    }
    text = arena_alloc(arena, capacity);
    errno = 0;
    for (size_t got = 1; got > 0 && used <= FILE_MAX_BYTES; used += got) {
        if (capacity - used < 2) {
            text = arena_grow(arena, text, capacity, 2 * capacity, 1);
            capacity *= 2;
        }
        got = fread(text + used, 1, capacity - used - 1, file);
    }
    if (ferror(file)) {
        errno = errno ? errno : EIO;
        err_errno(err, path);
    } else if (used > FILE_MAX_BYTES) {
        err_at(err, path, 0, 0, "file is larger than 64 MiB");
    }
    fclose(file);
    text[used] = '\0';
    return err->kind == ERR_NONE ? parse(arena, text, used, path, err) : NULL;
}

const struct json *json_get(const struct json *object, const char *key)
{
    if (!object || object->kind != JSON_OBJECT)
        return NULL;
    for (int i = 0; i < object->count; i++) {
        if (strcmp(object->items[i].key, key) == 0)
            return object->items[i].kind == JSON_NULL ? NULL : &object->items[i];
    }
    return NULL;
}

bool json_is_text(const struct json *json)
{
    return json && json->kind == JSON_TEXT;
}

const char *json_text(const struct json *json)
{
    return json_is_text(json) ? json->text : NULL;
}

bool json_bool(const struct json *json, bool *value)
{
    if (!json || json->kind != JSON_BOOL)
        return false;
    *value = json->number != 0;
    return true;
}

bool json_int(const struct json *json, int64_t *value)
{
    if (!json || json->kind != JSON_NUMBER || fabs(json->number) >= EXACT_INT ||
        trunc(json->number) != json->number)
        return false;
    *value = (int64_t)json->number;
    return true;
}

bool json_double(const struct json *json, double *value)
{
    if (!json || json->kind != JSON_NUMBER)
        return false;
    *value = json->number;
    return true;
}

bool json_is_array(const struct json *json)
{
    return json && json->kind == JSON_ARRAY;
}

bool json_is_object(const struct json *json)
{
    return json && json->kind == JSON_OBJECT;
}

int json_count(const struct json *array)
{
    return array && array->kind == JSON_ARRAY ? array->count : 0;
}

const struct json *json_at(const struct json *array, int index)
{
    return index >= 0 && index < json_count(array) ? &array->items[index] : NULL;
}

const struct json *json_member(const struct json *object, int index, const char **key)
{
    if (!json_is_object(object) || index < 0 || index >= object->count)
        return NULL;
    *key = object->items[index].key;
    return &object->items[index];
}
