"""Random bytes against everything that reads bytes or text from outside, with a second opinion on every answer."""
