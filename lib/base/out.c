/* out.c - see out.h. One buffer in front of a FILE, a temporary name, a rename at the end. */
#include "lib/base/out.h"
#include "lib/base/arena.h"
#include "lib/base/digits.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/base/utf8.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)1 << 16)

enum out_state { OUT_OPEN, OUT_CLOSED, OUT_DONE };

struct out {
    struct arena *arena;
    const char *path;      /* as the user wrote it, for errors */
    const char *target;    /* what the rename replaces; NULL when nothing is renamed */
    const char *temporary; /* NULL when target is, and as long as the file has no name */
    bool is_nameless;
    FILE *file; /* NULL: memory */
    enum out_state state;
    int write_errno; /* of the first failed write */
    char *buffer;
    size_t used, capacity;
};

static struct out *create(struct arena *arena, const char *path)
{
    struct out *out = arena_alloc(arena, sizeof *out);

    out->arena = arena;
    out->path = path;
    out->capacity = BUFFER_BYTES;
    out->buffer = arena_alloc(arena, out->capacity);
    return out;
}

static const char *temporary_name(const struct out *out, int i)
{
    return arena_printf(out->arena, "%s.%ld-%d.tmp", out->target, (long)getpid(), i);
}

/* In the folder of target, so that the rename stays on one file system. Where the file system can,
 * the file has no name until it is whole: a run that is killed leaves nothing behind. */
static int open_temporary(struct out *out)
{
    const char *slash = strrchr(out->target, '/');
    const char *folder = !slash                 ? "."
                         : slash == out->target ? "/"
                                                : arena_strndup(out->arena, out->target,
                                                                (size_t)(slash - out->target));
    int fd = access("/proc/self/fd", X_OK) == 0
                 ? open(folder, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666)
                 : -1;

    out->is_nameless = fd >= 0;
    for (int i = 0; i < 100 && fd < 0; i++) {
        out->temporary = temporary_name(out, i);
        fd = open(out->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    return fd;
}

/* Gives a whole file its temporary name, for the rename that follows at once. */
static bool name_temporary(struct out *out)
{
    const char *self = arena_printf(out->arena, "/proc/self/fd/%d", fileno(out->file));

    for (int i = 0; i < 100; i++) {
        const char *name = temporary_name(out, i);

        if (linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0) {
            out->temporary = name;
            return true;
        }
        if (errno != EEXIST)
            break;
    }
    return false;
}

static const char *folder_of(struct arena *arena, const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? arena_strndup(arena, path, (size_t)(slash - path) + 1) : ".";
}

/* The folder is resolved, so that one file has one name however it is written. */
const char *out_resolve(struct arena *arena, const char *path)
{
    const char *slash = strrchr(path, '/');
    char real[PATH_MAX];

    if (!realpath(folder_of(arena, path), real))
        return NULL;
    return arena_printf(arena, "%s/%s", strcmp(real, "/") == 0 ? "" : real,
                        slash ? slash + 1 : path);
}

const char *out_target(const struct out *out)
{
    return out->target;
}

static int open_new(struct out *out, const char *path)
{
    out->target = out_resolve(out->arena, path);
    return out->target ? open_temporary(out) : -1;
}

/* Where a link leads to that has nothing at its end yet; NULL for what is no link. */
static const char *link_target(struct out *out, const char *path)
{
    const char *slash = strrchr(path, '/');
    char text[PATH_MAX];
    ssize_t length = readlink(path, text, sizeof text - 1);

    if (length <= 0)
        return NULL;
    text[length] = '\0';
    if (text[0] == '/' || !slash)
        return arena_strdup(out->arena, text);
    return arena_printf(out->arena, "%.*s/%s", (int)(slash - path), path, text);
}

/* What stands at path decides: nothing or a plain file is replaced by a rename, a device or a pipe
 * is written to. -1 and errno on failure. */
static int open_path(struct out *out)
{
    const char *path = out->path, *next;
    struct stat info;
    char real[PATH_MAX];

    if (out->path[0] == '\0') {
        errno = ENOENT;
        return -1;
    }
    if (stat(out->path, &info) != 0) {
        if (errno != ENOENT)
            return -1;
        while ((next = link_target(out, path))) /* stat has refused those that go round */
            path = next;
        return open_new(out, path);
    }
    if (!S_ISREG(info.st_mode))
        return open(out->path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    /* A rename asks nobody whether the old file may be written; a link must stay a link. */
    if (access(out->path, W_OK) != 0 || !realpath(out->path, real))
        return -1;
    out->target = arena_strdup(out->arena, real);
    return open_temporary(out);
}

struct out *out_open(struct arena *arena, const char *path, struct err *err)
{
    bool is_stdout = strcmp(path, "-") == 0;
    struct out *out = create(arena, is_stdout ? "stdout" : arena_strdup(arena, path));
    int fd;

    if (is_stdout) {
        out->file = stdout;
        return out;
    }
    fd = open_path(out);
    if (fd >= 0)
        out->file = fdopen(fd, "w");
    if (!out->file) {
        err_errno(err, out->path);
        return NULL;
    }
    return out;
}

static bool is_plain(const char *path)
{
    struct stat info;

    return strcmp(path, "-") != 0 && (stat(path, &info) != 0 || S_ISREG(info.st_mode));
}

bool out_check_beside(const char *path, const char *suffix, struct err *err)
{
    struct arena *arena = arena_create();
    const char *beside = arena_printf(arena, "%s%s", path, suffix);
    struct stat info;
    bool is_there = is_plain(path) && lstat(beside, &info) == 0;
    bool ok = !is_plain(path) || is_there || errno == ENOENT;

    if (is_there && S_ISDIR(info.st_mode)) {
        errno = EISDIR;
        ok = false;
    }
    ok = ok && (!is_plain(path) || access(folder_of(arena, path), W_OK | X_OK) == 0);
    if (!ok)
        err_errno(err, beside);
    arena_destroy(arena);
    return ok;
}

struct out *out_open_beside(struct arena *arena, const char *path, const char *suffix,
                            struct err *err)
{
    struct out *out;
    int fd;

    if (!is_plain(path))
        return NULL;
    out = create(arena, arena_printf(arena, "%s%s", path, suffix));
    out->temporary = out->path;
    /* a new one, whoever still reads or writes what stood there */
    fd = unlink(out->path) == 0 || errno == ENOENT
             ? open(out->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)
             : -1;
    if (fd >= 0)
        out->file = fdopen(fd, "w");
    if (out->file)
        return out;
    err_errno(err, out->path);
    return NULL;
}

struct out *out_open_memory(struct arena *arena)
{
    return create(arena, "memory");
}

const char *out_memory(struct out *out, size_t *length_bytes)
{
    out_char(out, '\0'); /* room for the NUL, which is not part of the text */
    out->used--;
    if (length_bytes)
        *length_bytes = out->used;
    return out->buffer;
}

static void flush(struct out *out)
{
    errno = 0;
    if (out->used > 0 && out->write_errno == 0 &&
        fwrite(out->buffer, 1, out->used, out->file) != out->used)
        out->write_errno = errno ? errno : EIO;
    out->used = 0;
}

bool out_flush(struct out *out, struct err *err)
{
    flush(out);
    errno = 0;
    if (fflush(out->file) != 0 && out->write_errno == 0)
        out->write_errno = errno ? errno : EIO;
    if (out->write_errno == 0)
        return true;
    errno = out->write_errno;
    return err_errno(err, out->path);
}

void out_leave(struct out *out)
{
    if (!out || out->state != OUT_OPEN)
        return;
    flush(out);
    fclose(out->file);
    out->state = OUT_DONE;
}

char *out_room(struct out *out, size_t count)
{
    size_t capacity = out->capacity;

    if (count <= capacity - out->used)
        return out->buffer + out->used;
    if (out->file)
        flush(out);
    while (count > capacity - out->used)
        capacity *= 2;
    if (capacity > out->capacity) {
        out->buffer = arena_grow(out->arena, out->buffer, out->capacity, capacity, 1);
        out->capacity = capacity;
    }
    return out->buffer + out->used;
}

void out_took(struct out *out, const char *end)
{
    out->used = (size_t)(end - out->buffer);
}

void out_bytes(struct out *out, const char *bytes, size_t count)
{
    while (out->file && count > out->capacity) { /* not for a larger buffer */
        size_t part = out->capacity - out->used;

        memcpy(out->buffer + out->used, bytes, part);
        out->used += part;
        flush(out);
        bytes += part;
        count -= part;
    }
    memcpy(out_room(out, count), bytes, count);
    out->used += count;
}

void out_text(struct out *out, const char *text)
{
    out_bytes(out, text, strlen(text));
}

void out_char(struct out *out, char c)
{
    out_bytes(out, &c, 1);
}

void out_int(struct out *out, int64_t value)
{
    out_took(out, digits_put_int(out_room(out, DIGITS_MAX_BYTES), value));
}

void out_seconds(struct out *out, int64_t time_ps)
{
    char text[UNITS_TEXT_BYTES];

    out_text(out, units_format_seconds(time_ps, text));
}

void out_ns(struct out *out, int64_t time_ps)
{
    char text[UNITS_TEXT_BYTES];

    out_text(out, units_format_ns(time_ps, text));
}

void out_double(struct out *out, double value)
{
    char text[UNITS_TEXT_BYTES];

    out_text(out, units_format_double(value, text));
}

void out_printf(struct out *out, const char *format, ...)
{
    char text[1024];
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length < 0)
        return;
    if ((size_t)length < sizeof text) {
        out_bytes(out, text, (size_t)length);
    } else {
        char *longer = arena_alloc(out->arena, (size_t)length + 1);

        va_start(args, format);
        vsnprintf(longer, (size_t)length + 1, format, args);
        va_end(args);
        out_bytes(out, longer, (size_t)length);
    }
}

/* Of the character that text begins with; no reader lets in what is none. */
static size_t character_bytes(const char *text, size_t left)
{
    size_t length = utf8_length(text, left);

    return length > 0 ? length : 1;
}

void out_column(struct out *out, const char *text, int width)
{
    size_t left = strlen(text), length;

    for (; width > 0 && left > 0; width--, text += length, left -= length) {
        length = character_bytes(text, left);
        if (width == 1 && length < left) {
            out_text(out, "\xe2\x80\xa6"); /* an ellipsis */
            return;
        }
        out_bytes(out, text, length);
    }
    for (; width > 0; width--)
        out_char(out, ' ');
}

void out_csv(struct out *out, const char *text)
{
    size_t length = strlen(text);
    /* Readers strip the blanks around a bare field, so those at its ends need quotes as well. */
    bool is_padded = length > 0 && (strchr(" \t", text[0]) || strchr(" \t", text[length - 1]));

    if (!is_padded && strcspn(text, ",\"\r\n") == length) {
        out_bytes(out, text, length);
        return;
    }
    out_char(out, '"');
    for (const char *c = text; *c; c++) {
        if (*c == '"')
            out_char(out, '"');
        out_char(out, *c);
    }
    out_char(out, '"');
}

/* Everything but the rename. */
static bool finish(struct out *out, struct err *err)
{
    if (!out->file || out->state != OUT_OPEN)
        return true;
    flush(out);
    errno = 0;
    if (fflush(out->file) != 0 && out->write_errno == 0)
        out->write_errno = errno ? errno : EIO;
    errno = 0;
    if (out->is_nameless && out->write_errno == 0 && !name_temporary(out))
        out->write_errno = errno ? errno : EIO;
    errno = 0;
    if (out->file != stdout && fclose(out->file) != 0 && out->write_errno == 0)
        out->write_errno = errno ? errno : EIO;
    out->state = OUT_CLOSED;
    if (out->write_errno == 0)
        return true;
    errno = out->write_errno;
    return err_errno(err, out->path);
}

static bool publish(struct out *out, struct err *err)
{
    if (out->state == OUT_CLOSED && out->temporary && rename(out->temporary, out->target) != 0)
        return err_errno(err, out->path);
    out->state = OUT_DONE;
    return true;
}

bool out_commit(struct out *out, struct err *err)
{
    return out_commit_all(&out, 1, err);
}

void out_abort(struct out *out)
{
    if (!out || !out->file || out->state == OUT_DONE)
        return;
    if (out->state == OUT_OPEN && out->file != stdout)
        fclose(out->file);
    if (out->temporary)
        unlink(out->temporary);
    out->state = OUT_DONE;
}

/* Two outputs to one file: the second would silently replace the first. */
static bool check_targets(struct out *const *outs, int count, struct err *err)
{
    for (int i = 0; i < count; i++)
        for (int k = 0; k < i && outs[i] && outs[i]->target; k++)
            if (outs[k] && outs[k]->target && strcmp(outs[k]->target, outs[i]->target) == 0)
                return err_set(err, ERR_USAGE, "%s and %s are one file: two outputs go to it",
                               outs[k]->path, outs[i]->path);
    return true;
}

bool out_commit_all(struct out *const *outs, int count, struct err *err)
{
    bool ok = check_targets(outs, count, err);

    for (int i = 0; i < count && ok; i++)
        ok = !outs[i] || finish(outs[i], err);
    for (int i = 0; i < count && ok; i++)
        ok = !outs[i] || publish(outs[i], err);
    for (int i = 0; i < count && !ok; i++)
        out_abort(outs[i]);
    return ok;
}

bool out_make_folder(const char *path, struct err *err)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    struct stat info;

    if (length == 0 || length >= sizeof part) {
        errno = length == 0 ? ENOENT : ENAMETOOLONG;
        return err_errno(err, path);
    }
    memcpy(part, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return err_errno(err, part);
        part[i] = path[i];
    }
    if (stat(path, &info) == 0 && !S_ISDIR(info.st_mode)) {
        errno = ENOTDIR;
        return err_errno(err, path);
    }
    return true;
}
