/* keys.c - cluster.key: drawn, written, read, checked. */
#include "lib/wire/keys.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#define KEY_BYTES 32

enum column { COLUMN_ROLE, COLUMN_PUBLIC, COLUMN_SECRET, COLUMN_COUNT };
static const struct csv_column columns[COLUMN_COUNT] = {
    [COLUMN_ROLE] = { "role", true },
    [COLUMN_PUBLIC] = { "public_key", true },
    [COLUMN_SECRET] = { "secret_key", true },
};
static const char *const roles[] = { "listen", "connect" };

static bool has_curve(struct err *err)
{
    return zmq_has("curve") == 1 ||
           err_set(err, ERR_SYSTEM,
                   "this libzmq was built without CURVE: keys cannot be used with it");
}

/* ---- writing ---- */

static bool write_text(int file, const char *path, const char *text, struct err *err)
{
    size_t done = 0, length = strlen(text);

    while (done < length) {
        ssize_t written = write(file, text + done, length - done);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return err_errno(err, path);
        done += (size_t)written;
    }
    return fsync(file) == 0 || err_errno(err, path);
}

/* Not through out.h: from its first byte on, the file must be nobody else's to read. */
static bool write_file(const char *path, const char *text, struct err *err)
{
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool ok;

    if (file < 0 && errno == EEXIST)
        return err_set(err, ERR_INPUT,
                       "%s is there already: boards that have these keys would be locked out by "
                       "new ones; remove it, or name another folder",
                       path);
    if (file < 0)
        return err_errno(err, path);
    ok = write_text(file, path, text, err);
    if (close(file) != 0 && ok)
        ok = err_errno(err, path);
    if (!ok)
        unlink(path);
    return ok;
}

bool keys_create(struct arena *arena, const char *folder, struct err *err)
{
    struct keys_pair pairs[2];

    if (!has_curve(err) || !out_make_folder(folder, err))
        return false;
    for (int i = 0; i < 2; i++)
        if (zmq_curve_keypair(pairs[i].public_key, pairs[i].secret_key) != 0)
            return err_set(err, ERR_SYSTEM, "cannot draw keys: %s", zmq_strerror(zmq_errno()));
    return write_file(arena_printf(arena, "%s/%s", folder, KEYS_FILE),
                      arena_printf(arena,
                                   "# orrery: keys 1\n"
                                   "# secret: copy it to every board of the cluster, to nobody "
                                   "else\n"
                                   "role,public_key,secret_key\n"
                                   "%s,\"%s\",\"%s\"\n%s,\"%s\",\"%s\"\n",
                                   roles[0], pairs[0].public_key, pairs[0].secret_key, roles[1],
                                   pairs[1].public_key, pairs[1].secret_key),
                      err);
}

/* ---- reading ---- */

static bool check_mode(const char *path, struct err *err)
{
    struct stat info;

    if (stat(path, &info) != 0)
        return err_errno(err, path);
    return (info.st_mode & 077) == 0 ||
           err_set(err, ERR_INPUT, "%s: others than its owner may use it: chmod 600 it first",
                   path);
}

static bool is_key(const char *text)
{
    unsigned char bytes[KEY_BYTES];

    return strlen(text) == KEYS_TEXT_BYTES - 1 && zmq_z85_decode(bytes, text) != NULL;
}

/* Messages name the row, never a field: that may be a secret. */
static bool read_pair(const struct csv *csv, struct keys_pair *pair, struct err *err)
{
    const char *public_key = csv_text(csv, COLUMN_PUBLIC);
    const char *secret_key = csv_text(csv, COLUMN_SECRET);
    char derived[KEYS_TEXT_BYTES];

    if (!is_key(public_key) || !is_key(secret_key))
        return csv_bad_row(csv, err, "a key is 40 characters of Z85, as `orrery-run keys` writes");
    if (zmq_curve_public(derived, secret_key) != 0 || strcmp(derived, public_key) != 0)
        return csv_bad_row(csv, err, "the public key is not that of the secret key");
    memcpy(pair->public_key, public_key, KEYS_TEXT_BYTES);
    memcpy(pair->secret_key, secret_key, KEYS_TEXT_BYTES);
    return true;
}

static bool read_rows(struct csv *csv, struct keys *keys, struct err *err)
{
    struct keys_pair *const pairs[] = { &keys->listen, &keys->connect };
    bool is_there[2] = { false, false };

    while (csv_next(csv, err)) {
        int role;

        if (!csv_choice(csv, COLUMN_ROLE, roles, 2, &role, err))
            return false;
        if (is_there[role])
            return csv_bad_row(csv, err, "a second pair to %s with", roles[role]);
        if (!read_pair(csv, pairs[role], err))
            return false;
        is_there[role] = true;
    }
    if (err->kind != ERR_NONE)
        return false;
    for (int i = 0; i < 2; i++)
        if (!is_there[i])
            return err_at(err, csv_path(csv), 0, 0, "no pair to %s with", roles[i]);
    return true;
}

const struct keys *keys_load(struct arena *arena, const char *folder, struct err *err)
{
    const char *path = arena_printf(arena, "%s/%s", folder, KEYS_FILE);
    struct keys *keys = arena_alloc(arena, sizeof *keys);
    struct csv *csv;
    bool ok;

    if (!has_curve(err) || !check_mode(path, err))
        return NULL;
    csv = csv_open(arena, path, "keys", columns, COLUMN_COUNT, err);
    ok = csv && read_rows(csv, keys, err);
    csv_close(csv);
    return ok ? keys : NULL;
}
