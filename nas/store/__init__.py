"""Where the trials of a search are kept."""
