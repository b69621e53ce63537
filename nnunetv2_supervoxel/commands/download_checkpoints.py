"""`nnUNetv2_supervoxel_download_checkpoints`: official SAM and SAM 2.1 checkpoints."""

from __future__ import annotations

import argparse

from nnunetv2_supervoxel.commands.entry_point import GOES_ON, entry_point
from nnunetv2_supervoxel.commands.flags import make_parser


@entry_point(GOES_ON)
def main() -> int:
    from nnunetv2_supervoxel.checkpoints.registry import OFFICIAL_CHECKPOINTS, download_checkpoint

    arguments = _parse()
    if not arguments.sam and not arguments.sam2:
        arguments.sam, arguments.sam2 = ["vit_h"], ["large"]
    official = [OFFICIAL_CHECKPOINTS["sam"][name] for name in arguments.sam]
    official += [OFFICIAL_CHECKPOINTS["sam2"][name] for name in arguments.sam2]
    for checkpoint in official:
        print(download_checkpoint(checkpoint))
    return 0


def _parse() -> argparse.Namespace:
    from nnunetv2_supervoxel.checkpoints.registry import FOLDER_VARIABLE, OFFICIAL_CHECKPOINTS, checkpoint_folder

    parser = make_parser(
        f"Fetch official SAM and SAM 2.1 checkpoints into ${FOLDER_VARIABLE} (now: {checkpoint_folder()}), check "
        "their SHA-256, and resume broken downloads. Without arguments: vit_h (2.6 GB) and large (0.9 GB).",
        "example: nnUNetv2_supervoxel_download_checkpoints --sam vit_b --sam2 small",
    )
    parser.add_argument("--sam", nargs="+", default=[], choices=[*OFFICIAL_CHECKPOINTS["sam"]], help="SAM sizes")
    parser.add_argument("--sam2", nargs="+", default=[], choices=[*OFFICIAL_CHECKPOINTS["sam2"]], help="SAM 2.1 sizes")
    return parser.parse_args()
