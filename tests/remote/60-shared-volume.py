#!/usr/bin/python3
"""A worker in another container of the server's machine: in a mount namespace where the server's directories are not, but for
its arena's volume under another name, and in a process namespace of its own. It shares the arena: no tensor is sent. Without
the volume it has an arena of its own, and says what would be better."""
import os
import tempfile

from hosts import Hosts, TcpWorker, until


def contained(service, rank, volume):
    """The volume is the server's arena directory here; that itself is covered."""
    script = 'mount --bind "$0" "$1" && mount -t tmpfs none "$0" && shift && exec "$@"'
    return TcpWorker(service, rank, options=["--arena-dir", volume],
                     prefix=["unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "sh", "-c", script, service.arena_dir, volume])


with Hosts(workers=1, hosts=(1, 1)) as service, tempfile.TemporaryDirectory() as volume:
    service.open()
    shared = contained(service, 1, volume)
    apart = service.worker_of(1, 2)
    service.wait_ready()
    assert service.worker(1)["arena"] is None and service.worker(1)["link"] == "tcp", service.worker(1)
    assert service.worker(2)["arena"], service.worker(2)
    assert "to share its arena" in apart.log() and "to share its arena" not in shared.log()
    job = service.post("/v1/jobs?wait=20", {"op": "all_reduce_sum", "inputs": [[1], [2]], "group": [0, 1]})
    assert job.json["outputs"][1]["data"] == [3] and job.json["timeline"]["staging_us"] == 0, job
    shared.kill()
    until(lambda: service.worker(1)["state"] == "absent", 10)
    assert os.listdir(service.arena_dir), "and the volume is as it was"
    service.stop()
