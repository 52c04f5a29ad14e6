"""For those who teach: handouts of the labs, slides, bands of results to expect, and the guesses of a class."""
