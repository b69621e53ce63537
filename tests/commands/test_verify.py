"""`nnUNetv2_supervoxel_verify`."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunetv2_supervoxel import SupervoxelSet
from nnunetv2_supervoxel.commands.verify import main
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.owners import this_process

SHAPE = (12, 20, 31)
PATCH = (8, 16, 16)
CASES = ("changed", "empty", "lost", "sound", "unreadable", "untried")
PLANS = {
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "foreground_intensity_properties_per_channel": {"0": {}},
    "configurations": {
        "3d_fullres": {
            "data_identifier": "cases",
            "architecture": {},
            "spacing": [2.5, 0.7, 0.9],
            "patch_size": PATCH,
            "normalization_schemes": ["ZScoreNormalization"],
        }
    },
}

Contents = Callable[[Path], dict[str, bytes]]


def supervoxels_of(case: str) -> SupervoxelSet:
    """Blocks with some of their voxels; none in the case that is called so."""
    rng = np.random.default_rng(CASES.index(case))
    labels = np.kron(np.arange(1, 13).reshape(2, 2, 3), np.ones((6, 10, 11), int))[:, :, :31]
    labels[rng.random(SHAPE) < 0.3] = 0
    whole = SupervoxelSet.of_labels(labels)
    scores = {"predicted_iou": 0.9, "stability_score": 0.8, "consistency": 0.7}
    supervoxels = () if case == "empty" else tuple(replace(one, **scores) for one in whole.supervoxels)
    return SupervoxelSet(SHAPE, supervoxels, (2.5, 0.7, 0.9), (f"note of {case}",), {"too small": 3})


@pytest.fixture
def folder(nnunet_folders: dict[str, str], tmp_path: Path) -> Iterator[Path]:
    """The supervoxels of Dataset993_Verified, of every case but one."""
    dataset = Path(nnunet_folders["nnUNet_preprocessed"]) / "Dataset993_Verified"
    (dataset / "cases").mkdir(parents=True)
    (dataset / "nnUNetPlans.json").write_text(json.dumps(PLANS))
    for case in CASES:
        image = np.zeros((1, *SHAPE), np.float32)
        shape = {name: image.shape for name in ("chunks", "blocks", "chunks_seg", "blocks_seg")}
        nnUNetDatasetBlosc2.save_case(image, image.astype(np.int8), {}, str(dataset / "cases" / case), **shape)
    for case in CASES[:-1]:
        provenance = {"case": case, "seed": 4}
        supervoxel_files.write_case(dataset / "cases_supervoxels", case, supervoxels_of(case), provenance, PATCH)
    yield dataset / "cases_supervoxels"
    shutil.rmtree(dataset)


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """The command in this process: exit code, standard output, standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nnUNetv2_supervoxel_verify", "-d", "993", *arguments])
        return main(), *capsys.readouterr()

    return call


def damage(folder: Path) -> None:
    """What follows from the masks is wrong in one case, masks or JSON are in two; and files that belong to no case."""
    provenance = json.loads((folder / "changed.json").read_text())
    provenance["supervoxels"][3] |= {"voxels": 1, "bounding_box": [[0, 1], [0, 1], [0, 1]]}
    (folder / "changed.json").write_text(json.dumps(provenance | {"array_sha256": "0"}))
    (folder / "changed.pkl").write_bytes(pickle.dumps({"class_locations": {1: np.zeros((1, 4), int)}}))
    (folder / "lost.b2nd").unlink()
    (folder / "unreadable.json").write_text("{")
    (folder / ".sound.writing-abc").mkdir()
    (folder / f".writing-{this_process().rsplit('.', 1)[0]}.1-abc").mkdir()  # of a process with our ID, long ago
    (folder / "notes.txt").touch()
    supervoxel_files.write_case(folder, "other", supervoxels_of("sound"), {}, PATCH)


def test_all_is_well(folder: Path, run: Callable, contents: Contents) -> None:
    before = contents(folder)
    done = run("nnUNetv2_supervoxel_verify", "-d", 993)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "5 cases: 5 sound, 0 repaired, 0 removed, 0 wrong; 1 preprocessed cases have no supervoxel files."
    ]
    assert contents(folder) == before


def test_what_is_wrong_is_listed_and_mended_if_wanted(folder: Path, verify: Callable, contents: Contents) -> None:
    sound = contents(folder)
    damage(folder)
    damaged = sorted(path.name for path in folder.iterdir())
    code, out, err = verify()
    assert code == 1
    assert "5 cases: 2 sound, 0 repaired, 0 removed, 3 wrong; 1 preprocessed" in out
    assert "Next: nnUNetv2_supervoxel_verify -d 993 --repair, with the same -p and -c." in out
    told = [line for line in err.splitlines() if ": wrong: " in line]
    assert [line.split(":")[0] for line in told] == ["changed"] * 4 + ["lost", "unreadable"]
    assert "changed: wrong: supervoxels 4 have another number of voxels than the JSON says" in told
    notes = [line for line in err.splitlines() if line.startswith("Note: ")]
    strays = [".sound.writing-abc", "notes.txt", "other.b2nd", "other.json", "other.pkl"]
    named = [Path(line.split()[1]).name for line in notes]
    assert [name for name in named if not name.startswith(".writing-")] == strays
    assert len(named) == len(strays) + 1
    assert sorted(path.name for path in folder.iterdir()) == damaged

    code, out, err = verify("--repair")
    assert code == 1  # removed cases are to be made again
    assert "5 cases: 2 sound, 1 repaired, 2 removed, 0 wrong; 3 preprocessed cases have no supervoxel files." in out
    assert "Next: nnUNetv2_supervoxel_generate -d 993" in out
    assert out.count("Next: ") == 1
    assert "changed: repaired: the array isn't the one that generation wrote" in err
    assert [path.name for path in folder.glob(".*")] == [".sound.writing-abc"]  # nobody knows if that run lives
    for name in (".sound.writing-abc", "notes.txt"):
        assert (folder / name).exists()
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
    kept = {name: content for name, content in sound.items() if name.split(".")[0] not in ("lost", "unreadable")}
    after = contents(folder)
    assert {name: content for name, content in after.items() if not name.startswith("other")} == kept

    code, out, _ = verify("--repair")
    assert code == 0
    assert "3 cases: 3 sound, 0 repaired, 0 removed, 0 wrong; 3 preprocessed cases" in out


def test_a_preprocessed_case_that_cannot_be_read_is_no_reason_to_remove_its_supervoxels(
    folder: Path, verify: Callable, contents: Contents
) -> None:
    before = contents(folder)
    (folder.parent / "cases" / "lost.b2nd").write_bytes(b"nothing")
    code, out, err = verify("--repair")
    assert code == 1
    assert "lost can't be read" in err
    assert "preprocess the dataset again" in err
    assert "4 sound, 0 repaired, 0 removed, 1 wrong" in out
    assert contents(folder) == before


def test_files_that_generation_may_not_have_made_stay(folder: Path, verify: Callable, contents: Contents) -> None:
    (folder / "lost.json").unlink()
    before = contents(folder)
    code, out, err = verify("--repair")
    assert code == 1
    assert "lost: wrong: there is no JSON" in err
    assert "4 sound, 0 repaired, 0 removed, 1 wrong" in out
    assert contents(folder) == before


def test_what_was_mended_is_told_without_advice(folder: Path, verify: Callable) -> None:
    """The sentences of other commands say how to mend it; here that has just been done."""
    (folder / "changed.pkl").unlink()
    (folder / "lost.b2nd").write_bytes(b"nothing")
    _, _, err = verify("--repair")
    assert [line for line in err.splitlines() if not line.startswith("verify: ")] == [
        f"changed: repaired: {folder / 'changed.pkl'} can't be read as class locations: it is missing or damaged",
        f"lost: removed: {folder / 'lost.b2nd'} can't be opened: it is missing or damaged",
    ]


def test_where_nothing_can_be_mended_nothing_is_advised(folder: Path, verify: Callable) -> None:
    (folder / "lost.json").unlink()
    assert "Next: " not in verify()[1]
