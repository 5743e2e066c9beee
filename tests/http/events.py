"""events.py - follows a stream of server-sent events, for the tests of them."""
import http.client
import json

from recorded import record


class Follower:
    """The events of a path as they come: (name, id, data)."""

    def __init__(self, service, path="/v1/events", last=None, timeout=20):
        self.connection = http.client.HTTPConnection(service.host, service.port, timeout=timeout)
        self.connection.request("GET", path, headers={"Last-Event-ID": last} if last is not None else {})
        self.answer = self.connection.getresponse()
        self.comments, self.path = 0, path
        self.last = last

    def __iter__(self):
        name = id_ = data = None
        for line in self.answer:
            line = line.decode().rstrip("\n")
            if line.startswith(":"):
                self.comments += 1
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("id: "):
                id_ = line[4:]
            elif line.startswith("data: "):
                data = json.loads(line[6:])
            elif not line and name:
                self.last = id_ or self.last
                record("GET", self.path, [], None, self.answer.status, self.answer.getheaders(),
                       ("event: %s\ndata: %s\n\n" % (name, json.dumps(data))).encode(), name)
                yield name, id_, data
                name = id_ = data = None

    def until(self, kind, test):
        """All events up to the first of this kind for which test(data) holds."""
        seen = []
        for name, _, data in self:
            seen.append((name, data))
            if name == kind and test(data):
                return seen
        raise AssertionError("the stream ended after %s" % seen[-3:])

    def close(self):
        self.answer.close()
        self.connection.close()
