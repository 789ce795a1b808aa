"""Reads a recording of NVTX ranges (tests/nvtx/recorder.c) of `apbench speed --profile CELL` and checks
what a profiler would show of the instrumented repetition: nesting cell > repetition > host > layer >
part, payloads, and that leaf ranges cover the repetition's wall time.

    ranges.py RECORDING LAYERS HOSTS ROWS PARTS [LEAST_COVERAGE]

HOSTS: virtual hosts whose ranges are here (1 where each host is a process). ROWS: most rows that a part
of the document's prefill has. PARTS: names joined by commas that must occur. Prints one line a test."""
import sys

path, layers, hosts, rows, parts = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5].split(",")
least = float(sys.argv[6]) if len(sys.argv) > 6 else 0.97
OUTER = {"host", "layer"}


def report(name, problem):
    print(f"not ok {name}: {problem}" if problem else f"ok {name}")


class Range:
    def __init__(self, line):
        depth, begin, end, payload, self.name = line.rstrip("\n").split(" ", 4)
        self.depth, self.begin, self.end, self.payload = int(depth), int(begin), int(end), int(payload)
        self.parent, self.children = None, []


lines = open(path).read().splitlines()
report("every close has its range", "unopened" in lines and f"{lines.count('unopened')} have none")
ranges, open_now = [Range(line) for line in lines if line != "unopened"], []
for r in ranges:
    del open_now[r.depth:]
    if open_now:
        r.parent = open_now[-1]
        r.parent.children.append(r)
    open_now.append(r)
report("every range is closed", next((r.name for r in ranges if not r.end), None))
report("ranges nest", next((f"{r.name} in {r.parent.name}" for r in ranges if r.parent and not
                            (r.parent.begin <= r.begin <= r.end <= r.parent.end)), None))

cells = [r for r in ranges if r.depth == 0]
repetitions = [r for r in ranges if r.name.startswith("repetition (")]
report("repetitions lie in cells", None if repetitions and all(r.depth == 1 for r in repetitions)
       else [r.depth for r in repetitions])
report("kinds of repetitions", None if [r.name for r in repetitions] ==
       ["repetition (warmup)", "repetition (timed)", "repetition (instrumented)"]
       else [r.name for r in repetitions])


def below(r):
    for child in r.children:
        yield child
        yield from below(child)


last = repetitions[-1]
inside = list(below(last))
seen = {(r.parent.payload, r.payload) for r in inside if r.name == "layer" and r.parent.name == "host"}
hosts_seen = {host for host, layer in seen}
report("layers of every host, by payload", None if len(hosts_seen) == hosts and seen ==
       {(host, layer) for host in hosts_seen for layer in range(layers)} else sorted(seen))
for name in parts:
    of = [r for r in inside if r.name == name]
    report(f"part {name} in layers, most tokens {rows}", None if of and
           all(r.parent.name == "layer" for r in of) and max(r.payload for r in of) == rows else
           [(r.parent.name, r.payload) for r in of][:5])

leaves = [r for r in inside if r.name not in OUTER]
report("leaves hold no ranges", next((r.name for r in leaves if r.children), None))
covered = sum(r.end - r.begin for r in leaves)
share = covered / (last.end - last.begin)
report(f"leaves cover {100 * share:.2f} % of the repetition's {1e-9 * (last.end - last.begin):.4f} s",
       None if share >= least else f"less than {100 * least:.0f} %")
cell = last.parent
share = covered / (cell.end - cell.begin)
report(f"leaves cover {100 * share:.2f} % of the cell's {1e-9 * (cell.end - cell.begin):.4f} s",
       None if share >= least else f"less than {100 * least:.0f} %")
by_name = {}
for r in leaves:
    by_name[r.name] = by_name.get(r.name, 0) + r.end - r.begin
print("# " + ", ".join(f"{name} {100 * t / (cell.end - cell.begin):.1f} %"
                       for name, t in sorted(by_name.items(), key=lambda item: -item[1])))
