"""SAM and SAM 2.1 checkpoints: which exist, where they come from, how they are loaded."""
