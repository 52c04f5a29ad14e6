"""From names to what a lab works with: profiles, models, tokenizers and dialogues, from folders or the hub."""
