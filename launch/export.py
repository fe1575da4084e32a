"""Writes a trained model as a folder for others: safetensors, config.json, a model card, on request ONNX."""

from fervit.cli import run
from fervit.commands.models.export import main

if __name__ == "__main__":
    run(main)
