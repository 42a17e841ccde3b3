"""An example of a system that the kit did not know before, and of the adapter that lets the kit attack it."""
