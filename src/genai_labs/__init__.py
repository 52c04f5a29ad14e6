"""Three labs on generative AI with large language models, in which every claim is measured."""

__version__ = "0.1.0"
