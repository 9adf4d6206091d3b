"""What the commands of `nas` do, one file a command where that is more than a call."""
