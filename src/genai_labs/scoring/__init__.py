"""How good texts are: ROUGE, facts, toxicity, and how sure we can be of a difference."""
