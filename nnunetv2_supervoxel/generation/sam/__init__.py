"""The parts of the method "sam": keyframes, proposals by SAM, propagation by SAM 2. methods/sam.py joins them."""
