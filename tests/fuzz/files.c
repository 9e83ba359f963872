/* files.c - inputs of a fuzz target as files and folders. */
#include "tests/fuzz/fuzz.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void write_all(int file, const uint8_t *bytes, size_t count)
{
    while (count > 0) {
        ssize_t written = write(file, bytes, count);

        if (written <= 0)
            abort();
        bytes += written;
        count -= (size_t)written;
    }
}

int fuzz_open(const uint8_t *bytes, size_t count, char path[FUZZ_PATH_BYTES])
{
    int file = memfd_create("fuzz", MFD_CLOEXEC);

    if (file < 0)
        abort();
    write_all(file, bytes, count);
    snprintf(path, FUZZ_PATH_BYTES, "/proc/self/fd/%d", file);
    return file;
}

void fuzz_close(int file)
{
    close(file);
}

/* Length of the part before the next "====" line, and where the rest starts. */
static size_t part_length(const uint8_t *bytes, size_t count, size_t *next)
{
    static const char mark[] = "====\n";
    const size_t mark_length = sizeof mark - 1;

    for (size_t i = 0; i + mark_length <= count; i++) {
        if ((i == 0 || bytes[i - 1] == '\n') && memcmp(bytes + i, mark, mark_length) == 0) {
            *next = i + mark_length;
            return i;
        }
    }
    *next = count;
    return count;
}

void fuzz_make_folder(const uint8_t *bytes, size_t count, const char *const *names, int name_count,
                      char path[FUZZ_PATH_BYTES])
{
    size_t next = 0;

    snprintf(path, FUZZ_PATH_BYTES, "/tmp/orrery-fuzz-XXXXXX");
    if (!mkdtemp(path))
        abort();
    for (int i = 0; i < name_count && (i == 0 || count > 0); i++) {
        char name[FUZZ_PATH_BYTES * 2];
        size_t length = part_length(bytes, count, &next);
        int file;

        snprintf(name, sizeof name, "%s/%s", path, names[i]);
        file = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (file < 0)
            abort();
        write_all(file, bytes, length);
        close(file);
        bytes += next;
        count -= next;
    }
}

void fuzz_remove_folder(const char *path, const char *const *names, int name_count)
{
    for (int i = 0; i < name_count; i++) {
        char name[FUZZ_PATH_BYTES * 2];

        snprintf(name, sizeof name, "%s/%s", path, names[i]);
        unlink(name);
    }
    rmdir(path);
}
