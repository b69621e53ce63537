"""Generation under blows: kills, two runs on one folder, a full disk, a disk that is read-only.

A reader looks at all cases all the time, and must never see one by halves. In the end every case is there, with the
bytes of an undisturbed run, and no other file. Disks are mounted, which takes root on Linux; elsewhere these parts are
left out, and said to be.

    python scripts/soak.py                        # 100 kills, some ten minutes on two cores
    python scripts/soak.py --kills 1000 --seed 1
    python scripts/soak.py --kills 10 --cases 4   # a quick look
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from soaking.dataset import SUPERVOXELS, contents, write_dataset
from soaking.reader import Reader
from soaking.runs import Runs

SHAPE = (30, 60, 71)


@dataclass
class Soak:
    """What every part needs.

    Attributes:
        dataset: preprocessed.
        arguments: of an undisturbed run.
        cases: identifiers.
        runs: two, which can be at work at once.
        undisturbed: files of an undisturbed run, by name.
        lasted: how long it took, in seconds.
        rng: draws moments.
    """

    dataset: Path
    arguments: tuple[str, ...]
    cases: list[str]
    runs: tuple[Runs, Runs]
    undisturbed: dict[str, bytes]
    lasted: float
    rng: np.random.Generator

    @property
    def output(self) -> Path:
        """Folder of the supervoxels."""
        return self.dataset / SUPERVOXELS

    def finish(self) -> None:
        """One more run does what is left. Then all must be as after an undisturbed run."""
        self.runs[0].start(*self.arguments)
        code = self.runs[0].wait()
        assert code == 0, f"the last run ended with {code}; see {self.runs[0].log}"
        there = contents(self.output)
        assert sorted(there) == sorted(self.undisturbed), sorted(there.keys() ^ self.undisturbed.keys())
        different = [name for name, content in there.items() if content != self.undisturbed[name]]
        assert not different, f"other bytes: {different}"


def two_runs(soak: Soak) -> str:
    """Two runs begin at once and aren't disturbed: each case is done by one of them."""
    shutil.rmtree(soak.output, ignore_errors=True)
    before = [run.log.read_text() for run in soak.runs]
    with Reader(soak.output, soak.cases) as reader:
        for run in soak.runs:
            run.start(*soak.arguments)
        codes = [run.wait() for run in soak.runs]
    assert codes == [0, 0], codes
    logs = [run.log.read_text().removeprefix(old) for run, old in zip(soak.runs, before, strict=True)]
    made = [int(re.findall(r"cases: (\d+) made", log)[-1]) for log in logs]
    assert sum(made) == len(soak.cases), made
    soak.finish()
    return f"{made[0]} and {made[1]} cases made, {reader.seen} whole cases seen"


def kills(soak: Soak, count: int) -> str:
    """SIGKILL at random moments for one of two runs, or both; two of three pairs make anew what is there."""
    shutil.rmtree(soak.output, ignore_errors=True)
    ends: Counter[int] = Counter()
    with Reader(soak.output, soak.cases) as reader:
        while ends[-signal.SIGKILL] < count:
            anew = ["--overwrite"] * (sum(ends.values()) % 3 != 0)  # there is little to kill in a run that keeps all
            processes = [run.start(*soak.arguments, *anew) for run in soak.runs]
            for number in soak.rng.permutation(2):
                time.sleep(soak.rng.uniform(0, soak.lasted))
                soak.runs[number].kill(processes[number])
            ends.update(run.wait() for run in soak.runs)
            if sum(ends.values()) > 20 * count + 100:
                raise AssertionError(f"too few of the runs could be killed in time: {ends}")
        soak.finish()
    assert set(ends) <= {-signal.SIGKILL, 0}, ends
    return f"{ends[-signal.SIGKILL]} killed, {ends[0]} ended before, {reader.seen} whole cases seen"


def full_disk(soak: Soak) -> str:
    """The folder is a small disk, which gets full; then it grows, and the same command does the rest."""
    shutil.rmtree(soak.output, ignore_errors=True)
    soak.output.mkdir()
    needed = sum(map(len, soak.undisturbed.values()))
    size = (1 << 20) + needed // 2  # there must be some room to begin
    with mounted(soak.output, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"), Reader(soak.output, soak.cases) as reader:
        soak.runs[0].start(*soak.arguments)
        code = soak.runs[0].wait()
        assert code == 1, f"the run on the full disk ended with {code}"
        assert "there is no space left; make room, then give the same command again" in last_words(soak.runs[0])
        done = len(list(soak.output.glob("*.b2nd")))
        assert 0 < done < len(soak.cases)
        assert {name.split(".")[0] for name in contents(soak.output) if name[0] != "."} == {
            path.stem for path in soak.output.glob("*.b2nd")
        }
        subprocess.run(["mount", "-o", f"remount,size={size + 2 * needed}", str(soak.output)], check=True)
        soak.finish()
    return f"full after {done} of {len(soak.cases)} cases, {reader.seen} whole cases seen"


def read_only_disk(soak: Soak) -> str:
    """The folder can't be written: that is said at once, what is there is read, and nothing changes."""
    shutil.rmtree(soak.output, ignore_errors=True)
    soak.finish()
    for path in soak.output.glob("case1.*"):
        path.unlink()
    with mounted(soak.output, "--bind", str(soak.output)), Reader(soak.output, soak.cases) as reader:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(soak.output)], check=True)
        before, began = contents(soak.output), time.monotonic()
        soak.runs[0].start(*soak.arguments)
        code, seconds = soak.runs[0].wait(), time.monotonic() - began
        assert code == 1, f"the run on the read-only disk ended with {code}"
        assert "Nothing can be written to" in last_words(soak.runs[0])
        assert contents(soak.output) == before
    soak.finish()
    return f"refused after {seconds:.1f} s, {reader.seen} whole cases seen"


def last_words(runs: Runs) -> str:
    """What a run has said at the end."""
    return runs.log.read_text()[-1000:]


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[None]:
    """Mount something on a folder for a while."""
    subprocess.run(["mount", *arguments, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def can_mount() -> bool:
    """Whether this user may mount disks."""
    with TemporaryDirectory() as folder:
        done = shutil.which("mount") and subprocess.run(
            ["mount", "-t", "tmpfs", "tmpfs", folder], check=False, capture_output=True
        )
        if not done or done.returncode:
            return False
        subprocess.run(["umount", folder], check=True)
        return True


def main() -> int:
    arguments = _parse()
    with TemporaryDirectory(dir=arguments.folder) as place:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[name] = str(Path(place) / name)
            Path(os.environ[name]).mkdir()
        config = Path(place) / "config.yaml"
        config.write_text("method: slic\nmasks_per_image: 12\n")
        dataset = Path(os.environ["nnUNet_preprocessed"]) / "Dataset995_Soak"
        cases = [f"case{number}" for number in range(arguments.cases)]
        write_dataset(dataset, cases, SHAPE)
        command = ("-d", "995", "-config", str(arguments.config or config), "-device", "cpu")
        with Runs(Path(place) / "log0") as first, Runs(Path(place) / "log1") as second:
            began = time.monotonic()
            first.start(*command)
            assert first.wait() == 0, first.log.read_text()
            soak = Soak(
                dataset=dataset,
                arguments=command,
                cases=cases,
                runs=(first, second),
                undisturbed=contents(dataset / SUPERVOXELS),
                lasted=time.monotonic() - began,
                rng=np.random.default_rng(arguments.seed),
            )
            print(f"undisturbed: {len(soak.undisturbed)} files in {soak.lasted:.1f} s", flush=True)
            return _run(soak, arguments.kills)


def _run(soak: Soak, count: int) -> int:
    """All parts, one after the other; the exit code."""
    parts: dict[str, Callable[[], str]] = {
        "two runs": lambda: two_runs(soak),
        "kills": lambda: kills(soak, count),
    }
    if can_mount():
        parts |= {"full disk": lambda: full_disk(soak), "read-only disk": lambda: read_only_disk(soak)}
    else:
        print("full disk, read-only disk: left out, because this user may not mount any")
    failed = 0
    for name, part in parts.items():
        began = time.monotonic()
        try:
            result = part()
        except AssertionError as error:
            result, failed = f"FAILED: {error}", failed + 1
        print(f"{name}: {result} ({time.monotonic() - began:.0f} s)", flush=True)
    return int(bool(failed))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="default: %(default)s")
    parser.add_argument("--cases", type=int, default=8, metavar="N", help="of the dataset (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments (default: %(default)s)")
    parser.add_argument("--config", help="of generation, such as 'tiny' (default: SLIC, which is quicker)")
    parser.add_argument("--folder", type=Path, help="where a temporary folder is made, as on NFS (default: the usual)")
    arguments = parser.parse_args()
    if arguments.kills < 1 or arguments.cases < 3:
        parser.error("--kills must be at least 1, --cases at least 3")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
