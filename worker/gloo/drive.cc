// drive.cc - gloo's connections, read and written by the thread that waits for them.
#include "worker/gloo/drive.h"

#include <gloo/common/error.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace drive
{

constexpr size_t TOGETHER = 16; // messages in one call

bool Buffer::received()
{
    std::lock_guard<std::mutex> hold(m_);

    if (recvCompletions_ > 0)
        return true;
    throwIfException();
    return false;
}

bool Buffer::sent()
{
    std::lock_guard<std::mutex> hold(m_);

    if (sendCompletions_ > 0)
        return true;
    throwIfException();
    return false;
}

// ---- a connection ----

Pair::Pair(tcp::Context *context, tcp::Device *device, int rank, std::chrono::milliseconds timeout,
           Poll &poll)
    : tcp::Pair(context, device, rank, timeout), poll_(poll)
{
}

void Pair::take()
{
    std::lock_guard<std::mutex> hold(m_);

    throwIfException();
    verifyConnected();
    device_->registerDescriptor(fd_, 0, this); // gloo's thread still hears of its end
    taken_ = true;
    out_.swap(tx_);
    poll_.add(fd_, this);
}

void Pair::flush()
{
    std::lock_guard<std::mutex> hold(m_);

    send_all();
}

void Pair::progress()
{
    std::lock_guard<std::mutex> hold(m_);

    send_all();
    while (read()) {
    }
    send_all(); // what the peer was waiting to have, as it now said
}

void Pair::check()
{
    std::lock_guard<std::mutex> hold(m_);

    throwIfException();
    verifyConnected();
}

// What gloo has to send, whichever of its functions it comes from: it is queued, so that gloo sees
// it gone and never asks its own thread to go on.
bool Pair::write(tcp::Op &op)
{
    if (!taken_)
        return tcp::Pair::write(op);
    out_.push_back(std::move(op));
    return true;
}

// As many as go into one call, so that what gloo says of a chunk goes in one packet with it, and
// wakes the peer once.
bool Pair::send_some()
{
    std::array<gloo::NonOwningPtr<tcp::UnboundBuffer>, TOGETHER> held;
    std::array<iovec, 2 * TOGETHER> parts;
    size_t n = 0, of = std::min(out_.size(), held.size());
    msghdr all = {};

    for (size_t i = 0; i < of; i++) {
        int some = 0;

        if (out_[i].getOpcode() == tcp::Op::SEND_UNBOUND_BUFFER)
            held[i] = gloo::NonOwningPtr<tcp::UnboundBuffer>(out_[i].ubuf);
        prepareWrite(out_[i], held[i], &parts[n], some);
        n += static_cast<size_t>(some);
    }
    all.msg_iov = parts.data();
    all.msg_iovlen = n;
    ssize_t rv = sendmsg(fd_, &all, MSG_NOSIGNAL);
    if (rv < 0 && errno != EINTR && errno != EAGAIN && errno != EPIPE && errno != ECONNRESET)
        signalException(GLOO_ERROR_MSG("sendmsg: ", std::strerror(errno)));
    if (rv < 0)
        return errno == EINTR;
    for (size_t i = 0, left = static_cast<size_t>(rv); i < of && left > 0; i++) {
        tcp::Op &op = out_.front();
        size_t gone = std::min(left, op.preamble.nbytes - op.nwritten);

        left -= gone;
        op.nwritten += gone;
        if (op.nwritten < op.preamble.nbytes)
            break;
        writeComplete(op, held[i], op.getOpcode());
        out_.pop_front();
    }
    return true;
}

// The end of a connection is left to be read.
void Pair::send_all()
{
    bool full = false;

    while (state_ == CONNECTED && !out_.empty() && !full)
        full = !send_some();
    if (state_ == CONNECTED && full != full_)
        poll_.want(fd_, this, full);
    full_ = full;
}

// On gloo's thread: before take(), or at the end of the connection, which it then reads out.
void Pair::handleReadWrite(int events)
{
    if (!taken_) {
        tcp::Pair::handleReadWrite(events);
        return;
    }
    if (events & (EPOLLHUP | EPOLLERR)) {
        while (read()) {
        }
        poll_.wake();
    }
}

// ---- sockets ----

Poll::Poll() : epoll_(epoll_create1(EPOLL_CLOEXEC)), event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
{
    epoll_event e = {};

    e.events = EPOLLIN;
    if (epoll_ < 0 || event_ < 0 || epoll_ctl(epoll_, EPOLL_CTL_ADD, event_, &e) != 0) {
        int why = errno;

        if (epoll_ >= 0)
            close(epoll_);
        if (event_ >= 0)
            close(event_);
        GLOO_THROW("epoll: ", std::strerror(why));
    }
}

Poll::~Poll()
{
    close(epoll_);
    close(event_);
}

void Poll::add(int fd, Pair *pair)
{
    epoll_event e = {};

    e.events = EPOLLIN;
    e.data.ptr = pair;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &e) != 0)
        GLOO_THROW("epoll_ctl: ", std::strerror(errno));
}

void Poll::want(int fd, Pair *pair, bool room)
{
    epoll_event e = {};

    e.events = EPOLLIN | (room ? EPOLLOUT : 0u);
    e.data.ptr = pair;
    if (epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &e) != 0)
        GLOO_THROW("epoll_ctl: ", std::strerror(errno));
}

void Poll::progress(int timeout_ms)
{
    epoll_event found[64];
    int n = epoll_wait(epoll_, found, 64, timeout_ms);

    for (int i = 0; i < n; i++) {
        uint64_t times;

        if (found[i].data.ptr)
            static_cast<Pair *>(found[i].data.ptr)->progress();
        else
            (void)!::read(event_, &times, sizeof times);
    }
}

void Poll::wake()
{
    uint64_t once = 1;

    (void)!::write(event_, &once, sizeof once);
}

// ---- of a wire ----

Context::~Context()
{
    pairs_.clear(); // they use poll
}

std::unique_ptr<gloo::transport::Pair> &Context::createPair(int peer)
{
    pairs_[peer] = std::make_unique<Pair>(this, device_.get(), peer, getTimeout(), poll);
    return pairs_[peer];
}

Pair &Context::pair(int peer)
{
    return static_cast<Pair &>(*getPair(peer));
}

} // namespace drive
