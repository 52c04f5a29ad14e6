"""Lab 1: prompts, the summaries that a model writes to them, and what else a prompt can do."""
