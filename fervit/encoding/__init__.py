"""The encoding job: turns an index of faces into W+ codes in Parquet, on Ray Data."""
