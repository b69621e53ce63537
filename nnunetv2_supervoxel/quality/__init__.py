"""How good supervoxels are: measures of a case, with labels or without, and their report."""
