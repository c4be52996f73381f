"""What a scorer is and what it answers, and how a model is built to score, on which device."""
