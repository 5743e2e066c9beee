// gloo_flat.cc - a rank of gloo's own all_reduce, without tutti: for gloo.py, which compares the
// two.
//
// gloo_flat ADDRESS STORE RANK RANKS ring|bcube BYTES ROUNDS: the ranks meet in the directory
// STORE; rank 0 prints the microseconds of a round, of the best tenth.
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
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

int main(int argc, char *argv[])
{
    if (argc != 8)
        return 2;
    int rank = std::atoi(argv[3]), ranks = std::atoi(argv[4]), rounds = std::atoi(argv[7]);
    size_t n = std::strtoull(argv[6], nullptr, 10) / sizeof(float);
    std::vector<float> in(n, static_cast<float>(rank)), out(n);
    std::vector<double> took;

    std::shared_ptr<gloo::transport::Device> device = gloo::transport::tcp::CreateDevice(
        gloo::transport::tcp::attr(argv[1]));
    gloo::rendezvous::FileStore store(argv[2]);
    auto context = std::make_shared<gloo::rendezvous::Context>(rank, ranks);

    context->connectFullMesh(store, device);
    for (int i = 0; i < rounds + 3; i++) {
        gloo::AllreduceOptions options(context);
        gloo::BarrierOptions meet(context);

        options.setAlgorithm(std::strcmp(argv[5], "ring") == 0
                                 ? gloo::AllreduceOptions::Algorithm::RING
                                 : gloo::AllreduceOptions::Algorithm::BCUBE);
        options.setInput(in.data(), n);
        options.setOutput(out.data(), n);
        options.setReduceFunction(sum);
        gloo::barrier(meet);
        auto begun = std::chrono::steady_clock::now();
        gloo::allreduce(options);
        std::chrono::duration<double, std::micro> us = std::chrono::steady_clock::now() - begun;
        if (i >= 3)
            took.push_back(us.count());
    }
    std::sort(took.begin(), took.end());
    if (rank == 0)
        std::printf("%.1f\n", took[took.size() / 10]);
    return 0;
}
