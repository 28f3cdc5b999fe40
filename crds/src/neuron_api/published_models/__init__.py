"""Published models by their names: sizes as data (`models.json`, each with its source), and how they are looked up."""
