"""Test vectors that others published: where they come from, and what is needed to read them."""
