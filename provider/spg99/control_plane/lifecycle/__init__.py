"""The life of a database: states, decisions (pure) and the loop that carries them out."""
