"""The classes of faces: the seven emotions, other label sets, and the dealing of rows to splits. Does not use Ray."""
