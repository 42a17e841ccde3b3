"""Tests that need nothing running."""
