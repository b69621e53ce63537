"""Who does which case: what a case is, the loops over many, and their reports."""
