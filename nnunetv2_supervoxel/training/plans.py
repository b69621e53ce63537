"""Which of nnU-Net's plans and configurations can be trained here."""

from __future__ import annotations

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.errors import UserError


def check_configuration(plans: dict, configuration: str) -> None:
    """Check that a configuration is 3D and isn't the second stage of a cascade.

    Args:
        plans: content of nnUNetPlans.json.
        configuration: such as "3d_fullres".

    Raises:
        UserError: there is no such configuration, or it can't be trained here.
    """
    try:
        manager = PlansManager(plans).get_configuration(configuration)
    except (RuntimeError, KeyError) as error:
        known = ", ".join(plans.get("configurations", {}))
        raise UserError(
            f"The plans '{plans.get('plans_name')}' have no configuration '{configuration}' (they have: {known})."
        ) from error
    if len(manager.patch_size) != 3:
        raise UserError(
            f"Configuration '{configuration}' is 2D, but prompts are trained in 3D; take 3d_fullres or 3d_lowres."
        )
    if manager.previous_stage_name is not None:
        raise UserError(
            f"Configuration '{configuration}' is the second stage of a cascade, which can't be trained here; "
            "take 3d_fullres or 3d_lowres."
        )
