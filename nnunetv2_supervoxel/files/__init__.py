"""What is on disk: images, supervoxels, class locations, raw datasets."""
