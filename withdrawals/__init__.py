"""A Bitcoin withdrawal processor that transaction malleability cannot make pay twice."""
