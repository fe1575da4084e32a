"""Draws the demo's faces: seven emotions, nobody's picture."""

from fervit.cli import run
from fervit.commands.data.demo_faces import main

if __name__ == "__main__":
    run(main)
