/* wrap.h - a paragraph of a report on a terminal. */
#ifndef ORRERY_SIM_REPORT_WRAP_H
#define ORRERY_SIM_REPORT_WRAP_H

struct out;

/* Text behind `first`, wrapped at spaces to 80 columns; the lines that follow are indented to it.
 */
void wrap_text(struct out *out, const char *first, const char *text);

/* The same behind a label in a column of so many characters, 31 at most. */
void wrap_label(struct out *out, const char *label, int width, const char *text);

#endif
