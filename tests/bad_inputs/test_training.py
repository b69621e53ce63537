"""Supervoxels that can't be trained on, and the small commands around trainings and checkpoints."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import blosc2
import numpy as np
import pytest
from bad_inputs.bad_files import CANARY, Done, malicious_array, malicious_pickle, truncate

from nnunetv2_supervoxel import UserError


class Row(NamedTuple):
    """What happens to the files of every case, and the words about it."""

    what: str
    change: Callable[[Path], object]
    says: str


def array(change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: change(path) if path.suffix == ".b2nd" else None


def locations(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content) if path.suffix == ".pkl" else None


ROWS = [
    Row("truncated arrays", array(truncate), "None of 5 cases has supervoxels"),
    Row("empty arrays", array(lambda path: path.write_bytes(b"")), "None of 5 cases has supervoxels"),
    Row("text as arrays", array(lambda path: path.write_text("404")), "None of 5 cases has supervoxels"),
    Row("links to nothing", array(lambda p: (p.unlink(), p.symlink_to("gone"))), "None of 5 cases has supervoxels"),
    Row("programs as arrays", array(lambda p: malicious_array(p, p.parents[1] / CANARY)), "None of 5 cases has"),
    Row(
        "arrays of 16 bits",
        array(lambda path: blosc2.asarray(np.ones((1, 2, 3, 4), np.int16), urlpath=str(path), mode="w")),
        "isn't a 4D uint8 array",
    ),
    Row("no arrays", array(lambda path: path.unlink()), "None of 5 cases has supervoxels"),
    Row(
        "no locations", lambda path: path.unlink() if path.suffix == ".pkl" else None, "write it with 'SuperVoxel_save"
    ),
    Row("all empty", locations(pickle.dumps({"class_locations": {1: np.zeros((0, 4), int)}})), "are empty"),
]


@pytest.fixture
def supervoxels(prompt_dataset: Path, prompt_training: Callable) -> Iterator[Path]:
    """The folder of the phantoms' supervoxels, which is as before afterwards."""
    folder = prompt_dataset / "nnUNetPlans_3d_fullres_supervoxels"
    shutil.copytree(folder, folder.with_name("kept"))
    yield folder
    shutil.rmtree(folder)
    folder.with_name("kept").rename(folder)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_training_without_supervoxels_is_refused_and_leaves_nothing(
    row: Row, supervoxels: Path, make_trainer: Callable
) -> None:
    for path in sorted(supervoxels.iterdir()):
        row.change(path)
    trainer = make_trainer(initialize=False)
    with pytest.raises(UserError, match=row.says):
        trainer.on_train_start()
    assert not Path(trainer.output_folder).parents[1].exists()
    assert not (supervoxels.parent / CANARY).exists()


def test_code_in_locations_is_not_run(supervoxels: Path, make_trainer: Callable, canary: Path) -> None:
    for path in sorted(supervoxels.glob("*.pkl")):
        path.write_bytes(malicious_pickle(canary))
    trainer = make_trainer(initialize=False)
    with pytest.warns(match=r"it asks for posix\.mkdir"), pytest.raises(UserError, match="Not one case"):
        trainer.on_train_start()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_one_bad_case_is_left_out(row: Row, supervoxels: Path, make_trainer: Callable) -> None:
    for path in sorted(supervoxels.glob("case0.*")):
        row.change(path)
    trainer = make_trainer(initialize=False)
    trainer.on_train_start()
    assert next(trainer.dataloader_train)["data"].shape[0] == 2


@pytest.mark.parametrize(
    ("command", "arguments", "code", "says"),
    [
        ("nnUNetv2_supervoxel_trainers", ["further"], 2, "unrecognized arguments: further"),
        ("nnUNetv2_supervoxel_download_checkpoints", ["--sam", "vit_x"], 2, "invalid choice: 'vit_x'"),
        ("nnUNetv2_supervoxel_download_checkpoints", ["--sam2", ""], 2, "invalid choice: ''"),
        ("nnUNetv2_supervoxel_download_checkpoints", ["vit_b"], 2, "unrecognized arguments: vit_b"),
        ("nnUNetv2_supervoxel_download_checkpoints", ["--sam", "vit_b"], 1, "a-file can't be written"),
    ],
)
def test_small_commands(
    command: str,
    arguments: list[str],
    code: int,
    says: str,
    call: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a-file").touch()
    monkeypatch.setenv("nnUNet_supervoxel_checkpoints", str(tmp_path / "a-file"))
    done = call(command, *arguments)
    assert (done.code, done.out) == (code, "")
    assert says in done.err


def test_no_connection(call: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_supervoxel_checkpoints", str(tmp_path / "checkpoints"))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    done = call("nnUNetv2_supervoxel_download_checkpoints", "--sam", "vit_b")
    assert (done.code, done.out) == (1, "")
    assert "could not be fetched" in done.err
    assert "run the command again to resume" in done.err
