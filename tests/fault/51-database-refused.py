#!/usr/bin/python3
"""A database that is damaged, of a newer build, without its log, or in a directory that others may enter: the server refuses to start and
names the file; it never starts empty."""
import os
import sqlite3

from invariants import Ledger, row
from service import Service


def refuses(service, text):
    line = service.refused()
    assert text in line, line


def edit(path, sql):
    """Runs a statement. Whoever closes a database last takes its log away, and the server wants one."""
    db = sqlite3.connect(path)
    found = db.execute(sql).fetchone()
    db.commit()
    db.close()
    open(path + "-wal", "ab").close()
    return found


with row("F12"), Service(workers=2) as service:
    ledger = Ledger(service)
    for n in range(30):
        ledger.sum(n=2, size=40, seed=n, wait=20)
    service.stop()
    path = service.data_dir + "/tutti.db"
    with open(path, "rb") as f:
        good = f.read()
    assert len(good) > 8192

    with open(path, "r+b") as f:
        f.seek(4096)
        f.write(b"\xff" * (len(good) - 4096))
    refuses(service, path)
    with open(path, "wb") as f:
        f.write(b"this is no database at all" * 300)
    refuses(service, path)
    with open(path, "wb") as f:
        f.write(good)
    version, = edit(path, "PRAGMA user_version")
    edit(path, "PRAGMA user_version = %d" % (version + 1000))
    refuses(service, "newer")
    edit(path, "PRAGMA user_version = %d" % version)
    os.remove(path + "-wal")
    refuses(service, path + "-wal")
    open(path + "-wal", "ab").close()
    os.chmod(service.data_dir, 0o755)
    refuses(service, service.data_dir)
    os.chmod(service.data_dir, 0o700)

    service.start()
    ledger.close()
