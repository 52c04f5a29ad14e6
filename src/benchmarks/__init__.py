"""How fast training, evaluation and PPO are, beside the recipes that other courses use. No lab imports it."""
