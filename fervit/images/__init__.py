"""Reads faces from class folders and from Kaggle's fer2013.csv, aligns them, and draws demo faces."""
