"""`nnUNetv2_supervoxel_export`: a trained prompt model for nnInteractive, or as pretrained weights."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnunetv2_supervoxel.commands.entry_point import ALL_OR_NOTHING, entry_point
from nnunetv2_supervoxel.commands.flags import add_plans_and_configuration, make_parser
from nnunetv2_supervoxel.files.nnunet_folders import trained_checkpoint

if TYPE_CHECKING:
    from nnunetv2_supervoxel.export.trained_model import TrainedModel


@entry_point(ALL_OR_NOTHING)
def main() -> int:
    arguments = _parse()
    names = arguments.d, arguments.tr, arguments.p, arguments.c, arguments.f, arguments.chk
    trained_checkpoint(*names)  # a wrong name is reported before anything heavy is imported

    from nnunetv2_supervoxel.export.trained_model import load_trained_model

    model = load_trained_model(*names)
    if arguments.format == "nninteractive":
        _for_nninteractive(model, arguments.o, arguments.license)
    elif arguments.format == "nnunet":
        _for_nnunet(model, arguments.o, arguments.channels, arguments.target)
    else:
        _for_nnssl(model, arguments.o, arguments.channels, arguments.target)
    return 0


def _for_nninteractive(model: TrainedModel, output: Path, text_of_license: str | None) -> None:
    from nnunetv2_supervoxel.export.nninteractive import differences_in_the_session, export_nninteractive, license_of

    text, said = license_of(model, text_of_license)
    export_nninteractive(model, output, text)
    for sentence in (*said, *differences_in_the_session(model)):
        print(f"Warning: {sentence}", file=sys.stderr)
    print(f"{output}: open this folder in nnInteractive, or give it to nnUNetv2_supervoxel_predict -m.")


def _for_nnunet(model: TrainedModel, output: Path, channels: int | None, target: str | None) -> None:
    from nnunetv2_supervoxel.export.nnunet import export_nnunet

    export_nnunet(model, output, channels, target)
    _tell_licence(model)
    print(f"{output}: train with nnUNetv2_train ... -pretrained_weights {output}")


def _for_nnssl(model: TrainedModel, output: Path, channels: int | None, target: str | None) -> None:
    from nnunetv2_supervoxel.export.nnssl import export_nnssl

    takers = export_nnssl(model, output, channels, target)
    _tell_licence(model)
    print(
        f"{output}: for {takers}: nnUNetv2_plan_like_dynamic ... -pc {output} or "
        f"nnUNetv2_preprocess_like_nnssl ... -pc {output}, then nnUNetv2_train_pretrained."
    )


def _tell_licence(model: TrainedModel) -> None:
    """Weights as a file have no place for a licence."""
    if model.start and model.start["license"]:
        licence = model.start["license"].splitlines()[0]
        print(f"Warning: the model that the training started from is under {licence}.", file=sys.stderr)


def _parse() -> argparse.Namespace:
    parser = make_parser(
        "Export what SupervoxelPromptTrainer or SupervoxelPretrainTrainer trained: as a model folder for nnInteractive "
        "(napari, MITK, Slicer; prompt trainings only), or as pretrained weights: nnunet for nnUNetv2_train "
        "-pretrained_weights (same plans), nnssl for nnU-Net's fine-tuning from nnssl checkpoints (other plans; needs "
        "nnU-Net's development version).",
        "example: nnUNetv2_supervoxel_export -d 990 -c 3d_fullres -o my_model --format nninteractive",
    )
    _add_model(parser)
    parser.add_argument(
        "-o",
        required=True,
        type=Path,
        metavar="OUT",
        help="nninteractive: folder to make; else .pth file to write, in place of one that is there",
    )
    parser.add_argument("--format", required=True, choices=("nninteractive", "nnunet", "nnssl"), help="for whom")
    parser.add_argument(
        "--license",
        metavar="TEXT",
        help="nninteractive: licence of the weights, shown to users; default: that of the model started from",
    )
    parser.add_argument(
        "--channels", type=int, metavar="N", help="nnunet, nnssl: image channels of the dataset to fine-tune on"
    )
    parser.add_argument(
        "--target",
        metavar="DATASET_ID",
        help="nnunet, nnssl: the dataset to fine-tune on: sets --channels; nnunet: is compared with the weights, too",
    )
    arguments = parser.parse_args()
    _check(parser, arguments)
    return arguments


def _add_model(parser: argparse.ArgumentParser) -> None:
    """Which model, in the words of nnUNetv2_train."""
    parser.add_argument("-d", required=True, metavar="DATASET_ID", help="ID or name of the dataset trained on")
    parser.add_argument(
        "-tr",
        default="SupervoxelPromptTrainer",
        metavar="TRAINER",
        help="as on nnUNetv2_train's command line, such as SupervoxelPretrainTrainer (default: %(default)s)",
    )
    add_plans_and_configuration(parser)
    parser.add_argument("-f", default="all", metavar="FOLD", help="fold, 0 to 4 or all (default: %(default)s)")
    parser.add_argument(
        "-chk", default="checkpoint_final.pth", metavar="FILE", help="checkpoint's file name (default: %(default)s)"
    )


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.channels is not None and arguments.channels < 1:
        parser.error("--channels must be at least 1")
    weights = ("nnunet", "nnssl")
    for flag, belongs_to in (("license", ("nninteractive",)), ("channels", weights), ("target", weights)):
        if getattr(arguments, flag) is not None and arguments.format not in belongs_to:
            parser.error(f"--{flag} goes with --format {' or '.join(belongs_to)}")
