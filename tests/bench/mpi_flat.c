/* mpi_flat.c - a rank of an MPI's collectives, without tutti: for hosts.py and machine.py, which
 * measure both in turns.
 *
 * mpi_flat SOCKET, started by mpirun.
 */
#include "tests/bench/turns.h"

#include <mpi.h>

#define RANKS_MAX 64

static void collective(const struct turns_job *j)
{
    static int parts[RANKS_MAX];
    int n = (int)j->n, part = (int)(j->n / j->ranks);

    switch (j->op) {
    case TURNS_ALL_REDUCE:
        MPI_Allreduce(j->in, j->out, n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        return;
    case TURNS_ALL_GATHER:
        MPI_Allgather(j->in, n, MPI_FLOAT, j->out, n, MPI_FLOAT, MPI_COMM_WORLD);
        return;
    case TURNS_REDUCE_SCATTER: /* by counts: there are more algorithms than for equal blocks */
        for (uint32_t r = 0; r < j->ranks; r++)
            parts[r] = part;
        MPI_Reduce_scatter(j->in, j->out, parts, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        return;
    case TURNS_ALL_TO_ALL:
        MPI_Alltoall(j->in, part, MPI_FLOAT, j->out, part, MPI_FLOAT, MPI_COMM_WORLD);
        return;
    }
}

/* One untimed round, then so many, each after a barrier. */
static void rounds(const struct turns_job *j, uint64_t rounds, uint64_t *times)
{
    for (uint64_t i = 0; i <= rounds; i++) {
        uint64_t begun;

        MPI_Barrier(MPI_COMM_WORLD);
        begun = turns_now();
        collective(j);
        if (i == 0)
            continue;
        times[2 * (i - 1)] = begun;
        times[2 * (i - 1) + 1] = turns_now();
    }
}

int main(int argc, char *argv[])
{
    static uint64_t times[2 * TURNS_ROUNDS];
    int rank, ranks, fd;
    struct turn t;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc != 2 || ranks > RANKS_MAX)
        return 2;
    fd = turns_open(argv[1], (uint32_t)rank);
    for (t = turns_wait(fd); t.bytes > 0; t = turns_wait(fd)) {
        struct turns_job j = turns_begin(t, (uint32_t)rank, (uint32_t)ranks);

        rounds(&j, t.rounds, times);
        turns_tell(fd, turns_end(&j), times, t.rounds);
    }
    MPI_Finalize();
    return 0;
}
