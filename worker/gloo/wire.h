/* wire.h - gloo as its C callers see it: connections between the ranks of one communicator, and
 * parcels of bytes over them.
 *
 * A wire belongs to one thread, its communicator's, but for wire_stop. Its memory is the caller's:
 * a parcel's bytes stay where they are, and are not written (sent) or read (received), until it was
 * waited for or the wire is freed. Bytes move while this thread sends or waits, of whatever
 * parcel; nobody else carries them meanwhile.
 */
#ifndef TUTTI_WORKER_GLOO_WIRE_H
#define TUTTI_WORKER_GLOO_WIRE_H

#include "schema/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_ADDRESS_BYTES 18 /* of one rank: an address, or 16 zeros of it, and no port */
#define WIRE_PORT_BYTES 2

struct wire_device; /* a network address of this host, and the thread that reads and writes */
struct wire;
struct parcel;

/* address: numeric, or a name that this host can bind. Main thread. Returns 0, or -1 with
 * ERR_worker_failed. */
int wire_device_open(struct wire_device **out, const char *address, struct err *e);
void wire_device_close(struct wire_device *d); /* after all of its wires */

/* A wire of n ranks, this one `rank`, which listens for each r with peer[r]. Returns 0, or -1 with
 * e. */
int wire_new(struct wire **out, struct wire_device *d, uint32_t n, uint32_t rank, const bool *peer,
             struct err *e);

/* What a peer must know to connect: the address, and the port that waits for it. */
void wire_address(const struct wire *w, uint8_t to[WIRE_ADDRESS_BYTES]);
void wire_port(const struct wire *w, uint32_t peer, uint8_t to[WIRE_PORT_BYTES]);

/* Connects to a peer, which does the same. Blocks for at most some WIRE_CONNECT_MS. */
#define WIRE_CONNECT_MS 30000
int wire_connect(struct wire *w, uint32_t peer, const uint8_t address[WIRE_ADDRESS_BYTES],
                 const uint8_t port[WIRE_PORT_BYTES], struct err *e);

/* A parcel on its way, to be waited for; slot names it between these two ranks, once at a time.
 * NULL with e: that connection is broken. */
struct parcel *wire_send(struct wire *w, uint32_t peer, uint64_t slot, const uint8_t *from,
                         size_t n, struct err *e);
struct parcel *wire_recv(struct wire *w, uint32_t peer, uint64_t slot, uint8_t *to, size_t n,
                         struct err *e);

/* Until it has come, or has left this process; frees it. Returns 0, or -1 with e: the wire is of no
 * use any more. */
int wire_wait(struct wire *w, struct parcel *p, uint32_t timeout_ms, struct err *e);

/* Ends whatever waits, now and later, and closes the connections: the peers hear of it, and after
 * it returns nothing is written to a parcel's bytes. Any thread, more than once. */
void wire_stop(struct wire *w);

/* Closes the connections, then forgets the parcels. */
void wire_free(struct wire *w);

#endif
