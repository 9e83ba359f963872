/* inputs.c - fingerprints of input files. */
#include "sim/report/inputs.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/same_file.h"
#include "lib/format/cost.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CHUNK_BYTES 16384

static bool fingerprint(struct inputs_file *file, struct err *err)
{
    FILE *stream = fopen(file->path, "rb");
    char chunk[CHUNK_BYTES];
    size_t count;
    bool is_read;

    if (!stream)
        return err_errno(err, file->path);
    file->hash = HASH_START;
    while ((count = fread(chunk, 1, sizeof(chunk), stream)) > 0) {
        file->hash = hash_bytes(file->hash, chunk, count);
        file->size_bytes += (int64_t)count;
    }
    is_read = !ferror(stream);
    fclose(stream);
    file->has_hash = true;
    return is_read || err_errno(err, file->path);
}

bool inputs_add(struct inputs *inputs, const char *role, const char *path, struct err *err)
{
    struct inputs_file *file;
    struct stat status;

    if (inputs->count == inputs->capacity) {
        int wider = inputs->capacity ? 2 * inputs->capacity : 16;

        inputs->files = arena_grow(inputs->arena, inputs->files, (size_t)inputs->capacity,
                                   (size_t)wider, sizeof(*inputs->files));
        inputs->capacity = wider;
    }
    file = &inputs->files[inputs->count++];
    file->role = role;
    file->path = path;
    if (strcmp(path, "-") == 0)
        return true;
    if (stat(path, &status) != 0)
        return err_errno(err, path);
    return !S_ISREG(status.st_mode) || fingerprint(file, err);
}

bool inputs_add_folder(struct inputs *inputs, const char *role, const char *folder,
                       const char *const *names, struct err *err)
{
    for (; *names; names++) {
        const char *path = arena_printf(inputs->arena, "%s/%s", folder, *names);
        struct stat status;

        if (stat(path, &status) == 0 && !inputs_add(inputs, role, path, err))
            return false;
    }
    return true;
}

bool inputs_add_cluster(struct inputs *inputs, const char *folder, struct err *err)
{
    static const char *const names[] = { "devices.csv", "links.csv", NULL };

    return inputs_add_folder(inputs, "cluster", folder, names, err);
}

bool inputs_add_costs(struct inputs *inputs, const struct cost_set *costs, struct err *err)
{
    static const char *const names[] = { "kernels.csv", "interp.csv",   "anchors.csv",
                                         "stages.csv",  "roofline.csv", NULL };

    for (int i = 0; i < costs->count; i++)
        if (!inputs_add_folder(inputs, "costs", cost_path(costs->tables[i]), names, err))
            return false;
    return true;
}

bool inputs_spare(const struct inputs *inputs, const char *path, struct err *err)
{
    for (int i = 0; i < inputs->count; i++)
        if (same_file(path, inputs->files[i].path))
            return err_set(err, ERR_USAGE, "%s is read by this run: an output would replace it",
                           path);
    return true;
}

/* Long paths keep their end: lines stay within 80 columns. */
#define PATH_WIDTH 34

void inputs_text(const struct inputs *inputs, struct out *out)
{
    for (int i = 0; i < inputs->count; i++) {
        const struct inputs_file *file = &inputs->files[i];
        size_t length = strlen(file->path);
        bool is_long = length > PATH_WIDTH;

        out_printf(out, "  %-10s %s%-*s", file->role, is_long ? "..." : "",
                   is_long ? PATH_WIDTH - 3 : PATH_WIDTH,
                   is_long ? file->path + length - (PATH_WIDTH - 3) : file->path);
        if (file->has_hash)
            out_printf(out, " %10" PRId64 " B %016" PRIx64, file->size_bytes, file->hash);
        out_char(out, '\n');
    }
}

void inputs_json(const struct inputs *inputs, struct json_writer *json)
{
    json_begin_array(json, "inputs");
    for (int i = 0; i < inputs->count; i++) {
        const struct inputs_file *file = &inputs->files[i];

        json_begin_object(json, NULL);
        json_put_text(json, "role", file->role);
        json_put_text(json, "path", file->path);
        if (file->has_hash) {
            char hash[20];

            snprintf(hash, sizeof(hash), "%016" PRIx64, file->hash);
            json_put_int(json, "size_bytes", file->size_bytes);
            json_put_text(json, "fnv1a64", hash);
        } else {
            json_put_null(json, "size_bytes");
            json_put_null(json, "fnv1a64");
        }
        json_end_object(json);
    }
    json_end_array(json);
}
