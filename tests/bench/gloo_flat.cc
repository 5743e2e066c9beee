// gloo_flat.cc - a rank of gloo's own all_reduce, without tutti: for hosts.py, which measures both
// in turns.
//
// gloo_flat SOCKET ADDRESS STORE RANK RANKS ring|bcube: the ranks meet in the directory STORE.
#include "tests/bench/turns.h"

#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

static void sum(void *out, const void *a, const void *b, size_t n)
{
    auto *o = static_cast<float *>(out);
    auto *x = static_cast<const float *>(a), *y = static_cast<const float *>(b);

    for (size_t i = 0; i < n; i++)
        o[i] = x[i] + y[i];
}

using Algorithm = gloo::AllreduceOptions::Algorithm;

// One untimed round, then so many, each after a barrier.
static std::vector<uint64_t> rounds(const std::shared_ptr<gloo::rendezvous::Context> &context,
                                    std::vector<float> &in, std::vector<float> &out,
                                    Algorithm algorithm, uint64_t rounds)
{
    std::vector<uint64_t> times;

    for (uint64_t i = 0; i <= rounds; i++) {
        gloo::AllreduceOptions options(context);
        gloo::BarrierOptions meet(context);

        options.setAlgorithm(algorithm);
        options.setInput(in.data(), in.size());
        options.setOutput(out.data(), out.size());
        options.setReduceFunction(sum);
        gloo::barrier(meet);
        uint64_t begun = turns_now();
        gloo::allreduce(options);
        if (i == 0)
            continue;
        times.push_back(begun);
        times.push_back(turns_now());
    }
    return times;
}

int main(int argc, char *argv[])
{
    if (argc != 7)
        return 2;
    uint32_t rank = static_cast<uint32_t>(std::atoi(argv[4]));
    uint32_t ranks = static_cast<uint32_t>(std::atoi(argv[5]));
    Algorithm algorithm = std::strcmp(argv[6], "ring") == 0 ? Algorithm::RING : Algorithm::BCUBE;
    std::vector<float> in, out;

    std::shared_ptr<gloo::transport::Device> device = gloo::transport::tcp::CreateDevice(
        gloo::transport::tcp::attr(argv[2]));
    gloo::rendezvous::FileStore store(argv[3]);
    auto context = std::make_shared<gloo::rendezvous::Context>(static_cast<int>(rank),
                                                               static_cast<int>(ranks));

    context->connectFullMesh(store, device);
    int fd = turns_open(argv[1], rank);
    for (;;) {
        struct turn t = turns_wait(fd);

        if (t.bytes == 0)
            return 0;
        if (in.size() != t.bytes / sizeof(float)) {
            in = std::vector<float>(t.bytes / sizeof(float));
            for (size_t i = 0; i < in.size(); i++)
                in[i] = turns_value(rank, i);
        }
        out.assign(in.size(), -1);
        std::vector<uint64_t> times = rounds(context, in, out, algorithm, t.rounds);
        turns_tell(fd, turns_wrong(out.data(), out.size(), ranks), times.data(), t.rounds);
    }
}
