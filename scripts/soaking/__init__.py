"""What scripts/soak.py and tests of kills share: runs that can be killed, a reader that looks on, a dataset."""
