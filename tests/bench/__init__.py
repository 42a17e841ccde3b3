"""How fast the real code is, measured against something known in the same run, on a machine that is named."""
