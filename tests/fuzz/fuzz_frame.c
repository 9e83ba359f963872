/* fuzz_frame.c - frames of the wire: what unpacks is sane, and packs to the same bytes again. */
#include "lib/base/err.h"
#include "lib/wire/frame.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    struct err err = ERR_INIT;
    struct frame frame;

    if (frame_unpack(bytes, count, &frame, &err)) {
        unsigned char header[FRAME_HEADER_BYTES];

        assert(frame.payload_bytes >= 0 && frame.payload_bytes <= FRAME_MAX_PAYLOAD_BYTES);
        frame_pack(&frame, header);
        assert(memcmp(header, bytes, FRAME_HEADER_BYTES) == 0);
    } else {
        assert(err.kind != ERR_NONE);
    }
    return 0;
}
