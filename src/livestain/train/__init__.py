"""Training a generator from images without pairs: data, recipes, the loop, the choice among checkpoints, export."""
