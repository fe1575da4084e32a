"""Faces in: class folders, Kaggle's fer2013.csv, and generated demo faces."""
