/* wrap.h - text for people in lines of at most 80 columns. */
#ifndef ORRERY_PROFILER_WRAP_H
#define ORRERY_PROFILER_WRAP_H

struct arena;
struct out;

#define WRAP_COLUMNS 80

/* Words of the text up to column 80, further lines indented; ends the last line. column is where
 * the line stands already. A word longer than a line stands alone and uncut: it may be a path. */
void wrap_put(struct out *out, int column, int indent, const char *text);
/* The text with every word of more than `longest` bytes cut to end in "...". */
const char *wrap_cut(struct arena *arena, const char *text, int longest);

#endif
