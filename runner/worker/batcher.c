/* batcher.c - the queue of one stage 0 whose requests leave in fixed batches. */
#include "runner/worker/batcher.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/policy/batch.h"
#include "runner/setup/setup.h"

struct waiting {
    int32_t job;
    int64_t request, receive_ns;
};

struct member { /* of a batch that is under way */
    int64_t batch, request;
    int64_t free_after; /* jobs that have come; -1 = it has not ended */
    int64_t free_ns;    /* at the latest; 0 = nobody has looked yet */
};

struct batcher {
    struct arena *arena;
    struct batch_options options;
    const int32_t *sizes;
    int32_t limit;
    struct waiting *waiting; /* oldest first */
    int64_t count, room;
    struct member *members; /* where there is a limit */
    int64_t member_count, member_room;
    struct batch_decision decision;
    int64_t taken, next_batch, come;
    int64_t
        base_ns; /* a clock that has run for months counts more than the policy's picoseconds do */
    int32_t *words;
};

struct batcher *batcher_create(struct arena *arena, const struct setup_stage *stage,
                               int32_t max_tokens)
{
    struct batcher *batcher = arena_alloc(arena, sizeof *batcher);
    int32_t *sizes = arena_array(arena, (size_t)stage->batch_size, sizeof *sizes);

    for (int32_t i = 0; i < stage->batch_size; i++) /* a model computes any number at once */
        sizes[i] = i + 1;
    batcher->arena = arena;
    batcher->options = (struct batch_options){ .kind = BATCH_FIXED,
                                               .max_size = stage->batch_size,
                                               .wait_ps = stage->batch_wait_ps };
    batcher->sizes = sizes;
    batcher->limit = stage->batch_limit;
    batcher->words = arena_array(
        arena, (size_t)FRAME_ENTRY_WORDS * (size_t)stage->batch_size + (size_t)max_tokens,
        sizeof *batcher->words);
    return batcher;
}

int32_t *batcher_words(struct batcher *batcher)
{
    return batcher->words;
}

void batcher_push(struct batcher *batcher, int32_t job, int64_t request, int64_t receive_ns)
{
    if (batcher->base_ns == 0)
        batcher->base_ns = receive_ns;
    batcher->come++;
    if (batcher->count == batcher->room) {
        int64_t room = batcher->room > 0 ? 2 * batcher->room : 64;

        batcher->waiting = arena_grow(batcher->arena, batcher->waiting, (size_t)batcher->room,
                                      (size_t)room, sizeof *batcher->waiting);
        batcher->room = room;
    }
    batcher->waiting[batcher->count++] = (struct waiting){ job, request, receive_ns };
}

/* Nobody has an objective here: when it would be done is not asked. */
static int64_t finish_ps(void *arg, int32_t size)
{
    (void)arg;
    (void)size;
    return 0;
}

/* Those that have ended, and behind which all has come. *until_ns is brought forward to when others
 * count as such. */
static void drop_ended(struct batcher *batcher, int64_t now_ns, int64_t *until_ns)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < batcher->member_count; i++) {
        struct member member = batcher->members[i];

        if (member.free_after >= 0 && member.free_ns == 0)
            member.free_ns = now_ns + BATCHER_LATE_NS;
        if (member.free_after >= 0 &&
            (batcher->come >= member.free_after || now_ns >= member.free_ns))
            continue;
        if (member.free_after >= 0 && member.free_ns < *until_ns)
            *until_ns = member.free_ns;
        batcher->members[kept++] = member;
    }
    batcher->member_count = kept;
}

/* Batches that have a request which has not ended. */
static int32_t under_way(const struct batcher *batcher)
{
    int32_t count = 0;

    for (int64_t i = 0; i < batcher->member_count; i++) /* those of a batch follow each other */
        count += i == 0 || batcher->members[i].batch != batcher->members[i - 1].batch;
    return count;
}

int64_t batcher_head_ns(struct batcher *batcher, int64_t now_ns, int64_t *until_ns)
{
    struct batch_ask ask = {
        .count = batcher->count,
        .items = batcher->count,
        .deadline_ps = BATCH_NEVER,
        .sizes = batcher->sizes,
        .size_count = batcher->options.max_size,
        .finish_ps = finish_ps,
    };

    *until_ns = BATCHER_NEVER_NS;
    drop_ended(batcher, now_ns, until_ns);
    if (batcher->count == 0 || (batcher->limit > 0 && under_way(batcher) >= batcher->limit))
        return BATCHER_NEVER_NS;
    ask.now_ps = (now_ns - batcher->base_ns) * UNITS_PS_PER_NS;
    ask.arrival_ps = (batcher->waiting[0].receive_ns - batcher->base_ns) * UNITS_PS_PER_NS;
    batcher->decision = batch_decide(&batcher->options, &ask);
    batcher->taken = 0;
    if (batcher->decision.action == BATCH_TAKE)
        return batcher->waiting[0].receive_ns;
    if (batcher->decision.until_ps < BATCH_NEVER)
        *until_ns = batcher->base_ns + batcher->decision.until_ps / UNITS_PS_PER_NS + 1;
    return BATCHER_NEVER_NS;
}

int64_t batcher_count(const struct batcher *batcher)
{
    return batcher->decision.count;
}

static void keep_member(struct batcher *batcher, int64_t request)
{
    if (batcher->limit == 0)
        return;
    if (batcher->member_count == batcher->member_room) {
        int64_t room = batcher->member_room > 0 ? 2 * batcher->member_room : 64;

        batcher->members =
            arena_grow(batcher->arena, batcher->members, (size_t)batcher->member_room, (size_t)room,
                       sizeof *batcher->members);
        batcher->member_room = room;
    }
    batcher->members[batcher->member_count++] =
        (struct member){ batcher->next_batch, request, -1, 0 };
}

int32_t batcher_take(struct batcher *batcher)
{
    const struct waiting *waiting = &batcher->waiting[batcher->taken++];

    keep_member(batcher, waiting->request);
    return waiting->job;
}

int64_t batcher_leave(struct batcher *batcher)
{
    batcher->count -= batcher->taken;
    for (int64_t i = 0; i < batcher->count; i++)
        batcher->waiting[i] = batcher->waiting[i + batcher->taken];
    batcher->taken = 0;
    return batcher->next_batch++;
}

int32_t batcher_release(struct batcher *batcher, int64_t request, int64_t sent_count)
{
    int32_t job = -1;
    int64_t kept = 0;

    for (int64_t i = 0; i < batcher->member_count; i++)
        if (batcher->members[i].request == request)
            batcher->members[i].free_after = sent_count;
    for (int64_t i = 0; i < batcher->count; i++) {
        if (batcher->waiting[i].request == request)
            job = batcher->waiting[i].job;
        else
            batcher->waiting[kept++] = batcher->waiting[i];
    }
    batcher->count = kept;
    return job;
}

void batcher_reset(struct batcher *batcher)
{
    batcher->count = batcher->taken = batcher->member_count = batcher->come = 0;
}

int32_t batcher_drop(struct batcher *batcher)
{
    return batcher->count > 0 ? batcher->waiting[--batcher->count].job : -1;
}
