"""Tests that need a real node."""
