"""The whole kit in one run: every class in every ending, every scenario, every control, and what came of each cell."""
