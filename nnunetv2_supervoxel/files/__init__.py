"""What is on disk: images, nnU-Net's folders, supervoxels, class locations."""
