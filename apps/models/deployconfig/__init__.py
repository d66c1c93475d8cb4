"""deployconfig.json: how a model was deployed, which travels with its files and fills the deploy form in."""
