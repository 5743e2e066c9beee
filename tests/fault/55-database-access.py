#!/usr/bin/python3
"""A database that may only be read, in a directory that is not there and cannot be made, or that belongs to somebody else:
the server refuses to start and says which path it needs; put right, it starts with all there was."""
import os
import sys

from invariants import Ledger, row
from service import Service

# As a root that has to obey modes, like anybody else.
OBEYING = [] if os.geteuid() else ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def change(path, mode=None, owner=None):
    """Does it, and gives what undoes it."""
    was = os.stat(path)
    if mode is not None:
        os.chmod(path, mode)
    if owner is not None:
        os.chown(path, owner, owner)

    def undo():
        os.chown(path, was.st_uid, was.st_gid)
        os.chmod(path, was.st_mode & 0o7777)
    return undo


def refuses(service, path, need, **how):
    undo = change(path, **how)
    line = service.refused()
    undo()
    assert path in line and need in line, line


with row("F11"), Service(workers=2, prefix=OBEYING) as service:
    ledger = Ledger(service)
    ledger.sum(n=2, key="one", wait=20)
    ledger.keep(service.post("/v1/tensors", [1, 2]).json["tensor"])
    service.stop()
    directory, database = service.data_dir, service.data_dir + "/tutti.db"
    refuses(service, database, "ermission denied", mode=0o400)
    refuses(service, database + "-wal", "ermission denied", mode=0o400)
    open(database + "-shm", "ab").close()
    refuses(service, database + "-shm", "ermission denied", mode=0o400)
    refuses(service, directory, "ermission denied", mode=0o500)
    refuses(service, directory, "ermission denied", mode=0o000)
    if os.geteuid() == 0:  # who else could give files away?
        refuses(service, database, "ermission denied", owner=65534)
        refuses(service, directory, "must be readable and writable", owner=65534)
    service.start()

    service.stop()
    place, service.data_dir = service.data_dir, "/proc/none/deeper/data"
    line = service.refused()
    assert "/proc/none" in line, line
    service.data_dir = place
    service.start()
    ledger.close()
