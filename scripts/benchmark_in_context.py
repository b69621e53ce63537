"""Could a network pretrained with `in_context` outline in one image what a mask shows in another? An upper estimate.

    python scripts/benchmark_pretraining.py --folder /tmp/pretraining     # leaves the networks and the cases
    python scripts/benchmark_in_context.py --folder /tmp/pretraining

Structures that no pretraining had labels of, one side of the brain at a time: a patch around the structure in one
labelled case is the reference, a patch around the same structure in another case the query, so the network is told
where to look. Queries are the other labelled cases, with the same kind of contrast, and the test cases, with others.
Figures are Dice with the learned threshold, and with the threshold that would have been best for each query.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from pathlib import Path

import cc3d
import numpy as np
import torch
from atlas_dataset import LABELS
from benchmark_pretraining import PATCH, POOLS, PRETRAINER, TARGET, weights_of
from benchmarking.kept_results import spread
from benchmarking.nnunet import CONFIGURATION, set_environment
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.export.trained_model import load_checkpoint
from nnunetv2_supervoxel.files.preprocessed import open_preprocessed
from nnunetv2_supervoxel.prompts.encoding import NUM_CHANNELS
from nnunetv2_supervoxel.training.dataset import patch_bounds, read_patch
from nnunetv2_supervoxel.training.features import outputs_of
from nnunetv2_supervoxel.training.objectives.base import HEADS
from nnunetv2_supervoxel.training.objectives.in_context import PrototypeHeads, prototypes_of
from nnunetv2_supervoxel.training.rounds import dice, without_prompts

ARM = "in_context, supervoxels"
STRUCTURES = {name: label for name, label in LABELS.items() if label}
REFERENCES = 3  # cases
THRESHOLDS = np.linspace(-8, 8, 65)  # of logits

Case = tuple[np.ndarray, np.ndarray]  # image (1, z, y, x) and labels (z, y, x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="of benchmark_pretraining.py")
    folder = parser.parse_args().folder.resolve()
    set_environment(folder)
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / TARGET
    dataset = open_preprocessed(preprocessed / "nnUNetPlans_3d_fullres")
    cases = {name: read_case(dataset, name) for name in sorted(dataset.identifiers)}
    networks = sorted((folder / "trained").glob(f"{weights_of(ARM, 0, folder).stem[:-1]}*"))
    by_seed = [measure(load(network, preprocessed), cases) for network in networks]
    print(f"Dice in a query's patch, mean ± SD over {len(networks)} pretrainings: learned threshold, best threshold")
    for kind in ("train", "test"):
        for structure in STRUCTURES:
            _print(f"{kind}: {structure}", [found[kind, structure] for found in by_seed])
        _print(f"{kind}: all", [np.mean([found[kind, name] for name in STRUCTURES], 0) for found in by_seed])


def read_case(dataset: object, name: str) -> Case:
    """A preprocessed case."""
    image, labels, *_ = dataset.load_case(name)
    return np.asarray(image[:1]), np.asarray(labels[0])


def load(results: Path, preprocessed: Path) -> torch.nn.Module:
    """The network of a pretraining, with its objective's heads."""
    trained = results / POOLS["supervoxels"] / f"{PRETRAINER}__nnUNetPlans__{CONFIGURATION}" / "fold_all"
    manager = PlansManager(json.loads((preprocessed / "nnUNetPlans.json").read_text()))
    network = nnUNetTrainer.build_network_architecture(
        manager, manager.get_configuration(CONFIGURATION), 1 + NUM_CHANNELS, 2, True
    )
    setattr(network, HEADS, PrototypeHeads(network.decoder))
    network.load_state_dict(load_checkpoint(trained / "checkpoint_final.pth")["network_weights"])
    return network.eval()


def measure(network: torch.nn.Module, cases: dict[str, Case]) -> dict[tuple[str, str], np.ndarray]:
    """By kind of query and structure: Dice with the learned and with the best threshold, mean over pairs of cases."""
    found = defaultdict(list)
    references = [name for name in cases if name.startswith("train")][:REFERENCES]
    for structure, label in STRUCTURES.items():
        shown = {name: patches(*cases[name], label) for name in cases}
        for reference in references:
            for query in [name for name in shown if name != reference]:
                for one, other in zip(shown[reference], shown[query], strict=False):
                    found[query.split("_")[0], structure].append(scores(logits(network, one, other[0]), other[1]))
    return {key: np.mean(values, 0) for key, values in found.items()}


def patches(image: np.ndarray, labels: np.ndarray, label: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """A patch around each large connected part of a structure, and that part in it, along the last axis."""
    parts = cc3d.connected_components(labels == label)
    sizes = np.bincount(parts.ravel())[1:]
    large = [part for part, size in enumerate(sizes, 1) if size > 0.2 * sizes.sum()]
    centres = {part: np.argwhere(parts == part).mean(0).round().astype(int) for part in large}
    found = []
    for part in sorted(large, key=lambda part: centres[part][-1]):
        bounds = patch_bounds(centres[part], labels.shape, PATCH, PATCH)
        found.append((read_patch(image, slice(None), bounds, 0), read_patch((parts == part)[None], 0, bounds, 0) > 0))
    return found


@torch.no_grad()
def logits(network: torch.nn.Module, reference: tuple[np.ndarray, np.ndarray], query: np.ndarray) -> np.ndarray:
    """What the finest head says of the query (z, y, x), shown the reference's mask."""
    images = torch.from_numpy(np.stack([reference[0], query])).float()
    with outputs_of(network.decoder.stages) as stages:
        network(without_prompts(images))
    head = getattr(network, HEADS).seg_layers[-1]
    features = head.features(stages[-1])
    mask = torch.from_numpy(reference[1])[None, None]
    prototypes, _ = prototypes_of(features[:1], mask)
    return head.logits(features[1:], prototypes)[0, 0].numpy()


def scores(logits: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Dice with the learned threshold, and with the best one."""
    return dice(logits > 0, truth), max(dice(logits > limit, truth) for limit in THRESHOLDS)


def _print(title: str, values: list[np.ndarray]) -> None:
    columns = np.array(values).T
    print(f"{title:28}" + "".join(f"{column.mean():10.3f} ± {spread(column)}" for column in columns))


if __name__ == "__main__":
    main()
