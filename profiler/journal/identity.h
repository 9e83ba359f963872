/* identity.h - what must be the same before numbers of two times may be put together.
 *
 * A list of key and value in a fixed order. A journal begins with it; `--resume`, `verify`, `diff`
 * and `merge` compare it, so that no table mixes two machines, two libraries or two sets of
 * options. */
#ifndef ORRERY_PROFILER_IDENTITY_H
#define ORRERY_PROFILER_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>

struct arena;
struct err;
struct facts;
struct model;
struct out;

enum identity_part { /* what a difference means; the words are in the error */
                     IDENTITY_TOOL,
                     IDENTITY_MACHINE,
                     IDENTITY_MODEL,
                     IDENTITY_OPTIONS
};

struct identity_pair {
    enum identity_part part;
    const char *key, *value; /* value escaped: see identity_escape */
};

struct identity {
    struct arena *arena;
    struct identity_pair *list;
    int count, room;
};

struct identity identity_create(struct arena *arena);
/* Copies both. A NULL value is "". */
void identity_put(struct identity *identity, enum identity_part part, const char *key,
                  const char *value);
/* The same of a value that is escaped already. */
void identity_put_raw(struct identity *identity, enum identity_part part, const char *key,
                      const char *value);
/* Board, processor, cores, caches, memory (to 256 MiB: kernels keep a little of it), BLAS and every
 * OPENBLAS_* and OMP_* variable that is set. */
void identity_put_machine(struct identity *identity, const struct facts *facts);
/* Name and every number of the shape: two files may call different models the same. */
void identity_put_model(struct identity *identity, const struct model *model);

/* `# key: value` lines. */
void identity_write(struct out *out, const struct identity *identity);

/* False at the first pair that differs: "path: measured on another machine: cpu is 'X' here, 'Y'
 * there". here is this run, there the file. */
bool identity_check(const struct identity *here, const struct identity *there, const char *path,
                    struct err *err);

/* Text in one CSV field or one header line, whatever bytes it holds: control characters, bytes from
 * 127 up, '%', ',', '"' and blanks at the ends become %XX. */
const char *identity_escape(struct arena *arena, const char *text);
/* One byte of it into to; returns how many bytes that made. is_end: first or last of its text. */
size_t identity_escape_byte(char byte, bool is_end, char to[3]);

#endif
