"""Supervoxel files against the usual way: class locations, reading a patch, and the size on disk.

    python scripts/benchmark_store.py --json supervoxel_files.json

The usual way is `argwhere` over the whole array for every supervoxel, then nnU-Net's sampling, and an array with the
chunks that Blosc2 chooses by itself. Every figure is the median of some repetitions. The two ways run in turns, on one
thread.
"""

from __future__ import annotations

import pickle
import tempfile
from argparse import Namespace
from pathlib import Path

import blosc2
import numpy as np
from benchmarking.clock import Clock
from benchmarking.report import compared, make_parser, report
from scipy import ndimage

from nnunetv2_supervoxel.files import class_locations, supervoxel_files
from nnunetv2_supervoxel.masks.boxes import bounding_box
from nnunetv2_supervoxel.masks.packed_masks import PackedMask
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel, SupervoxelSet
from nnunetv2_supervoxel.training.dataset import patch_bounds, read_patch

CASE = "case"


def main() -> None:
    arguments = _parse()
    rng = np.random.default_rng(0)
    shape, patch_size = tuple(arguments.shape), tuple(arguments.patch)
    supervoxels = SupervoxelSet(shape, tuple(draw_blob(shape, rng) for _ in range(arguments.objects)))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        array = supervoxels.to_array()
        supervoxel_files.write_case(folder, CASE, supervoxels, {}, patch_size)
        blosc2.asarray(array, urlpath=str(folder / "default.b2nd"))
        rows = [
            *measure_locations(folder, array, supervoxels, arguments.repetitions),
            measure_patches(folder, patch_size, arguments.patches),
            measure_size(folder),
        ]
    voxels = [supervoxel.voxels for supervoxel in supervoxels.supervoxels]
    settings = {"shape": [len(array), *shape], "patch": list(patch_size), "voxels": voxels}
    print(f"{len(voxels)} supervoxels of {min(voxels)} to {max(voxels)} voxels in {shape}, patches of {patch_size}\n")
    report(rows, settings, arguments.json)


def measure_locations(folder: Path, array: np.ndarray, supervoxels: SupervoxelSet, repetitions: int) -> list[dict]:
    """Class locations: at generation, from crops in memory; afterwards, from the array on disk."""
    path, clock = folder / f"{CASE}.pkl", Clock()
    for _ in range(repetitions):
        with clock("usual"):
            write_usual_locations(folder / "usual.pkl", array)
        with clock("ours"):
            write_our_locations(path, supervoxels)
        with clock("ours, from disk"):
            supervoxel_files.rewrite_locations(folder, CASE)
    agreement = compare_locations(supervoxel_files.read_locations(folder, CASE), array)  # those of the rewrite
    before = path.read_bytes()
    write_our_locations(path, supervoxels)
    if path.read_bytes() != before:
        raise SystemExit("generation and rewrite do not give the same class locations")
    usual, ours, again = (clock.median(stage) for stage in ("usual", "ours", "ours, from disk"))
    return [
        _row("class locations at generation, s", usual, ours, 10, agreement),
        _row("class locations from disk, s", usual, again, 10, agreement),
    ]


def write_our_locations(path: Path, supervoxels: SupervoxelSet) -> None:
    """As generation does."""
    masks = ((supervoxel.packed, supervoxel.origin) for supervoxel in supervoxels.supervoxels)
    class_locations.write_locations(path, class_locations.locations_of(masks, len(supervoxels), CASE))


def write_usual_locations(path: Path, array: np.ndarray) -> None:
    """Search the whole volume for every supervoxel, then sample as nnU-Net does."""
    locations, rng = {}, np.random.default_rng(0)
    for channel in range(len(array)):
        inside = np.argwhere(array[channel] == 1)
        wanted = max(class_locations.MIN_LOCATIONS, int(np.ceil(len(inside) * class_locations.MIN_LOCATIONS_SHARE)))
        if len(inside) > wanted:
            inside = inside[rng.choice(len(inside), wanted, replace=False)]
        locations[channel + 1] = np.insert(inside, 0, channel, axis=1)
    path.write_bytes(pickle.dumps({"class_locations": locations}, protocol=4))


def compare_locations(locations: dict[int, np.ndarray], array: np.ndarray) -> str:
    """Check every row against `argwhere` over the whole array; what was found.

    Raises:
        SystemExit: a row is no voxel that is 1, or is there twice, or one is missing though nothing was sampled.
    """
    whole = sampled = 0
    for channel in range(len(array)):
        rows, plain = locations[channel + 1], np.insert(np.argwhere(array[channel] == 1), 0, channel, axis=1)
        wanted = max(class_locations.MIN_LOCATIONS, int(np.ceil(len(plain) * class_locations.MIN_LOCATIONS_SHARE)))
        if len(plain) <= wanted:
            agree, whole = np.array_equal(rows, plain), whole + 1
        else:
            distinct = len(rows) == len(np.unique(rows, axis=0)) == wanted
            agree, sampled = distinct and (array[tuple(rows.T)] == 1).all(), sampled + 1
        if not agree:
            raise SystemExit(f"the class locations of supervoxel {channel + 1} are not what argwhere finds")
    return f"{whole} equal, {sampled} sampled from the same voxels"


def measure_patches(folder: Path, patch_size: tuple[int, ...], count: int) -> dict:
    """Read one supervoxel's patch, around voxels of supervoxels. nnU-Net opens its arrays as both are opened here."""
    arrays = {
        "usual": supervoxel_files.open_array(folder, "default"),
        "ours": supervoxel_files.open_array(folder, CASE),
    }
    locations, rng, clock = supervoxel_files.read_locations(folder, CASE), np.random.default_rng(1), Clock()
    for _ in range(count):
        key = 1 + int(rng.integers(len(locations)))
        centre = locations[key][rng.integers(len(locations[key]))][1:]
        bounds = patch_bounds(centre, arrays["ours"].shape[1:], patch_size, patch_size)
        patches = []
        for name, array in arrays.items():
            with clock(name):
                patches.append(read_patch(array, key - 1, bounds, 0))
        if not np.array_equal(*patches):
            raise SystemExit("the two arrays do not hold the same patch")
    usual_ms, ours_ms = (1000 * clock.median(name) for name in arrays)
    return _row("reading a patch, ms", usual_ms, ours_ms, 5, f"{count} of {count} patches equal")


def measure_size(folder: Path) -> dict:
    """Size on disk. Both are compressed with Zstandard at level 5."""
    usual, ours = ((folder / f"{name}.b2nd").stat().st_size / 1024 for name in ("default", CASE))
    return _row("array on disk, KiB", usual, ours, 1, "same voxels")


def draw_blob(shape: tuple[int, int, int], rng: np.random.Generator) -> Supervoxel:
    """An ellipsoid with a wavy rim, of 4 to 70 voxels' radius, anywhere in the volume."""
    radii = np.minimum(np.exp(rng.uniform(np.log(4), np.log(70), 3)), np.array(shape) / 2.5)
    half = np.ceil(1.2 * radii).astype(int)
    axes = [np.arange(-h, h + 1, dtype=np.float32) / radius for h, radius in zip(half, radii, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    depth = 1 - np.sqrt(z**2 + y**2 + x**2)
    waves = rng.standard_normal((8, 8, 8)).astype(np.float32)
    waves = ndimage.zoom(waves, [size / 8 for size in depth.shape], order=1, grid_mode=True, mode="nearest")
    components, _ = ndimage.label(depth + 0.08 * waves > 0)
    mask = components == components[tuple(half)]
    mask = mask[bounding_box(mask)][tuple(slice(0, size) for size in shape)].copy()
    mask = mask[bounding_box(mask)]
    origin = tuple(int(rng.integers(size - extent + 1)) for size, extent in zip(shape, mask.shape, strict=True))
    return Supervoxel(PackedMask.of(mask), origin, 0, origin[0], 1.0, 1.0)


def _row(what: str, usual: float, ours: float, goal: float, agreement: str) -> dict:
    return compared(what, usual, ours, usual / ours, agreement, f">= {goal}", usual / ours >= goal)


def _parse() -> Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 400, 400), help="z y x (default: 300 400 400)")
    parser.add_argument("--objects", type=int, default=20, help="supervoxels (default: %(default)s)")
    parser.add_argument("--patch", type=int, nargs=3, default=(128, 128, 128), help="z y x (default: 128 128 128)")
    parser.add_argument("--repetitions", type=int, default=5, help="of the class locations (default: %(default)s)")
    parser.add_argument("--patches", type=int, default=200, help="to read (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="for the arrays, while it runs (default: a temporary one)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
