/* sysfile.c - reading of small system files; nothing here fails, values are just absent. */
#include "profiler/device/sysfile.h"
#include "lib/base/arena.h"
#include "lib/base/units.h"
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_FILE_BYTES ((size_t)65536)

char *sysfile_text(struct arena *arena, const char *sysroot, const char *path, size_t *length)
{
    int fd = open(arena_printf(arena, "%s%s", sysroot, path), O_RDONLY | O_CLOEXEC);
    char buffer[MAX_FILE_BYTES]; /* most files are a line: the arena gets what was read alone */
    size_t count = 0;
    ssize_t got = 0;

    if (fd < 0)
        return NULL;
    while (count < MAX_FILE_BYTES && (got = read(fd, buffer + count, MAX_FILE_BYTES - count)) > 0)
        count += (size_t)got;
    close(fd);
    if (got < 0)
        return NULL;
    char *text = arena_alloc(arena, count + 1);
    memcpy(text, buffer, count);
    if (length)
        *length = count;
    return text;
}

static const char *trimmed(struct arena *arena, const char *from, size_t length)
{
    while (length > 0 && isspace((unsigned char)*from)) {
        from++;
        length--;
    }
    while (length > 0 && isspace((unsigned char)from[length - 1]))
        length--;
    return arena_strndup(arena, from, length);
}

const char *sysfile_line(struct arena *arena, const char *sysroot, const char *path)
{
    const char *text = sysfile_text(arena, sysroot, path, NULL);

    if (!text)
        return NULL;
    const char *line = trimmed(arena, text, strcspn(text, "\n"));
    return line[0] ? line : NULL;
}

bool sysfile_int(struct arena *arena, const char *sysroot, const char *path, int64_t *value)
{
    const char *line = sysfile_line(arena, sysroot, path);
    char *end;

    if (!line)
        return false;
    if (line[0] == '0' && (line[1] == 'x' || line[1] == 'X')) {
        *value = (int64_t)strtoull(line + 2, &end, 16);
        return end != line + 2 && *end == '\0';
    }
    size_t length = strlen(line);
    int64_t scale = line[length - 1] == 'K' ? 1024 : line[length - 1] == 'M' ? 1024 * 1024 : 1;

    if (!units_parse_int(arena_strndup(arena, line, scale > 1 ? length - 1 : length), value))
        return false;
    *value = units_mul_div(*value, scale, 1);
    return true;
}

const char *sysfile_field(struct arena *arena, const char *sysroot, const char *path,
                          const char *key)
{
    const char *line = sysfile_text(arena, sysroot, path, NULL);
    size_t key_length = strlen(key);

    for (; line && *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *rest = line + key_length;

        if (strncmp(line, key, key_length) != 0)
            continue;
        rest += strspn(rest, " \t");
        if (*rest != ':' && *rest != '=')
            continue;
        const char *value = trimmed(arena, rest + 1, strcspn(rest + 1, "\n"));
        size_t length = strlen(value);
        if (length >= 2 && value[0] == '"' && value[length - 1] == '"')
            return arena_strndup(arena, value + 1, length - 2);
        return value;
    }
    return NULL;
}

bool sysfile_field_kb(struct arena *arena, const char *sysroot, const char *path, const char *key,
                      int64_t *size_bytes)
{
    const char *value = sysfile_field(arena, sysroot, path, key);
    const char *unit = value ? strstr(value, " kB") : NULL;

    if (!unit || unit[3] != '\0' ||
        !units_parse_int(arena_strndup(arena, value, (size_t)(unit - value)), size_bytes))
        return false;
    *size_bytes = units_mul_div(*size_bytes, 1024, 1);
    return *size_bytes >= 0;
}

int64_t sysfile_llc_bytes(struct arena *arena, const char *sysroot)
{
    int64_t largest = 0;

    for (int index = 0; index < 8; index++) {
        int64_t size;
        const char *path =
            arena_printf(arena, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);

        if (sysfile_int(arena, sysroot, path, &size) && size > largest)
            largest = size;
    }
    return largest;
}

#define MAX_NAMES 512

static int by_version(const void *a, const void *b)
{
    return strverscmp(*(const char *const *)a, *(const char *const *)b);
}

int sysfile_names(struct arena *arena, const char *sysroot, const char *folder, const char *prefix,
                  const char *const **names)
{
    const char **list = NULL;
    int count = 0;
    DIR *dir = opendir(arena_printf(arena, "%s%s", sysroot, folder));

    *names = NULL;
    if (!dir)
        return 0;
    for (struct dirent *entry; count < MAX_NAMES && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' || strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
            continue;
        if (!list)
            list = arena_array(arena, MAX_NAMES, sizeof(*list));
        list[count++] = arena_strdup(arena, entry->d_name);
    }
    closedir(dir);
    if (count > 0)
        qsort(list, (size_t)count, sizeof(*list), by_version);
    *names = list;
    return count;
}

bool sysfile_is_forbidden(struct arena *arena, const char *sysroot, const char *path)
{
    const char *full = arena_printf(arena, "%s%s", sysroot, path);

    return access(full, F_OK) == 0 && access(full, R_OK) != 0;
}
