/* formula.c - see formula.h; in doubles, as the original: L^2 d leaves int64. */
#include "sim/kafetzis/formula.h"

/* Of the program; 8 L D^2 would be right. */
#define FFN_RATIO 0.8
#define FFN_WIDTHS 4

static double head_width(const struct kafetzis_shape *shape)
{
    return (double)shape->hidden / shape->heads;
}

double kafetzis_memory_bytes(const struct kafetzis_shape *shape, enum kafetzis_block block,
                             int32_t tokens)
{
    double hidden = shape->hidden, width = head_width(shape), values = 0;

    switch (block) {
    case KAFETZIS_HEAD:
        values = 3 * (double)tokens * width + 3 * hidden * width;
        break;
    case KAFETZIS_PROJECTION:
        values = tokens * hidden;
        break;
    case KAFETZIS_FFN:
        values = FFN_WIDTHS * (double)tokens * hidden;
        break;
    case KAFETZIS_BLOCK_COUNT:
        break;
    }
    return values * shape->precision_bytes;
}

double kafetzis_flop(const struct kafetzis_shape *shape, enum kafetzis_block block, int32_t tokens)
{
    double hidden = shape->hidden, width = head_width(shape), length = tokens;

    switch (block) {
    case KAFETZIS_HEAD:
        return 3 * length * hidden * width + length * length * width;
    case KAFETZIS_PROJECTION:
        return length * hidden * hidden;
    case KAFETZIS_FFN:
        return FFN_RATIO * length * hidden * hidden;
    case KAFETZIS_BLOCK_COUNT:
        break;
    }
    return 0;
}

double kafetzis_sent_bytes(const struct kafetzis_shape *shape, enum kafetzis_block block,
                           int32_t tokens)
{
    double values = (double)tokens * (block == KAFETZIS_HEAD ? head_width(shape) : shape->hidden);

    return values * shape->precision_bytes;
}

double kafetzis_cache_bytes(const struct kafetzis_shape *shape, int32_t step)
{
    return (double)step * shape->hidden * shape->precision_bytes;
}

double kafetzis_layer_memory_bytes(const struct kafetzis_shape *shape, int32_t tokens)
{
    return shape->heads * kafetzis_memory_bytes(shape, KAFETZIS_HEAD, tokens) +
           kafetzis_memory_bytes(shape, KAFETZIS_PROJECTION, tokens) +
           kafetzis_memory_bytes(shape, KAFETZIS_FFN, tokens);
}

double kafetzis_layer_flop(const struct kafetzis_shape *shape, int32_t tokens)
{
    return shape->heads * kafetzis_flop(shape, KAFETZIS_HEAD, tokens) +
           kafetzis_flop(shape, KAFETZIS_PROJECTION, tokens) +
           kafetzis_flop(shape, KAFETZIS_FFN, tokens);
}
