/* journal.c - one file, one lock, appended with write(2); read again through lib/base/csv. */
#include "profiler/journal/journal.h"
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/lines.h"
#include "lib/base/out.h"
#include "profiler/journal/identity.h"
#include "profiler/journal/journal_line.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES 16384
#define LOCK_TRIES 40 /* of 50 ms: the processes of a run that was killed take a moment to go */
#define LOCK_WAIT_NS 50000000

struct variant { /* what is recorded of one */
    int complete_count, next_proc;
    bool is_begun; /* there is something of next_proc */
    int32_t round; /* its last */
};

struct journal {
    struct arena *arena;
    const char *path;
    int fd;
    struct journal_places places;
    struct variant *variants;
    int64_t sample_count;
    int resume_count;
    bool is_failed; /* a write has failed: nothing more is written */
    size_t used;
    char buffer[BUFFER_BYTES];
};

/* ---- opening ---- */

static bool lock(struct journal *journal, struct err *err)
{
    const struct timespec wait = { 0, LOCK_WAIT_NS };

    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(journal->fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_errno(err, journal->path);
        nanosleep(&wait, NULL);
    }
    return err_set(err, ERR_SYSTEM, "%s: another run is measuring into this folder", journal->path);
}

/* What is locked must still be the file of that name: another run may have removed it meanwhile. */
static bool is_current(const struct journal *journal, const struct stat *locked)
{
    struct stat there;

    return stat(journal->path, &there) == 0 && there.st_ino == locked->st_ino &&
           there.st_dev == locked->st_dev;
}

static struct journal *open_locked(struct arena *arena, const char *folder,
                                   const struct journal_places *places, struct err *err)
{
    struct journal *journal = arena_alloc(arena, sizeof(*journal));
    struct stat info;

    journal->arena = arena;
    journal->path = arena_printf(arena, "%s/%s", folder, JOURNAL_NAME);
    journal->places = *places;
    journal->variants =
        arena_array(arena, (size_t)places->variant_count, sizeof(*journal->variants));
    for (int i = 0; i < LOCK_TRIES; i++) {
        journal->fd = open(journal->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
        if (journal->fd < 0) {
            err_errno(err, journal->path);
            return NULL;
        }
        if (!lock(journal, err) || fstat(journal->fd, &info) != 0)
            break;
        if (is_current(journal, &info) && S_ISREG(info.st_mode))
            return journal;
        close(journal->fd);
    }
    close(journal->fd);
    err_set(err, ERR_SYSTEM, "%s: not a plain file that can be locked", journal->path);
    return NULL;
}

static const char *head(struct arena *arena, const struct identity *identity)
{
    struct out *out = out_open_memory(arena);

    out_text(out, "# orrery: journal 1\n");
    identity_write(out, identity);
    out_text(out, journal_header);
    return arena_strdup(arena, out_memory(out, NULL));
}

static bool write_all(struct journal *journal, const char *text, size_t length, struct err *err)
{
    while (length > 0) {
        ssize_t written = write(journal->fd, text, length);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            if (written == 0)
                errno = ENOSPC;
            journal->is_failed = true;
            return err_errno(err, journal->path);
        }
        text += written;
        length -= (size_t)written;
    }
    return true;
}

static struct journal *start(struct journal *journal, const char *text, struct err *err)
{
    if (ftruncate(journal->fd, 0) != 0)
        err_errno(err, journal->path);
    else if (lseek(journal->fd, 0, SEEK_SET) == 0 && write_all(journal, text, strlen(text), err))
        return journal;
    journal_remove(journal); /* nothing but a beginning is in it */
    return NULL;
}

struct journal *journal_begin(struct arena *arena, const char *folder,
                              const struct identity *identity, const struct journal_places *places,
                              struct err *err)
{
    struct journal *journal = open_locked(arena, folder, places, err);

    if (!journal)
        return NULL;
    if (lseek(journal->fd, 0, SEEK_END) > 0) {
        err_set(err, ERR_INPUT,
                "%s: an unfinished run is here: go on with --resume, or remove this file",
                journal->path);
        journal_close(journal);
        return NULL;
    }
    return start(journal, head(arena, identity), err);
}

/* ---- appending ---- */

bool journal_flush(struct journal *journal, struct err *err)
{
    size_t used = journal->used;

    journal->used = 0;
    return journal->is_failed || write_all(journal, journal->buffer, used, err);
}

static bool append(struct journal *journal, const struct journal_line *line, struct err *err)
{
    if (BUFFER_BYTES - journal->used < JOURNAL_LINE_BYTES && !journal_flush(journal, err))
        return false;
    journal->used += journal_line_write(line, journal->buffer + journal->used);
    return true;
}

static bool is_sample(int kind)
{
    return kind == MESSAGE_SAMPLE || kind == MESSAGE_ANCHOR;
}

bool journal_put(struct journal *journal, int variant, int proc, const struct message *message,
                 struct err *err)
{
    struct journal_line line = {
        .kind = (int)message->kind, .variant = variant, .proc = proc, .message = *message
    };
    const struct journal_places *places = &journal->places;

    if (!journal_is_kept(line.kind))
        return true;
    if (journal_has_point(line.kind) &&
        !places->point_of(places->arg, variant, message->kind, message->index, &line.point))
        return err_set(err, ERR_SYSTEM,
                       "a measuring process speaks of point %d, which is not there",
                       message->index);
    journal->sample_count += is_sample(line.kind);
    return append(journal, &line, err);
}

bool journal_end_process(struct journal *journal, int variant, int proc, struct err *err)
{
    struct journal_line line = { .kind = JOURNAL_END, .variant = variant, .proc = proc };
    struct variant *of = &journal->variants[variant];

    if (!append(journal, &line, err) || !journal_flush(journal, err))
        return false;
    of->next_proc = proc + 1;
    of->is_begun = false;
    of->complete_count++;
    (void)fdatasync(journal->fd); /* some file systems cannot: the lines are with the kernel */
    return true;
}

void journal_leave(const struct journal *journal)
{
    if (journal)
        close(journal->fd);
}

void journal_close(struct journal *journal)
{
    struct err ignored = ERR_INIT;

    if (!journal)
        return;
    (void)journal_flush(journal, &ignored);
    close(journal->fd);
}

void journal_remove(struct journal *journal)
{
    if (!journal)
        return;
    unlink(journal->path); /* before the lock goes */
    close(journal->fd);
}

const char *journal_path(const struct journal *journal)
{
    return journal->path;
}

int64_t journal_sample_count(const struct journal *journal)
{
    return journal->sample_count;
}

int journal_resume_count(const struct journal *journal)
{
    return journal->resume_count;
}

int journal_complete_count(const struct journal *journal, int variant)
{
    return journal->variants[variant].complete_count;
}

int journal_next_proc(const struct journal *journal, int variant)
{
    const struct variant *of = &journal->variants[variant];

    return of->next_proc + of->is_begun;
}

/* ---- reading again ---- */

struct extent { /* of the whole lines */
    int64_t bytes;
    long lines;
};

/* A journal of which not even the first line was written; anything else is left alone. */
static bool is_cut_head(struct journal *journal, const char *text, struct err *err)
{
    ssize_t got = pread(journal->fd, journal->buffer, BUFFER_BYTES, 0);

    if (got < 0)
        return err_errno(err, journal->path);
    return ((size_t)got <= strlen(text) && memcmp(journal->buffer, text, (size_t)got) == 0) ||
           err_at(err, journal->path, 1, 0, "not the journal of a profile");
}

static bool measure_extent(struct journal *journal, struct extent *extent, struct err *err)
{
    int64_t at = 0;

    *extent = (struct extent){ 0, 0 };
    for (;;) {
        ssize_t got = pread(journal->fd, journal->buffer, BUFFER_BYTES, at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_errno(err, journal->path);
        if (got == 0)
            return true;
        for (ssize_t i = 0; i < got; i++)
            if (journal->buffer[i] == '\n') {
                extent->lines++;
                extent->bytes = at + i + 1;
            }
        at += got;
    }
}

enum head_state { HEAD_WHOLE, HEAD_CUT, HEAD_BAD };

/* "# key: value" */
static void put_pair(struct identity *there, const char *line, const struct identity *like)
{
    size_t begin = strspn(line, "# "), end = strcspn(line, ":");
    const char *key = arena_strndup(there->arena, line + begin, end > begin ? end - begin : 0);
    const char *value = line[end] ? line + end + 1 : "";
    enum identity_part part = IDENTITY_MACHINE;

    for (int i = 0; i < like->count; i++)
        if (strcmp(like->list[i].key, key) == 0)
            part = like->list[i].part;
    identity_put_raw(there, part, key, value + (value[0] == ' '));
}

/* The lines before the header of the columns, as an identity. */
static enum head_state read_head(struct journal *journal, const struct extent *extent,
                                 const struct identity *like, struct identity *there,
                                 struct err *err)
{
    struct lines *lines = lines_open(journal->arena, journal->path, err);
    enum head_state state = lines ? HEAD_CUT : HEAD_BAD;
    const char *line;

    while (state == HEAD_CUT && lines_number(lines) < extent->lines &&
           (line = lines_next(lines, err))) {

        if (lines_number(lines) == 1 && strcmp(line, "# orrery: journal 1") != 0) {
            err_at(err, journal->path, 1, 0,
                   "not the journal of a profile: expected "
                   "'# orrery: journal 1'");
        } else if (line[0] != '#') {
            state = HEAD_WHOLE;
        } else if (lines_number(lines) > 1) {
            put_pair(there, line, like);
        }
        if (err->kind != ERR_NONE)
            state = HEAD_BAD;
    }
    if (err->kind != ERR_NONE)
        state = HEAD_BAD;
    if (lines)
        lines_close(lines);
    return state;
}

/* Processes of a variant come one after the other, and so do the rounds of each. */
static bool follow(struct journal *journal, const struct csv *csv, const struct journal_line *line,
                   struct err *err)
{
    struct variant *variant = &journal->variants[line->variant];
    const struct message *message = &line->message;
    int32_t round = line->kind == MESSAGE_ROUND ? message->body.round.round : message->round;

    if (line->kind != JOURNAL_END && line->kind != MESSAGE_ROUND && !is_sample(line->kind))
        return true;
    if (line->proc < variant->next_proc)
        return csv_bad_row(csv, err, "process %d after process %d of variant %d", line->proc,
                           variant->next_proc, line->variant);
    if (line->proc > variant->next_proc) {
        variant->next_proc = line->proc;
        variant->is_begun = false;
    }
    if (line->kind == JOURNAL_END) {
        variant->next_proc++;
        variant->complete_count++;
        variant->is_begun = false;
        return true;
    }
    if (variant->is_begun && round < variant->round)
        return csv_bad_row(csv, err, "round %d after round %d of process %d", round, variant->round,
                           line->proc);
    variant->is_begun = true;
    variant->round = round;
    return true;
}

static bool replay_line(struct journal *journal, const struct csv *csv, journal_apply_fn *apply,
                        void *arg, struct err *err)
{
    const struct journal_places *places = &journal->places;
    struct journal_line line;

    if (!journal_line_read(csv, &line, err))
        return false;
    if (line.variant >= places->variant_count)
        return csv_bad_row(csv, err, "variant %d: this run has %d", line.variant,
                           places->variant_count);
    if (!follow(journal, csv, &line, err))
        return false;
    if (line.kind == JOURNAL_RESUME)
        journal->resume_count++;
    if (line.kind == JOURNAL_RESUME || line.kind == JOURNAL_END)
        return true;
    if (journal_has_point(line.kind)) {
        line.message.index =
            places->index_of(places->arg, line.variant, line.message.kind, &line.point);
        if (line.message.index < 0)
            return csv_bad_row(csv, err, "this run does not measure %s of %d on %d keys, batch %d",
                               op_phase_name(line.point.phase), line.point.m, line.point.kv,
                               line.point.batch);
    }
    journal->sample_count += is_sample(line.kind);
    return apply(arg, line.variant, line.proc, &line.message, err);
}

static bool replay(struct journal *journal, const struct extent *extent, journal_apply_fn *apply,
                   void *arg, struct err *err)
{
    struct csv *csv = csv_open(journal->arena, journal->path, "journal", journal_columns,
                               journal_column_count, err);

    /* what stands behind the last whole line may look like a line and is none */
    while (csv && csv_line(csv) < extent->lines && csv_next(csv, err))
        if (!replay_line(journal, csv, apply, arg, err))
            break;
    csv_close(csv);
    return err->kind == ERR_NONE;
}

static bool go_on(struct journal *journal, const struct extent *extent, struct err *err)
{
    struct journal_line line = { .kind = JOURNAL_RESUME };

    if (ftruncate(journal->fd, extent->bytes) != 0 ||
        lseek(journal->fd, extent->bytes, SEEK_SET) != extent->bytes)
        return err_errno(err, journal->path);
    journal->resume_count++;
    return append(journal, &line, err) && journal_flush(journal, err);
}

struct journal *journal_resume(struct arena *arena, const char *folder,
                               const struct identity *identity, const struct journal_places *places,
                               journal_apply_fn *apply, void *arg, struct err *err)
{
    struct journal *journal = open_locked(arena, folder, places, err);
    struct identity there = identity_create(arena);
    const char *text = head(arena, identity);
    struct extent extent;

    if (!journal)
        return NULL;
    if (measure_extent(journal, &extent, err)) {
        switch (read_head(journal, &extent, identity, &there, err)) {
        case HEAD_CUT: /* killed before anything was measured */
            if (extent.lines > 0 || is_cut_head(journal, text, err))
                return start(journal, text, err);
            break;
        case HEAD_WHOLE:
            if (identity_check(identity, &there, journal->path, err) &&
                replay(journal, &extent, apply, arg, err) && go_on(journal, &extent, err))
                return journal;
            break;
        case HEAD_BAD:
            break;
        }
    }
    close(journal->fd);
    return NULL;
}

/* ---- raw samples ---- */

bool journal_write_samples(struct journal *journal, const char *path, struct err *err)
{
    struct arena *scratch = arena_create();
    struct out *out = journal_flush(journal, err) ? out_open(scratch, path, err) : NULL;
    struct lines *lines = out ? lines_open(scratch, journal->path, err) : NULL;
    const char *line;

    while (lines && (line = lines_next(lines, err))) {
        bool is_head = line[0] == '#' || strncmp(line, "kind,", 5) == 0;

        if (!is_head && strncmp(line, "sample,", 7) != 0 && strncmp(line, "anchor,", 7) != 0)
            continue;
        out_text(out, lines_number(lines) == 1 ? "# orrery: samples 1" : line);
        out_char(out, '\n');
    }
    if (lines)
        lines_close(lines);
    bool is_done = lines && err->kind == ERR_NONE && out_commit(out, err);
    if (!is_done)
        out_abort(out);
    arena_destroy(scratch);
    return is_done;
}
