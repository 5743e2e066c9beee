"""client.py - one random client: submits jobs until they are heard of, waits for their ends, checks them, reads them again
later, and deletes them. What else it does is in jobs.py and things.py."""
import random
import time

from door import BOUND_S, END_S, Door, Finding, code_of
from ledger import TERMINAL, Job, shown
import conformance
import formats

KEEP, KEEP_S = 24, 200  # results that are read again later, also after restarts
reader = conformance.Driver(None)


class Client:
    def __init__(self, stage, ledger, pool, name):
        self.stage, self.ledger, self.pool, self.name = stage, ledger, pool, name
        self.door = Door(stage)
        self.rng = random.Random("%s/%s" % (stage.seed, name))
        self.made = 0
        self.kept = []

    def label(self, keyed):
        """Those of jobs with a key end in k: at the end of the soak none of them may be left."""
        self.made += 1
        return "%s.%d%s" % (self.name, self.made, "k" if keyed else "")

    def job(self, op, dtype, want, group, keyed=None, **more):
        keyed = self.rng.random() < 0.7 if keyed is None else keyed
        label = self.label(keyed)
        return Job(label, label if keyed else None, op, dtype, want, group, **more)

    # ---- from the request to its acknowledgement ----

    def submit(self, job, path, body, headers, wait=0, allowed=()):
        """Sends it until it is heard of. Gives the answer; None: refused, or it had no key and was not heard."""
        headers = {**headers, **({"Idempotency-Key": job.key} if job.key else {})}
        end, lost = time.monotonic() + END_S, False
        path = "%s%swait=%s&label=%s" % (path, "&" if "?" in path else "?", wait, job.label)
        while True:
            answer = self.door.ask("POST", path, body, headers, wait)
            if answer is not None and self.heard(job, answer):
                return answer
            code = answer and code_of(answer)
            lost |= answer is None or code == "outcome_unknown"
            if answer is not None:
                self.ledger.refused(code)
                if answer.status not in (429, 503, 507):
                    if code in allowed:
                        return None
                    raise Finding("wrong", "%s %s was refused: %r" % (path, job, answer))
            if lost and not job.key:
                self.ledger.count("unheard")
                return None
            if not lost and self.rng.random() < 0.3:
                return None
            if time.monotonic() > end:
                raise Finding("hung", "%s was never heard of, last %s" % (job, answer))
            if answer is not None:
                time.sleep(self.rng.uniform(0.02, 0.2))

    def heard(self, job, answer):
        """Does the answer name the job?"""
        id_ = answer.headers.get("tutti-job")
        if id_ is None and "json" in answer.headers.get("content-type", ""):
            document = answer.json
            id_ = document.get("id") if answer.status in (200, 202) else document.get("job")
        if id_ is None:
            return False
        self.ledger.acknowledged(job, id_)
        return True

    # ---- to its end ----

    def settle(self, job, answer=None, how="json"):
        """Until it has ended, and its outputs are checked. answer: of the submission, when it may hold them."""
        job.epoch = self.stage.epoch.value
        if answer is not None and answer.status == 200 and how != "json":
            self.ledger.ended(job, {"state": "succeeded"})
            self.ledger.right(job, reader.read(answer, how, job.want, job.dtype))
            return
        document = answer.json if answer is not None and answer.status == 200 and how == "json" else None
        if document is None or document.get("state") not in TERMINAL:
            document = self.wait_end(job)
        self.ledger.ended(job, document)
        if job.state == "succeeded":
            self.check_outputs(job, document)

    def wait_end(self, job):
        while True:
            wait = self.rng.choice((0, 0.2, 2, 5))
            answer = self.door.insist("GET", "/v1/jobs/%s?wait=%s" % (job.id, wait), wait=wait)
            if answer.status == 404:
                raise Finding("lost", "%s is not known any more: %r" % (job, answer))
            if answer.status != 200:
                raise Finding("wrong", "GET %s: %r" % (job, answer))
            if answer.json["state"] in TERMINAL:
                return answer.json
            if time.monotonic() > job.begun + END_S:
                raise Finding("hung", "%s is still %s: %s" % (job, answer.json["state"], answer.json))

    def check_outputs(self, job, document):
        arrays = shown(document, job.dtype)
        if arrays is not None:
            self.ledger.right(job, arrays)
        else:
            self.read_raw(job)

    def read_raw(self, job):
        """Every rank's bytes by themselves."""
        for r, want in enumerate(job.want):
            if want is None:
                continue
            answer = self.door.insist("GET", "/v1/jobs/%s/outputs/%d?format=raw" % (job.id, r))
            if answer.status != 200:
                raise Finding("lost", "%s, its output %d: %r" % (job, r, answer))
            self.ledger.same_bytes(job, r, answer.body)

    # ---- and after ----

    def keep_or_delete(self, job):
        """Some are read twice at once, some later, by another server perhaps."""
        if job.id is None or job.deleted:
            return
        if job.state == "succeeded" and self.rng.random() < 0.3:
            self.read_raw(job)
        if self.rng.random() < 0.25:
            self.kept.append(job)
            if len(self.kept) > KEEP or self.kept[0].begun + KEEP_S < time.monotonic():
                self.part(self.kept.pop(0))
        else:
            self.delete(job)

    def part(self, job):
        """From a job that was kept."""
        self.read_again(job)
        self.delete(job)

    def read_again(self, job):
        document = self.door.insist("GET", "/v1/jobs/" + job.id)
        if document.status != 200 or document.json["state"] != job.state:
            raise Finding("lost", "%s was %s, and is %r" % (job, job.state, document))
        if job.state == "succeeded":
            self.check_outputs(job, document.json)
            self.read_raw(job)
        self.ledger.count("read again" + (" after a restart" if self.stage.epoch.value != job.epoch else ""))

    def one_of_a_key(self, job):
        answer = self.door.insist("GET", "/v1/jobs?label=" + job.label)
        ids = [row["id"] for row in answer.json["jobs"]]
        if ids != [job.id]:
            raise Finding("duplicated" if job.id in ids else "lost", "%s: of this label are %s" % (job, ids))
        self.ledger.count("keys looked up")

    def delete(self, job):
        if job.deleted or job.id is None:
            return
        if job.key and job.label == job.key and self.rng.random() < 0.1:
            self.one_of_a_key(job)
        job.deleted = True
        self.gone("/v1/jobs/" + job.id)

    def gone(self, path):
        """DELETE; a 404 only if it may have been heard before."""
        lost, end = False, time.monotonic() + END_S
        while True:
            answer = self.door.ask("DELETE", path)
            if answer is not None and (answer.status in (200, 204) or (answer.status == 404 and lost)):
                break
            if answer is not None and answer.status not in (429, 503, 507):
                raise Finding("lost" if answer.status == 404 else "wrong", "DELETE %s: %r" % (path, answer))
            lost |= answer is None or code_of(answer) == "outcome_unknown"
            if time.monotonic() > end:
                raise Finding("hung", "DELETE %s was never heard" % path)
            if answer is not None:
                time.sleep(0.05)
        if self.rng.random() < 0.03:
            answer = self.door.insist("GET", path)
            if answer.status != 404:
                raise Finding("wrong", "%s was deleted, and is %r" % (path, answer))
