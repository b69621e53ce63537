"""Datasets that a training draws from, besides the one on the command line."""

from __future__ import annotations

from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.nnunet_folders import dataset_folder
from nnunetv2_supervoxel.files.preprocessed import count_image_channels
from nnunetv2_supervoxel.files.supervoxel_files import supervoxel_folder
from nnunetv2_supervoxel.training.dataset import LabelUse, PromptDataset


def open_further_dataset(
    name_or_id: str, plans_name: str, configuration: str, image_channels: int, labels: LabelUse = "never"
) -> PromptDataset:
    """All cases of another dataset that have something to train on.

    Args:
        name_or_id: "DatasetXXX_NAME" or its number.
        plans_name: of the plans that both datasets were preprocessed with, such as nnUNetPlans.
        configuration: of these plans, such as 3d_fullres.
        image_channels: what the network expects.
        labels: whether a case without supervoxels is used for its real labels, see `PromptDataset`.

    Raises:
        UserError: there is no such dataset, plans or configuration; another number of channels; no supervoxels.
    """
    try:
        folder = dataset_folder(name_or_id)
        plans_manager = PlansManager(load_json(str(folder / f"{plans_name}.json")))
        identifier = plans_manager.get_configuration(configuration).data_identifier
        dataset_json = load_json(str(folder / "dataset.json"))
        channels = count_image_channels(dataset_json)
        ignore_label = plans_manager.get_label_manager(dataset_json).ignore_label
    except UserError as error:
        raise UserError(f"The training config names dataset {name_or_id}: {error}") from error
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        raise UserError(
            f"The training config names dataset {name_or_id}, but it isn't preprocessed with plans '{plans_name}' and "
            f"configuration '{configuration}' ({str(error).splitlines()[0]})."
        ) from error
    if channels != image_channels:
        raise UserError(
            f"The training config names dataset {name_or_id}, whose images have {channels} channel(s); "
            f"the dataset on the command line has {image_channels}."
        )
    return PromptDataset(
        folder / identifier,
        supervoxel_folder(folder, identifier),
        remedy=remedy(plans_manager, configuration),
        labels=labels,
        ignore_label=ignore_label,
    )


def remedy(plans_manager: PlansManager, configuration: str) -> str:
    """What to do about missing supervoxels, as the end of a sentence."""
    dataset = int(plans_manager.dataset_name[len("Dataset") :].split("_")[0])
    return (
        f"generate them with 'nnUNetv2_supervoxel_generate -d {dataset} -p {plans_manager.plans_name} "
        f"-c {configuration}'"
    )
