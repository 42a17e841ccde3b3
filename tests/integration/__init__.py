"""Tests that need Redis or a database."""
