#ifndef TMP_STREAM_H
#define TMP_STREAM_H
#include <stdbool.h>
struct stream; struct workload_request;
static inline bool stream_next(struct stream *stream, struct workload_request *request) { (void)stream; (void)request; return false; }
#endif
