"""Processors in other processes and other languages: a small protocol, JSON over HTTP, spoken from both sides.

`remote` is the kit's side: a `Processor` that asks an adapter. `serve` is the other side for anything written in
Python. The messages are one table, in `protocol`.
"""
