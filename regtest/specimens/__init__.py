"""Specimens: for every class of malleation a coin it can be done to, on a live network, and the payment to do it to."""

from __future__ import annotations

from regtest.specimens.recipes import Recipe, recipe_of
from regtest.specimens.specimen import COIN_SATS, Specimen, make_specimen, make_specimens, outputs_of, sign_all

__all__ = [
    "COIN_SATS",
    "Recipe",
    "Specimen",
    "make_specimen",
    "make_specimens",
    "outputs_of",
    "recipe_of",
    "sign_all",
]
