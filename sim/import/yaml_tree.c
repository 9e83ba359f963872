/* yaml_tree.c - libyaml's events as a tree in the arena. */
#include "sim/import/yaml_tree.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#ifdef HAVE_YAML
#include <yaml.h>
#endif

/* ---- reading a tree ---- */

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    if (map->kind != YAML_MAP)
        return NULL;
    for (int i = 0; i < map->count; i++)
        if (strcmp(map->items[i].key, key) == 0)
            return &map->items[i];
    return NULL;
}

bool yaml_check_keys(const struct yaml_node *map, const char *path, const char *name,
                     const char *const *known, struct err *err)
{
    int count = 0;

    while (known[count])
        count++;
    for (int i = 0; i < map->count; i++) {
        const struct yaml_node *node = &map->items[i];
        char choices[ERR_CHOICES_BYTES];
        int k = 0;

        while (k < count && strcmp(known[k], node->key) != 0)
            k++;
        if (k == count)
            return err_at(err, path, node->line, node->column, "'%.60s' is no key of %s: %s",
                          node->key, name, err_choices(node->key, known, count, choices));
    }
    return true;
}

bool yaml_bad(const struct yaml_node *node, const char *path, struct err *err, const char *format,
              ...)
{
    static const char *const kinds[] = { "", "a list", "a map" };
    struct err detail = ERR_INIT;
    const char *name = node->path[0] ? node->path : "the document";
    va_list args;

    va_start(args, format);
    (void)err_vset(&detail, ERR_INPUT, format, args);
    va_end(args);
    if (node->kind == YAML_SCALAR)
        return err_at(err, path, node->line, node->column, "%.200s is '%.60s': %s", name,
                      node->text, detail.text);
    return err_at(err, path, node->line, node->column, "%.200s is %s: %s", name, kinds[node->kind],
                  detail.text);
}

bool yaml_int(const struct yaml_node *node, const char *path, int64_t min, int64_t max,
              int64_t *value, struct err *err)
{
    return (node->kind == YAML_SCALAR && units_parse_int(node->text, value) && *value >= min &&
            *value <= max) ||
           yaml_bad(node, path, err, "expected a whole number from %lld to %lld", (long long)min,
                    (long long)max);
}

bool yaml_double(const struct yaml_node *node, const char *path, double min, double max,
                 double *value, struct err *err)
{
    return (node->kind == YAML_SCALAR && units_parse_double(node->text, value) && *value >= min &&
            *value <= max) ||
           yaml_bad(node, path, err, "expected a number from %g to %g", min, max);
}

/* ---- making one ---- */

#ifdef HAVE_YAML
#define MAX_BYTES (INT64_C(64) << 20)
#define MAX_DEPTH 64

struct reader {
    struct arena *arena;
    const char *path;
    FILE *file;
    int64_t byte_count;
    yaml_parser_t parser;
    struct err *err;
};

struct growing { /* items of a node while they come */
    int capacity;
    struct yaml_node *items;
};

/* More than MAX_BYTES ends the file with an error of ours. */
static int read_bytes(void *arg, unsigned char *bytes, size_t size, size_t *count)
{
    struct reader *reader = arg;

    *count = fread(bytes, 1, size, reader->file);
    reader->byte_count += (int64_t)*count;
    if (ferror(reader->file))
        return err_errno(reader->err, reader->path);
    if (reader->byte_count > MAX_BYTES)
        return err_at(reader->err, reader->path, 0, 0, "more than 64 MiB");
    return 1;
}

static bool fail_at(struct reader *reader, const yaml_mark_t *mark, const char *text)
{
    return err_at(reader->err, reader->path, (long)mark->line + 1, (int)mark->column + 1, "%s",
                  text);
}

/* The next event; on false it needs no deletion. */
static bool next_event(struct reader *reader, yaml_event_t *event)
{
    const yaml_parser_t *parser = &reader->parser;

    if (yaml_parser_parse(&reader->parser, event))
        return true;
    return fail_at(reader,
                   parser->error == YAML_READER_ERROR ? &parser->mark : &parser->problem_mark,
                   parser->problem ? parser->problem : "no YAML");
}

static bool check_plain(struct reader *reader, const yaml_mark_t *mark, const unsigned char *anchor,
                        const unsigned char *tag)
{
    if (anchor)
        return fail_at(reader, mark, "an anchor: expected plain data");
    if (tag && strncmp((const char *)tag, "tag:yaml.org,2002:", 18) != 0)
        return fail_at(reader, mark, "a tag: expected plain data");
    return !tag || strchr((const char *)tag + 18, '/') == NULL ||
           fail_at(reader, mark, "a tag of a program: expected plain data");
}

/* Plain null, and text without control characters. */
static bool fill_scalar(struct reader *reader, const yaml_event_t *event, struct yaml_node *node)
{
    const char *text = (const char *)event->data.scalar.value;
    bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

    for (size_t i = 0; i < event->data.scalar.length; i++)
        if ((unsigned char)text[i] < ' ' && text[i] != '\n' && text[i] != '\t')
            return fail_at(reader, &event->start_mark, "a control character");
    node->kind = YAML_SCALAR;
    node->text = is_plain && (strcmp(text, "~") == 0 || strcmp(text, "null") == 0)
                     ? ""
                     : arena_strdup(reader->arena, text);
    return check_plain(reader, &event->start_mark, event->data.scalar.anchor,
                       event->data.scalar.tag);
}

static bool fill(struct reader *reader, const yaml_event_t *event, struct yaml_node *node,
                 int depth);

static struct yaml_node *add_item(struct reader *reader, struct growing *growing,
                                  struct yaml_node *node)
{
    if (node->count == growing->capacity) {
        int larger = growing->capacity ? 2 * growing->capacity : 8;

        growing->items = arena_grow(reader->arena, growing->items, (size_t)growing->capacity,
                                    (size_t)larger, sizeof *growing->items);
        growing->capacity = larger;
    }
    return &growing->items[node->count++];
}

/* A key of a map, and its path. */
static bool read_key(struct reader *reader, const yaml_event_t *event, const struct yaml_node *map,
                     struct yaml_node *item)
{
    struct yaml_node key = { 0 };

    if (event->type != YAML_SCALAR_EVENT)
        return fail_at(reader, &event->start_mark, "expected a key");
    if (!fill_scalar(reader, event, &key))
        return false;
    if (yaml_get(map, key.text))
        return fail_at(reader, &event->start_mark,
                       arena_printf(reader->arena, "key '%.100s' is there twice", key.text));
    item->key = key.text;
    item->path =
        arena_printf(reader->arena, "%s%s%s", map->path, map->path[0] ? "." : "", key.text);
    return true;
}

/* Items up to the event that ends the list or map. */
static bool fill_items(struct reader *reader, struct yaml_node *node, int depth)
{
    struct growing growing = { 0, NULL };

    for (;;) {
        struct yaml_node item = { 0 };
        yaml_event_t event;
        bool is_ok = true, is_end;

        if (!next_event(reader, &event))
            return false;
        is_end = event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
        if (!is_end && node->kind == YAML_MAP) {
            is_ok = read_key(reader, &event, node, &item);
            yaml_event_delete(&event);
            if (!is_ok || !next_event(reader, &event))
                return false;
        } else if (!is_end) {
            item.path = arena_printf(reader->arena, "%s[%d]", node->path, node->count);
        }
        is_ok = is_end || fill(reader, &event, &item, depth + 1);
        yaml_event_delete(&event);
        if (!is_ok || is_end)
            return is_ok;
        *add_item(reader, &growing, node) = item;
        node->items = growing.items;
    }
}

static bool fill(struct reader *reader, const yaml_event_t *event, struct yaml_node *node,
                 int depth)
{
    node->line = (long)event->start_mark.line + 1;
    node->column = (int)event->start_mark.column + 1;
    node->text = "";
    if (depth > MAX_DEPTH)
        return fail_at(reader, &event->start_mark, "nested too deeply");
    if (event->type == YAML_SCALAR_EVENT)
        return fill_scalar(reader, event, node);
    if (event->type == YAML_SEQUENCE_START_EVENT) {
        node->kind = YAML_LIST;
        return check_plain(reader, &event->start_mark, event->data.sequence_start.anchor,
                           event->data.sequence_start.tag) &&
               fill_items(reader, node, depth);
    }
    if (event->type == YAML_MAPPING_START_EVENT) {
        node->kind = YAML_MAP;
        return check_plain(reader, &event->start_mark, event->data.mapping_start.anchor,
                           event->data.mapping_start.tag) &&
               fill_items(reader, node, depth);
    }
    return fail_at(reader, &event->start_mark, "an alias: expected plain data");
}

/* The only document of the file. */
static bool read_document(struct reader *reader, struct yaml_node *root)
{
    bool has_root = false;

    for (;;) {
        yaml_event_t event;
        yaml_event_type_t type;
        bool is_ok = true;

        if (!next_event(reader, &event))
            return false;
        type = event.type;
        if (type == YAML_DOCUMENT_START_EVENT && has_root) {
            is_ok = fail_at(reader, &event.start_mark, "a second document: expected one");
        } else if (type != YAML_STREAM_START_EVENT && type != YAML_STREAM_END_EVENT &&
                   type != YAML_DOCUMENT_START_EVENT && type != YAML_DOCUMENT_END_EVENT) {
            has_root = true;
            root->path = "";
            is_ok = fill(reader, &event, root, 0);
        }
        yaml_event_delete(&event);
        if (!is_ok)
            return false;
        if (type == YAML_STREAM_END_EVENT)
            return has_root || err_at(reader->err, reader->path, 0, 0, "an empty document");
    }
}

const struct yaml_node *yaml_load(struct arena *arena, const char *path, struct err *err)
{
    bool is_stdin = strcmp(path, "-") == 0, is_ok;
    struct yaml_node *root = arena_alloc(arena, sizeof *root);
    struct reader reader = { .arena = arena,
                             .path = is_stdin ? "stdin" : path,
                             .file = is_stdin ? stdin : fopen(path, "rb"),
                             .err = err };

    if (!reader.file) {
        err_errno(err, path);
        return NULL;
    }
    if (!yaml_parser_initialize(&reader.parser)) {
        err_set(err, ERR_SYSTEM, "%s: libyaml has no memory", path);
        is_ok = false;
    } else {
        yaml_parser_set_input(&reader.parser, read_bytes, &reader);
        is_ok = read_document(&reader, root);
        yaml_parser_delete(&reader.parser);
    }
    if (!is_stdin)
        (void)fclose(reader.file);
    return is_ok ? root : NULL;
}

#else

const struct yaml_node *yaml_load(struct arena *arena, const char *path, struct err *err)
{
    (void)arena;
    err_set(err, ERR_SYSTEM, "%s: this build reads no YAML: install libyaml-dev and build again",
            path);
    return NULL;
}
#endif
