"""Pages to look at: what generation made of a dataset, and what a training learned. Each is one HTML file."""
