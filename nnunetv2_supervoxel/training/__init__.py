"""Training on prompts: data, nnU-Net trainer, validation. Supervoxels are known here only as files on disk."""
