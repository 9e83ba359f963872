/* frame.c - packs and unpacks the 72-byte frame header byte by byte.
 *
 * Layout: lib/wire/README.md. Every field is checked before a caller sees it, so that a stray or
 * hostile peer can cause an error and nothing else. */
#include "lib/wire/frame.h"

#include "lib/base/err.h"
#include "lib/base/hash.h"
#include <assert.h>
#include <inttypes.h>
#include <string.h>

static const unsigned char magic[4] = { 'O', 'R', 'R', 'Y' };

enum offset { /* of each field in the header */
              AT_MAGIC = 0,
              AT_VERSION = 4,
              AT_TYPE = 5,
              AT_ENTRIES = 6,
              AT_REQUEST = 8,
              AT_STAGE = 16,
              AT_STEP = 20,
              AT_NEW = 24,
              AT_PAST = 28,
              AT_TOTAL = 32,
              AT_PAYLOAD = 36,
              AT_START = 40,
              AT_FINISH = 48,
              AT_WAY = 56,
              AT_CHECKSUM = 64,
};

static void put_bits(unsigned char *to, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        to[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get_bits(const unsigned char *from, int bytes)
{
    uint64_t value = 0;

    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

static void put_int32(unsigned char *to, int32_t value)
{
    put_bits(to, (uint32_t)value, 4);
}

static int32_t get_int32(const unsigned char *from)
{
    return (int32_t)(uint32_t)get_bits(from, 4);
}

void frame_put_int64(unsigned char to[8], int64_t value)
{
    put_bits(to, (uint64_t)value, 8);
}

int64_t frame_get_int64(const unsigned char from[8])
{
    return (int64_t)get_bits(from, 8);
}

int64_t frame_generation(const struct frame *frame)
{
    int64_t number =
        frame->type == FRAME_PART ? frame->finish_ns / FRAME_GENERATION_PASSES : frame->finish_ns;

    return number < FRAME_MAX_GENERATION ? number : FRAME_MAX_GENERATION;
}

static uint64_t checksum(const unsigned char *header)
{
    return hash_bytes(HASH_START, header, AT_CHECKSUM);
}

void frame_pack(const struct frame *frame, unsigned char header[FRAME_HEADER_BYTES])
{
    memcpy(header + AT_MAGIC, magic, sizeof magic);
    header[AT_VERSION] = FRAME_VERSION;
    header[AT_TYPE] = (unsigned char)frame->type;
    assert(frame->entries >= 0 && frame->entries <= FRAME_MAX_ENTRIES);
    put_bits(header + AT_ENTRIES, (uint64_t)frame->entries, 2);
    frame_put_int64(header + AT_REQUEST, frame->request);
    put_int32(header + AT_STAGE, frame->stage);
    put_int32(header + AT_STEP, frame->step);
    put_int32(header + AT_NEW, frame->new_tokens);
    put_int32(header + AT_PAST, frame->past_tokens);
    put_int32(header + AT_TOTAL, frame->total_tokens);
    put_bits(header + AT_PAYLOAD, (uint64_t)frame->payload_bytes, 4);
    frame_put_int64(header + AT_START, frame->start_ns);
    frame_put_int64(header + AT_FINISH, frame->finish_ns);
    frame_put_int64(header + AT_WAY, frame->way);
    put_bits(header + AT_CHECKSUM, checksum(header), 8);
}

static bool within(const char *field, int64_t value, int64_t max, struct err *err)
{
    if (value >= 0 && value <= max)
        return true;
    return err_set(err, ERR_INPUT, "frame: %s is %" PRId64 ": expected 0 to %" PRId64, field, value,
                   max);
}

static bool check_envelope(const unsigned char *header, size_t size_bytes, struct err *err)
{
    if (size_bytes != FRAME_HEADER_BYTES)
        return err_set(err, ERR_INPUT, "frame: %zu bytes: expected a header of %d", size_bytes,
                       FRAME_HEADER_BYTES);
    if (memcmp(header + AT_MAGIC, magic, sizeof magic) != 0)
        return err_set(err, ERR_INPUT, "frame: bad magic number: not an Orrery frame");
    if (header[AT_VERSION] != FRAME_VERSION)
        return err_set(err, ERR_INPUT, "frame: version is %d: expected %d", header[AT_VERSION],
                       FRAME_VERSION);
    if (get_bits(header + AT_CHECKSUM, 8) != checksum(header))
        return err_set(err, ERR_INPUT, "frame: the checksum of the header is wrong");
    if (header[AT_TYPE] < FRAME_HELLO || header[AT_TYPE] >= FRAME_TYPE_END)
        return err_set(err, ERR_INPUT, "frame: type is %d: expected %d to %d", header[AT_TYPE],
                       FRAME_HELLO, FRAME_TYPE_END - 1);
    return true;
}

bool frame_unpack(const unsigned char *header, size_t size_bytes, struct frame *frame,
                  struct err *err)
{
    if (!check_envelope(header, size_bytes, err))
        return false;
    *frame = (struct frame){
        .type = (enum frame_type)header[AT_TYPE],
        .request = frame_get_int64(header + AT_REQUEST),
        .stage = get_int32(header + AT_STAGE),
        .step = get_int32(header + AT_STEP),
        .new_tokens = get_int32(header + AT_NEW),
        .past_tokens = get_int32(header + AT_PAST),
        .total_tokens = get_int32(header + AT_TOTAL),
        .entries = (int32_t)get_bits(header + AT_ENTRIES, 2),
        .payload_bytes = (int64_t)get_bits(header + AT_PAYLOAD, 4),
        .start_ns = frame_get_int64(header + AT_START),
        .finish_ns = frame_get_int64(header + AT_FINISH),
        .way = frame_get_int64(header + AT_WAY),
    };
    return within("request", frame->request, INT64_MAX, err) &&
           within("stage", frame->stage, FRAME_MAX_STAGE, err) &&
           within("step", frame->step, INT32_MAX, err) &&
           within("new_tokens", frame->new_tokens, FRAME_MAX_TOKENS, err) &&
           within("past_tokens", frame->past_tokens, FRAME_MAX_TOKENS, err) &&
           within("total_tokens", frame->total_tokens, FRAME_MAX_TOKENS, err) &&
           within("payload_bytes", frame->payload_bytes, FRAME_MAX_PAYLOAD_BYTES, err) &&
           within("start_ns", frame->start_ns, FRAME_MAX_STAMP_NS, err) &&
           within("finish_ns", frame->finish_ns, FRAME_MAX_STAMP_NS, err) &&
           within("way", frame->way, INT64_MAX, err);
}

/* 32-bit words, low half first: they travel as all others do. */
void frame_put_entry(int32_t words[FRAME_ENTRY_WORDS], const struct frame_entry *entry)
{
    words[0] = (int32_t)(uint32_t)((uint64_t)entry->request & UINT32_MAX);
    words[1] = (int32_t)(uint32_t)((uint64_t)entry->request >> 32);
    words[2] = entry->tokens;
    words[3] = entry->past_tokens;
    words[4] = entry->total_tokens;
    words[5] = 0;
}

void frame_get_entry(const int32_t words[FRAME_ENTRY_WORDS], struct frame_entry *entry)
{
    *entry = (struct frame_entry){
        .request = (int64_t)((uint64_t)(uint32_t)words[0] | (uint64_t)(uint32_t)words[1] << 32),
        .tokens = words[2],
        .past_tokens = words[3],
        .total_tokens = words[4],
    };
}

bool frame_check_payload(const struct frame *frame, size_t got_bytes, int64_t max_bytes,
                         struct err *err)
{
    if (frame->payload_bytes > max_bytes)
        return err_set(err, ERR_INPUT,
                       "frame: a payload of %" PRId64 " bytes: expected at most %" PRId64,
                       frame->payload_bytes, max_bytes);
    return (uint64_t)frame->payload_bytes == got_bytes ||
           err_set(err, ERR_INPUT, "frame: %zu bytes of payload came: the header says %" PRId64,
                   got_bytes, frame->payload_bytes);
}

/* Copies, or swaps the bytes of each word where the host is big-endian. */
static void copy_words(unsigned char *to, const unsigned char *from, size_t count)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (count > 0) /* of none there may be no place either */
        memcpy(to, from, count * 4);
#else
    for (size_t i = 0; i < count * 4; i += 4)
        for (size_t byte = 0; byte < 4; byte++)
            to[i + byte] = from[i + 3 - byte];
#endif
}

void frame_put_piece(int32_t words[FRAME_PIECE_WORDS], const struct frame_piece *piece)
{
    const int32_t fields[FRAME_PIECE_WORDS] = {
        piece->from_stage,
        piece->from_worker,
        piece->layer_first,
        piece->layer_count,
        piece->head_first,
        piece->head_count,
        piece->is_last,
        0,
        (int32_t)(uint32_t)((uint64_t)piece->message_bytes & UINT32_MAX),
        (int32_t)(uint32_t)((uint64_t)piece->message_bytes >> 32)
    };

    memcpy(words, fields, sizeof fields);
}

void frame_get_piece(const int32_t words[FRAME_PIECE_WORDS], struct frame_piece *piece)
{
    *piece = (struct frame_piece){ .from_stage = words[0],
                                   .from_worker = words[1],
                                   .layer_first = words[2],
                                   .layer_count = words[3],
                                   .head_first = words[4],
                                   .head_count = words[5],
                                   .is_last = words[6] != 0,
                                   .message_bytes = (int64_t)((uint64_t)(uint32_t)words[9] << 32 |
                                                              (uint64_t)(uint32_t)words[8]) };
}

void frame_put_words(unsigned char *to, const void *words, size_t count)
{
    copy_words(to, words, count);
}

void frame_get_words(void *words, const unsigned char *from, size_t count)
{
    copy_words(words, from, count);
}
