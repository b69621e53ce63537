"""Which official checkpoints exist, where they come from, and where they lie on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pooch
import requests

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.progress import ProgressBar

Family = Literal["sam", "sam2"]

FOLDER_VARIABLE = "nnUNet_supervoxel_checkpoints"
BUNDLED = "bundled"
"""Name, in both families, of the tiny checkpoint that comes with this package."""

_HOST = "https://dl.fbaipublicfiles.com"
_BUNDLED_FILES = {"sam": "tiny_sam.safetensors", "sam2": "tiny_sam2.safetensors"}
_CONFIG_KEYS = {"sam": "sam1_checkpoint", "sam2": "sam2_checkpoint"}


@dataclass(frozen=True)
class OfficialCheckpoint:
    """A file published by Meta: its name in the config, its address and its SHA-256."""

    family: Family
    name: str
    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


_SAM = f"{_HOST}/segment_anything"
_SAM2 = f"{_HOST}/segment_anything_2/092824"
_OFFICIAL = (
    OfficialCheckpoint(
        "sam",
        "vit_h",
        f"{_SAM}/sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    OfficialCheckpoint(
        "sam",
        "vit_l",
        f"{_SAM}/sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    OfficialCheckpoint(
        "sam",
        "vit_b",
        f"{_SAM}/sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    OfficialCheckpoint(
        "sam2",
        "large",
        f"{_SAM2}/sam2.1_hiera_large.pt",
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
    ),
    OfficialCheckpoint(
        "sam2",
        "base_plus",
        f"{_SAM2}/sam2.1_hiera_base_plus.pt",
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    ),
    OfficialCheckpoint(
        "sam2",
        "small",
        f"{_SAM2}/sam2.1_hiera_small.pt",
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    ),
    OfficialCheckpoint(
        "sam2",
        "tiny",
        f"{_SAM2}/sam2.1_hiera_tiny.pt",
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    ),
)

OFFICIAL_CHECKPOINTS: dict[Family, dict[str, OfficialCheckpoint]] = {"sam": {}, "sam2": {}}
for _checkpoint in _OFFICIAL:
    OFFICIAL_CHECKPOINTS[_checkpoint.family][_checkpoint.name] = _checkpoint


_OR_TINY = ", or try the pipeline with the config 'tiny', whose checkpoints come with the package"


def checkpoint_folder() -> Path:
    """`$nnUNet_supervoxel_checkpoints`, or this user's cache folder."""
    return Path(os.environ.get(FOLDER_VARIABLE) or pooch.os_cache("nnunetv2_supervoxel"))


def find_checkpoint(family: Family, name_or_path: str) -> Path:
    """The file that a config names.

    Args:
        family: "sam" or "sam2".
        name_or_path: "bundled", a registry name such as "vit_h" or "large", or a path.

    Raises:
        UserError: there is no such file; the message shows how to get one.
    """
    check_all_there({family: name_or_path})
    return _path(family, name_or_path)


def check_all_there(names: Mapping[Family, str | None]) -> None:
    """Raise `UserError` if files are missing; the message names all of them, so that they can be fetched at once.

    Args:
        names: by family, as for `find_checkpoint`; None for one that isn't needed.
    """
    missing = {family: name for family, name in names.items() if name is not None and not _path(family, name).is_file()}
    if missing:
        problems = ". ".join(f"{_CONFIG_KEYS[family]}: {_what_to_do(family, name)}" for family, name in missing.items())
        raise UserError(f"{problems}{'' if BUNDLED in missing.values() else _OR_TINY}.")


def _path(family: Family, name_or_path: str) -> Path:
    if name_or_path == BUNDLED:
        return Path(__file__).parent / "weights" / _BUNDLED_FILES[family]
    official = OFFICIAL_CHECKPOINTS[family].get(name_or_path)
    return checkpoint_folder() / official.file_name if official else Path(name_or_path).expanduser()


def _what_to_do(family: Family, name_or_path: str) -> str:
    """Sentences about a missing file, without the last full stop."""
    path = _path(family, name_or_path)
    if name_or_path == BUNDLED:
        return (
            f"this copy of the package comes without the tiny checkpoints, so there is no {path.name}. "
            "To have them in a bundle, pack it with 'scripts/offline_bundle.sh ... --with tiny_checkpoints'"
        )
    if name_or_path in OFFICIAL_CHECKPOINTS[family]:
        hint = f"Get it with 'nnUNetv2_supervoxel_download_checkpoints --{family} {name_or_path}'"
    else:
        known = ", ".join([*OFFICIAL_CHECKPOINTS[family], BUNDLED])
        hint = f"Give the path of a file or one of: {known} ('nnUNetv2_supervoxel_download_checkpoints' fetches them)"
    return f"there is no file {path}. {hint}"


def download_checkpoint(checkpoint: OfficialCheckpoint, folder: Path | None = None) -> Path:
    """Fetch a checkpoint unless it is there already. Resumes a broken download and checks the SHA-256.

    Args:
        checkpoint: what to fetch.
        folder: where to; default `checkpoint_folder()`.

    Raises:
        UserError: no connection, no space, no right to write, or a file whose hash differs.
    """
    folder = folder or checkpoint_folder()
    try:
        return Path(
            pooch.retrieve(
                checkpoint.url,
                known_hash=f"sha256:{checkpoint.sha256}",
                fname=checkpoint.file_name,
                path=folder,
                downloader=_ResumingDownloader(folder / f"{checkpoint.file_name}.part"),
            )
        )
    except requests.RequestException as error:
        raise UserError(
            f"{checkpoint.url} could not be fetched ({type(error).__name__}); what arrived is kept, run the command "
            f"again to resume, or copy the file to {folder} yourself."
        ) from error
    except OSError as error:
        raise UserError(
            f"{folder} can't be written ({error.strerror or error}); set {FOLDER_VARIABLE} to another folder."
        ) from error
    except ValueError as error:  # pooch: the hash differs; it has removed the file
        raise UserError(
            f"{checkpoint.url} arrived damaged (its SHA-256 differs); the file was removed, run the command again."
        ) from error


class _ResumingDownloader:
    """A downloader for pooch. It writes to a `.part` file, and goes on from there later (HTTP range requests)."""

    def __init__(self, part: Path) -> None:
        self.part = part

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        present = self.part.stat().st_size if self.part.exists() else 0
        with requests.get(url, stream=True, timeout=30, headers={"Range": f"bytes={present}-"}) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:  # it was complete already
                shutil.move(self.part, output_file)
                return
            response.raise_for_status()
            resumed = response.status_code == requests.codes.partial_content
            present = present if resumed else 0
            length = response.headers.get("Content-Length")
            with (
                open(self.part, "ab" if resumed else "wb") as file,
                ProgressBar(
                    total=present + int(length) if length else None,
                    initial=present,
                    unit="byte",
                    unit_scale=True,
                    desc=url.rsplit("/", 1)[-1],
                ) as progress,
            ):
                for block in response.iter_content(1 << 20):
                    file.write(block)
                    progress.update(len(block))
        shutil.move(self.part, output_file)
