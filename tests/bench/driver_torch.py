"""driver_torch.py - torch.distributed in a driver's hands: four processes of gloo, tensors that all of them share."""
import os
import tempfile

import torch
import torch.distributed
import torch.multiprocessing

from driver_work import COUNT, RANKS, timed


def all_reduced(tensor):
    torch.distributed.all_reduce(tensor)


def reduced(tensor):
    torch.distributed.reduce(tensor, 0)


WAYS = {"all_reduce": all_reduced, "reduce": reduced}


def rank_main(rank, store, tensor, told):
    """A rank of its own process: what it is told by name, on the tensor that the driver has filled."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=RANKS)
    told.send(None)
    for way in iter(told.recv, None):
        WAYS[way](tensor)
        told.send(None)


class Torch:
    """Its ways; which is the driver's is `way`."""

    ways = list(WAYS)

    def __enter__(self):
        context = torch.multiprocessing.get_context("spawn")
        self.tensors = [torch.empty(COUNT, dtype=torch.float32).share_memory_() for _ in range(RANKS)]
        self.place = tempfile.TemporaryDirectory()
        self.ends, self.processes = [], []
        for r, tensor in enumerate(self.tensors):
            own, other = context.Pipe()
            process = context.Process(target=rank_main, args=(r, os.path.join(self.place.name, "store"), tensor, other), daemon=True)
            process.start()
            self.ends.append(own)
            self.processes.append(process)
        self.gather()
        return self

    def __exit__(self, *_):
        for end in self.ends:
            try:
                end.send(None)
            except OSError:
                pass  # its process is gone
        for process in self.processes:
            process.join(20)
        self.place.cleanup()

    def gather(self):
        for end in self.ends:
            if not end.poll(60):
                raise AssertionError("a rank of torch.distributed does not answer")
            end.recv()

    def turn(self, way, arrays, turn, calls):
        def add(arrays):
            for tensor, x in zip(self.tensors, arrays):
                tensor.copy_(torch.from_numpy(x))
            for end in self.ends:
                end.send(way)
            self.gather()
            return self.tensors[0].numpy()

        return timed(add, arrays, turn, calls)
