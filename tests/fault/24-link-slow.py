#!/usr/bin/python3
"""Links that are bad and not broken: 200 ms late and uneven, a hundredth of the packets lost, 10 kB/s. Results are right,
and nobody is declared dead."""
import time

from tcp_link import NEAR, Far, Ledger, Proxy, TcpService, TcpWorker, own_network, row

own_network()
with Far() as far, TcpService(workers=1, tcp=3, host=NEAR) as service:
    service.open()
    late = Proxy((NEAR, service.link_port), delay=0.2, jitter=0.1)
    narrow = Proxy((NEAR, service.link_port), rate=10_000)
    far.lose(0.01)
    workers = [TcpWorker(service, 1, address=late.address), TcpWorker(service, 2, address=narrow.address),
               TcpWorker(service, 3, prefix=far.prefix)]
    service.wait_ready()
    ledger = Ledger(service)
    with row("F24"):
        for seed in range(4):
            assert ledger.sum(n=4, size=1000, seed=seed, wait=30).status == 200
        for i in range(64):  # some 13 kB a rank, at once: longer than a beat on the narrow link
            assert ledger.sum(n=4, size=100, seed=i, key="k%d" % i).status in (200, 202)
        documents = ledger.finish()
        assert all(d["attempts"] == 1 for d in documents.values())
        time.sleep(6.5)  # nothing happens for longer than either end has patience
        assert [w.process.poll() for w in workers] == [None] * 3
        assert [service.worker(r)["pid"] for r in (1, 2, 3)] == [w.pid for w in workers]
        assert "gone" not in service.log() and "given up" not in service.log()
    assert len(narrow.heard[1]) > 10_000, len(narrow.heard[1])
    ledger.close()
