/* scratch.h - a folder for the files of one test, and an arena; both go when the test ends.
 *
 * cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end) puts a struct scratch into
 * *state. */
#ifndef ORRERY_TESTS_SCRATCH_H
#define ORRERY_TESTS_SCRATCH_H

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct scratch {
    struct arena *arena;
    char folder[256];
    struct err err;
};

/* Where folders of tests belong: what is there may be in memory (tests/run). */
static inline const char *scratch_base(void)
{
    const char *base = getenv("TMPDIR");

    return base ? base : "/tmp";
}

static inline int scratch_begin(void **state)
{
    struct arena *arena = arena_create();
    struct scratch *scratch = arena_alloc(arena, sizeof *scratch);

    scratch->arena = arena;
    (void)snprintf(scratch->folder, sizeof scratch->folder, "%s/orrery-test-XXXXXX",
                   scratch_base());
    *state = scratch;
    return mkdtemp(scratch->folder) ? 0 : -1;
}

static inline int scratch_remove(const char *path, const struct stat *status, int type,
                                 struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline int scratch_end(void **state)
{
    struct scratch *scratch = *state;
    int result = nftw(scratch->folder, scratch_remove, 8, FTW_DEPTH | FTW_PHYS);

    arena_destroy(scratch->arena);
    return result;
}

/* Writes a file into the folder (name may hold one sub-folder) and returns its path. */
static inline const char *scratch_write(struct scratch *scratch, const char *name, const char *text)
{
    const char *path = arena_printf(scratch->arena, "%s/%s", scratch->folder, name);
    const char *slash = strrchr(path, '/');
    FILE *file;

    (void)mkdir(arena_strndup(scratch->arena, path, (size_t)(slash - path)), 0700);
    file = fopen(path, "wb");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0)
        abort();
    return path;
}

/* What a writer put into an out_open_memory, as text. */
static inline const char *scratch_text(struct out *out)
{
    size_t length;

    return out_memory(out, &length);
}

/* A fresh err, so that a test can provoke one failure after the other. */
static inline struct err *scratch_err(struct scratch *scratch)
{
    scratch->err = (struct err)ERR_INIT;
    return &scratch->err;
}

/* The message without the folder in front of it: "w.csv:2:1: ...". */
static inline const char *scratch_message(const struct scratch *scratch)
{
    const char *text = scratch->err.text;
    size_t length = strlen(scratch->folder);

    return strncmp(text, scratch->folder, length) == 0 ? text + length + 1 : text;
}

#define scratch_test(function) cmocka_unit_test_setup_teardown(function, scratch_begin, scratch_end)

#endif
