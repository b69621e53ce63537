"""`nnUNetv2_supervoxel_trainers`."""

from collections.abc import Callable
from pathlib import Path


def test_the_trainers_folder_is_printed(run: Callable) -> None:
    folder = Path(run("nnUNetv2_supervoxel_trainers").stdout.strip())
    assert folder.is_dir()
    assert any("SupervoxelPromptTrainer" in path.read_text() for path in folder.glob("*.py"))
