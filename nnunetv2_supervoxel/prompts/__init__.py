"""The simulated user: interactions of four types, their input channels, and how a user draws them."""
