"""`nnUNetv2_supervoxel_trainers`: where nnU-Net finds our trainers."""

from __future__ import annotations

from nnunetv2_supervoxel.commands.entry_point import ALL_OR_NOTHING, entry_point
from nnunetv2_supervoxel.commands.flags import make_parser
from nnunetv2_supervoxel.package_data import package_folder


@entry_point(ALL_OR_NOTHING)
def main() -> int:
    make_parser(
        "Print the folder that nnU-Net must know to find SupervoxelPromptTrainer and SupervoxelPretrainTrainer.",
        'example: export nnUNet_extTrainer="$(nnUNetv2_supervoxel_trainers)"',
    ).parse_args()
    print(package_folder("trainers"))
    return 0
