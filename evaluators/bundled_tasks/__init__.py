"""Minimal pairs in the vocabulary of old novels: ordinary lm-eval tasks that need no network."""
