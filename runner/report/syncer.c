/* syncer.c - a thread that sleeps, and gives files to the disk that have grown.
 *
 * It has descriptors of its own, so that whoever writes may close a file at any time. */
#include "runner/report/syncer.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NO_BYTES (-1)

struct file {
    const char *path;
    int handle;         /* below 0: cannot be opened */
    off_t synced_bytes; /* its length when it was given last; NO_BYTES: never */
    bool is_given_up;
    _Atomic int trouble; /* errno, until it is told; 0: none */
};

struct syncer {
    pthread_t thread;
    pthread_mutex_t mutex; /* of is_stopping and stopped */
    pthread_cond_t stopped;
    bool is_stopping;
    int count;
    struct file *files;
    _Atomic int64_t rounds;
};

/* What may be written need not be readable, and the other way round. */
static int open_file(const char *path)
{
    int handle = open(path, O_RDONLY | O_CLOEXEC);

    return handle < 0 && errno == EACCES ? open(path, O_WRONLY | O_CLOEXEC) : handle;
}

/* errno; 0: the name is on the disk, as far as that can be asked: not of a folder that may not be
 * read, and file systems that keep names otherwise answer EINVAL. */
static int sync_folder(struct arena *arena, const char *path)
{
    char place[PATH_MAX];
    const char *target = realpath(path, place); /* behind links: its name is what has changed */
    const char *end = target ? strrchr(target, '/') : NULL;
    const char *folder = end ? arena_strndup(arena, target, (size_t)(end - target) + 1) : ".";
    int handle = target ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int trouble = handle < 0 || fsync(handle) != 0 ? errno : 0;

    if (trouble == (handle < 0 ? EACCES : EINVAL))
        trouble = 0;
    if (handle >= 0)
        close(handle);
    return trouble;
}

bool syncer_settle(struct arena *arena, const char *path, struct err *err)
{
    int handle = open_file(path);
    int trouble = handle < 0 || fsync(handle) != 0 ? errno : sync_folder(arena, path);

    if (handle >= 0)
        close(handle);
    errno = trouble;
    return trouble == 0 || err_errno(err, path);
}

static void give_up(struct file *file, int trouble)
{
    file->is_given_up = true;
    atomic_store(&file->trouble, trouble);
}

/* One that could not be given is not tried again: what the disk has lost then it does not tell
 * twice. */
static void sync_file(struct file *file)
{
    struct stat status;
    bool is_known = !file->is_given_up && fstat(file->handle, &status) == 0;

    if (file->is_given_up || (is_known && status.st_size == file->synced_bytes))
        return;
    if (is_known && fdatasync(file->handle) == 0)
        file->synced_bytes = status.st_size;
    else
        give_up(file, errno);
}

static void sync_all(struct syncer *syncer)
{
    for (int i = 0; i < syncer->count; i++)
        sync_file(&syncer->files[i]);
    atomic_fetch_add(&syncer->rounds, 1);
}

static void *run(void *arg)
{
    struct syncer *syncer = arg;

    pthread_mutex_lock(&syncer->mutex);
    while (!syncer->is_stopping) {
        int64_t next_ns;
        struct timespec until;

        pthread_mutex_unlock(&syncer->mutex);
        sync_all(syncer);
        pthread_mutex_lock(&syncer->mutex);
        next_ns = clock_now_ns() + SYNCER_EVERY_NS;
        until.tv_sec = next_ns / 1000000000;
        until.tv_nsec = next_ns % 1000000000;
        while (!syncer->is_stopping &&
               pthread_cond_timedwait(&syncer->stopped, &syncer->mutex, &until) != ETIMEDOUT)
            ; /* woken early: wait on, or stop */
    }
    pthread_mutex_unlock(&syncer->mutex);
    sync_all(syncer);
    return NULL;
}

static void close_files(struct syncer *syncer)
{
    for (int i = 0; i < syncer->count; i++)
        if (syncer->files[i].handle >= 0)
            close(syncer->files[i].handle);
}

/* Their names as well: a file that has none is lost with all that is in it. */
static void open_files(struct arena *arena, struct syncer *syncer, const char *const *paths)
{
    syncer->files = arena_array(arena, (size_t)syncer->count + 1, sizeof *syncer->files);
    for (int i = 0; i < syncer->count; i++) {
        struct file *file = &syncer->files[i];
        int trouble;

        file->path = paths[i];
        file->synced_bytes = NO_BYTES;
        file->handle = open_file(paths[i]);
        trouble = file->handle < 0 ? errno : sync_folder(arena, paths[i]);
        if (trouble != 0)
            give_up(file, trouble);
    }
}

struct syncer *syncer_start(struct arena *arena, const char *const *paths, int count,
                            struct err *err)
{
    struct syncer *syncer = arena_alloc(arena, sizeof *syncer);
    pthread_condattr_t monotonic;

    syncer->count = count;
    open_files(arena, syncer, paths);
    pthread_mutex_init(&syncer->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&syncer->stopped, &monotonic);
    pthread_condattr_destroy(&monotonic);
    errno = pthread_create(&syncer->thread, NULL, run, syncer);
    if (errno == 0)
        return syncer;
    err_errno(err, "pthread_create");
    close_files(syncer);
    return NULL;
}

bool syncer_look(struct syncer *syncer, struct err *err)
{
    for (int i = 0; i < syncer->count; i++) {
        int trouble = atomic_exchange(&syncer->files[i].trouble, 0);

        if (trouble == 0)
            continue;
        errno = trouble;
        return err_errno(err, syncer->files[i].path);
    }
    return true;
}

int64_t syncer_rounds(const struct syncer *syncer)
{
    return atomic_load(&syncer->rounds);
}

void syncer_stop(struct syncer *syncer)
{
    if (!syncer)
        return;
    pthread_mutex_lock(&syncer->mutex);
    syncer->is_stopping = true;
    pthread_cond_signal(&syncer->stopped);
    pthread_mutex_unlock(&syncer->mutex);
    pthread_join(syncer->thread, NULL);
    pthread_cond_destroy(&syncer->stopped);
    pthread_mutex_destroy(&syncer->mutex);
    close_files(syncer);
}
