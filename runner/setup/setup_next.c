/* setup_next.c - the copies of the stage that follows one, in the text of a setup. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/wire/frame.h"
#include "runner/setup/setup.h"
#include "runner/setup/setup_json.h"
#include <inttypes.h>

void setup_put_nexts(struct arena *arena, struct json_writer *json, const struct setup_stage *stage)
{
    json_begin_array(json, "nexts");
    for (int32_t i = 0; i < stage->next_count; i++) {
        json_begin_object(json, NULL);
        json_put_int(json, "stage", stage->nexts[i].stage);
        json_put_int(json, "worker", stage->nexts[i].worker);
        json_end_object(json);
    }
    json_end_array(json);
    /* as text: it may be above 2^53 */
    json_put_text(json, "next_divisor", arena_printf(arena, "%" PRId64, stage->next_divisor));
    json_put_int(json, "copy", stage->copy);
    json_put_bool(json, "asks", stage->asks);
}

bool setup_get_nexts(struct arena *arena, const struct json *object, struct setup_stage *stage,
                     struct err *err)
{
    const struct json *nexts;
    int count;

    if (!setup_get_array(object, "nexts", &nexts, &count, err) ||
        !setup_get_int64(object, "next_divisor", &stage->next_divisor, err) ||
        !setup_get_int(object, "copy", 0, SETUP_MAX_ITEMS, &stage->copy, err) ||
        !setup_get_bool(object, "asks", &stage->asks, err))
        return false;
    if ((count == 0) != stage->is_last || stage->next_divisor < 1)
        return err_set(err, ERR_INPUT, "setup: what follows stage %d is impossible", stage->id);
    stage->next_count = count;
    stage->nexts = arena_array(arena, (size_t)count + 1, sizeof *stage->nexts);
    for (int i = 0; i < count; i++)
        if (!setup_get_int(json_at(nexts, i), "stage", 0, FRAME_MAX_STAGE, &stage->nexts[i].stage,
                           err) ||
            !setup_get_int(json_at(nexts, i), "worker", 0, INT32_MAX, &stage->nexts[i].worker, err))
            return false;
    return true;
}

int setup_next_index(const struct setup_stage *stage, int64_t way)
{
    return stage->next_count > 1 ? (int)(way / stage->next_divisor % stage->next_count) : 0;
}
