/* bundle.c - see bundle.h. */
#include "sim/import/bundle.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/cost.h"
#include <ctype.h>
#include <string.h>

int32_t bundle_bits(struct argp_state *state, const char *option, const char *text)
{
    int64_t bits = cli_int(state, option, text, 8, 32);

    if (bits != 8 && bits != 16 && bits != 32)
        cli_error(state, "%s is '%s': expected 8, 16 or 32", option, text);
    return (int32_t)bits;
}

bool bundle_check_output(const struct import_job *job, struct err *err)
{
    return !job->output || strcmp(job->output, "-") != 0 ||
           err_set(err, ERR_USAGE, "-o is '-': expected a folder for several tables");
}

struct out *bundle_open(struct import_job *job, const char *folder, const char *name,
                        struct err *err)
{
    const char *path = folder[0] ? arena_printf(job->arena, "%s/%s", folder, name) : name;

    if (job->output) {
        const char *where =
            folder[0] ? arena_printf(job->arena, "%s/%s", job->output, folder) : job->output;

        if (!out_make_folder(where, err))
            return NULL;
        path = arena_printf(job->arena, "%s/%s", where, name);
    }
    return import_open(job, path, err);
}

bool bundle_is_name(const char *text)
{
    size_t length = strlen(text);

    if (length == 0 || length > 200 || text[0] == '#' || strcmp(text, "*") == 0)
        return false;
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at <= ' ' || *at == 0x7f)
            return false;
    return true;
}

bool bundle_is_type(const char *text)
{
    return bundle_is_name(text) && text[0] != '.' && !strchr(text, '/');
}

const char *bundle_type(struct arena *arena, const char *device)
{
    char *name = arena_strdup(arena, device);
    size_t used = 0;

    for (const char *at = name; *at; at++) {
        int c = tolower((unsigned char)*at);

        if (isalnum(c) || c == '.')
            name[used++] = (char)c;
        else if (used > 0 && name[used - 1] != '-')
            name[used++] = '-';
    }
    while (used > 0 && name[used - 1] == '-')
        used--;
    name[used] = '\0';
    return used > 0 && name[0] != '.' ? name : "gpu";
}

/* The last part of a path; what is called config.json has no name of its own. */
static const char *base_name(const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *base = slash ? slash + 1 : name;

    return strcmp(base, "config.json") == 0 ? "model" : base;
}

const struct model *bundle_model(struct arena *arena, const struct model *found,
                                 int32_t weight_bits, int32_t kv_bits)
{
    struct model *model = arena_alloc(arena, sizeof *model);

    *model = *found;
    model->weight_bits = weight_bits;
    model->kv_bits = kv_bits > 0 ? kv_bits : weight_bits > 16 ? 32 : 16;
    model->name = arena_strdup(arena, base_name(found->name));
    if (model->weight_bits != found->weight_bits || model->kv_bits != found->kv_bits)
        model->name =
            arena_printf(arena, "%s-%s", model->name, cost_dtype_of_bits(model->weight_bits));
    return model;
}

bool bundle_write_model(struct import_job *job, const struct model *model, struct err *err)
{
    struct out *out = bundle_open(job, "", "models.csv", err);

    if (out)
        model_write(out, &model, 1);
    return out != NULL;
}
