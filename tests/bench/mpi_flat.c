/* mpi_flat.c - a rank of Open MPI's all_reduce, without tutti: for hosts.py, which measures both in
 * turns.
 *
 * mpi_flat SOCKET, started by mpirun.
 */
#include "tests/bench/turns.h"

#include <mpi.h>

/* One untimed round, then so many, each after a barrier. */
static void rounds(const float *in, float *out, size_t n, uint64_t rounds, uint64_t *times)
{
    for (uint64_t i = 0; i <= rounds; i++) {
        uint64_t begun;

        MPI_Barrier(MPI_COMM_WORLD);
        begun = turns_now();
        MPI_Allreduce(in, out, (int)n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        if (i == 0)
            continue;
        times[2 * (i - 1)] = begun;
        times[2 * (i - 1) + 1] = turns_now();
    }
}

int main(int argc, char *argv[])
{
    static uint64_t times[2 * TURNS_ROUNDS];
    float *in = NULL, *out = NULL;
    uint64_t bytes = 0;
    int rank, ranks, fd;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc != 2)
        return 2;
    fd = turns_open(argv[1], (uint32_t)rank);
    for (;;) {
        struct turn t = turns_wait(fd);
        size_t n = t.bytes / sizeof(float);

        if (t.bytes == 0)
            break;
        if (t.bytes != bytes) {
            free(in);
            free(out);
            in = malloc(t.bytes);
            out = malloc(t.bytes);
            if (!in || !out)
                return 3;
            for (size_t i = 0; i < n; i++)
                in[i] = turns_value((uint32_t)rank, i);
            bytes = t.bytes;
        }
        memset(out, 0xa5, t.bytes);
        rounds(in, out, n, t.rounds, times);
        turns_tell(fd, turns_wrong(out, n, (uint32_t)ranks), times, t.rounds);
    }
    free(in);
    free(out);
    MPI_Finalize();
    return 0;
}
