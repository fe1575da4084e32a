"""Finds the face in each picture and cuts it out as FFHQ's are, as the encoders need it."""

from fervit.cli import run
from fervit.commands.data.preprocess import main

if __name__ == "__main__":
    run(main)
