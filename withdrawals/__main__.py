"""`python -m withdrawals` is the command `withdrawals`."""

from withdrawals.cli import main

if __name__ == "__main__":
    main()
