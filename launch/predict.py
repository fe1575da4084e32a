"""Says which emotion a trained model sees in pictures of faces."""

from fervit.cli import run
from fervit.commands.models.predict import main

if __name__ == "__main__":
    run(main)
