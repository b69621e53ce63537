"""A large case with many supervoxels through `nnUNetv2_supervoxel_evaluate`'s own function: seconds and memory.

The case is written as nnU-Net and generation would: a noisy body, ellipsoids of 20 to 60 voxels across as supervoxels,
crowded in the middle, every tenth of them a near copy of the one before, and other ellipsoids as labels. It is
evaluated in a process of its own. The first row is the whole evaluation, the others are parts of it again.

    python scripts/benchmark_evaluate.py                                     # 1,000 supervoxels in 400 x 400 x 400
    python scripts/benchmark_evaluate.py --shape 80 100 120 --objects 100    # a quick look
"""

from __future__ import annotations

import argparse
import json
import os
import resource
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from benchmarking.clock import Clock
from benchmarking.processes import MemoryPeak, in_own_process
from benchmarking.report import make_parser, report
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunetv2_supervoxel.files.supervoxel_files import write_case
from nnunetv2_supervoxel.masks.boxes import bounding_box
from nnunetv2_supervoxel.masks.overlaps import overlapping_pairs
from nnunetv2_supervoxel.masks.packed_masks import PackedMask
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel, SupervoxelSet
from nnunetv2_supervoxel.quality.evaluation import evaluate_datasets
from nnunetv2_supervoxel.quality.inputs import find_dataset
from nnunetv2_supervoxel.quality.reading import read_supervoxels

DATASET, IDENTIFIER, CASE = "Dataset900_Large", "nnUNetPlans_3d_fullres", "case"
PLANS = {
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "foreground_intensity_properties_per_channel": {"0": {"mean": 1.0, "std": 1.0}},
    "configurations": {
        "3d_fullres": {
            "architecture": {},
            "data_identifier": IDENTIFIER,
            "spacing": [1.5, 0.8, 0.8],
            "patch_size": [128, 128, 128],
            "normalization_schemes": ["ZScoreNormalization"],
        }
    },
}
LABELS = 10  # each with three ellipsoids


def main() -> None:
    arguments = _parse()
    with TemporaryDirectory() as folder:
        write_dataset(Path(folder) / DATASET, tuple(arguments.shape), arguments.objects, arguments.seed)
        os.environ["nnUNet_preprocessed"] = folder
        rows = in_own_process(measure, tuple(arguments.shape), arguments.objects)
    report(rows, {"shape": arguments.shape, "seed": arguments.seed}, arguments.json)


def write_dataset(folder: Path, shape: tuple[int, int, int], objects: int, seed: int, case: str = CASE) -> None:
    """A preprocessed dataset with one case and its supervoxels; one that is there gets this case, too."""
    rng = np.random.default_rng(seed)
    (folder / IDENTIFIER).mkdir(parents=True, exist_ok=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(PLANS))
    axes = np.meshgrid(*(np.linspace(-1.2, 1.2, size, dtype=np.float32) for size in shape), indexing="ij", sparse=True)
    image = rng.normal(0, 0.2, (1, *shape)).astype(np.float32)
    image[0][sum(axis**2 for axis in axes) < 1] += 2
    labels = np.zeros((1, *shape), np.int16)
    for number in range(3 * LABELS):
        one = draw_ellipsoid(shape, rng)
        labels[0][one.slices][one.mask] = 1 + number % LABELS
    nnUNetDatasetBlosc2.save_case(
        image, labels, {}, str(folder / IDENTIFIER / case), (1, 128, 128, 128), (1, 32, 64, 64)
    )
    supervoxels = [draw_ellipsoid(shape, rng) for _ in range(objects)]
    for i in range(9, objects, 10):
        supervoxels[i] = nearly(supervoxels[i - 1])
    write_case(folder / f"{IDENTIFIER}_supervoxels", case, SupervoxelSet(shape, tuple(supervoxels)), {})


def draw_ellipsoid(shape: tuple[int, int, int], rng: np.random.Generator) -> Supervoxel:
    """An ellipsoid with diameters of 20 to 60 voxels, more often in the middle of the volume than elsewhere."""
    radii = np.minimum(rng.uniform(10, 30, 3), np.array(shape) / 4)
    half = np.ceil(radii).astype(int)
    axes = [np.arange(-reach, reach + 1) / radius for reach, radius in zip(half, radii, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    mask = z**2 + y**2 + x**2 <= 1
    mask = mask[bounding_box(mask)]
    middle = rng.normal(np.array(shape) / 2, np.array(shape) / 8)
    low = np.clip(middle - half, 0, np.array(shape) - mask.shape).astype(int)
    return Supervoxel(PackedMask.of(mask), tuple(low.tolist()), 0, int(low[0]), 1.0, 1.0)


def nearly(supervoxel: Supervoxel) -> Supervoxel:
    """The same without every twentieth of its voxels."""
    mask = supervoxel.mask
    mask.reshape(-1)[np.flatnonzero(mask)[10::20]] = False
    return Supervoxel(PackedMask.of(mask), supervoxel.origin, 0, supervoxel.keyframe, 1.0, 1.0)


def measure(shape: tuple[int, int, int], objects: int) -> list[dict]:
    """Evaluate the case, then do parts of that again; a row of figures for each.

    Raises:
        SystemExit: the case failed, or its figures can't be right.
    """
    clock, peak = Clock(), MemoryPeak()
    dataset = find_dataset(900, "nnUNetPlans", "3d_fullres", None)
    rows = []

    def row(what: str, result: str) -> None:
        in_all = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        rows.append(
            {
                "what": what,
                "s": clock.total(what),
                "MB beyond imports": peak.bytes() / 1e6,
                "MB in all, so far": in_all / 1e6,
                "result": result,
            }
        )
        peak.restart()

    with clock("evaluation"):
        [case] = evaluate_datasets([dataset])
    if case.description is None or case.description.duplicates != objects // 10:
        raise SystemExit(f"{case.error or case.description} is wrong")
    row("evaluation", f"{len(case.description.voxels)} supervoxels, {len(case.structures)} structures")
    with clock("reading"):
        supervoxels = read_supervoxels(dataset.supervoxels, CASE, shape)
    row("reading", f"{supervoxels.voxels / 1e6:.1f} million voxels")
    for least_iou in (0.9, 0.5, 0.1):
        what = f"pairs with IoU >= {least_iou}"
        with clock(what):
            pairs = len(list(overlapping_pairs(supervoxels.supervoxels, least_iou)))
        row(what, f"{pairs} pairs")
    return rows


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=[400, 400, 400], metavar=("Z", "Y", "X"))
    parser.add_argument("--objects", type=int, default=1000, help="supervoxels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
