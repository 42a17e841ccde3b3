"""A regtest harness: real nodes, a real Redis server, and the verbs to make a chain misbehave."""
