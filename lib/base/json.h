/* json.h - a streaming writer, and a strict reader for small documents (cJSON behind it).
 *
 * The writer keeps integers exact and writes no NaN or infinity: such a double becomes null. The
 * reader is for configuration files of a few MB; integers above 2^53 are refused, not rounded. */
#ifndef ORRERY_BASE_JSON_H
#define ORRERY_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct json;
struct json_writer;
struct out;

/* pretty: two-space indent and a newline a value; else one line. */
struct json_writer *json_writer_create(struct arena *arena, struct out *out, bool pretty);
/* key is NULL inside arrays and for the outermost value. */
void json_begin_object(struct json_writer *json, const char *key);
void json_end_object(struct json_writer *json);
void json_begin_array(struct json_writer *json, const char *key);
void json_end_array(struct json_writer *json);
void json_put_text(struct json_writer *json, const char *key, const char *text); /* NULL: null */
void json_put_int(struct json_writer *json, const char *key, int64_t value);
void json_put_double(struct json_writer *json, const char *key, double value);     /* shortest */
void json_put_seconds(struct json_writer *json, const char *key, int64_t time_ps); /* exact */
void json_put_bool(struct json_writer *json, const char *key, bool value);
void json_put_null(struct json_writer *json, const char *key);

/* Reads a whole file of at most 64 MiB. Trailing text, duplicate keys and NUL bytes are errors. */
const struct json *json_load(struct arena *arena, const char *path, struct err *err);
const struct json *json_parse(struct arena *arena, const char *text, const char *path,
                              struct err *err);
/* Members of an object; NULL when absent or null. */
const struct json *json_get(const struct json *object, const char *key);
bool json_is_text(const struct json *json);
const char *json_text(const struct json *json); /* NULL when not a string */
bool json_bool(const struct json *json, bool *value);
bool json_int(const struct json *json, int64_t *value); /* false unless a whole number < 2^53 */
bool json_double(const struct json *json, double *value);
bool json_is_array(const struct json *json);
bool json_is_object(const struct json *json);
int json_count(const struct json *array); /* 0 when not an array */
const struct json *json_at(const struct json *array, int index);
/* Member number index of an object, in order of the file, null included, and its key; NULL beyond
 * the last and when it is no object. */
const struct json *json_member(const struct json *object, int index, const char **key);

#endif
