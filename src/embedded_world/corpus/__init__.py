"""The embedded corpus: authored content, and the generator that turns it into dialogues with true summaries."""
