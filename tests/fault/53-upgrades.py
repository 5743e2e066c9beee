#!/usr/bin/python3
"""A database of each older build is brought up to date with all that it holds, and is whole when the server is killed in the
middle of a migration; one of a newer build is refused."""
import glob
import os
import re
import shutil
import sqlite3
import sys
import tempfile

from invariants import TESTS, Ledger, database_whole, row
from service import Service

SCHEMA = sorted(glob.glob(os.path.join(TESTS, "..", "schema", "sql", "*.sql")))
NEWEST = len(SCHEMA)


def execute(path, statement):
    """Whoever closes a database last takes its log away, and the server wants one."""
    db = sqlite3.connect(path)
    db.execute(statement)
    db.commit()
    db.close()
    open(path + "-wal", "ab").close()


def version(service):
    """Of a copy, so that what a killed server left is for the next one."""
    with tempfile.TemporaryDirectory() as place:
        for name in ("tutti.db", "tutti.db-wal"):
            shutil.copy(os.path.join(service.data_dir, name), place)
        db = sqlite3.connect(place + "/tutti.db")
        found, = db.execute("PRAGMA user_version").fetchone()
        db.close()
    return found


def age(path, old):
    """Makes the database one that the old build would have made, with all rows of which it knew the tables."""
    new = path + ".new"
    execute(path, "PRAGMA user_version")
    os.rename(path, new)
    db = sqlite3.connect(path)
    db.executescript("PRAGMA journal_mode = WAL;")
    for name in SCHEMA[:old]:
        with open(name) as f:
            db.executescript(f.read())
    db.execute("ATTACH ? AS new", (new,))
    tables = {row[0] for row in db.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'")}
    for table in tables:
        columns = ",".join(row[1] for row in db.execute("PRAGMA main.table_info(%s)" % table))
        db.execute("INSERT INTO main.%s(%s) SELECT %s FROM new.%s" % (table, columns, columns, table))
    db.commit()
    db.execute("DETACH new")
    db.executescript("PRAGMA application_id = %d; PRAGMA user_version = %d;" % (0x74757474, old))
    db.close()
    os.remove(new)
    for end in ("-shm", "-wal"):
        if os.path.exists(path + end):
            os.remove(path + end)
    open(path + "-wal", "wb").close()
    os.chmod(path, 0o600)
    os.chmod(path + "-wal", 0o600)


def upgrade(old, killed):
    """From the old build's to ours, with a kill in each migration when killed."""
    migrated = ["migrated to version %d" % v for v in range(old + 1, NEWEST + 1)]
    with Service(workers=2) as service:
        ledger = Ledger(service)
        upload = ledger.keep(service.post("/v1/tensors", [[1, 2], [3, 4]]).json["tensor"])
        assert service.post("/v1/groups", {"name": "pair", "ranks": [1, 0]}).status == 201
        for n in range(3):
            assert ledger.sum(n=2, seed=n, key="done%d" % n, wait=20).status == 200
        assert service.request("PUT", "/v1/groups/world/kv/k", {"v": [1, 2]}).status in (200, 201)
        service.stop()
        service.start(failpoints="worker.before_run=sleep:300")
        for n in range(3):
            assert ledger.sum(n=2, seed=10 + n, key="open%d" % n, group="pair").status == 202
        service.kill()
        age(service.data_dir + "/tutti.db", old)
        for now in range(old, NEWEST) if killed else ():
            for passage in (1, 2)[:NEWEST - now]:  # in the first one, then one further
                service.start(failpoints="migrate.mid=kill@%d" % passage, wait=False)
                service.wait_killed()
                assert version(service) == now + passage - 1, "a migration is half there"
        service.start(failpoints="")
        assert service.get("/v1/groups/pair").json["ranks"] == [1, 0]
        assert service.get("/v1/tensors/" + upload).json["data"] == [[1, 2], [3, 4]]
        if old >= 5:
            assert service.get("/v1/groups/world/kv/k").json == {"v": [1, 2]}
        ledger.retry()
        ledger.close()
        assert version(service) == NEWEST
        said = re.findall(r"database: (.*)", service.log())
        assert said[0] == "made, version %d" % NEWEST and (killed or said[1:] == migrated), said


def newer():
    """The next build's database is refused by this one, and as good as before."""
    with Service(workers=2) as service:
        ledger = Ledger(service)
        ledger.sum(n=2, key="one", wait=20)
        service.stop()
        path = service.data_dir + "/tutti.db"
        execute(path, "PRAGMA user_version = %d" % (NEWEST + 1))
        line = service.refused()
        assert path in line and "newer build" in line, line
        execute(path, "PRAGMA user_version = %d" % NEWEST)
        database_whole(service)
        service.start()
        ledger.close()


failed = 0
cases = [("F48", upgrade, old, False) for old in range(1, NEWEST)] + [("F7", upgrade, old, True) for old in (1, NEWEST - 1)] + [("F48", newer)]
for id_, case, *arguments in cases:
    try:
        with row(id_):
            case(*arguments)
    except Exception as e:
        failed += 1
        print("%s %s: %r" % (case.__name__, arguments, e), flush=True)
print("CASES %d %d" % (len(cases) - failed, failed))
sys.exit(failed > 0)
