#!/usr/bin/python3
"""client_torch.py - torch tensors in, torch tensors out: every dtype with bfloat16, views, numbers; and autograd through the
collectives, against torch's own gradients of the same sums in one process."""
import concurrent.futures
import sys

import numpy as np
import torch

from tools import raises, run_facts, tutti, url_of
from service import Service

THREADS = concurrent.futures.ThreadPoolExecutor(4)
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64]


def test_every_dtype_of_torch(world):
    for dtype in DTYPES:
        x = [(torch.arange(6).reshape(2, 3) + r).to(dtype) for r in range(4)]
        want = sum(t.to(torch.float64) for t in x).to(dtype)
        for got in world.all_reduce_sum(x):
            assert isinstance(got, torch.Tensor) and got.dtype == dtype and torch.equal(got, want), (dtype, got)
        got = list(THREADS.map(lambda r: world.rank(r).all_gather(x[r], axis=1), range(4)))
        assert all(torch.equal(g, torch.cat(x, 1)) for g in got), dtype
    flags = [torch.tensor([r > 1, False]) for r in range(4)]
    assert world.all_reduce_or(flags)[0].tolist() == [True, False]


def test_bfloat16_bit_for_bit(world):
    bits = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16)
    x = bits.view(torch.bfloat16)
    got = world.broadcast(x)[3]
    assert got.dtype == torch.bfloat16 and torch.equal(got.view(torch.int16), bits)
    rng = torch.Generator().manual_seed(1)
    y = [torch.randn(5000, generator=rng).to(torch.bfloat16) for _ in range(4)]
    want = (((y[0].float() + y[1].float()) + y[2].float()) + y[3].float()).to(torch.bfloat16)
    assert torch.equal(world.all_reduce_sum(y)[1], want)
    assert torch.equal(world.service.tensor(y[0]).get(), y[0])
    with world.batch() as b:
        small, large = b.all_reduce_sum([t[:10] for t in y]), b.all_reduce_sum(y)
    assert torch.equal(small.outputs()[2], want[:10]) and torch.equal(large.outputs()[0], want)
    assert world.all_reduce_sum([1.5, 2, 3, 4], dtype=torch.bfloat16) == [10.5] * 4
    cast = world.broadcast(torch.tensor([1.0, 1.001]), dtype="bfloat16")[1]
    assert cast.dtype == torch.bfloat16 and cast.tolist() == [1.0, 1.0]


def test_views_scalars_and_emptiness(world):
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    for view in (base.t(), base[:, ::2], base[1:3], base.expand(2, 4, 6), torch.tensor(3.0), torch.empty(0, 2)):
        got = world.all_reduce_max([view] * 4)
        assert all(torch.equal(g, view) and g.shape == view.shape for g in got), view.shape
    got = world.all_reduce_sum(base)  # stacked: axis 0 is the rank
    assert len(got) == 4 and torch.equal(got[2], base.sum(0))
    got[0].zero_()
    assert got[1].sum() > 0


def test_each_rank_gets_what_it_gave(world):
    got = world.all_reduce_sum([torch.ones(2), np.ones(2, "f4"), [1.0, 1.0], torch.ones(2)])
    assert [type(g) for g in got] == [torch.Tensor, np.ndarray, np.ndarray, torch.Tensor]
    assert all(np.asarray(g).tolist() == [4, 4] for g in got)
    got = world.scatter(torch.arange(8))
    assert all(isinstance(g, torch.Tensor) for g in got) and got[3].tolist() == [6, 7]
    mine = list(THREADS.map(lambda r: world.rank(r).broadcast(torch.full((2,), float(r))), range(4)))
    assert all(isinstance(g, torch.Tensor) and g.tolist() == [0, 0] for g in mine)
    assert world.service.tensor(np.ones(3)).torch().tolist() == [1, 1, 1]
    with raises(TypeError, "uint16"):
        world.service.tensor(np.ones(3, "u2")).torch()


def parameters(seed):
    return [torch.randn(4, 3, generator=torch.Generator().manual_seed(seed + r), dtype=torch.float64).requires_grad_() for r in range(4)]


def same_gradients(own, reference):
    for got, want in zip(own, reference):
        assert got.grad is not None and torch.allclose(got.grad, want.grad, rtol=1e-12), (got.grad, want.grad)


def test_autograd_through_all_ranks_at_once(world):
    for op, alike in ((world.all_reduce_sum, lambda x: [sum(x)] * 4), (world.all_gather, lambda x: [torch.cat(x)] * 4),
                      (world.reduce_scatter_sum, lambda x: list(sum(x).split(1))), (world.all_reduce_avg, lambda x: [sum(x) / 4] * 4),
                      (world.all_reduce_max, lambda x: [torch.stack(x).max(0).values] * 4),
                      (world.all_to_all, lambda x: [torch.cat([t[r:r + 1] for t in x]) for r in range(4)]),
                      (world.broadcast, lambda x: [x[0]] * 4), (world.scatter, lambda x: list(x[0].split(1)))):
        own, reference = parameters(3), parameters(3)
        sum(((r + 1) * y ** 2).sum() for r, y in enumerate(op(own))).backward()
        sum(((r + 1) * y ** 2).sum() for r, y in enumerate(alike(reference))).backward()
        givers = 1 if op in (world.broadcast, world.scatter) or reference[1].grad is None else 4
        same_gradients(own[:givers], reference[:givers])
    own, reference = parameters(5), parameters(5)
    (world.reduce_sum(own)[0] ** 2).sum().backward()
    (sum(reference) ** 2).sum().backward()
    same_gradients(own, reference)
    with torch.no_grad():
        assert not world.all_reduce_sum(own)[0].requires_grad
    outputs = world.all_reduce_sum(own)
    assert outputs.job.op == "all_reduce_sum" and outputs[0].requires_grad


def test_autograd_of_ranks(world):
    own, reference = parameters(7), parameters(7)

    def step(r):
        y = world.rank(r).all_reduce_sum(own[r])
        (y ** 2).sum().backward()  # every rank its own loss; the gradients meet in the backward

    list(THREADS.map(step, range(4)))
    sum((y ** 2).sum() for y in [sum(reference)] * 4).backward()
    same_gradients(own, reference)


def main():
    with Service(workers=4, arena="256M") as service:
        return run_facts(globals(), tutti.connect(url_of(service)).world)


if __name__ == "__main__":
    sys.exit(main())
