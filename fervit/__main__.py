"""`python -m fervit COMMAND ...` is the command `fervit`."""

from fervit.commands.program import main

if __name__ == "__main__":
    main()
