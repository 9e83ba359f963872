/* yaml_tree.h - small YAML files of other programs, as a tree; libyaml behind it.
 *
 * A build without libyaml has this too, and says which package is missing. One document of maps,
 * lists and scalars; anchors and tags other than those of plain data are errors, as are keys that
 * are there twice. Errors name line and column. */
#ifndef ORRERY_SIM_IMPORT_YAML_TREE_H
#define ORRERY_SIM_IMPORT_YAML_TREE_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    const char *key;  /* in a map; NULL in lists and of the whole */
    const char *path; /* of the node: "network.seed"; "" of the whole */
    const char *text; /* of a scalar; "" of other nodes and of null */
    long line;        /* of the value */
    int column;
    int count; /* of items */
    const struct yaml_node *items;
};

/* Reads a whole file ("-" is stdin) of at most 64 MiB. */
const struct yaml_node *yaml_load(struct arena *arena, const char *path, struct err *err);
/* A member of a map; NULL when it is none, or has no such key. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);

/* An error when the map, called `name`, has a key that is not in the NULL-ended list. */
bool yaml_check_keys(const struct yaml_node *map, const char *path, const char *name,
                     const char *const *known, struct err *err);

/* "path:line:column: network.seed is 'x': what was expected". Returns false. */
bool yaml_bad(const struct yaml_node *node, const char *path, struct err *err, const char *format,
              ...) __attribute__((format(printf, 4, 5)));
/* A scalar as a number in the range. */
bool yaml_int(const struct yaml_node *node, const char *path, int64_t min, int64_t max,
              int64_t *value, struct err *err);
bool yaml_double(const struct yaml_node *node, const char *path, double min, double max,
                 double *value, struct err *err);

#endif
