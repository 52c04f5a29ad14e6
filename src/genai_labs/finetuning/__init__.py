"""Lab 2: rows to tokens, training all weights or LoRA adapters, memory, and what a model forgets by it."""
