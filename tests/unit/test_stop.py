"""A process that is told to stop does, whatever its main thread is about when the signal comes."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

EACH_MOMENT: Final = """
import signal, sys
from workers.loops import Stop

def wait_and_be_told(at):
    stop = Stop()
    stop.install()
    executed = 0

    def trace(frame, event, argument):
        nonlocal executed
        frame.f_trace_opcodes = True
        if event == "opcode":
            executed += 1
            if executed == at:
                signal.raise_signal(signal.SIGTERM)
        return trace

    sys.settrace(trace)
    stop.wait(0.001)
    sys.settrace(None)
    if executed < at:
        return False
    assert stop.asked
    assert stop.wait(3600)
    return True

moments = 0
while wait_and_be_told(moments + 1):
    moments += 1
print(moments)
"""
WHILE_IT_SLEEPS: Final = """
import os, signal, threading
from workers.loops import Stop

stop = Stop()
stop.install()
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
print(stop.asked, stop.wait(3600), stop.asked)
"""
PATIENCE_S: Final = 90.0
INSTRUCTIONS_MIN: Final = 20


def said_by(program: str) -> str:
    """What it prints. One that stands still is ended, and fails the test: a signal can reach a main thread only."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, timeout=PATIENCE_S, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_signal_at_any_instruction_of_a_wait_ends_it() -> None:
    """Also where the wait has just taken, or is about to give back, what it keeps its books with."""
    assert int(said_by(EACH_MOMENT)) >= INSTRUCTIONS_MIN


def test_a_signal_cuts_a_long_wait_short() -> None:
    """And was not there before it came."""
    assert said_by(WHILE_IT_SLEEPS) == "False True True"
