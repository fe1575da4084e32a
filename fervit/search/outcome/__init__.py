"""What comes after a search: confirmation, the choice, the leaderboard, the test split, the model card. No Ray."""
