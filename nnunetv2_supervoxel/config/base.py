"""What all settings have in common."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

ITEMS = "items"
"""Tag of the list where a setting is a list or a word; messages leave it out."""

Fraction = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """Settings that can't be changed once read, and that refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_yes_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML's yes, no, on and off are true and false, which Python counts as 1 and 0."""
        if _holds_truth(value) and not _takes_truth(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError("yes, no, on, off, true and false don't fit here")
        return value


def _holds_truth(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_truth, value.values()))
    return any(map(_holds_truth, value)) if isinstance(value, (list, tuple)) else isinstance(value, bool)


def _takes_truth(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(map(_takes_truth, get_args(annotation)))
