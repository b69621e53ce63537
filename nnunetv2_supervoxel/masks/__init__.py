"""What is in memory: supervoxels, masks as bits, boxes, connected components."""
