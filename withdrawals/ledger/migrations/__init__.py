"""The history of the ledger's tables. A migration that was released is never edited; the next one follows it.

To add one: change `schema` (or `guards`), write `versions/rNNNN_what.py` with the statements spelled out, and set
`HEAD` in `withdrawals.ledger.migrate`. The tests prove that the migrated tables are the tables of the schema.
"""
