"""The course as a whole: running the labs, a learner's copies of them, and whether a machine can run them."""
