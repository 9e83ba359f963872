/* fuzz_frame.c - messages as they come off the wire: a header that unpacks is sane and packs to the
 * same bytes, a payload of another length is refused, and texts of the start of a run are read by
 * their decoders, whatever the checksum of the header says of it. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/wire/frame.h"
#include "runner/setup/setup.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>
#include <string.h>

#define TYPE_AT 5 /* of a header */

static void read_header(const uint8_t *bytes, size_t count)
{
    size_t header_bytes = count < FRAME_HEADER_BYTES ? count : FRAME_HEADER_BYTES;
    struct err err = ERR_INIT, payload = ERR_INIT;
    unsigned char header[FRAME_HEADER_BYTES];
    struct frame frame;

    if (!frame_unpack(bytes, header_bytes, &frame, &err)) {
        assert(err.kind != ERR_NONE);
        return;
    }
    assert(frame.payload_bytes >= 0 && frame.payload_bytes <= FRAME_MAX_PAYLOAD_BYTES);
    assert(frame.start_ns >= 0 && frame.start_ns <= FRAME_MAX_STAMP_NS);
    assert(frame.finish_ns >= 0 && frame.finish_ns <= FRAME_MAX_STAMP_NS);
    frame_pack(&frame, header);
    assert(memcmp(header, bytes, FRAME_HEADER_BYTES) == 0);
    if (frame_check_payload(&frame, count - FRAME_HEADER_BYTES, 4096, &payload))
        assert((size_t)frame.payload_bytes == count - FRAME_HEADER_BYTES &&
               count <= 4096 + FRAME_HEADER_BYTES);
    else
        assert(payload.kind != ERR_NONE);
}

/* What a piece of a KV cache says of itself, whatever it says. */
static void read_piece(const uint8_t *bytes, size_t count)
{
    int32_t words[FRAME_PIECE_WORDS];
    struct frame_piece piece, again;

    if (count < 4 * FRAME_PIECE_WORDS)
        return;
    frame_get_words(words, bytes, FRAME_PIECE_WORDS);
    frame_get_piece(words, &piece);
    frame_put_piece(words, &piece);
    frame_get_piece(words, &again);
    assert(again.layer_first == piece.layer_first && again.layer_count == piece.layer_count &&
           again.head_first == piece.head_first && again.head_count == piece.head_count &&
           again.message_bytes == piece.message_bytes && again.is_last == piece.is_last);
}

static bool decode(struct arena *arena, int type, const uint8_t *text, size_t count,
                   struct err *err)
{
    struct setup_answer answer;
    struct setup_ready ready;
    struct setup_peer *peers;
    const char *device, *placement;
    int64_t number;
    int peer_count;

    switch (type) {
    case FRAME_HELLO:
        return setup_decode_hello(arena, text, count, &device, &number, err);
    case FRAME_READY:
        return setup_decode_ready(arena, text, count, &ready, err);
    case FRAME_PEERS:
        return setup_decode_peers(arena, text, count, &peers, &peer_count, err);
    case FRAME_UPDATE:
        return setup_decode_update(arena, text, count, &device, &placement, err);
    case FRAME_UP: /* no text of its own: stands for the answers */
        return setup_decode_answer(arena, text, count, &answer, err);
    default:
        return setup_decode(arena, text, count, err) != NULL;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;

    read_header(bytes, count);
    if (count > FRAME_HEADER_BYTES)
        read_piece(bytes + FRAME_HEADER_BYTES, count - FRAME_HEADER_BYTES);
    if (count > FRAME_HEADER_BYTES && !decode(arena, bytes[TYPE_AT], bytes + FRAME_HEADER_BYTES,
                                              count - FRAME_HEADER_BYTES, &err))
        assert(err.kind != ERR_NONE);
    arena_destroy(arena);
    return 0;
}
