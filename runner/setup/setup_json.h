/* setup_json.h - what the files of the texts share. For nobody else: a text that is being written,
 * and members of one that is read, each checked against its bounds. */
#ifndef ORRERY_RUNNER_SETUP_JSON_H
#define ORRERY_RUNNER_SETUP_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct json;
struct json_writer;
struct model;
struct out;
struct setup_stage;

#define SETUP_MAX_ITEMS (1 << 14) /* models, stages or peers of one worker */

struct setup_text {
    struct arena *arena;
    struct out *out;
    struct json_writer *json;
};

struct setup_text setup_begin_text(struct arena *arena); /* an object */
const char *setup_end_text(struct setup_text *text);

/* Payloads carry no NUL at their end; cJSON wants one. */
const struct json *setup_parse(struct arena *arena, const unsigned char *text, size_t length,
                               const char *what, struct err *err);
bool setup_get_int(const struct json *object, const char *key, int64_t min, int64_t max,
                   int32_t *value, struct err *err);
bool setup_get_bool(const struct json *object, const char *key, bool *value, struct err *err);
bool setup_get_text(const struct json *object, const char *key, const char **value,
                    struct err *err);
/* That travels as a text. */
bool setup_get_int64(const struct json *object, const char *key, int64_t *value, struct err *err);
/* An array of at most SETUP_MAX_ITEMS objects. */
bool setup_get_array(const struct json *object, const char *key, const struct json **array,
                     int *count, struct err *err);

/* Of a stage: its phase, and what of its caches goes where. */
void setup_put_moves(struct json_writer *json, const struct setup_stage *stage);
bool setup_get_moves(struct arena *arena, const struct json *object, const struct model *model,
                     struct setup_stage *stage, struct err *err);

#endif
