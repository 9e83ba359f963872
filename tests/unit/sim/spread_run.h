/* spread_run.h - a small trace, written out, and runs of it. */
#ifndef ORRERY_TESTS_UNIT_SIM_SPREAD_RUN_H
#define ORRERY_TESTS_UNIT_SIM_SPREAD_RUN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/units.h"
#include "lib/format/ops.h"
#include "sim/ops/spread.h"
#include "tests/unit/scratch.h"

#define OPS_HEAD                                                                                   \
    "op_id,op_name,stage,tp_split,busy_us,act_in_bytes,weight_bytes,out_bytes,in_ids,out_ids,"     \
    "in_shapes,out_shapes\n"

/* Two linear layers with a relu between, batch 4, and Adam: 24 us forward, 42 back, 10 to optimize.
 * Weights are 2 (16 bytes) and 5 (24), their gradients 12 and 9; 13 and 14 are the optimizer's. 7
 * is the gradient of the loss, that nobody made. */
#define OPS_SMALL                                                                                  \
    OPS_HEAD                                                                                       \
    "1,linear,forward,1,8,32,16,32,1 2,3,\"[4,2] [2,2]\",\"[4,2]\"\n"                              \
    "2,relu,forward,0,4,32,0,32,3,4,\"[4,2]\",\"[4,2]\"\n"                                         \
    "3,linear,forward,1,12,32,24,48,4 5,6,\"[4,2] [3,2]\",\"[4,3]\"\n"                             \
    "4,back,backward,1,20,80,24,56,7 4 5,8 9,\"[4,3] [4,2] [3,2]\",\"[4,2] [3,2]\"\n"              \
    "5,relu_back,backward,0,6,64,0,32,8 3,11,\"[4,2] [4,2]\",\"[4,2]\"\n"                          \
    "6,back,backward,1,16,64,0,16,11 1,12,\"[4,2] [4,2]\",\"[2,2]\"\n"                             \
    "7,adam,optimizer,0,10,80,40,0,2 5 9 12 13 14,,"                                               \
    "\"[2,2] [3,2] [3,2] [2,2] [2,2] [3,2]\",\n"

static struct spread_options options; /* of the next run */
static struct spread_result answer;   /* of the last one */

/* Options of a run on N devices over links of a byte a microsecond. */
static inline void ask(enum spread_parallel parallel, int32_t devices)
{
    options = spread_defaults();
    options.parallel = parallel;
    options.devices = devices;
    options.link_bytes_per_s = 1000000;
    /* Nothing is waited for. */
    options.remote_bytes_per_s = SPREAD_MAX_BYTES_PER_S;
}

static inline bool spread_try(struct scratch *scratch, const char *text)
{
    const struct ops *ops =
        ops_load(scratch->arena, scratch_write(scratch, "o.csv", text), scratch_err(scratch));

    if (!ops)
        fail_msg("%s", scratch->err.text);
    return spread_run(scratch->arena, ops, &options, &answer, &scratch->err);
}

static inline void spread(struct scratch *scratch, const char *text)
{
    if (!spread_try(scratch, text))
        fail_msg("%s", scratch->err.text);
}

static inline void spread_fails(struct scratch *scratch, const char *text, const char *message)
{
    assert_false(spread_try(scratch, text));
    if (!strstr(scratch_message(scratch), message))
        fail_msg("'%s' is not in: %s", message, scratch_message(scratch));
}

#define assert_us(time_ps, us) assert_int_equal(time_ps, (int64_t)(us)*UNITS_PS_PER_US)

#endif
