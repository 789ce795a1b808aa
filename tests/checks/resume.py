"""Kills a sweep again and again until it gets to its end, and looks at what lies in its files.

After every kill the rows on disk must be whole, each once, and still begin with those that were
there before; in the end they must be the cells of a sweep that nobody killed, each with all its
repetitions. Prints `ok NAME` or `not ok NAME: why`.
"""

import csv
import os
import pathlib
import shutil
import subprocess
import time

from rows import rows
from verdict import finish, report

PROGRAM = os.environ["APBENCH"]
SCRATCH = pathlib.Path(os.environ["SCRATCH"])
SWEEP = [PROGRAM, "speed", "--models", "tests/data/checkpoints/yi-sharded-f32", "--methods",
         "flash,ring,star,apb,apb:compressor=random", "--hosts", "1,2,3", "--lengths", "256,300",
         "--reps", "2", "--warmup", "0", "--new-tokens", "2", "--threads", "1"]
INPUTS = ["model", "method", "options", "hosts", "length", "link", "reps", "seed"]
HANGS = 300  # seconds


def start(out, log):
    return subprocess.Popen([*SWEEP, "--out", str(out)], stdout=log, stderr=log)


def whole_lines(path):
    """Lines of a file that end; a torn one behind them is for the next start to cut."""
    if not path.exists():
        return []
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def cells(path):
    return [tuple(row[name] for name in INPUTS) for row in rows(path)]


def check_other_weights(log):
    """Weights that are replaced are run again, and once."""
    model, out = SCRATCH / "model", SCRATCH / "replaced.csv"
    shutil.copytree("tests/data/checkpoints/yi-sharded-f32", model)
    sweep = [PROGRAM, "speed", "--models", str(model), "--methods", "ring", "--hosts", "2", "--lengths",
             "256", "--reps", "1", "--warmup", "0", "--new-tokens", "2", "--threads", "1", "--out", str(out)]
    shard = min(model.glob("*.safetensors"))
    rows = []
    for replaced in (False, False, True, True):
        content = bytearray(shard.read_bytes())
        at = 8 + int.from_bytes(content[:8], "little")
        content[at] = replaced
        shard.write_bytes(content)
        if subprocess.run(sweep, stdout=log, stderr=log, timeout=HANGS, check=False).returncode != 0:
            return report("other weights at the same path", (SCRATCH / "log").read_text()[-500:])
        rows.append(len(cells(out)))
    return report("other weights at the same path",
                  None if rows == [1, 1, 2, 2] else f"rows after each of four sweeps: {rows}")


def main():
    with open(SCRATCH / "log", "wb") as log:
        calm = SCRATCH / "calm.csv"
        if start(calm, log).wait(HANGS) != 0:
            return report("a sweep", (SCRATCH / "log").read_text()[-500:])
        expected = cells(calm)
        report("a sweep's cells differ", None if len(expected) == len(set(expected)) > 10 else
               f"{len(set(expected))} different cells in {len(expected)} rows")

        # Let each run add a few rows, kill it a moment later (another moment each time, so that kills
        # fall into every phase), and start anew.
        out = SCRATCH / "killed.csv"
        before, kills = [], 0
        while True:
            run = start(out, log)
            target = max(len(before), 1) + 3
            patience = time.monotonic() + HANGS
            while run.poll() is None and len(whole_lines(out)) < target:
                if time.monotonic() > patience:
                    run.kill()
                    return report("sweep goes on after kill -9", "no row was added, it hangs")
                time.sleep(0.002)
            time.sleep(0.004 * (kills % 5))
            run.kill()
            code = run.wait()
            now = whole_lines(out)
            if now[:len(before)] != before:
                return report("rows survive kill -9", f"lines changed after {kills + 1} kills")
            before = now
            if code == 0:
                break
            if code != -9:
                return report("sweep goes on after kill -9",
                              (SCRATCH / "log").read_text(errors="replace")[-500:])
            kills += 1
        report("rows survive kill -9")
        report("the sweep was killed at least three times",
               None if kills >= 3 else f"only {kills} times: rows come too fast for this check")

        found = cells(out)
        report("no row lost, none repeated", None if found == expected else
               f"{len(found)} rows, {len(set(found) & set(expected))} of {len(expected)} cells")
        with open(out, encoding="utf-8", newline="") as file:
            widths = {len(row) for row in csv.reader(file)}
        ends = out.read_bytes().endswith(b"\n")
        report("no row half-written", None if len(widths) == 1 and ends else
               f"rows hold {sorted(widths)} cells" + ("" if ends else ", the last has no end"))
        timed = [row["row"] for row in rows(out.with_suffix(".reps.csv")) if row["kind"] == "timed"]
        done = [row["row"] for row in rows(out) if row["status"] == "ok"]
        report("every repetition kept once", None if sorted(timed) == sorted(done * 2) else
               f"{len(timed)} timed repetitions for {len(done)} rows of status ok")

        size = out.stat().st_size
        report("a finished sweep has nothing to do",
               None if start(out, log).wait(HANGS) == 0 and out.stat().st_size == size else
               "the file grew or the command failed")
        said = (SCRATCH / "log").read_text(errors="replace").splitlines()[-1]
        report("and says so", None if said.endswith("cells are in the file already: nothing to run") else said)
        check_other_weights(log)


main()
finish()
