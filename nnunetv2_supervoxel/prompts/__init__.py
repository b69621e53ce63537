"""The simulated user: interactions of four types, their channels, and who draws which of them where."""
