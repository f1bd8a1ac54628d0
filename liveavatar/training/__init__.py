"""Training: recipes, stages and the loop that runs them. Nothing in model/ or streaming/ knows of it."""
