"""The rules, pure: values in, decisions out; no I/O, clock, randomness or logging."""
