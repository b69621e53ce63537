"""What all settings have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

ITEMS = "items"
"""Tag of the list where a setting is a list or a word; messages leave it out."""

Fraction = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """Settings that can't be changed once read, and that refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
