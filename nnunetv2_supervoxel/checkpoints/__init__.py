"""SAM and SAM 2.1 checkpoints: which exist, where they come from, how they are loaded."""

from nnunetv2_supervoxel.checkpoints.loading import LoadedCheckpoint, load_sam, load_sam2

__all__ = ["LoadedCheckpoint", "load_sam", "load_sam2"]
