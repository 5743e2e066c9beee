// gloo.cc - gloo's TCP transport, as drive.h has it, behind wire.h: nobody else knows gloo.
//
// Of gloo this uses devices, pairs and unbound buffers, whose every receive is announced to the
// sender: no byte is sent before there is room for it. The collectives are plan.c's, since gloo's
// own sum in an order of their own, and know neither of our 16-bit floats nor of ranks that share
// memory. No exception leaves this file.
extern "C" {
#include "worker/gloo/wire.h"
}

#include "worker/gloo/drive.h"

#include <gloo/common/error.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <list>
#include <memory>
#include <netinet/in.h>
#include <sched.h>
#include <vector>

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::chrono::microseconds LOOKS{200}; // for so long, at the begin of a wait

struct wire_device {
    std::shared_ptr<drive::tcp::Device> gloo;
};

struct parcel {
    std::unique_ptr<drive::Buffer> buffer;
    uint32_t peer;
    bool sent;
    std::list<parcel>::iterator self;
};

struct wire {
    std::shared_ptr<drive::Context> context;
    uint32_t n;
    std::list<parcel> parcels;    // not waited for yet; they outlive the connections
    std::vector<uint32_t> unsaid; // peers that were not told yet what may be sent
    std::atomic<bool> stopped{false};
};

namespace
{

// gloo's errors begin with a place in its source, which is no news to anybody.
const char *words(const std::exception &x)
{
    const char *what = x.what(), *end = *what == '[' ? std::strstr(what, "] ") : nullptr;

    return end ? end + 2 : what;
}

int failed(struct err *e, const char *doing, uint32_t peer, const std::exception &x)
{
    err_set(e, ERR_worker_failed, "%s rank %u: %.300s", doing, peer, words(x));
    err_rank(e, peer);
    return -1;
}

int stopped(struct err *e)
{
    return err_set(e, ERR_aborted, "stopped");
}

// The address as gloo takes it: a sockaddr_storage, and a number that this transport does not use.
constexpr size_t GLOO_ADDRESS_BYTES = sizeof(sockaddr_storage) + sizeof(ssize_t);

std::vector<char> to_gloo(const uint8_t *address, const uint8_t *port)
{
    std::vector<char> out(GLOO_ADDRESS_BYTES, 0);
    ssize_t unused = -1;
    sockaddr_storage ss = {};
    uint16_t family;

    std::memcpy(&family, address, sizeof family);
    ss.ss_family = family;
    if (family == AF_INET6) {
        auto *in6 = reinterpret_cast<sockaddr_in6 *>(&ss);

        std::memcpy(&in6->sin6_addr, address + 2, sizeof in6->sin6_addr);
        std::memcpy(&in6->sin6_port, port, sizeof in6->sin6_port);
    } else {
        auto *in4 = reinterpret_cast<sockaddr_in *>(&ss);

        std::memcpy(&in4->sin_addr, address + 2, sizeof in4->sin_addr);
        std::memcpy(&in4->sin_port, port, sizeof in4->sin_port);
    }
    std::memcpy(out.data(), &ss, sizeof ss);
    std::memcpy(out.data() + sizeof ss, &unused, sizeof unused);
    return out;
}

sockaddr_storage from_gloo(const std::vector<char> &bytes)
{
    sockaddr_storage ss = {};

    std::memcpy(&ss, bytes.data(), bytes.size() < sizeof ss ? bytes.size() : sizeof ss);
    return ss;
}

sockaddr_storage address_of(const struct wire *w, uint32_t peer)
{
    return from_gloo(w->context->getPair(static_cast<int>(peer))->address().bytes());
}

// Every pair, once each: closing one that is closed does nothing.
void close_pairs(struct wire *w)
{
    for (uint32_t r = 0; r < w->n; r++) {
        auto &pair = w->context->getPair(static_cast<int>(r));

        if (!pair)
            continue;
        try {
            pair->close();
        } catch (const std::exception &) {
            // There is nothing left of it to be closed.
        }
    }
}

} // namespace

int wire_device_open(struct wire_device **out, const char *address, struct err *e)
{
    try {
        auto d = std::make_unique<wire_device>();

        d->gloo = std::dynamic_pointer_cast<drive::tcp::Device>(
            drive::tcp::CreateDevice(drive::tcp::attr(address)));
        *out = d.release();
        return 0;
    } catch (const std::exception &x) {
        return err_set(e, ERR_worker_failed, "gloo cannot use the address %.100s: %.300s", address,
                       words(x));
    }
}

void wire_device_close(struct wire_device *d)
{
    delete d;
}

int wire_new(struct wire **out, struct wire_device *d, uint32_t n, uint32_t rank, const bool *peer,
             struct err *e)
{
    try {
        auto w = std::make_unique<wire>();

        w->n = n;
        w->context = std::make_shared<drive::Context>(d->gloo, static_cast<int>(rank),
                                                      static_cast<int>(n));
        w->context->setTimeout(milliseconds(WIRE_CONNECT_MS / 5)); // gloo takes it five times
        for (uint32_t r = 0; r < n; r++) {
            if (peer[r])
                w->context->createPair(static_cast<int>(r));
        }
        *out = w.release();
        return 0;
    } catch (const std::exception &x) {
        return err_set(e, ERR_worker_failed, "gloo cannot listen: %.300s", words(x));
    }
}

void wire_address(const struct wire *w, uint8_t to[WIRE_ADDRESS_BYTES])
{
    std::memset(to, 0, WIRE_ADDRESS_BYTES);
    for (uint32_t r = 0; r < w->n; r++) {
        if (!w->context->getPair(static_cast<int>(r)))
            continue;
        sockaddr_storage ss = address_of(w, r);
        uint16_t family = ss.ss_family;

        std::memcpy(to, &family, sizeof family);
        if (family == AF_INET6)
            std::memcpy(to + 2, &reinterpret_cast<sockaddr_in6 *>(&ss)->sin6_addr, 16);
        else
            std::memcpy(to + 2, &reinterpret_cast<sockaddr_in *>(&ss)->sin_addr, 4);
        return;
    }
}

void wire_port(const struct wire *w, uint32_t peer, uint8_t to[WIRE_PORT_BYTES])
{
    sockaddr_storage ss = address_of(w, peer);

    // Both families keep it in the same place.
    std::memcpy(to, &reinterpret_cast<sockaddr_in *>(&ss)->sin_port, WIRE_PORT_BYTES);
}

int wire_connect(struct wire *w, uint32_t peer, const uint8_t address[WIRE_ADDRESS_BYTES],
                 const uint8_t port[WIRE_PORT_BYTES], struct err *e)
{
    try {
        drive::Pair &pair = w->context->pair(static_cast<int>(peer));

        if (w->stopped)
            return stopped(e);
        pair.connect(to_gloo(address, port));
        pair.take();
        return w->stopped ? stopped(e) : 0;
    } catch (const std::exception &x) {
        return w->stopped ? stopped(e) : failed(e, "no connection to", peer, x);
    }
}

// One of either way. What is to be received is only told the peer when something is waited for, or
// sent to it.
static struct parcel *post(struct wire *w, uint32_t peer, uint64_t slot, void *at, size_t n,
                           bool send, struct err *e)
{
    try {
        parcel &p = w->parcels.emplace_back();

        p.self = std::prev(w->parcels.end());
        p.peer = peer;
        p.sent = send;
        p.buffer = std::make_unique<drive::Buffer>(w->context, at, n);
        if (send) {
            w->context->poll.progress(0); // it may have been told meanwhile that it may
            p.buffer->send(static_cast<int>(peer), slot, 0, n);
            w->context->pair(static_cast<int>(peer)).flush();
        } else {
            p.buffer->recv(static_cast<int>(peer), slot, 0, n);
            if (w->unsaid.empty() || w->unsaid.back() != peer)
                w->unsaid.push_back(peer);
        }
        return &p;
    } catch (const std::exception &x) {
        if (w->stopped)
            stopped(e);
        else
            failed(e, send ? "cannot send to" : "cannot receive from", peer, x);
        return nullptr;
    }
}

struct parcel *wire_send(struct wire *w, uint32_t peer, uint64_t slot, const uint8_t *from,
                         size_t n, struct err *e)
{
    return post(w, peer, slot, const_cast<uint8_t *>(from), n, true, e); // it is only read
}

struct parcel *wire_recv(struct wire *w, uint32_t peer, uint64_t slot, uint8_t *to, size_t n,
                         struct err *e)
{
    return post(w, peer, slot, to, n, false, e);
}

static bool done(const struct parcel *p)
{
    return p->sent ? p->buffer->sent() : p->buffer->received();
}

// Whatever is to be done meanwhile is done here. Looks before it sleeps: to be woken takes longer
// than most chunks do. false: stopped.
static bool wait_for(struct wire *w, struct parcel *p, uint32_t timeout_ms)
{
    steady_clock::time_point begun = steady_clock::now();
    drive::Pair &pair = w->context->pair(static_cast<int>(p->peer));

    for (uint32_t peer : w->unsaid)
        w->context->pair(static_cast<int>(peer)).flush();
    w->unsaid.clear();
    while (!w->stopped && !done(p)) {
        auto waited = steady_clock::now() - begun;

        pair.check();
        if (waited < LOOKS) {
            w->context->poll.progress(0);
            sched_yield();
            continue;
        }
        auto left = std::chrono::ceil<milliseconds>(milliseconds(timeout_ms) - waited).count();
        if (left <= 0)
            GLOO_THROW_IO_EXCEPTION("timed out: nothing for ", timeout_ms, " ms");
        w->context->poll.progress(static_cast<int>(left));
    }
    return !w->stopped;
}

int wire_wait(struct wire *w, struct parcel *p, uint32_t timeout_ms, struct err *e)
{
    uint32_t peer = p->peer;
    bool sent = p->sent;

    try {
        if (!wait_for(w, p, timeout_ms))
            return stopped(e);
        w->parcels.erase(p->self);
        return 0;
    } catch (const std::exception &x) {
        return w->stopped ? stopped(e) : failed(e, sent ? "sending to" : "receiving from", peer, x);
    }
}

void wire_stop(struct wire *w)
{
    w->stopped = true;
    w->context->poll.wake();
    close_pairs(w);
}

void wire_free(struct wire *w)
{
    if (!w)
        return;
    close_pairs(w);
    w->parcels.clear();
    delete w;
}
