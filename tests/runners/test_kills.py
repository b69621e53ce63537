"""SIGKILL at random moments, with a reader that looks on all the time. scripts/soak.py does it for longer."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from soaking.dataset import SUPERVOXELS, contents, write_dataset
from soaking.reader import Reader
from soaking.runs import Runs

CASES = [f"case{number}" for number in range(6)]
KILLS = 10


@pytest.fixture
def dataset(nnunet_folders: dict[str, str]) -> Iterator[Path]:
    """Dataset988_Killed, preprocessed."""
    folder = Path(nnunet_folders["nnUNet_preprocessed"]) / "Dataset988_Killed"
    write_dataset(folder, CASES, (14, 30, 41))
    yield folder
    shutil.rmtree(folder)


def test_kills_lose_nothing_leave_nothing_and_no_reader_sees_half_a_case(dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "slic.yaml"
    config.write_text("method: slic\nmasks_per_image: 12\n")
    arguments = ("-d", 988, "-config", config, "-device", "cpu")
    output, ends = dataset / SUPERVOXELS, []
    with Runs(tmp_path / "log") as runs:
        began = time.monotonic()
        runs.start(*arguments)
        assert runs.wait() == 0, runs.log.read_text()
        lasted = time.monotonic() - began
        undisturbed = contents(output)
        assert len(undisturbed) == 3 * len(CASES)
        shutil.rmtree(output)
        with Reader(output, CASES) as reader:
            # Every other run makes anew what is there: a run that replaces files is killed, too.
            for number, moment in enumerate(np.random.default_rng(0).uniform(0, lasted, KILLS)):
                process = runs.start(*arguments, *["--overwrite"] * (number % 2))
                time.sleep(moment)
                runs.kill(process)
                ends.append(runs.wait())
            runs.start(*arguments)
            assert runs.wait() == 0, runs.log.read_text()
            time.sleep(0.1)
    assert ends.count(-signal.SIGKILL) >= KILLS // 2, ends
    assert reader.seen >= len(CASES)
    assert sorted(contents(output)) == sorted(undisturbed)  # no hidden file either
    assert contents(output) == undisturbed
