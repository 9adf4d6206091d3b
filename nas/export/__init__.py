"""Files that other runtimes load, each proven by reloading it."""
