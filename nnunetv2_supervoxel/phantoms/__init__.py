"""Procedural volumes with known objects: for training the tiny checkpoints, for tests, and for trying things out."""

from nnunetv2_supervoxel.phantoms.phantom import Phantom, make_body_phantom, make_folded_phantom, make_phantom

__all__ = ["Phantom", "make_body_phantom", "make_folded_phantom", "make_phantom"]
