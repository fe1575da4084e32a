"""The encoding job: from an index of faces to W+ codes in Parquet, on Ray Data."""
