/* model_hf.h - a Hugging Face config.json as a model, and the largest shapes that are accepted, so
 * that no product of them overflows. Private to lib/format/model*.c. */
#ifndef ORRERY_FORMAT_MODEL_HF_H
#define ORRERY_FORMAT_MODEL_HF_H

#define MODEL_LAYERS_MAX 10000
#define MODEL_SIZE_MAX 1000000 /* hidden, heads, ...; also heads x head_dim */
#define MODEL_VOCAB_MAX 10000000

struct arena;
struct err;
struct model;

/* The name of the model is the path. NULL and err when a key is missing or out of range. */
struct model *model_hf_load(struct arena *arena, const char *path, struct err *err);

#endif
