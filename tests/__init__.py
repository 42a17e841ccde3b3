"""The tests, split by what must be running."""
