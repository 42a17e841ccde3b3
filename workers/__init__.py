"""The RQ entry points and the long-running processes around the queue."""
