"""A site that shows an agent's active listings."""
