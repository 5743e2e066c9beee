"""driver_ipyparallel.py - ipyparallel in a driver's hands: four engines, which Open MPI joins; each is sent an array."""
import os
import tempfile

import ipyparallel

from driver_work import RANKS, timed

MPIRUN = ["mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"]


def all_reduced(x):
    """On an engine. One of them sends the sum back."""
    import numpy
    from mpi4py import MPI

    out = numpy.empty_like(x)
    MPI.COMM_WORLD.Allreduce(x, out)
    return out if MPI.COMM_WORLD.rank == 0 else None


def reduced(x):
    import numpy
    from mpi4py import MPI

    out = numpy.empty_like(x) if MPI.COMM_WORLD.rank == 0 else None
    MPI.COMM_WORLD.Reduce(x, out)
    return out


WAYS = {"apply, Allreduce": all_reduced, "apply, Reduce": reduced}


class Ipyparallel:
    """Its ways; the cluster is one of its own, in a folder of its own."""

    ways = list(WAYS)

    def __enter__(self):
        self.place = tempfile.TemporaryDirectory()
        os.environ["IPYTHONDIR"] = self.place.name
        os.environ["PYTHONPATH"] = os.path.dirname(os.path.abspath(__file__))  # engines import what they are told to call
        self.cluster = ipyparallel.Cluster(n=RANKS, engine_launcher_class="mpi", controller_ip="127.0.0.1", log_level=40)
        self.cluster.config.MPILauncher.mpi_cmd = self.cluster.config.MPIEngineSetLauncher.mpi_cmd = MPIRUN
        try:
            self.cluster.start_cluster_sync()
            self.client = self.cluster.connect_client_sync()
            self.client.wait_for_engines(RANKS, timeout=60)
        except BaseException:
            self.cluster.stop_cluster_sync()
            raise
        return self

    def __exit__(self, *_):
        self.client.close()
        self.cluster.stop_cluster_sync()
        self.place.cleanup()

    def turn(self, way, arrays, turn, calls):
        def add(arrays):
            answers = [self.client[r].apply_async(WAYS[way], x) for r, x in enumerate(arrays)]
            return next(out for out in [a.get() for a in answers] if out is not None)

        return timed(add, arrays, turn, calls)
