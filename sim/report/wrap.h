/* wrap.h - a paragraph of a report on a terminal. */
#ifndef ORRERY_SIM_REPORT_WRAP_H
#define ORRERY_SIM_REPORT_WRAP_H

struct out;

/* Text behind `first`, wrapped at spaces to 80 columns; the lines that follow are indented to it.
 */
void wrap_text(struct out *out, const char *first, const char *text);

#endif
