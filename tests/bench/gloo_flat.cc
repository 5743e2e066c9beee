// gloo_flat.cc - a rank of gloo's own collectives, without tutti: for hosts.py and machine.py,
// which measure both in turns.
//
// gloo_flat SOCKET ADDRESS STORE RANK RANKS ring|bcube|halving: the ranks meet in the directory
// STORE. How an all_reduce is done; the others have one way each.
#include "tests/bench/turns.h"

#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/alltoall.h>
#include <gloo/barrier.h>
#include <gloo/reduce_scatter.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

using Context = std::shared_ptr<gloo::rendezvous::Context>;

static void sum(void *out, const void *a, const void *b, size_t n)
{
    auto *o = static_cast<float *>(out);
    auto *x = static_cast<const float *>(a), *y = static_cast<const float *>(b);

    for (size_t i = 0; i < n; i++)
        o[i] = x[i] + y[i];
}

using Algorithm = gloo::AllreduceOptions::Algorithm;

static void all_reduce(const Context &context, const turns_job &j, const std::string &way)
{
    gloo::AllreduceOptions options(context);

    options.setAlgorithm(way == "ring" ? Algorithm::RING : Algorithm::BCUBE);
    options.setInput(j.in, j.n);
    options.setOutput(j.out, j.n_out);
    options.setReduceFunction(sum);
    gloo::allreduce(options);
}

template <class Options>
static void move(const Context &context, const turns_job &j, void (*collective)(Options &))
{
    Options options(context);

    options.setInput(j.in, j.n);
    options.setOutput(j.out, j.n_out);
    collective(options);
}

// One of gloo's older algorithms, which are made for a buffer once and then work in place. What is
// to be done before a round is not in its time.
struct InPlace {
    std::vector<float> buffer;
    std::unique_ptr<gloo::Algorithm> algorithm;

    InPlace(const Context &context, const turns_job &j) : buffer(j.n)
    {
        std::vector<float *> at{buffer.data()};
        auto *add = gloo::ReductionFunction<float>::sum;
        int n = static_cast<int>(j.n);

        if (j.op == TURNS_ALL_REDUCE)
            algorithm.reset(new gloo::AllreduceHalvingDoubling<float>(context, at, n, add));
        else
            algorithm.reset(new gloo::ReduceScatterHalvingDoubling<float>(
                context, at, n,
                std::vector<int>(static_cast<size_t>(context->size), n / context->size), add));
    }
};

struct Round {
    std::function<void()> before, run, after; // only run is in its time
};

static Round round_of(const Context &context, const turns_job &j, const std::string &way)
{
    auto nothing = [] {};

    if (j.op == TURNS_ALL_GATHER)
        return {nothing, [&] { move(context, j, gloo::allgather); }, nothing};
    if (j.op == TURNS_ALL_TO_ALL)
        return {nothing, [&] { move(context, j, gloo::alltoall); }, nothing};
    if (j.op == TURNS_ALL_REDUCE && way != "halving")
        return {nothing, [&] { all_reduce(context, j, way); }, nothing};
    auto made = std::make_shared<InPlace>(context, j);
    return {[made, &j] { std::copy(j.in, j.in + j.n, made->buffer.begin()); },
            [made] { made->algorithm->run(); },
            [made, &j] { std::copy_n(made->buffer.begin(), j.n_out, j.out); }};
}

// One untimed round, then so many, each after a barrier.
static std::vector<uint64_t> rounds(const Context &context, const turns_job &j,
                                    const std::string &way, uint64_t rounds)
{
    Round round = round_of(context, j, way);
    std::vector<uint64_t> times;

    for (uint64_t i = 0; i <= rounds; i++) {
        gloo::BarrierOptions meet(context);

        round.before();
        gloo::barrier(meet);
        uint64_t begun = turns_now();
        round.run();
        if (i == 0)
            continue;
        times.push_back(begun);
        times.push_back(turns_now());
    }
    round.after();
    return times;
}

int main(int argc, char *argv[])
{
    if (argc != 7)
        return 2;
    uint32_t rank = static_cast<uint32_t>(std::atoi(argv[4]));
    uint32_t ranks = static_cast<uint32_t>(std::atoi(argv[5]));

    std::shared_ptr<gloo::transport::Device> device = gloo::transport::tcp::CreateDevice(
        gloo::transport::tcp::attr(argv[2]));
    gloo::rendezvous::FileStore store(argv[3]);
    auto context = std::make_shared<gloo::rendezvous::Context>(static_cast<int>(rank),
                                                               static_cast<int>(ranks));

    context->connectFullMesh(store, device);
    int fd = turns_open(argv[1], rank);
    for (struct turn t = turns_wait(fd); t.bytes > 0; t = turns_wait(fd)) {
        turns_job j = turns_begin(t, rank, ranks);
        std::vector<uint64_t> times = rounds(context, j, argv[6], t.rounds);
        turns_tell(fd, turns_end(&j), times.data(), t.rounds);
    }
}
