"""The signers and the journal that lives with their keys."""
