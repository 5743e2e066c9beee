"""exposition.py - Prometheus' text format 0.0.4 by the letter: a strict reader, and what must hold of any answer."""
import re

METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')


class Family:
    def __init__(self, name, sentence):
        self.name, self.sentence, self.type, self.samples = name, sentence, None, {}

    def value(self, **labels):
        return self.samples[(self.name, frozenset(labels.items()))]

    def total(self, **labels):
        """Of all samples with these labels."""
        return sum(v for (name, has), v in self.samples.items() if name == self.name and set(labels.items()) <= has)


def labels_of(text):
    found, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match and match.group(1) not in found, text
        found[match.group(1)] = re.sub(r'\\(.)', lambda m: "\n" if m.group(1) == "n" else m.group(1), match.group(2))
        at = match.end()
    return found


def read(text):
    """{name: family}, in order. Each has a HELP and a TYPE before its samples, and stands in one piece."""
    families, now = {}, None
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, sentence = line[7:].split(" ", 1)
            assert METRIC.fullmatch(name) and name not in families and sentence and "\\" not in sentence, line
            assert now is None or now.type, line
            now = families[name] = Family(name, sentence)
        elif line.startswith("# TYPE "):
            name, now.type = line[7:].split(" ")
            assert name == now.name and now.type in ("counter", "gauge", "histogram"), line
        else:
            match = SAMPLE.fullmatch(line)
            assert match and now.type, line
            name, inside, value = match.groups()
            ends = ("_bucket", "_sum", "_count") if now.type == "histogram" else ("",)
            assert name in [now.name + end for end in ends], line
            key = (name, frozenset(labels_of(inside or "").items()))
            assert key not in now.samples, "twice: " + line
            now.samples[key] = float(value)
    for family in families.values():
        assert family.type, family.name
        assert (family.type == "counter") == family.name.endswith("_total"), family.name
        assert family.type != "counter" or all(v >= 0 for v in family.samples.values()), family.name
        if family.type == "histogram":
            histogram_adds_up(family)
    return families


def series(family):
    """Of a histogram: {labels without le: ([(bound, below)], sum, count)}."""
    found = {}
    for (name, labels), value in family.samples.items():
        bound = dict(labels).get("le")
        own = frozenset((k, v) for k, v in labels if k != "le")
        buckets, ends = found.setdefault(own, ([], {}))
        if name.endswith("_bucket"):
            buckets.append((float(bound), value))
        else:
            assert bound is None, labels
            ends[name[len(family.name):]] = value
    return {own: (buckets, ends["_sum"], ends["_count"]) for own, (buckets, ends) in found.items()}


def histogram_adds_up(family):
    bounds = None
    for own, (buckets, total, count) in series(family).items():
        assert [b for b, _ in buckets] == sorted({b for b, _ in buckets}) and buckets[-1] == (float("inf"), count), (own, buckets)
        assert bounds in (None, [b for b, _ in buckets]), "bounds differ"
        bounds = [b for b, _ in buckets]
        below = [v for _, v in buckets]
        assert below == sorted(below), (own, buckets)
        # No value lies above its bucket, or below the one before it.
        least = most = last = low = 0
        for bound, value in buckets:
            least += (value - last) * low
            most += (value - last) * bound if value > last else 0
            last, low = value, bound
        assert least * (1 - 1e-9) <= total <= most * (1 + 1e-9), (own, least, total, most)
