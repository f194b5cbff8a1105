"""How models are made. Nothing that runs in a district imports this."""
