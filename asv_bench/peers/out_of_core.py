"""Compare fits of a block file with fits in memory: time of an iteration, whole time, peak memory.

    python asv_bench/peers/out_of_core.py                     # 100 million ratings, 1.2 GB
    python asv_bench/peers/out_of_core.py --entries 5000000   # a quick trial
    python asv_bench/peers/out_of_core.py --cold              # from the disk (Linux)

**The ratings** are generated, row by row, from a planted model: half stars, and as many columns per
row as a long-tailed draw says. They are never all in memory, except where the fit in memory wants
them there.

**What is measured.** Every step runs in a process of its own, after a small fit that pays for
compilation; peak memory is the resident high-water mark of that process, Python and libraries
included. Fits alternate, so a drift of the machine hits both. The time of an iteration is the
median of those after the second, from `history_`, so that neither sorting (in memory) nor opening
the file counts; whole fits are given as well. The speeds are compared fit by fit, and the median of
these ratios is told. With `--cold` the system drops the pages of
the file before each fit, so that it comes from the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

N_COLUMNS = 40_009  # a prime, so that every stride visits every column
ENTRIES_PER_ROW = 100
ROWS_PER_CHUNK = 10_000
RANK = 4


def generated(n_entries: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Chunks of about a million ratings; no cell occurs twice."""
    columns = np.random.default_rng(0).normal(size=(N_COLUMNS, RANK)).astype(np.float32)
    left, first = n_entries, 0
    while left:
        rng = np.random.default_rng((1, first))
        counts = rng.geometric(1 / ENTRIES_PER_ROW, ROWS_PER_CHUNK).clip(1, N_COLUMNS)
        counts = np.diff(np.minimum(np.cumsum(counts), left), prepend=0)
        left -= int(counts.sum())
        row = np.repeat(np.arange(ROWS_PER_CHUNK), counts)
        begin = np.repeat(np.cumsum(counts) - counts, counts)
        # Along a stride of its own a row meets no column twice.
        start = rng.integers(N_COLUMNS, size=ROWS_PER_CHUNK)
        stride = rng.integers(1, N_COLUMNS, size=ROWS_PER_CHUNK)
        col = (start[row] + (np.arange(row.size) - begin) * stride[row]) % N_COLUMNS
        taste = rng.normal(size=(ROWS_PER_CHUNK, RANK)).astype(np.float32)
        score = 3.5 + 0.5 * np.einsum("ij,ij->i", taste[row], columns[col])
        score += 0.5 * rng.normal(size=row.size).astype(np.float32)
        value = np.clip(np.round(2 * score) / 2, 0.5, 5).astype(np.float32)
        yield (first + row).astype(np.int32), col.astype(np.int32), value
        first += ROWS_PER_CHUNK


def peak_bytes() -> int:
    """Resident high-water mark of this process."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(s.split()[1]) * 1024 for s in lines if s.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource  # not on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def step(args: argparse.Namespace) -> None:
    """Body of a fresh process; one line of JSON on stdout."""
    from skglrm import Entries, FPSGFactorizer
    from skglrm.block_file import BlockFile

    said: dict[str, float] = {}
    if args.step == "write":
        start = time.perf_counter()
        BlockFile.write(args.file, generated(args.entries), random_state=0)
        said["seconds"] = time.perf_counter() - start
    else:

        def fit(data: object, max_iter: int) -> None:
            model = FPSGFactorizer(
                args.n_components,
                max_iter=max_iter,
                schedule=args.schedule,
                n_jobs=args.threads,
                random_state=0,
            )
            start = time.perf_counter()
            model.fit(data)
            said["seconds"] = time.perf_counter() - start
            said["objective"] = model.loss_curve_[-1]
            said["iteration"] = float(np.median(np.diff(model.history_["seconds"])[1:]))

        fit(Entries(*next(generated(200_000))), 4)
        if args.step == "memory":
            parts = zip(*generated(args.entries), strict=True)
            data = Entries(*map(np.concatenate, parts))
        else:
            data = BlockFile(args.file)
            if args.cold:
                drop_pages(args.file)
        fit(data, args.max_iter)
    print(json.dumps({**said, "peak": peak_bytes()}))


def drop_pages(path: Path) -> None:
    """Make the system forget what it has cached of a file."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run(args: argparse.Namespace, name: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--step", name, "--file", str(args.file)]
    for option in ("entries", "n_components", "max_iter", "threads", "schedule"):
        command += [f"--{option.replace('_', '-')}", str(getattr(args, option))]
    command += ["--cold"] * args.cold
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the step {name!r} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def compare(args: argparse.Namespace) -> None:
    import skglrm

    print(f"skglrm {skglrm.__version__}, {platform.platform()}, {os.cpu_count()} processors")
    print(
        f"{args.entries:,} ratings, {args.n_components} components, {args.threads} threads, "
        f"schedule {args.schedule!r}, {args.max_iter} iterations\n"
    )
    wrote = run(args, "write")
    size = args.file.stat().st_size
    print(
        f"written: {size / 1e9:.2f} GB in {wrote['seconds']:.0f} s (ratings generated meanwhile), "
        f"peak memory {wrote['peak'] / 1e9:.2f} GB\n"
    )
    print(f"{'':10}{'s/iteration':>12}{'fit, s':>10}{'peak, GB':>10}{'objective':>16}")
    ratios = []
    for _ in range(args.repeats):
        seconds = {}
        for name in ("file", "memory"):
            said = run(args, name)
            seconds[name] = said["iteration"]
            print(
                f"{name:10}{said['iteration']:12.3f}{said['seconds']:10.1f}"
                f"{said['peak'] / 1e9:10.2f}{said['objective']:16.6g}",
                flush=True,
            )
        ratios.append(100 * seconds["memory"] / seconds["file"])
    print(
        f"\nthe file's speed is {np.median(ratios):.0f} % of that in memory "
        f"({min(ratios):.0f} to {max(ratios):.0f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000_000)
    parser.add_argument("--n-components", type=int, default=32)
    parser.add_argument("--max-iter", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--schedule", default="fpsg")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--file", type=Path, help="where the file goes; by default a temporary one")
    parser.add_argument("--step", choices=("write", "file", "memory"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        step(args)
    elif args.file:
        compare(args)
    else:
        with tempfile.TemporaryDirectory() as folder:
            args.file = Path(folder, "ratings.blocks")
            compare(args)


if __name__ == "__main__":
    main()
