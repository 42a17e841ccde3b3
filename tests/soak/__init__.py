"""The processor under load for minutes, while processes die, servers forget and the chain lies; then a verdict."""
