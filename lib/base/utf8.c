/* utf8.c - see utf8.h. The ranges are those of Unicode 15, table 3-7. */
#include "lib/base/utf8.h"

size_t utf8_length(const char *text, size_t count)
{
    unsigned char first = (unsigned char)text[0];
    size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    unsigned char low = 0x80, high = 0xbf; /* of the second byte; the others have the full range */

    if (length <= 1)
        return length;
    if (first > 0xf4 || length > count)
        return 0;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < length; i++, low = 0x80, high = 0xbf) {
        unsigned char byte = (unsigned char)text[i];

        if (byte < low || byte > high)
            return 0;
    }
    return length;
}
