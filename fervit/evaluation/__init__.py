"""How good a trained model is: metrics, figures, the evaluation of one checkpoint."""
