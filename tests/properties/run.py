"""Generated cases by the minute: how many of each property, and every undocumented outcome.

    python tests/properties/run.py --minutes 3             # what CI runs
    python tests/properties/run.py --minutes 60 --all      # every night: all losses, regularizers

Every process takes cases of its own, which follow from the seed.  A process that dies or hangs is
an undocumented outcome, too: what it was at is printed.
"""

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "hostile")]
BATCH_SECONDS = 2.0
SHOWN = 900


def main():
    """Run the processes, add up what they have counted, and return the exit status."""
    arguments = parsed()
    if arguments.worker is not None:
        return work(arguments)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-X",
            "faulthandler",
            __file__,
            *sys.argv[1:],
            "--folder",
            folder,
        ]
        workers = [
            subprocess.Popen([*command, "--worker", str(number)])
            for number in range(arguments.jobs)
        ]
        statuses = [worker.wait() for worker in workers]
        counts, found = collections.Counter(), []
        for number, status in enumerate(statuses):
            told, last = (Path(folder, f"{name}-{number}") for name in ("counts", "case"))
            if told.exists():
                of_worker = json.loads(told.read_text())
                counts.update(of_worker["counts"])
                found += of_worker["undocumented"]
            if status:
                case = last.read_text()[:SHOWN] if last.exists() else "no case"
                found.append(f"A process ended with status {status} at {case}")
    return tell(counts, found, arguments)


def parsed():
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--all", action="store_true", help="every loss, regularizer and option")
    parser.add_argument("--cases", type=int, help="of each property and process, then stop")
    parser.add_argument("--only", nargs="*", help="names of properties")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def tell(counts, found, arguments):
    """Print the table, and every undocumented outcome."""
    totals = collections.Counter()
    for key, n in counts.items():
        totals[key.split(": ", 1)[0]] += n
    for name, n in sorted(totals.items()):
        print(f"{n:8d}  {name}")
        for key, part in sorted(counts.items(), key=lambda item: -item[1]):
            if key.startswith(f"{name}: "):
                print(f"{'':10}{part:8d}  {key.split(': ', 1)[1]}")
    print(
        f"{totals.total():8d}  generated cases, seed {arguments.seed}, {arguments.jobs} processes"
    )
    print(f"{len(found):8d}  undocumented outcomes")
    for one in found:
        print(f"\n{one}")
    return int(bool(found) or not totals)


def work(arguments):
    """Take turns at all properties until the time is over."""
    import cases

    cases.ALL = arguments.all
    from checks import CHECKS
    from hypothesis import HealthCheck, Phase, given, seed, settings

    counts, found, keys = collections.Counter(), [], set()
    told = Path(arguments.folder, f"counts-{arguments.worker}")
    minutes = 1e9 if arguments.cases else arguments.minutes
    end = time.monotonic() + 60 * minutes
    sizes = {name: 20 for name in CHECKS if not arguments.only or name in arguments.only}
    last = open(Path(arguments.folder, f"case-{arguments.worker}"), "w+")

    def batch(name, number):
        strategy, check = CHECKS[name]

        @seed(zlib.crc32(repr((arguments.seed, arguments.worker, name, number)).encode()))
        @settings(
            max_examples=sizes[name], database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=[*HealthCheck],
        )  # fmt: skip
        @given(strategy())
        def run(case):
            last.seek(0)
            last.write(f"{name}: {case!r:.{SHOWN}}{'':{SHOWN}}")
            last.flush()
            try:
                counts[f"{name}: {check(case)}"] += 1
            except Exception as error:
                counts[f"{name}: UNDOCUMENTED"] += 1
                key = f"{name}: {type(error).__name__}: {error}"[:80]
                if key not in keys:
                    keys.add(key)
                    found.append(
                        f"{name}: {type(error).__name__}: {error!s:.{SHOWN}}\n    {case!r:.{SHOWN}}"
                    )

        run()

    number, done = 0, collections.Counter()
    while time.monotonic() < end and sizes:
        for name in [*sizes]:
            start = time.monotonic()
            if start > end:
                break
            batch(name, number)
            done[name] += sizes[name]
            told.write_text(json.dumps({"counts": counts, "undocumented": found}))
            if arguments.cases and done[name] >= arguments.cases:
                del sizes[name]
                continue
            pace = BATCH_SECONDS / max(time.monotonic() - start, 1e-3)
            sizes[name] = int(sizes[name] * min(max(pace, 0.2), 5.0)) + 1
        number += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
