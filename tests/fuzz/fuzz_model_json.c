/* fuzz_model_json.c - a Hugging Face config.json as a model. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/model.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char *const names[] = { "config.json" };
    char folder[FUZZ_PATH_BYTES], path[FUZZ_PATH_BYTES * 2];
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct model_catalogue *catalogue = model_catalogue_load(arena, NULL, &err);
    const struct model *model;

    fuzz_make_folder(bytes, count, names, 1, folder);
    snprintf(path, sizeof path, "%s/%s", folder, names[0]);
    assert(catalogue);
    model = model_find(catalogue, path, &err);
    assert(model ? err.kind == ERR_NONE && model->layers > 0 && model->hidden > 0
                 : err.kind != ERR_NONE);
    arena_destroy(arena);
    fuzz_remove_folder(folder, names, 1);
    return 0;
}
