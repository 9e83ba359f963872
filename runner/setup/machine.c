/* machine.c - reads /proc, the device tree, and small files. */
#include "runner/setup/machine.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

/* The rest of the first line of a file that begins with key, without colon and blanks, in text.
 * An empty key takes the first line. Returns text, "" when there is none. */
static const char *find_line(const char *path, const char *key, char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    char line[512];

    text[0] = '\0';
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0) {
            snprintf(text, size, "%s", line + strlen(key) + strspn(line + strlen(key), " \t:"));
            text[strcspn(text, "\n")] = '\0';
            break;
        }
    if (file)
        fclose(file);
    return text;
}

int64_t machine_available_bytes(void)
{
    char text[128];
    int64_t kib;

    find_line("/proc/meminfo", "MemAvailable", text, sizeof text);
    text[strcspn(text, " ")] = '\0';
    return units_parse_int(text, &kib) && kib >= 0 ? kib * 1024 : INT64_MAX;
}

const char *machine_note(struct arena *arena)
{
    struct utsname names;
    char board[256], processor[256];

    if (uname(&names) != 0)
        return "unknown";
    find_line("/proc/device-tree/model", "", board, sizeof board);
    find_line("/proc/cpuinfo", "model name", processor, sizeof processor);
    return arena_printf(arena, "%s %s", names.machine, board[0] ? board : processor);
}

void machine_stay_on_processor(int32_t number, cpu_set_t *all)
{
    cpu_set_t one;
    int left;

    CPU_ZERO(all);
    if (sched_getaffinity(0, sizeof *all, all) != 0)
        return;
    left = number % CPU_COUNT(all);
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, all) && left-- == 0)
            CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
}

void machine_leave_processor(const cpu_set_t *all)
{
    if (CPU_COUNT(all) > 0)
        sched_setaffinity(0, sizeof *all, all);
}

const char *machine_read_text(struct arena *arena, const char *path, int64_t max_bytes,
                              struct err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "re");
    size_t size = 0, capacity = 1 << 16, got;
    char *text = arena_alloc(arena, capacity);

    if (!file) {
        err_errno(err, path);
        return NULL;
    }
    while ((got = fread(text + size, 1, capacity - 1 - size, file)) > 0) {
        size += got;
        if (size == capacity - 1) {
            text = arena_grow(arena, text, capacity, 2 * capacity, 1);
            capacity *= 2;
        }
        if ((int64_t)size > max_bytes) {
            err_set(err, ERR_INPUT, "%s: longer than %lld bytes", path, (long long)max_bytes);
            break;
        }
    }
    if (ferror(file))
        err_errno(err, path);
    if (!is_stdin)
        fclose(file);
    if (err->kind == ERR_NONE && memchr(text, '\0', size))
        err_set(err, ERR_INPUT, "%s: has a NUL character: it is no text", path);
    return err->kind == ERR_NONE ? text : NULL;
}
