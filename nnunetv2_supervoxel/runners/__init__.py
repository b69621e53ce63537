"""Who makes which case: the loops over many cases, and their reports."""
