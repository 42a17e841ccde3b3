"""The imperative shell, one module per arrow of the flow: load, decide, save, act."""
