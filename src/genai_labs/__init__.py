"""Three labs on generative AI with large language models, in which every claim is measured."""

import os

__version__ = "0.1.0"

# How often a thread of torch asks for work before it sleeps (GNU OpenMP, read when torch is first imported). By default
# it is 300,000 times: while something else uses a core, such as a browser or a second kernel, each core waits for the
# other. Two kernels writing at once on two cores took 13.8 s instead of 0.6, and take 1.1 so; one alone: 0.6 as before.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "2000"
