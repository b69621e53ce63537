"""From an image to supervoxels: keyframe, proposals, propagation, component."""
