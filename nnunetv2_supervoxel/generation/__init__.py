"""From an image to supervoxels: the pipeline, and the methods that it can use."""
