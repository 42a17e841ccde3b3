"""The control: a payment desk as many exchanges ran one, which asks the network "is my txid confirmed?".

It is honest and not careless: it writes down what it signs before it sends it, never sends while a payment is under
way, and pays exactly once as long as nobody interferes. But it takes "I do not see this txid" for "this was not paid".
Where it loses and another processor holds, the difference is that question and nothing else.
"""

from __future__ import annotations

from regtest.naive.book import Book, Payment, Send, State
from regtest.naive.desk import Desk, DeskSettings, Habits
from regtest.naive.processor import NaiveProcessor, naive_txid

__all__ = ["Book", "Desk", "DeskSettings", "Habits", "NaiveProcessor", "Payment", "Send", "State", "naive_txid"]
