"""Neural architecture search for sub-networks of pre-trained transformers."""
