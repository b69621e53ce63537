"""What nnU-Net's plans say of a configuration, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from pydantic import BaseModel, Field, FiniteFloat, PositiveInt, ValidationError

from nnunetv2_supervoxel.errors import UserError, last_line


class Planned(BaseModel):
    """A configuration of plans, as far as supervoxels depend on it.

    Attributes:
        spacing: (z, y, x) in mm. 2D configurations leave the first axis as it is, so the plans' median stands there.
        transpose_forward: the order in which preprocessing puts the axes of an image.
        patch_size: (z, y, x) in voxels, or (y, x).
        normalization_schemes: of every channel.
        foreground_intensity_properties_per_channel: by the channel's number.
        resampling_fn_data: name of the function by which images were resampled.
    """

    spacing: Annotated[tuple[Annotated[FiniteFloat, Field(gt=0)], ...], Field(min_length=3, max_length=3)]
    transpose_forward: Annotated[tuple[int, ...], Field(min_length=3, max_length=3)]
    patch_size: Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=3)]
    normalization_schemes: Annotated[tuple[str, ...], Field(min_length=1)]
    foreground_intensity_properties_per_channel: dict[str, dict[str, float]]
    resampling_fn_data: str | None = None


def check_planned(plans: dict, configuration: str, path: Path) -> Planned:
    """What plans say of a configuration, inheritance resolved.

    Args:
        plans: from `read_plans`.
        configuration: one that they have.
        path: of the plans, for the message.

    Raises:
        UserError: something is missing, or is no value that it can have.
    """
    try:
        return Planned.model_validate(_collected(PlansManager(plans), configuration))
    except ValidationError as error:
        first = error.errors()[0]
        what = f"'{first['loc'][0]}' is wrong ({first['msg'][0].lower()}{first['msg'][1:]})"
    except KeyError as error:
        # nnU-Net looks for this one where there is no architecture, as in plans of its first versions.
        what = f"'{'architecture' if error.args == ('UNet_class_name',) else error.args[0]}' is missing"
    except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
        what = last_line(error)
    raise UserError(f"{path} can't be used for configuration '{configuration}': {what}; plan the dataset again.")


def _collected(manager: PlansManager, configuration: str) -> dict[str, Any]:
    settings = dict(manager.get_configuration(configuration).configuration)
    if isinstance(settings["spacing"], list) and len(settings["spacing"]) == 2 == len(settings["patch_size"]):
        settings["spacing"] = [manager.original_median_spacing_after_transp[0], *settings["spacing"]]
    intensities = manager.foreground_intensity_properties_per_channel
    return settings | {
        "transpose_forward": manager.transpose_forward,
        "foreground_intensity_properties_per_channel": intensities,
    }
