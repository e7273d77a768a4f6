"""Methods to compare toolkens with, one file each."""
