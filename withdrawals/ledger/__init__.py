"""The ledger on SQL: facts, intents, and the constraints that hold the invariants."""
