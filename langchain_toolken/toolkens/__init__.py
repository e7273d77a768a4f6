"""The rows: sets of toolkens, the folder they are saved in, their priors, and toolkens for new tools."""
