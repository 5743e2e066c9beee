// drive.h - gloo's TCP connections, read and written by the thread that waits for them.
//
// gloo has a thread of its own read and write, and wake whoever waits: two wake-ups a chunk, which
// at 1 MiB cost more than the chunk's way does. Here it only connects. From take() on the thread
// that calls progress() does all that there is to do, until the connection is closed.
//
// These are gloo's classes, extended as its own TLS transport extends them; what goes over the wire
// is gloo's. One thread, but for wake() and gloo's close(). They throw as gloo does.
#ifndef TUTTI_WORKER_GLOO_DRIVE_H
#define TUTTI_WORKER_GLOO_DRIVE_H

#include <gloo/transport/tcp/context.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/tcp/pair.h>
#include <gloo/transport/tcp/unbound_buffer.h>

#include <deque>
#include <memory>
#include <vector>

namespace drive
{

namespace tcp = gloo::transport::tcp;

class Buffer : public tcp::UnboundBuffer
{
  public:
    using tcp::UnboundBuffer::UnboundBuffer;

    // Has it come, has it gone? Throws why it never will.
    bool received();
    bool sent();
};

class Poll;

class Pair : public tcp::Pair
{
  public:
    Pair(tcp::Context *context, tcp::Device *device, int rank, std::chrono::milliseconds timeout,
         Poll &poll);

    void take();     // when it is connected
    void flush();    // sends what is to be sent, as far as the socket takes it
    void progress(); // and receives what has come
    void check();    // throws what has broken it

  protected:
    bool write(tcp::Op &op) override;
    void handleReadWrite(int events) override;

  private:
    bool send_some(); // false: no room
    void send_all();

    Poll &poll_;
    bool taken_ = false, full_ = false; // full_: the socket is, and is watched for room
    std::deque<tcp::Op> out_;
};

// The sockets of a wire, and a way to be woken.
class Poll
{
  public:
    Poll();
    ~Poll();
    Poll(const Poll &) = delete;
    Poll &operator=(const Poll &) = delete;

    void add(int fd, Pair *pair);
    void want(int fd, Pair *pair, bool room);
    // Waits for at most so long, and has those pairs progress for which there is something.
    void progress(int timeout_ms);
    void wake();

  private:
    int epoll_, event_;
};

class Context : public tcp::Context
{
  public:
    using tcp::Context::Context;
    ~Context() override;

    std::unique_ptr<gloo::transport::Pair> &createPair(int peer) override;
    Pair &pair(int peer);

    Poll poll;
};

} // namespace drive

#endif
