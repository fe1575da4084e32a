"""What follows a search: confirmation, choice, leaderboard, evaluation on the test split, model card. No Ray."""
