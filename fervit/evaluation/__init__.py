"""Measures how good a trained model is: metrics, figures, the evaluation of a checkpoint, comparisons of several."""
