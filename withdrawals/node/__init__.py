"""The Bitcoin Core adapter: chain facts in, stored bytes out."""
