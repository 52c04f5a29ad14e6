"""How the embedded model is made: tokenizer, initialisation, training, evaluation, model card."""
