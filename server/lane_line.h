/* lane_line.h - what a client asks of the lane, a JSON object a line:
 *
 *   {"lane": 1, "open": "inputs", "size_bytes": 67108864, "token": "NAME.SECRET"}
 *   {"lane": 1, "close": "r_..."}
 *   {"lane": 1, "hold": "t_..."}      and later "release"
 *
 * open is "inputs" or "results"; token where the service wants one. A tensor that is held keeps its
 * bytes, whatever becomes of its name. Pure; any thread.
 */
#ifndef TUTTI_SERVER_LANE_LINE_H
#define TUTTI_SERVER_LANE_LINE_H

#include "server/region.h"
#include "server/tensor.h"
#include "server/text.h"
#include "server/tokens.h"

#define LANE_VERSION 1

enum lane_verb { LANE_open, LANE_close, LANE_hold, LANE_release };

struct lane_line {
    enum lane_verb verb;
    enum region_kind kind; /* open's, as is size_bytes */
    uint64_t size_bytes;
    struct id id;                     /* of a region, or a tensor; all others' */
    char token[TOKEN_TEXT_BYTES + 1]; /* "": none */
};

/* Returns 0, or -1 with ERR_bad_json, ERR_bad_parameter, ERR_missing_parameter,
 * ERR_unknown_parameter, ERR_region_unknown or ERR_tensor_unknown. */
int lane_line_read(const char *text, size_t len, struct lane_line *out, struct err *e);

/* The answers, with their line ends; that of a region goes with its descriptor. */
void lane_line_opened(struct text *out, const struct region *r);
void lane_line_held(struct text *out, const struct tensor *t); /* which lies in a region */
void lane_line_over(struct text *out);                         /* closed, or released */
void lane_line_refused(struct text *out, const struct err *e); /* a problem document */

#endif
