"""Makes all that lies under data/: the dialogues, their summaries, the small models. No lab imports it."""
