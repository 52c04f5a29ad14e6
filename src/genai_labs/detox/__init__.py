"""Detoxifying summaries: a policy that repeats insults, test dialogues with quarrels, and what is measured on them."""
