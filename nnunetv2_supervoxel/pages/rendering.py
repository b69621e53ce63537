"""From templates to a page that needs no other file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.aside import check_writable, file_aside, make_folder

_HERE = Path(__file__).parent
NIIVUE = "niivue/niivue.umd.js"
PAGE_ENDINGS = (".html", ".htm")


def check_page(path: Path) -> None:
    """Refuse a path before there is work that could be lost.

    Raises:
        UserError: it doesn't end as a page does, or is a folder.
        NotWritableError: nothing can be written there.
    """
    if path.suffix.lower() not in PAGE_ENDINGS:
        raise UserError(f"{path} doesn't end with .html; name the page so.")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it.")
    check_writable(path.absolute().parent)


def write_page(path: Path, template: str, content: Mapping[str, Any]) -> None:
    """Write a page, which appears whole.

    Args:
        path: of the page; its folder is made if missing.
        template: name of one in assets/.
        content: what the template asks for.

    Raises:
        NotWritableError: there is no room in the folder, or writing isn't allowed.
    """
    make_folder(path.absolute().parent)
    with file_aside(path) as aside:
        _environment().get_template(template).stream(content).dump(str(aside), encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nnunetv2_supervoxel.pages", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"inlined": _inlined, "NIIVUE": NIIVUE}
    environment.filters["shown"] = shown
    return environment


def shown(value: float | None, form: str = ".2f") -> str:
    """A number as text, "-" if there is none."""
    return "-" if value is None or math.isnan(value) else format(value, form)


def _inlined(name: str) -> Markup:
    """The text of a file beside this module, for a <style> or <script>. In scripts, nothing in it ends the element."""
    return Markup((_HERE / name).read_text(encoding="utf-8").replace("</script", "<\\/script"))
