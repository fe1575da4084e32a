"""Commands that make and check faces and codes."""
