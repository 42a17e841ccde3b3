"""Proof that the tests have teeth: every invariant's guards are removed one by one, and a named test must then fail."""
